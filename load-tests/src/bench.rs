//! A stack for a benchmark: real servers that write to the disk, release programs, and no limits that are not the point.

use anyhow::Result;
use dev_stack::Durability;
use end_to_end::{Keyfleet, ServersFrom, StackSettings};

use crate::meter::Reading;

/// Settings of a measured stack: one of each service, its own durable servers, the quota `quota`.
#[must_use]
pub fn settings(workers: usize, quota: &str) -> StackSettings {
    let settings = StackSettings {
        workers,
        schedulers: 1,
        gateways: 1,
        quota: quota.to_owned(),
        servers: ServersFrom::Own,
        durability: Durability::Durable,
        ..StackSettings::default()
    };
    // A limit of requests per token protects a company's gateway; here one client stands for many.
    settings.with_env("api-gateway", "TOKEN_RATE", "1000000").with_env("api-gateway", "TOKEN_BURST", "1000000")
}

/// Reads what the parts of a stack have used.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn reading(stack: &Keyfleet) -> Result<Reading> {
    Reading::of(&stack.parts)
}
