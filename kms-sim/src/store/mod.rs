//! What the simulator remembers: keys and aliases, apart for each account and Region, as AWS keeps them.

mod arn;
mod find;
mod key;
mod policies;
mod scope;
mod state;

pub(crate) use arn::partition;
pub(crate) use find::Names;
pub(crate) use key::{HISTORY, Key, Policy, Version};
pub(crate) use policies::PolicyPool;
pub(crate) use scope::{Alias, Scope, Scopes};
pub use state::KeyState;
