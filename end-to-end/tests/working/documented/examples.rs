//! The document's examples: blocks of commands, and the block of JSON behind each that shows what it prints.

use anyhow::{Context as _, Result, bail};

const DOCUMENT: &str = include_str!("../../../../docs/API.md");
/// Sections that show a file of settings.
const SETTINGS: [&str; 1] = ["Tokens of your own identity provider *(ours)*"];

/// Commands and what they print.
pub(crate) struct Example {
    /// The section that it is in.
    pub(crate) text: &'static str,
    /// For bash.
    pub(crate) commands: &'static str,
    /// Nothing where nothing is to be printed.
    pub(crate) shown: Option<&'static str>,
}

/// All examples, in the document's order.
pub(crate) fn examples() -> Result<Vec<Example>> {
    let mut examples: Vec<Example> = Vec::new();
    for section in DOCUMENT.split("\n##") {
        let (title, text) = section.split_once('\n').context("a title")?;
        let title = title.trim_matches(['#', ' ']);
        let first = examples.len();
        for block in text.split("```").skip(1).step_by(2) {
            let last = examples.get_mut(first..).and_then(<[Example]>::last_mut);
            match (block.split_once('\n').context("a block")?, last) {
                (("sh", commands), _) => examples.push(Example { text, commands, shown: None }),
                (("json", shown), Some(last)) if last.shown.is_none() => last.shown = Some(shown),
                (("json", _), None) if SETTINGS.contains(&title) => {}
                ((kind, block), _) => bail!("{title:?}: no command prints this {kind}:\n{block}"),
            }
        }
    }
    Ok(examples)
}

/// The text of a chapter.
pub(crate) fn chapter(title: &str) -> Option<&'static str> {
    let chapters = DOCUMENT.split("\n## ");
    chapters.filter_map(|chapter| chapter.split_once('\n')).find(|(other, _)| *other == title).map(|(_, text)| text)
}
