//! Whole-stack and fault tests, through the public API.
