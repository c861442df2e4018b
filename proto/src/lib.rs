//! The messages and services that Keyfleet's parts speak, and their Rust types.
//!
//! The `.proto` files under `proto/` are the reference; directory is package. Generated types stop at the edge of a
//! service: [`convert`] turns them into the types of `job-model` and names the field that does not fit.

pub mod convert;

/// The largest message either end takes, in bytes: a page of 2,000 jobs with tasks is far above gRPC's usual 4 MiB.
pub const MAX_MESSAGE: usize = 64 << 20;

macro_rules! packages {
    ($($(#[$told:meta])* $name:ident = $package:literal;)+) => {$(
        $(#[$told])*
        pub mod $name {
            /// Version 1.
            #[allow(
                missing_docs,
                unused_qualifications,
                unreachable_pub,
                clippy::all,
                clippy::wildcard_enum_match_arm,
                clippy::allow_attributes_without_reason,
                reason = "generated; the .proto file documents it"
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    )+};
}

packages! {
    /// Package `keyfleet.audit.v1`: gateway to scheduler, the audit trail.
    audit = "keyfleet.audit.v1";
    /// Package `keyfleet.auth.v1`: gateway to scheduler, about sessions.
    auth = "keyfleet.auth.v1";
    /// Package `keyfleet.estate.v1`: containers, keys and synchronizations, gateway to scheduler.
    estate = "keyfleet.estate.v1";
    /// Package `keyfleet.jobs.v1`: gateway to scheduler.
    jobs = "keyfleet.jobs.v1";
    /// Package `keyfleet.messages.v1`: what travels over RabbitMQ.
    messages = "keyfleet.messages.v1";
    /// Package `keyfleet.workers.v1`: worker to scheduler.
    workers = "keyfleet.workers.v1";
}
