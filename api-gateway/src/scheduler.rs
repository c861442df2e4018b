//! Questions to the leading scheduler, with a deadline each.
//!
//! While the leadership changes, a question waits a little for the next leader rather than being refused: most
//! takeovers then pass unseen. What only reads is asked once more when the leader is lost under it; what changes
//! something is not, because it may have taken effect.

use std::time::Duration;

use keyfleet_proto::{
    estate::v1::{
        containers_client::ContainersClient, keys_client::KeysClient, synchronizations_client::SynchronizationsClient,
    },
    jobs::v1::{jobs_client::JobsClient, templates_client::TemplatesClient},
};
use scheduler_client::Leader;
use tokio::time::timeout;
use tonic::{Response, Status, transport::Channel};

use crate::{error::ApiError, limits};

/// How long to wait for a leader: a takeover takes up to 6 s, and finding the new leader a moment.
const WAIT_FOR_LEADER: Duration = Duration::from_secs(8);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The scheduler, whichever replica leads.
#[derive(Clone)]
pub(crate) struct Scheduler(Leader);

impl Scheduler {
    pub(crate) const fn new(leader: Leader) -> Self {
        Self(leader)
    }

    /// Speaks to the leader, waiting a little for one.
    pub(crate) async fn jobs(&self) -> Result<JobsClient<Channel>, ApiError> {
        match self.0.jobs().await {
            Ok(client) => Ok(client),
            Err(_) => {
                self.wait().await?;
                self.0.jobs().await.map_err(|error| no_leader(&error))
            }
        }
    }

    /// The same for templates.
    pub(crate) async fn templates(&self) -> Result<TemplatesClient<Channel>, ApiError> {
        match self.0.templates().await {
            Ok(client) => Ok(client),
            Err(_) => {
                self.wait().await?;
                self.0.templates().await.map_err(|error| no_leader(&error))
            }
        }
    }

    /// The same for containers.
    pub(crate) async fn containers(&self) -> Result<ContainersClient<Channel>, ApiError> {
        match self.0.containers().await {
            Ok(client) => Ok(client),
            Err(_) => {
                self.wait().await?;
                self.0.containers().await.map_err(|error| no_leader(&error))
            }
        }
    }

    /// The same for registered keys.
    pub(crate) async fn keys(&self) -> Result<KeysClient<Channel>, ApiError> {
        match self.0.keys().await {
            Ok(client) => Ok(client),
            Err(_) => {
                self.wait().await?;
                self.0.keys().await.map_err(|error| no_leader(&error))
            }
        }
    }

    /// The same for synchronizations.
    pub(crate) async fn synchronizations(&self) -> Result<SynchronizationsClient<Channel>, ApiError> {
        match self.0.synchronizations().await {
            Ok(client) => Ok(client),
            Err(_) => {
                self.wait().await?;
                self.0.synchronizations().await.map_err(|error| no_leader(&error))
            }
        }
    }

    /// An answer to a question about jobs that changes nothing.
    pub(crate) async fn read<T, F, Fut>(&self, ask: F) -> Result<T, ApiError>
    where
        F: Fn(JobsClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.read_by(|| self.jobs(), ask).await
    }

    /// An answer to a question that changes nothing, asked of the leader that `client` finds.
    pub(crate) async fn read_by<C, T, G, Found, F, Fut>(&self, client: G, ask: F) -> Result<T, ApiError>
    where
        G: Fn() -> Found,
        Found: Future<Output = Result<C, ApiError>>,
        F: Fn(C) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let status = match timeout(ANSWER, ask(client().await?)).await {
            Err(_) => return Err(limits::too_late()),
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
        };
        if !self.0.note(&status) {
            return Err(ApiError::of_scheduler(&status));
        }
        self.once(ask(client().await?)).await
    }

    /// An answer to what must not be asked twice.
    pub(crate) async fn once<T>(
        &self,
        asked: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ApiError> {
        match timeout(ANSWER, asked).await {
            Err(_) => Err(limits::too_late()),
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
        }
    }

    /// What a refusal means to the caller; a lost leader is looked for again.
    pub(crate) fn refused(&self, status: &Status) -> ApiError {
        self.0.note(status);
        ApiError::of_scheduler(status)
    }

    async fn wait(&self) -> Result<(), ApiError> {
        self.0.wait(WAIT_FOR_LEADER).await.map_err(|error| no_leader(&error))
    }
}

fn no_leader(error: &scheduler_client::NoLeader) -> ApiError {
    tracing::warn!(%error, "There is no leading scheduler.");
    ApiError::Unavailable("no scheduler leads now; try again".to_owned())
}
