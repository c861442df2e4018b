//! Publishes offers until they are confirmed. An offer published twice is harmless: it is only an offer.

use job_model::TaskRef;
use service_kit::retry::Backoff;
use tokio::sync::mpsc;

use crate::Context;

/// Offers published and confirmed together at the most.
const BATCH: usize = 1_000;

pub(super) async fn run(context: Context, mut offers: mpsc::UnboundedReceiver<Vec<TaskRef>>) {
    let publisher = context.broker.publisher();
    let mut waiting = Vec::new();
    while let Some(more) = offers.recv().await {
        waiting.extend(more);
        while let Ok(more) = offers.try_recv() {
            waiting.extend(more);
        }
        for batch in waiting.chunks(BATCH) {
            let mut backoff = Backoff::reconnect();
            while let Err(error) = publisher.publish_offers(batch).await {
                tracing::warn!(%error, offers = batch.len(), "Offers could not be published yet.");
                backoff.wait().await;
            }
        }
        waiting.clear();
    }
}
