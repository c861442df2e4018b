//! One scheduler replica: its channel, and whether it says that it leads.

use std::time::Duration;

use service_kit::settings::Invalid;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::HEALTH_SERVICE;

/// A connection is there within a second or the replica counts as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent peer (frozen, cut off) is found out after twice this, so that calls on it do not hang for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a health check may take, connecting included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// A replica; the channel connects when it is used and again after it broke.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) url: String,
    pub(crate) channel: Channel,
}

impl Replica {
    /// # Errors
    /// [`Invalid`], naming `SCHEDULER_URLS`, when the URL is none; it is an https one with `tls` and an http one without.
    pub(crate) fn new(url: String, tls: Option<&ClientTlsConfig>) -> Result<Self, Invalid> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .ok()
            .filter(|endpoint| endpoint.uri().scheme_str() == Some(scheme) && endpoint.uri().host().is_some())
            .ok_or_else(|| Invalid::new("SCHEDULER_URLS", format!("{url:?} is not written {scheme}://host:port")))?;
        if let Some(tls) = tls {
            let unfit = |error| {
                Invalid::new("SCHEDULER_TLS_CERT", format!("it, its key and SCHEDULER_TLS_CA do not fit: {error}"))
            };
            endpoint = endpoint.tls_config(tls.clone()).map_err(unfit)?;
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { url, channel })
    }

    /// Whether it says that it leads; `Err` tells why not.
    pub(crate) async fn leads(&self) -> Result<(), String> {
        let request = HealthCheckRequest { service: HEALTH_SERVICE.to_owned() };
        let mut client = HealthClient::new(self.channel.clone());
        match tokio::time::timeout(CHECK_TIMEOUT, client.check(request)).await {
            Ok(Ok(answer)) => match answer.into_inner().status() {
                ServingStatus::Serving => Ok(()),
                ServingStatus::NotServing => Err("a standby".to_owned()),
                ServingStatus::Unknown | ServingStatus::ServiceUnknown => Err("no health of Keyfleet's".to_owned()),
            },
            Ok(Err(status)) => Err(root_cause(&status)),
            Err(_) => Err("no answer within 1 s".to_owned()),
        }
    }
}

/// tonic says "transport error" and hides "connection refused" at the end of the chain of sources.
fn root_cause(status: &tonic::Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}
