//! The key that replicas have in common: with it, each resumes sessions that another
//! has begun.

use std::{fs, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::{
    environment::{Environment, setting},
    error::ConfigError,
};

const VARIABLE: &str = "MCP_SESSION_KEY";
const FILE: &str = "MCP_SESSION_KEY_FILE";

/// The shortest key, in bytes: as long as what it signs with.
const LEAST: usize = 32;
/// No list of keys is longer; a file that is was named by mistake.
const MAX_FILE: u64 = 64 * 1024;

/// `MCP_SESSION_KEY`, with commas or line breaks between keys: the first signs, each of
/// them verifies.
#[derive(Clone, Debug)]
pub struct SessionKeys(Vec<SecretString>);

impl PartialEq for SessionKeys {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl SessionKeys {
    /// What the environment says; `None` if it says nothing.
    ///
    /// # Errors
    ///
    /// A key is too short to be one, or its file cannot be read.
    pub(super) fn read(env: &dyn Environment) -> Result<Option<Self>, ConfigError> {
        if let Some(file) = setting(env, FILE) {
            let text = contents(Path::new(&file)).map_err(|why| wrong(FILE, &why))?;
            return Self::parse(FILE, text.expose_secret()).map(Some);
        }
        match setting(env, VARIABLE).map(SecretString::from) {
            Some(text) => Self::parse(VARIABLE, text.expose_secret()).map(Some),
            None => Ok(None),
        }
    }

    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let keys = lines.flat_map(|line| line.split(',')).map(str::trim);
        let keys: Vec<SecretString> = keys.map(SecretString::from).collect();
        match keys.iter().all(|key| key.expose_secret().len() >= LEAST) {
            true => Ok(Self(keys)),
            false => Err(wrong(
                name,
                &format!(
                    "each key must have at least {LEAST} characters (openssl rand -base64 48 makes one)"
                ),
            )),
        }
    }

    /// The keys, the one that signs first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|key| key.expose_secret().as_bytes())
    }
}

fn contents(file: &Path) -> Result<SecretString, String> {
    let told =
        |error: std::io::Error| format!("{} cannot be read: {}", file.display(), error.kind());
    let about = fs::metadata(file).map_err(told)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(format!("{} is not a small file", file.display()));
    }
    fs::read_to_string(file)
        .map(SecretString::from)
        .map_err(told)
}

fn wrong(name: &str, why: &str) -> ConfigError {
    ConfigError::Variable {
        problem: format!("{name}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn read(name: &str, value: &str) -> Result<Option<SessionKeys>, ConfigError> {
        SessionKeys::read(&HashMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn several_keys_are_read_in_their_order() {
        let keys = read(VARIABLE, &format!(" {A}, {B} ")).unwrap().unwrap();
        assert_eq!(
            keys.iter().collect::<Vec<_>>(),
            [A.as_bytes(), B.as_bytes()]
        );
        assert_eq!(read(VARIABLE, " ").unwrap(), None);
        for lines in [format!("{A}\n{B}\n"), format!("\n{A}\r\n\n {B}")] {
            assert_eq!(read(VARIABLE, &lines).unwrap(), Some(keys.clone()));
        }
    }

    #[test]
    fn a_file_holds_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, format!("{A}\n")).unwrap();
        let keys = read(FILE, file.to_str().unwrap()).unwrap().unwrap();
        assert_eq!(keys.iter().collect::<Vec<_>>(), [A.as_bytes()]);
        let missing = read(FILE, "/nowhere/key").unwrap_err().to_string();
        assert!(missing.contains(FILE) && missing.contains("/nowhere/key"));
        assert!(read(FILE, folder.path().to_str().unwrap()).is_err());
    }

    #[test]
    fn a_short_key_is_refused_and_not_shown() {
        for short in ["hunter2", &format!("{A},hunter2"), &format!("{A},")] {
            let refused = read(VARIABLE, short).unwrap_err().to_string();
            assert!(
                refused.contains(VARIABLE) && refused.contains("32"),
                "{refused}"
            );
            assert!(!refused.contains("hunter2") && !refused.contains(A));
        }
        let keys = read(VARIABLE, A).unwrap();
        assert!(!format!("{keys:?}").contains(A));
    }
}
