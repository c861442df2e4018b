//! `stack.env`: `KEY=VALUE` lines that a shell can source and simpler readers can split at the `=`.

/// A file of settings, in the order given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct EnvFile {
    lines: Vec<(String, String)>,
}

impl EnvFile {
    /// Adds one setting.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.lines.push((key.to_owned(), value.into()));
    }

    /// The file's text. Only a value that a shell would not take literally is quoted.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|(key, value)| format!("{key}={}\n", quoted(value))).collect()
    }
}

fn quoted(value: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./:@%+,=".contains(sign);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let awkward = r#"postgres://u:p$w'"`x@h/d?a=1&b=2 3"#;
        let mut file = EnvFile::default();
        file.set("PLAIN", "https://127.0.0.1:1");
        file.set("AWKWARD", awkward);
        assert!(file.text().starts_with("PLAIN=https://127.0.0.1:1\nAWKWARD='"));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stack.env");
        std::fs::write(&path, file.text()).unwrap();
        let script = format!(". {}; printf %s \"$AWKWARD\"", path.display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), awkward);
    }
}
