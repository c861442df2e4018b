//! Starts the gateway: settings, then the service.

use std::process::ExitCode;

use api_gateway::{RunError, Settings};

/// Large uploads come in many small pieces from many threads, where the system's allocator holds on to memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings: Settings = service_kit::settings::parse();
    let admin = settings.admin.clone();
    service_kit::service::run("api-gateway", service_kit::Threads::Cores, &admin, async |service| {
        match api_gateway::run(settings, service).await {
            Ok(()) => Ok(()),
            // Told as one sentence, with the exit code of a wrong setting.
            Err(RunError::Setting(invalid)) => Err(invalid.into()),
            Err(error @ RunError::Serve(_)) => Err(error.into()),
        }
    })
}
