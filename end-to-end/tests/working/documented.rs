//! `docs/API.md` tells the truth: its commands are run in their order in one bash, as a reader would, and what they print is
//! compared with what is shown behind them. Nothing is left out: every call of the OpenAPI document must have been made and its
//! answer shown, and the chapter of a call names every parameter and field that there is.

mod description;
mod examples;
mod reader;
mod shown;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use description::Description;
use end_to_end::{Keyfleet, StackSettings, scenarios};
use examples::{Example, chapter, examples};
use reader::Printed;
use shown::Comparison;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_shows_is_so() {
    let stack = Keyfleet::start(StackSettings::default()).await.unwrap();
    scenarios!(stack; the_document_s_commands_print_what_it_shows, the_document_names_every_parameter_and_field);
}

async fn the_document_s_commands_print_what_it_shows(stack: &Keyfleet) -> Result<()> {
    let examples = examples()?;
    let printed = reader::run(stack, &examples).await?;
    let mut comparison = Comparison::default();
    let (mut answers, mut wrong) = (BTreeSet::new(), Vec::new());
    for (example, printed) in examples.iter().zip(&printed) {
        match check(example, printed, &mut comparison) {
            Ok(calls) => answers.extend(calls),
            Err(error) => wrong.push(format!("behind\n{}{error:#}", example.commands)),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let described = Description::fetch(stack).await?;
    let missing: Vec<_> = described.calls().filter(|call| !answers.iter().any(|answer| call.is_of(answer))).collect();
    ensure!(missing.is_empty(), "the answers of these calls are not in the document: {missing:?}");
    Ok(())
}

/// Compares what was printed with what is shown, and gives the calls that the answers are of: the last ones of the example.
fn check<'p>(example: &Example, printed: &'p Printed, comparison: &mut Comparison) -> Result<Vec<(&'p str, &'p str)>> {
    let shown = example.shown.unwrap_or_default();
    let answers = comparison
        .same(shown, &printed.output)
        .with_context(|| format!("shown is\n{shown}and printed was\n{}", printed.output))?;
    let is_refused = shown.contains("\"codeDesc\"");
    for call in &printed.calls {
        ensure!(is_refused != (200..300).contains(&call.status), "{call:?}");
    }
    let answered = printed.calls.iter().rev().take(answers.max(1));
    let calls = answered.map(|call| {
        ensure!(answers > 0 || call.status == 204, "nothing is shown behind {call:?}");
        ensure!(
            call.status == 200 || example.text.contains(&call.status.to_string()),
            "the text does not tell {call:?}"
        );
        Ok((call.method.as_str(), call.path.as_str()))
    });
    calls.collect()
}

async fn the_document_names_every_parameter_and_field(stack: &Keyfleet) -> Result<()> {
    let described = Description::fetch(stack).await?;
    let mut missing = Vec::new();
    for call in described.calls() {
        let text = chapter(call.tag).with_context(|| format!("no chapter {:?}", call.tag))?;
        let is_named = |name: &String| text.contains(&format!("`{name}`")) || text.contains(&format!("\"{name}\""));
        let names = described.names(&call);
        missing.extend(names.into_iter().filter(|name| !is_named(name)).map(|name| format!("{name} of {call:?}")));
    }
    ensure!(missing.is_empty(), "not in the document: {missing:#?}");
    Ok(())
}
