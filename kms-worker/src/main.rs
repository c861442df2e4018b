//! The `kms-worker` service.

use std::process::ExitCode;

use kms_worker::Settings;
use service_kit::{Threads, service, settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings: Settings = settings::parse();
    let admin = settings.admin.clone();
    // The session's; KMS requests are made on threads of their own.
    service::run("kms-worker", Threads::One, &admin, async |service| Ok(kms_worker::serve(&settings, service).await?))
}
