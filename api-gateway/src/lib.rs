//! The REST API: tokens, permissions, validation, error bodies, and the bulk-job calls.
