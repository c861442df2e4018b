//! Every secret setting `X` may come from the file that `X_FILE` names.
//!
//! Container platforms hand secrets over as files, and a file shows in no listing of processes or environments. The
//! settings of a service need not know: beside each argument of a secret type one for its file is offered, and a file's
//! content takes the argument's place before the settings are read. A service that declares such an argument itself
//! (because it reads the file again when it changes) keeps it.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches, Command, builder::OsStringValueParser, parser::ValueSource};

use super::{Invalid, secret_or_file, sentence::is_secret};

/// A secret argument and its file's.
struct Pair {
    /// What `clap` calls the argument.
    id: String,
    long: String,
    /// The variable of the secret.
    name: String,
    /// The file's argument: its name for `clap` and, with dashes, its flag.
    file: &'static str,
}

impl Pair {
    fn all(command: &Command) -> Vec<Self> {
        let file_of = |argument: &Arg| {
            let long = argument.get_long()?.to_owned();
            let name = argument.get_env()?.to_str()?.to_owned();
            let file = format!("{long}-file");
            let declared = command.get_arguments().any(|other| other.get_long() == Some(file.as_str()));
            // Leaked: `clap` wants names that live as long as the process, which reads its settings once.
            (!declared).then(|| Self { id: argument.get_id().to_string(), long, name, file: file.leak() })
        };
        command.get_arguments().filter(|argument| is_secret(argument)).filter_map(file_of).collect()
    }

    fn argument(&self) -> Arg {
        let variable: &'static str = format!("{}_FILE", self.name).leak();
        Arg::new(self.file)
            .long(self.file)
            .env(variable)
            .value_name("FILE")
            .value_parser(OsStringValueParser::new())
            .help(format!("A file with what {} would be, instead of it; read at the start", self.name))
    }
}

/// The command with an argument for each secret's file.
pub(super) fn offer(command: Command) -> Command {
    Pair::all(&command).iter().fold(command, |command, pair| command.arg(pair.argument()))
}

/// The arguments with the contents of the files that are named in them or in the environment.
///
/// # Errors
/// [`Invalid`] when a file cannot be read or is empty, or its setting is given as well. What else is wrong with the
/// arguments is left for the settings themselves to tell.
pub(super) fn read(command: Command, arguments: &[OsString]) -> Result<Vec<OsString>, Invalid> {
    let pairs = Pair::all(&command);
    let mut command = pairs.iter().fold(offer(command), |command, pair| {
        let id: &'static str = pair.id.clone().leak();
        command.mut_arg(id, |argument| argument.required(false))
    });
    let mut all = arguments.to_vec();
    let Ok(matches) = command.try_get_matches_from_mut(arguments) else { return Ok(all) };
    for pair in &pairs {
        let Some(path) = matches.get_one::<OsString>(pair.file).filter(|path| !path.is_empty()) else { continue };
        if given(&matches, &pair.id) {
            return Err(Invalid::new(&pair.name, format!("it is given twice, by {0} and by {0}_FILE", pair.name)));
        }
        let content = secret_or_file(&pair.name, None, Some(path.as_ref()))?;
        let mut argument = OsString::from(format!("--{}=", pair.long));
        argument.push(OsStr::new(content.expose()));
        all.insert(1.min(all.len()), argument);
    }
    Ok(all)
}

fn given(matches: &ArgMatches, id: &str) -> bool {
    match matches.value_source(id) {
        Some(ValueSource::CommandLine | ValueSource::EnvVariable) => true,
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs, path::Path};

    use crate::settings::{Secret, SecretUrl, Unparsed, try_parse};

    #[derive(Debug, clap::Parser)]
    struct Sample {
        /// The database, as postgres://user:password@host:port/name
        #[arg(long, env = "KIT_FILES_DATABASE_URL")]
        database_url: SecretUrl,
        /// The broker
        #[arg(long, env = "KIT_FILES_AMQP_URL")]
        amqp_url: Option<SecretUrl>,
        /// A key that the service reads by itself
        #[arg(long, env = "KIT_FILES_KEY")]
        key: Option<Secret<String>>,
        /// Its file
        #[arg(long, env = "KIT_FILES_KEY_FILE")]
        key_file: Option<std::path::PathBuf>,
        #[command(subcommand)]
        command: Option<Sub>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        /// Does something
        Migrate,
    }

    fn parse(arguments: &[&str]) -> Result<Sample, Unparsed> {
        try_parse(["program"].iter().chain(arguments).map(OsString::from))
    }

    fn wrong(arguments: &[&str]) -> String {
        match parse(arguments) {
            Err(Unparsed::Wrong(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    fn write(folder: &Path, name: &str, content: &str) -> String {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    #[test]
    fn a_secret_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let url = write(folder.path(), "url", "postgres://u:hunter2@h/d\n");
        let read = parse(&[&format!("--database-url-file={url}"), "migrate"]).unwrap();
        assert_eq!(read.database_url.expose(), "postgres://u:hunter2@h/d");
        assert!(read.amqp_url.is_none());
        assert!(matches!(read.command, Some(Sub::Migrate)));
        let both = parse(&["--database-url=postgres://h/d", "--amqp-url-file", &url]).unwrap();
        assert_eq!(both.amqp_url.unwrap().expose(), "postgres://u:hunter2@h/d");
        // An empty name of a file, as compose files pass on what is not set, is none.
        assert!(parse(&["--database-url=postgres://h/d", "--amqp-url-file="]).unwrap().amqp_url.is_none());
    }

    #[test]
    fn a_file_of_the_service_s_own_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "key", "secret");
        let read = parse(&["--database-url=postgres://h/d", "--key-file", &file]).unwrap();
        assert!(read.key.is_none());
        assert_eq!(read.key_file.unwrap().display().to_string(), file);
    }

    #[test]
    fn what_is_wrong_is_one_sentence_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let empty = format!("--database-url-file={}", write(folder.path(), "empty", " \n"));
        let junk = format!("--database-url-file={}", write(folder.path(), "junk", "hunter2"));
        for (arguments, says) in [
            (vec![], "The setting KIT_FILES_DATABASE_URL is missing"),
            (vec!["--database-url-file="], "The setting KIT_FILES_DATABASE_URL is missing"),
            (
                vec!["--database-url-file=/nowhere/at/all"],
                "KIT_FILES_DATABASE_URL_FILE cannot be used: /nowhere/at/all",
            ),
            (vec![empty.as_str()], "is empty"),
            (vec![junk.as_str(), "--database-url=postgres://h/d"], "given twice"),
            (vec![junk.as_str()], "it must be a URL"),
        ] {
            let sentence = wrong(&arguments);
            assert!(sentence.contains(says), "{sentence}");
            assert!(!sentence.contains("hunter2"), "{sentence}");
            assert_eq!(sentence.lines().count(), 1);
        }
    }

    #[test]
    fn the_files_are_in_the_help() {
        let Err(Unparsed::Asked(help)) = parse(&["--help"]) else { panic!("no help") };
        assert!(help.contains("KIT_FILES_DATABASE_URL_FILE"), "{help}");
    }
}
