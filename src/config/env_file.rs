//! A file of variables, `NAME=value` line by line, as a shell reads it.

use std::{
    cell::Cell,
    collections::HashMap,
    fs,
    io::{self, Read},
    path::Path,
};

use secrecy::SecretString;

use super::error::ConfigError;

/// Reads a file. Of a name that stands twice the last value counts.
pub(super) fn read(path: &Path) -> Result<HashMap<String, SecretString>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // It is read more than once, and a pipe gives what it holds once only.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        return Err(unreadable(source));
    }
    let text = fs::read(path).map_err(unreadable)?;
    let lines = text.split(|byte| *byte == b'\n');
    if let Some(at) = lines.into_iter().position(is_read_otherwise) {
        return Err(ConfigError::NotVariables {
            path: path.to_owned(),
            line: at + 1,
        });
    }
    let line = Cell::new(0);
    let lines = Lines {
        left: &text,
        read: &line,
    };
    dotenvy::from_read_iter(lines)
        .map(|variable| match variable {
            Ok((name, value)) => Ok((name, value.into())),
            Err(dotenvy::Error::Io(source)) => Err(unreadable(source)),
            // What the error holds is the line, and the line may be a secret.
            Err(_) => Err(ConfigError::NotVariables {
                path: path.to_owned(),
                line: line.get(),
            }),
        })
        .collect()
}

/// Whether a shell reads a line otherwise than we would, and nobody would notice: a `$NAME`
/// without braces, or a backslash before the quote that ends a value.
fn is_read_otherwise(line: &[u8]) -> bool {
    let Some(at) = line.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let value = line[at + 1..].trim_ascii();
    if value.starts_with(b"'") {
        return value.len() > 2 && value.ends_with(b"\\'");
    }
    let mut before = b' ';
    value.windows(2).any(|pair| {
        let escaped = std::mem::replace(&mut before, pair[0]) == b'\\';
        let named = pair[1].is_ascii_alphanumeric() || pair[1] == b'_';
        pair[0] == b'$' && named && !escaped
    })
}

/// Gives no more than one line at a time, so that it is known which was the last.
struct Lines<'a> {
    left: &'a [u8],
    read: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.left.iter().position(|byte| *byte == b'\n');
        let line = end.map_or(self.left.len(), |end| end + 1);
        let (now, left) = self.left.split_at(line.min(into.len()));
        if !now.is_empty() && now.len() == line {
            self.read.set(self.read.get() + 1);
        }
        into[..now.len()].copy_from_slice(now);
        self.left = left;
        Ok(now.len())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use tempfile::NamedTempFile;

    use super::*;

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().expect("a file");
        fs::write(&file, text).expect("a file");
        file
    }

    #[test]
    fn variables_are_read_as_a_shell_reads_them() {
        let text =
            "# mine\n\nA=1\nexport B=\"two words\"\nC='it'\\''s $5'\nD='a\nb'\nA=2 # again\nE=";
        let read = read(file(text).path()).expect("variables");
        let value = |name| read.get(name).map(|it| it.expose_secret());
        assert_eq!(value("A"), Some("2"));
        assert_eq!(value("B"), Some("two words"));
        assert_eq!(value("C"), Some("it's $5"));
        assert_eq!(value("D"), Some("a\nb"));
        assert_eq!(value("E"), Some(""));
        assert_eq!(read.len(), 5);
    }

    #[test]
    fn other_variables_are_put_in_where_they_stand_in_braces() {
        let text = "A=1\nB=${A}2\nC=\"${B}-3\"\nD='$A ${A}'\nE=\\$A";
        let read = read(file(text).path()).expect("variables");
        let value = |name| read.get(name).map(|it| it.expose_secret());
        assert_eq!(value("B"), Some("12"));
        assert_eq!(value("C"), Some("12-3"));
        assert_eq!(value("D"), Some("$A ${A}"));
        assert_eq!(value("E"), Some("$A"));
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = read(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_not_shown() {
        for (text, line) in [
            ("hunter2", 1),
            ("A=1\n# b\n\nB=hunter2 hunter2\nC=1\n", 4),
            ("A='1\n2'\n-hunter2=1\nC=1\n", 3),
            ("A=1\nB='hunter2\n", 2),
            ("MY_VAR=1\nB=$MY_VAR", 2),
            ("A=1\nB=\"x$A\"", 2),
            ("A='C:\\'\nB='x\\'", 1),
        ] {
            let file = file(text);
            let error = read(file.path()).expect_err("refused").to_string();
            let place = format!("{}:{line}: ", file.path().display());
            assert!(error.starts_with(&place), "{text:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let long = format!("A={}\nhunter2\n", "x".repeat(100_000));
        let error = read(file(&long).path()).expect_err("refused");
        assert!(matches!(error, ConfigError::NotVariables { line: 2, .. }));
    }
}
