//! Scenarios one after the other over one stack; all of them run, whatever became of the ones before.

use std::panic::AssertUnwindSafe;

use anyhow::Result;
use futures_util::FutureExt as _;

use crate::stack::Keyfleet;

/// How much of a log is shown beside a failure.
const SHOWN_LINES: usize = 12;

/// The scenarios of one test. `SCENARIO=part of a name` runs some only.
#[derive(Debug)]
pub struct Scenarios<'a> {
    stack: &'a Keyfleet,
    only: Option<String>,
    ran: usize,
    failed: Vec<String>,
}

impl<'a> Scenarios<'a> {
    /// None yet.
    #[must_use]
    pub fn over(stack: &'a Keyfleet) -> Self {
        Self { stack, only: std::env::var("SCENARIO").ok(), ran: 0, failed: Vec::new() }
    }

    /// Runs one, over a calm KMS end. A failure is told and remembered.
    pub async fn run(&mut self, name: &str, scenario: impl Future<Output = Result<()>>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        self.ran += 1;
        println!("scenario {name} ...");
        let calmed = async {
            self.stack.sim.calm().await?;
            scenario.await
        };
        // No cap: every wait and every call within has its own, and some scenarios have a long form.
        let why = match AssertUnwindSafe(calmed).catch_unwind().await {
            Ok(Ok(())) => {
                println!("scenario {name} ... ok");
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "it panicked; the text is above".to_owned(),
        };
        println!("scenario {name} ... FAILED: {why}");
        self.show_complaints();
        self.failed.push(format!("{name}: {why}"));
    }

    /// Fails the test when any scenario has failed.
    ///
    /// # Panics
    /// Then.
    pub fn finish(self) {
        let Self { failed, ran, .. } = self;
        assert!(failed.is_empty(), "{} of {ran} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    }

    /// The last complaints of each part.
    fn show_complaints(&self) {
        for part in self.stack.parts.names() {
            let log = self.stack.parts.log(part);
            let complaints: Vec<&str> =
                log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).collect();
            for line in complaints.iter().skip(complaints.len().saturating_sub(SHOWN_LINES)) {
                println!("    {part}: {line}");
            }
        }
    }
}

/// Runs scenarios (async functions of a `&Keyfleet`) in this order, each under its own name.
#[macro_export]
macro_rules! scenarios {
    ($stack:expr; $($scenario:ident),+ $(,)?) => {{
        let stack = &$stack;
        let mut scenarios = $crate::Scenarios::over(stack);
        $(scenarios.run(stringify!($scenario), $scenario(stack)).await;)+
        scenarios.finish();
    }};
}
