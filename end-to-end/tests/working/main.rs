//! Keyfleet at work: jobs run, are read, are stopped, and bad input is refused. No part breaks here.

mod cancel;
mod contradiction;
mod input;
mod large;
mod login;
mod reading;
mod run;
