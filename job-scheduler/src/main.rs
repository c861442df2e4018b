//! Starts the scheduler: settings, then the service's body.

use std::process::ExitCode;

use job_scheduler::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings: Settings = service_kit::settings::parse();
    let admin = settings.admin.clone();
    service_kit::service::run("job-scheduler", service_kit::Threads::Cores, &admin, async |service| {
        job_scheduler::service::run(settings, service).await
    })
}
