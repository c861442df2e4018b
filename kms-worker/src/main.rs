//! The `kms-worker` service.

use std::process::ExitCode;

use kms_worker::Settings;
use service_kit::{Threads, service, settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings: Settings = settings::parse();
    let admin = settings.admin.clone();
    // The bare SDK costs a third less on one thread than on two, at the same speed; more cores take more workers.
    service::run("kms-worker", Threads::One, &admin, async |service| Ok(kms_worker::serve(&settings, service).await?))
}
