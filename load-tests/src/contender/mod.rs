//! What a user would pick instead, measured in the same run against the same KMS end.

pub mod bare;
