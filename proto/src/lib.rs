//! The messages and services that Keyfleet's parts speak, and their Rust types.
//!
//! The `.proto` files under `proto/` are the reference; directory is package. Generated types stop at the edge of a
//! service: [`convert`] turns them into the types of `job-model` and names the field that does not fit.

pub mod convert;

/// The largest message either end takes, in bytes: a page of 2,000 jobs with tasks is far above gRPC's usual 4 MiB.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Package `keyfleet.auth.v1`: gateway to scheduler, about sessions.
pub mod auth {
    /// Version 1.
    #[allow(
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("keyfleet.auth.v1");
    }
}

/// Package `keyfleet.jobs.v1`: gateway to scheduler.
pub mod jobs {
    /// Version 1.
    #[allow(
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("keyfleet.jobs.v1");
    }
}

/// Package `keyfleet.workers.v1`: worker to scheduler.
pub mod workers {
    /// Version 1.
    #[allow(
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("keyfleet.workers.v1");
    }
}

/// Package `keyfleet.messages.v1`: what travels over RabbitMQ.
pub mod messages {
    /// Version 1.
    #[allow(
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("keyfleet.messages.v1");
    }
}

/// Package `keyfleet.estate.v1`: keys and synchronizations, gateway to scheduler.
pub mod estate {
    /// Version 1.
    #[allow(
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::all,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("keyfleet.estate.v1");
    }
}
