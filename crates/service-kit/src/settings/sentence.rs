//! What `clap` has to say, as one sentence in the words of settings.
//!
//! `clap` speaks of flags, usage and tips over several lines; who starts a service sets variables and reads one line of
//! a log. So the setting is named by its variable, followed by what its own documentation says it is.

use std::any::TypeId;

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Secret, SecretUrl, one_line};

/// The sentence for an error of this command.
pub(super) fn sentence(error: &clap::Error, command: &Command) -> String {
    let names = strings(error, ContextKind::InvalidArg);
    let settings: Vec<_> = names.iter().map(|name| Setting::find(command, name)).collect();
    match (error.kind(), settings.as_slice()) {
        (ErrorKind::MissingRequiredArgument, [one]) => format!("The setting {} is missing: {}.", one.name, one.means),
        (ErrorKind::MissingRequiredArgument, [_, ..]) => {
            let each: Vec<_> = settings.iter().map(|one| format!("{} ({})", one.name, one.means)).collect();
            format!("The settings {} are missing.", each.join(", "))
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, [one]) => {
            let value = match strings(error, ContextKind::InvalidValue).pop() {
                Some(value) if !one.secret => format!("{value:?}"),
                Some(_) | None => "what is given".to_owned(),
            };
            let why = std::error::Error::source(error)
                .map(|source| one_line(&source.to_string()))
                .or_else(|| {
                    let valid = strings(error, ContextKind::ValidValue);
                    (!valid.is_empty()).then(|| format!("it must be one of {}", valid.join(", ")))
                })
                .unwrap_or_else(|| "a value is needed".to_owned());
            format!("The setting {} cannot be {value}: {why} ({}).", one.name, one.means)
        }
        // Everything else is about the command line itself: its first line says it.
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            format!("The command line cannot be used: {}.", one_line(first))
        }
    }
}

/// A setting as its user knows it.
struct Setting {
    name: String,
    means: String,
    secret: bool,
}

impl Setting {
    /// By what `clap` calls it: `--database-url <DATABASE_URL>`.
    fn find(command: &Command, called: &str) -> Self {
        let flag = called.split([' ', '=']).next().unwrap_or(called);
        match find_argument(command, flag.trim_start_matches('-')) {
            Some(argument) => Self {
                name: argument.get_env().map_or_else(|| flag.to_owned(), |name| name.to_string_lossy().into_owned()),
                means: argument.get_help().map_or_else(|| "a value is needed".to_owned(), |h| one_line(&h.to_string())),
                secret: is_secret(argument),
            },
            None => Self { name: called.to_owned(), means: "a value is needed".to_owned(), secret: true },
        }
    }
}

fn find_argument<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(long))
        .or_else(|| command.get_subcommands().find_map(|command| find_argument(command, long)))
}

pub(super) fn is_secret(argument: &Arg) -> bool {
    let kind = argument.get_value_parser().type_id();
    argument.is_hide_env_values_set() || kind == TypeId::of::<SecretUrl>() || kind == TypeId::of::<Secret<String>>()
}

fn strings(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(many)) => many.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{AdminSettings, SecretUrl, Span, Unparsed, try_parse};

    #[derive(Debug, clap::Parser)]
    struct Sample {
        /// The database, as postgres://user:password@host:port/name
        #[arg(long, env = "KIT_TEST_DATABASE_URL")]
        database_url: SecretUrl,
        /// How long a worker may go on without a renewal
        #[arg(long, env = "KIT_TEST_LEASE", default_value = "3s")]
        lease: Span,
        /// The REST port, as host:port
        #[arg(long, env = "KIT_TEST_LISTEN")]
        listen: std::net::SocketAddr,
        #[command(flatten)]
        admin: AdminSettings,
    }

    const DATABASE: &str = "--database-url=postgres://u:hunter2@h/d";
    const LISTEN: &str = "--listen=127.0.0.1:1";

    fn parse(arguments: &[&str]) -> Result<Sample, Unparsed> {
        try_parse(std::iter::once("x").chain(arguments.iter().copied()).map(Into::into))
    }

    #[track_caller]
    fn refused(arguments: &[&str], sentence: &str) {
        assert_eq!(parse(arguments).unwrap_err(), Unparsed::Wrong(sentence.to_owned()));
    }

    #[test]
    fn good_settings_are_read_and_shown_without_secrets() {
        let settings = parse(&[DATABASE, LISTEN, "--lease", "500ms"]).unwrap();
        assert_eq!(settings.lease.as_millis(), 500);
        let shown = format!("{settings:?}");
        assert!(shown.contains("postgres://u:[redacted]@h/d") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_missing_setting_is_named_with_what_it_is() {
        refused(
            &[LISTEN],
            "The setting KIT_TEST_DATABASE_URL is missing: The database, as postgres://user:password@host:port/name.",
        );
        refused(
            &[],
            "The settings KIT_TEST_DATABASE_URL (The database, as postgres://user:password@host:port/name), \
             KIT_TEST_LISTEN (The REST port, as host:port) are missing.",
        );
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value_and_what_is_expected() {
        refused(
            &[DATABASE, LISTEN, "--lease=soon"],
            "The setting KIT_TEST_LEASE cannot be \"soon\": it must be a time longer than zero, written like 3s or \
             500ms (How long a worker may go on without a renewal).",
        );
        refused(
            &[DATABASE, "--listen=nowhere"],
            "The setting KIT_TEST_LISTEN cannot be \"nowhere\": invalid socket address syntax (The REST port, as \
             host:port).",
        );
        refused(
            &[DATABASE, LISTEN, "--log-format=xml"],
            "The setting LOG_FORMAT cannot be \"xml\": it must be one of text, json (The form of the log: `text` or \
             `json`).",
        );
        let Unparsed::Wrong(sentence) = parse(&[DATABASE, LISTEN, "--log=loud"]).unwrap_err() else { panic!() };
        assert!(sentence.starts_with("The setting LOG cannot be \"loud\": "), "{sentence}");
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        let Unparsed::Wrong(sentence) = parse(&["--database-url=hunter2", LISTEN]).unwrap_err() else { panic!() };
        assert!(sentence.contains("KIT_TEST_DATABASE_URL") && !sentence.contains("hunter2"), "{sentence}");
    }

    #[test]
    fn a_wrong_command_line_is_one_sentence_too() {
        refused(&["--nonsense"], "The command line cannot be used: unexpected argument '--nonsense' found.");
    }

    #[test]
    fn help_is_no_error() {
        assert!(matches!(parse(&["--help"]).unwrap_err(), Unparsed::Asked(text) if text.contains("KIT_TEST_LEASE")));
    }
}
