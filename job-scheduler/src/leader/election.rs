//! Who leads.
//!
//! A standby takes over when the renewal counter has not changed for one full term by its own clock, or the leader has
//! stepped down. A leader counts its term from before it sent the renewal, so it has ended by its own count before any
//! standby takes over. No wall clocks are compared.

use std::time::Duration;

use job_model::Moment;
use service_kit::clock::boottime;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Current, Term, lead};
use crate::{
    Context,
    store::{self, leadership::Leadership},
};

/// How often a standby looks at the counter.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Stands by, leads, and stands by again, until `stop`. Steps down at the end.
pub async fn run(context: Context, current: Current, stop: CancellationToken) {
    let me = context.id;
    let mut mine: Option<u32> = None;
    while !stop.is_cancelled() {
        let Some((seen, waited)) = stand_by(&context, me, mine, &stop).await else { return };
        let asked_at = boottime();
        let epoch = match context.store.leadership_take(&seen, me).await {
            Ok(Some(epoch)) => epoch,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "Taking over failed; standing by.");
                continue;
            }
        };
        mine = Some(epoch);
        let settings = &context.settings;
        // An old leader's leases end with its term, which a standby has waited out unless it stepped down.
        let leases_end = if waited { asked_at } else { boottime() + settings.term };
        let term_end = watch::Sender::new(asked_at + settings.term);
        let term = Term {
            epoch,
            end: term_end.subscribe(),
            inherited_until: leases_end + settings.operation_timeout,
            ended: stop.child_token(),
        };
        tracing::info!(epoch, "This scheduler leads.");
        metrics::gauge!("keyfleet_leading").set(1.0);
        let ended = term.ended.clone();
        let leading = tokio::spawn(lead::run(context.clone(), current.clone(), term));
        renew(&context, epoch, &term_end, &ended).await;
        ended.cancel();
        current.set(None);
        if let Err(error) = leading.await {
            tracing::error!(%error, "The leader's loop failed.");
        }
        metrics::gauge!("keyfleet_leading").set(0.0);
        tracing::info!(epoch, "This scheduler no longer leads.");
        if stop.is_cancelled() {
            // Nothing is given any more; the next leader need not wait to begin.
            let _ = timeout(Duration::from_secs(1), context.store.leadership_release(epoch)).await;
        }
    }
}

/// Waits until there is a leadership to take; answers the row to take it from, and whether its term was waited out.
async fn stand_by(
    context: &Context,
    me: Uuid,
    mine: Option<u32>,
    stop: &CancellationToken,
) -> Option<(Leadership, bool)> {
    let mut seen: Option<(Leadership, Moment)> = None;
    loop {
        match timeout(Duration::from_secs(2), context.store.leadership_read()).await {
            Ok(Ok(row)) => {
                let now = boottime();
                if row.released {
                    return Some((row, false));
                }
                // An earlier leadership of this very process: it gave nothing past its own term.
                if row.holder == Some(me) && Some(row.epoch) == mine && seen.is_none() {
                    return Some((row, false));
                }
                match &seen {
                    Some((before, since)) if *before == row => {
                        if now.since(*since) >= context.settings.term {
                            return Some((row, true));
                        }
                    }
                    Some(_) | None => seen = Some((row, now)),
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "The leadership cannot be read.");
                context.database.not_ready(error.to_string());
            }
            Err(_) => context.database.not_ready("no answer within 2 s"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Renews until the leadership is lost, or its term ends unrenewed.
async fn renew(context: &Context, epoch: u32, term_end: &watch::Sender<Moment>, ended: &CancellationToken) {
    let term = context.settings.term;
    loop {
        let left = term_end.borrow().since(boottime());
        if left.is_zero() {
            tracing::warn!(epoch, "The term ended without a renewal.");
            return;
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep((term / 6).min(left)) => {}
        }
        let sent_at = boottime();
        match timeout(left.min(Duration::from_secs(2)), context.store.leadership_renew(epoch)).await {
            Ok(Ok(())) => {
                context.database.ready();
                term_end.send_replace(sent_at + term);
            }
            Ok(Err(store::Error::LostLeadership)) => {
                tracing::warn!(epoch, "Another scheduler has taken over.");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "The leadership could not be renewed yet.");
                context.database.not_ready(error.to_string());
            }
            Err(_) => context.database.not_ready("no answer to the renewal"),
        }
    }
}
