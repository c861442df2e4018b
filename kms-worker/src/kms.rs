//! KMS as the tries see it: observe a key, act on it.
//!
//! [`aws`] is the only module that knows AWS's protocol and the SDK's types; [`transport`] carries its requests, with the permit's last
//! check in [`gate`] and the record of how far each got in [`flight`]. Which credentials are an account's is decided in
//! [`reach`].

pub mod aws;
mod connection;
pub mod flight;
mod gate;
mod reach;
pub mod transport;

pub use aws::{AliasesPage, Answer, Key, KeysPage, Kms, KmsSettings, SeenKey, Shelf};
pub use reach::Reaches;
