//! The decision core against AWS's own words.
//!
//! Three things are checked: what is decided in each key state, cell by cell against AWS's table (`decision/table.rs`);
//! what each of KMS's errors means (`decision/meaning.rs`); and that whatever goes wrong on the way, a task ends in a
//! status that is true of the key (`decision/truth.rs`, over the stand-in KMS of `decision/kms.rs`). And of dry runs, that
//! what they foretell comes (`decision/forecast.rs`).

#[path = "decision/forecast.rs"]
mod forecast;
#[path = "decision/kms.rs"]
mod kms;
#[path = "decision/meaning.rs"]
mod meaning;
#[path = "decision/table.rs"]
mod table;
#[path = "decision/truth.rs"]
mod truth;
