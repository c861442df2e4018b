//! The search for the leader.
//!
//! The replica found last is kept until somebody says it is lost. A search asks all replicas at once and takes the
//! first that is SERVING. Only one search runs at a time, and all who waited for it share what it found, found or not:
//! a thousand callers without a leader cost one round of health checks, not a thousand.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyfleet_proto::{
    audit::v1::audit_client::AuditClient,
    auth::v1::sessions_client::SessionsClient,
    estate::v1::{
        containers_client::ContainersClient, keys_client::KeysClient, synchronizations_client::SynchronizationsClient,
    },
    jobs::v1::{jobs_client::JobsClient, templates_client::TemplatesClient},
    workers::v1::workers_client::WorkersClient,
};
use service_kit::{Part, retry::Backoff, settings::Invalid};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig},
};

use crate::{MAX_MESSAGE, replica::Replica};

/// How often [`Leader::watch`] looks whether the leader still leads.
const WATCH: Duration = Duration::from_secs(1);

/// No replica says that it leads. Retryable: a standby takes over within seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scheduler leads: {0}")]
pub struct NoLeader(
    /// What each replica said.
    pub String,
);

/// The leading scheduler, whichever it is. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Leader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replicas: Vec<Replica>,
    known: Mutex<Known>,
    searching: tokio::sync::Mutex<()>,
    lost: Notify,
}

#[derive(Debug)]
struct Known {
    /// Index of the replica, or why there is none.
    leader: Result<usize, NoLeader>,
    /// Searches ended so far.
    searches: u64,
}

impl Leader {
    /// Knows these replicas (`http://host:port` each); connects when it is used. Call it within the async runtime.
    ///
    /// # Errors
    /// [`Invalid`], naming `SCHEDULER_URLS`, when there is none or one is no such URL.
    pub fn new(urls: Vec<String>) -> Result<Self, Invalid> {
        Self::with_tls(urls, None)
    }

    /// The same, by TLS when it is given.
    ///
    /// # Errors
    /// [`Invalid`], naming `SCHEDULER_URLS`, or what of the TLS settings does not fit.
    pub fn with_tls(urls: Vec<String>, tls: Option<&ClientTlsConfig>) -> Result<Self, Invalid> {
        if urls.is_empty() {
            return Err(Invalid::new("SCHEDULER_URLS", "it names no scheduler"));
        }
        metrics::describe_counter!("keyfleet_leader_searches_total", "Searches for the leading scheduler, by `found`.");
        let replicas =
            urls.into_iter().map(|url| Replica::new(url.trim().to_owned(), tls)).collect::<Result<_, _>>()?;
        let known = Known { leader: Err(NoLeader("not looked for yet".to_owned())), searches: 0 };
        Ok(Self(Arc::new(Inner {
            replicas,
            known: Mutex::new(known),
            searching: tokio::sync::Mutex::new(()),
            lost: Notify::new(),
        })))
    }

    /// Speaks to the leader's service `Jobs`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn jobs(&self) -> Result<JobsClient<Channel>, NoLeader> {
        let client = JobsClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the leader's service `Templates`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn templates(&self) -> Result<TemplatesClient<Channel>, NoLeader> {
        let client = TemplatesClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the leader's service `Containers`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn containers(&self) -> Result<ContainersClient<Channel>, NoLeader> {
        let client = ContainersClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the leader's service `Keys`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn keys(&self) -> Result<KeysClient<Channel>, NoLeader> {
        let client = KeysClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the leader's service `Synchronizations`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn synchronizations(&self) -> Result<SynchronizationsClient<Channel>, NoLeader> {
        let client = SynchronizationsClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the leader's service `Workers`.
    ///
    /// # Errors
    /// [`NoLeader`], after at most a second.
    pub async fn workers(&self) -> Result<WorkersClient<Channel>, NoLeader> {
        let client = WorkersClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Speaks to the service `Sessions` of every replica, the leader's first as far as it is known: any replica answers
    /// for sessions, so who is refused by one may ask the next. No question is asked here.
    pub fn sessions(&self) -> Vec<SessionsClient<Channel>> {
        self.channels().map(SessionsClient::new).collect()
    }

    /// Speaks to the service `Audit` of every replica, in the same way.
    pub fn audit(&self) -> Vec<AuditClient<Channel>> {
        self.channels().map(AuditClient::new).collect()
    }

    /// To every replica, the leader's first.
    fn channels(&self) -> impl Iterator<Item = Channel> {
        let leader = self.known().leader.as_ref().ok().copied();
        let others = (0..self.0.replicas.len()).filter(move |index| Some(*index) != leader);
        leader.into_iter().chain(others).map(|index| self.0.replicas[index].channel.clone())
    }

    /// The URL of the leader as far as known; no question is asked.
    pub fn current(&self) -> Option<String> {
        self.known().leader.as_ref().ok().map(|&index| self.0.replicas[index].url.clone())
    }

    /// The leader is none any more: whoever asks next looks again.
    pub fn lost(&self) {
        let mut known = self.known();
        if let Ok(index) = known.leader {
            let url = &self.0.replicas[index].url;
            tracing::info!(url, "The leading scheduler was lost, looking for it again.");
            known.leader = Err(NoLeader("the last leader was lost".to_owned()));
        }
        drop(known);
        self.0.lost.notify_one();
    }

    /// Takes note of a refused call: true, and the leader is looked for again, if the answer may mean that it leads no
    /// more or cannot be reached. A late answer costs one search at most.
    pub fn note(&self, status: &Status) -> bool {
        let lost = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
            // A broken connection also comes as these, with the transport's error as their source.
            Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        };
        if lost {
            self.lost();
        }
        lost
    }

    /// Looks for a leader until one is found, or at most this long.
    ///
    /// # Errors
    /// [`NoLeader`] when the time is over.
    pub async fn wait(&self, at_most: Duration) -> Result<(), NoLeader> {
        let mut backoff = Backoff::reconnect();
        let looking = async {
            while self.channel().await.is_err() {
                backoff.wait().await;
            }
        };
        match timeout(at_most, looking).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.known().leader.clone().err().unwrap_or_else(|| NoLeader("no time left".to_owned()))),
        }
    }

    /// Keeps what is known fresh and tells the part of the service's readiness, until the future is dropped: a service
    /// without calls learns of a new leader too.
    pub async fn watch(self, part: Part) {
        loop {
            match self.check().await {
                Ok(()) => part.ready(),
                Err(error) => part.not_ready(error.to_string()),
            }
            // `lost` only wakes it early; the timer alone would do.
            let _early = timeout(WATCH, self.0.lost.notified()).await;
        }
    }

    /// Whether the known leader still leads; looks for another if not.
    async fn check(&self) -> Result<(), NoLeader> {
        let known = self.known().leader.clone();
        if let Ok(index) = known
            && let Err(why) = self.0.replicas[index].leads().await
        {
            tracing::info!(url = self.0.replicas[index].url, why, "The scheduler leads no more.");
            self.lost();
        }
        self.channel().await.map(drop)
    }

    async fn channel(&self) -> Result<Channel, NoLeader> {
        let index = self.find().await?;
        Ok(self.0.replicas[index].channel.clone())
    }

    async fn find(&self) -> Result<usize, NoLeader> {
        let before = {
            let known = self.known();
            if let Ok(index) = known.leader {
                return Ok(index);
            }
            known.searches
        };
        let _one_at_a_time = self.0.searching.lock().await;
        {
            let known = self.known();
            if known.searches != before || known.leader.is_ok() {
                return known.leader.clone();
            }
        }
        let found = self.search().await;
        metrics::counter!("keyfleet_leader_searches_total", "found" => if found.is_ok() { "yes" } else { "no" })
            .increment(1);
        let mut known = self.known();
        known.searches += 1;
        known.leader.clone_from(&found);
        found
    }

    async fn search(&self) -> Result<usize, NoLeader> {
        let mut checks = JoinSet::new();
        for (index, replica) in self.0.replicas.iter().cloned().enumerate() {
            checks
                .spawn(async move { (index, replica.leads().await.map_err(|why| format!("{}: {why}", replica.url))) });
        }
        let mut said = Vec::new();
        while let Some(check) = checks.join_next().await {
            match check {
                Ok((index, Ok(()))) => {
                    tracing::info!(url = self.0.replicas[index].url, "Found the leading scheduler.");
                    return Ok(index);
                }
                Ok((_, Err(why))) => said.push(why),
                Err(error) => said.push(error.to_string()),
            }
        }
        said.sort();
        Err(NoLeader(said.join("; ")))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
