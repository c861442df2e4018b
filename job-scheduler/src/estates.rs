//! The containers as they are now: read from the store, kept in memory by the leader.
//!
//! Every key of a job asks for its container, so the store cannot be asked each time. Only the leader changes containers,
//! and it reads them again after each change before it answers; the timer beside that (in `leader::maintenance`) mends a
//! reading that failed after its change was committed.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::{
    containers::{Container, DEFAULT_ID, Estate},
    store::{self, Store},
};

/// The containers, and their changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Estates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As the settings say; without ACLs.
    default: Container,
    now: watch::Sender<Arc<Estate>>,
    /// One reading at a time, so that an older one never goes over a newer.
    reading: Mutex<()>,
}

impl Estates {
    /// Only the default container, until the store is read.
    pub fn new(default: Container) -> Self {
        let now = watch::Sender::new(Arc::new(Estate::new(default.clone(), Vec::new())));
        Self(Arc::new(Inner { default, now, reading: Mutex::default() }))
    }

    /// As they were read last.
    pub fn now(&self) -> Arc<Estate> {
        Arc::clone(&self.0.now.borrow())
    }

    /// Follows the changes.
    pub fn changes(&self) -> watch::Receiver<Arc<Estate>> {
        self.0.now.subscribe()
    }

    /// Reads them from the store. What was committed before the call is seen after it.
    ///
    /// # Errors
    /// [`store::Error`]; then they stay as they were.
    pub async fn refresh(&self, store: &Store) -> Result<(), store::Error> {
        let _one_at_a_time = self.0.reading.lock().await;
        let mut created = store.containers_all().await?;
        let mut acls = store.acls_all().await?;
        for container in &mut created {
            container.acls = acls.remove(&container.id).unwrap_or_default();
        }
        let default = Container { acls: acls.remove(&DEFAULT_ID).unwrap_or_default(), ..self.0.default.clone() };
        let read = Estate::new(default, created);
        self.0.now.send_if_modified(|now| {
            let other = **now != read;
            if other {
                *now = Arc::new(read);
            }
            other
        });
        Ok(())
    }
}
