//! One KMS request on its way: what allows it, by when it must have been written, and how far it got.
//!
//! How far it got is recorded where the bytes are written, not guessed from an error: an error without a byte written
//! is certain to have changed nothing, one after it is doubtful.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use job_model::Moment;

use crate::permit::Permit;

const WAITING: u8 = 0;
const VOID: u8 = 1;
const SENT: u8 = 2;

/// A request on its way.
#[derive(Debug)]
pub struct Flight {
    permit: Arc<Permit>,
    deadline: Moment,
    progress: AtomicU8,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not a byte of it was written.
    Waiting,
    /// Not a byte of it was written, and none may be: its permit is void.
    Void,
    /// It was written, at least in part.
    Sent,
}

/// Why nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Grounded {
    /// Its permit is void.
    #[error("the request is no longer permitted")]
    Void,
    /// Its time is over.
    #[error("the request's time is over")]
    Late,
}

impl Flight {
    /// A request that begins now and must have been written within `timeout`.
    pub fn new(permit: Arc<Permit>, timeout: Duration) -> Self {
        let deadline = permit.now() + timeout;
        Self { permit, deadline, progress: AtomicU8::new(WAITING) }
    }

    /// How far it got.
    pub fn progress(&self) -> Progress {
        match self.progress.load(Ordering::SeqCst) {
            WAITING => Progress::Waiting,
            VOID => Progress::Void,
            _ => Progress::Sent,
        }
    }

    /// Asked before every write of its bytes, the later ones too: what was written in part is not acted on, so a
    /// process that was frozen in between completes nothing stale. From the first admission on it counts as sent.
    ///
    /// # Errors
    /// [`Grounded`]: nothing may be written.
    pub fn admit(&self) -> Result<(), Grounded> {
        self.check()?;
        self.progress.store(SENT, Ordering::SeqCst);
        Ok(())
    }

    /// Whether [`Flight::admit`] would admit it now.
    ///
    /// # Errors
    /// [`Grounded`]: it would not.
    pub fn check(&self) -> Result<(), Grounded> {
        if self.permit.check().is_err() {
            // What was sent stays sent.
            let _sent = self.progress.compare_exchange(WAITING, VOID, Ordering::SeqCst, Ordering::SeqCst);
            Err(Grounded::Void)
        } else if self.permit.now() >= self.deadline {
            Err(Grounded::Late)
        } else {
            Ok(())
        }
    }
}
