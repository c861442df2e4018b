//! Keyfleet at work: jobs run, are read, are stopped, and bad input is refused. No part breaks here.

mod accounts;
mod cancel;
mod containers;
mod contradiction;
mod documented;
mod estate;
mod input;
mod large;
mod login;
mod permissions;
mod reading;
mod run;
mod secured;

use end_to_end::StackSettings;

/// A stack whose requests may be held as long as it takes to look at what is so meanwhile: no try runs out of time.
fn patient() -> StackSettings {
    StackSettings { quota: "off".to_owned(), ..StackSettings::default() }
        .with_env("job-scheduler", "OPERATION_TIMEOUT", "60s")
        .with_env("kms-worker", "OPERATION_TIMEOUT", "60s")
}
