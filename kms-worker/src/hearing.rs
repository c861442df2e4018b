//! Hears the broadcast of aborts, on a thread and a connection of its own.
//!
//! Problem: while the worker's cores are busy, an abort that waits behind a batch of deliveries on the same connection, or
//! behind whatever the session's loop has to do, lets tries begin more requests. The thread sleeps but for aborts, so
//! the kernel gives it a core at once, and the flags are atomics that every try reads.

use std::{io, pin::pin, sync::Arc, thread};

use job_model::{JobId, WorkerId};
use service_kit::{Part, settings::Invalid};
use task_queue::{Broker, BrokerSettings, WorkerAborts};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{permit::Clock, stops::Stops};

/// The thread that hears.
#[derive(Debug)]
pub(crate) struct Hearing {
    thread: thread::JoinHandle<()>,
    /// Resolves once the thread is about to end.
    ended: oneshot::Receiver<()>,
    stop: DropGuard,
}

/// What the thread works with.
struct Listener {
    stops: Arc<Stops>,
    clock: Clock,
    heard: mpsc::UnboundedSender<JobId>,
}

impl Hearing {
    /// Begins to connect and to hear. The jobs whose flags it has set come out of the other end.
    ///
    /// # Errors
    /// [`Invalid`], naming `AMQP_URL`, when it is no AMQP URL; or when there is no thread to be had.
    pub(crate) async fn start(
        settings: &BrokerSettings,
        part: Part,
        worker: WorkerId,
        stops: Arc<Stops>,
        clock: Clock,
    ) -> Result<(Self, mpsc::UnboundedReceiver<JobId>), Invalid> {
        let (heard, aborts) = mpsc::unbounded_channel();
        let (connecting, connected) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let stop = CancellationToken::new();
        let (settings, stopped) = (settings.clone(), stop.clone());
        let hear = async move || match Broker::connect(&settings, part) {
            Ok(broker) => {
                // Nobody waits for it only when the process ends.
                let _leaving = connecting.send(Ok(()));
                let listener = Listener { stops, clock, heard };
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = listener.hear(broker.consume_aborts_as_worker(worker)) => {}
                }
                broker.close().await;
            }
            Err(invalid) => drop(connecting.send(Err(invalid))),
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unstarted)?;
        let thread = thread::Builder::new().name("aborts".to_owned()).spawn(move || {
            let _ending: oneshot::Sender<()> = ending;
            runtime.block_on(hear());
            // A name that is still being looked up holds up nobody.
            runtime.shutdown_background();
        });
        let hearing = Self { thread: thread.map_err(unstarted)?, ended, stop: stop.drop_guard() };
        match connected.await {
            Ok(started) => started.map(|()| (hearing, aborts)),
            Err(_panicked) => Err(Invalid::new("AMQP_URL", "the thread for aborts broke down")),
        }
    }

    /// Waits for the work beside it, then ends the hearing. A hearing that breaks down takes the work down with it:
    /// nobody would notice otherwise that aborts come late.
    pub(crate) async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        let Self { thread, mut ended, stop } = self;
        let mut work = pin!(work);
        // Nothing is ever sent to `ended`: that its sender is dropped says that the thread ends.
        tokio::select! {
            done = &mut work => {
                drop(stop);
                let _ended = ended.await;
                join(thread);
                done
            }
            _ = &mut ended => {
                join(thread);
                work.await
            }
        }
    }
}

/// Of a thread that ends.
fn join(thread: thread::JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Listener {
    async fn hear(self, mut aborts: WorkerAborts) {
        while let Some(command) = aborts.next().await {
            self.stops.set(command.job, (self.clock)());
            tracing::info!(job.id = %command.job, "A job is to stop.");
            if self.heard.send(command.job).is_err() {
                return;
            }
        }
    }
}

fn unstarted(error: io::Error) -> Invalid {
    Invalid::new("the thread for aborts", error)
}
