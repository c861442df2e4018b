//! The `kms-worker` service.

use std::process::ExitCode;

use kms_worker::Settings;
use service_kit::{service, settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings: Settings = settings::parse();
    let admin = settings.admin.clone();
    service::run("kms-worker", &admin, async |service| Ok(kms_worker::serve(&settings, service).await?))
}
