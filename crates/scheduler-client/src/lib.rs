//! Finds the leading scheduler among its replicas and speaks gRPC to it.
