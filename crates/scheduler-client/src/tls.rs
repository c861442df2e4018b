//! TLS to the schedulers: both ends show a certificate.

use std::path::{Path, PathBuf};

use service_kit::settings::Invalid;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// How a service shows the schedulers who it is, and knows them. Part of its settings with `#[command(flatten)]`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SchedulerTls {
    /// The certificate authority of the schedulers' certificates, a PEM file; with it SCHEDULER_URLS are https
    #[arg(long, env = "SCHEDULER_TLS_CA")]
    pub scheduler_tls_ca: Option<PathBuf>,
    /// The certificate that the schedulers are shown, a PEM file
    #[arg(long, env = "SCHEDULER_TLS_CERT")]
    pub scheduler_tls_cert: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, env = "SCHEDULER_TLS_KEY")]
    pub scheduler_tls_key: Option<PathBuf>,
}

impl SchedulerTls {
    /// What the files say; `None` when no file is named.
    ///
    /// # Errors
    /// [`Invalid`] when one is missing beside the others, or cannot be read.
    pub fn read(&self) -> Result<Option<ClientTlsConfig>, Invalid> {
        let Self { scheduler_tls_ca: ca, scheduler_tls_cert: cert, scheduler_tls_key: key } = self;
        let (ca, cert, key) = match (ca, cert, key) {
            (None, None, None) => return Ok(None),
            (Some(ca), Some(cert), Some(key)) => (ca, cert, key),
            (None, _, _) => return Err(Invalid::new("SCHEDULER_TLS_CA", BESIDE)),
            (_, None, _) => return Err(Invalid::new("SCHEDULER_TLS_CERT", BESIDE)),
            (_, _, None) => return Err(Invalid::new("SCHEDULER_TLS_KEY", BESIDE)),
        };
        let ca = Certificate::from_pem(read("SCHEDULER_TLS_CA", ca)?);
        let identity = Identity::from_pem(read("SCHEDULER_TLS_CERT", cert)?, read("SCHEDULER_TLS_KEY", key)?);
        Ok(Some(ClientTlsConfig::new().ca_certificate(ca).identity(identity)))
    }
}

const BESIDE: &str = "it is missing beside the other SCHEDULER_TLS settings; give all three or none";

fn read(name: &str, path: &Path) -> Result<Vec<u8>, Invalid> {
    std::fs::read(path).map_err(|error| Invalid::new(name, format!("{}: {error}", path.display())))
}
