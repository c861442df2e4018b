//! Settings: from the environment and from flags of the same names, read once at start.
//!
//! Each service has one struct that derives `clap::Parser` with `#[arg(long, env = "NAME")]` on its fields; their doc
//! comments are the user's documentation. What is missing or wrong ends the process with exit code 2 and exactly one
//! sentence that names the setting and says what is expected. Secrets are types ([`Secret`], [`SecretUrl`]) that
//! cannot print themselves, so that the settings can be logged whole; each may also come from a file ([`files`]).

mod admin;
mod files;
mod secret;
mod sentence;
mod span;

use std::{ffi::OsString, fmt, process, sync::OnceLock};

pub use admin::{AdminSettings, LogFilter, LogFormat};
pub use secret::{Secret, SecretUrl, secret_or_file};
pub use span::Span;

/// A setting that is missing or wrong; prints as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The setting {name} cannot be used: {why}.")]
pub struct Invalid {
    name: String,
    why: String,
}

impl Invalid {
    /// The exit code of a process that cannot start with its settings.
    pub const EXIT_CODE: u8 = 2;

    /// For what shows only when the setting is used: `why` continues "cannot be used:" and has no full stop.
    pub fn new(name: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { name: name.into(), why: one_line(&why.to_string()) }
    }

    /// Prints the sentence and ends the process.
    pub fn exit(&self) -> ! {
        eprintln!("{self}");
        process::exit(Self::EXIT_CODE.into())
    }
}

/// Reads the settings. Ends the process when one is missing or wrong (exit code 2, one sentence), or when only help or
/// the version was asked for (exit code 0).
pub fn parse<S: clap::Parser + fmt::Debug>() -> S {
    match try_parse::<S>(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Unparsed::Asked(text)) => {
            print!("{text}");
            process::exit(0)
        }
        Err(Unparsed::Wrong(sentence)) => {
            eprintln!("{sentence}");
            process::exit(Invalid::EXIT_CODE.into())
        }
    }
}

/// Why there are no settings.
#[derive(Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// Help or version was asked for: this text.
    Asked(String),
    /// A setting is missing or wrong: this sentence.
    Wrong(String),
}

/// [`parse`], for given arguments (the first is the program's name) and without ending the process.
///
/// # Errors
/// See [`Unparsed`].
pub fn try_parse<S: clap::Parser + fmt::Debug>(arguments: impl IntoIterator<Item = OsString>) -> Result<S, Unparsed> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let arguments = files::read(S::command(), &arguments).map_err(|invalid| Unparsed::Wrong(invalid.to_string()))?;
    let mut command = files::offer(S::command());
    let parsed = command.try_get_matches_from_mut(arguments).and_then(|matches| S::from_arg_matches(&matches));
    match parsed {
        Ok(settings) => {
            let _earlier = SHOWN.set(format!("{settings:?}"));
            Ok(settings)
        }
        Err(error) if error.use_stderr() => Err(Unparsed::Wrong(sentence::sentence(&error, &command))),
        Err(error) => Err(Unparsed::Asked(error.render().to_string())),
    }
}

/// The settings as parsed, for the log: they are read before there is one.
static SHOWN: OnceLock<String> = OnceLock::new();

pub(crate) fn shown() -> &'static str {
    SHOWN.get().map_or("", String::as_str)
}

/// Joins lines and drops a final full stop, so that texts of others fit into one sentence.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
