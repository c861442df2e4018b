//! Runs the tasks of bulk jobs against AWS KMS, and stops when told.
