//! Values that must not be printed.
//!
//! A secret comes from the variable `X` or from the file that `X_FILE` names: files are how container platforms hand
//! secrets over, and they do not show in a process listing.

use std::{convert::Infallible, fmt, fs, path::Path, str::FromStr};

use super::Invalid;

/// What `Debug` and `Display` write in a secret's place.
pub(super) const REDACTED: &str = "[redacted]";

/// A value that shows only through [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Never for a log, an error or an answer.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl FromStr for Secret<String> {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The secret `name`, given itself or by a file (`<name>_FILE`, its content without surrounding white space).
///
/// # Errors
/// [`Invalid`] when neither is given, both are, or the file cannot be read or is empty.
pub fn secret_or_file(
    name: &str,
    value: Option<&Secret<String>>,
    file: Option<&Path>,
) -> Result<Secret<String>, Invalid> {
    match (value, file) {
        (Some(value), None) => Ok(value.clone()),
        (None, Some(path)) => {
            let file_name = format!("{name}_FILE");
            let text = fs::read_to_string(path)
                .map_err(|error| Invalid::new(&file_name, format!("{}: {error}", path.display())))?;
            match text.trim() {
                "" => Err(Invalid::new(file_name, format!("{} is empty", path.display()))),
                text => Ok(Secret(text.to_owned())),
            }
        }
        (Some(_), Some(_)) => Err(Invalid::new(name, format!("it is given twice, by {name} and by {name}_FILE"))),
        (None, None) => {
            Err(Invalid::new(name, format!("it is missing; give {name}, or {name}_FILE with a file's path")))
        }
    }
}

/// A URL that may hold a password; printed, the password is hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL with its password. Never for a log, an error or an answer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Not a URL. The text itself is not told: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("it must be a URL, written scheme://user:password@host:port/path")]
pub struct InvalidUrl;

impl FromStr for SecretUrl {
    type Err = InvalidUrl;
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        match text.split_once("://") {
            Some((scheme, rest))
                if !rest.is_empty()
                    && scheme.starts_with(|c: char| c.is_ascii_lowercase())
                    && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) =>
            {
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => Err(InvalidUrl),
        }
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // Up to the last @, wherever it stands: a password with an unescaped / or ? must not show either.
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        write!(f, "{scheme}://")?;
        if let Some(user) = user {
            match user.split_once(':') {
                Some((user, _)) => write!(f, "{user}:{REDACTED}@")?,
                None => write!(f, "{user}@")?,
            }
        }
        match place.split_once('?') {
            Some((place, query)) if query.contains("password") => write!(f, "{place}?{REDACTED}"),
            Some(_) | None => f.write_str(place),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)).matches("hunter2").count(), 0);
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_url_prints_without_its_password() {
        for (url, shown) in [
            ("amqp://guest:secret@127.0.0.1:5672/%2f", "amqp://guest:[redacted]@127.0.0.1:5672/%2f"),
            ("postgres://u:se/cr?et@h/d", "postgres://u:[redacted]@h/d"),
            ("postgres://u:se@cret@h/d", "postgres://u:[redacted]@h/d"),
            ("postgres://u@h/d?sslmode=disable", "postgres://u@h/d?sslmode=disable"),
            ("postgres://h/d?user=u&password=secret", "postgres://h/d?[redacted]"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(url.parse::<SecretUrl>().unwrap().to_string(), shown);
        }
        for text in ["", "secret", "://secret", "amqp://", "5x://secret"] {
            let error = text.parse::<SecretUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_secret_comes_from_its_variable_or_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, " from file \n").unwrap();
        let value = Secret::new("from value".to_owned());
        let told = |value, file: Option<&Path>| {
            secret_or_file("TOKEN_KEY", value, file).map(|secret| secret.expose().clone()).map_err(|e| e.to_string())
        };
        assert_eq!(told(Some(&value), None).unwrap(), "from value");
        assert_eq!(told(None, Some(&path)).unwrap(), "from file");
        assert_eq!(
            told(None, None).unwrap_err(),
            "The setting TOKEN_KEY cannot be used: it is missing; give TOKEN_KEY, or TOKEN_KEY_FILE with a file's path."
        );
        assert!(told(Some(&value), Some(&path)).unwrap_err().contains("given twice"));
        fs::write(&path, "\n").unwrap();
        assert!(told(None, Some(&path)).unwrap_err().contains("TOKEN_KEY_FILE"));
        assert!(told(None, Some(Path::new("/nowhere/at/all"))).unwrap_err().contains("/nowhere/at/all"));
    }
}
