//! A small file with something secret in it.

use std::{io, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::error::MintError;
use crate::config::{FileWatch, SecretSource};

/// No secret is longer; a file that is was named by mistake.
const MAX_FILE: u64 = 64 * 1024;

/// What stands in the file now, without the newline that editors leave at the end.
/// `setting` is the one that names the file.
///
/// # Errors
///
/// When it cannot be read, or is empty.
pub(super) async fn read(setting: &'static str, path: &Path) -> Result<SecretString, MintError> {
    let text = read_small(path)
        .await
        .map_err(|error| MintError::Unreadable {
            setting,
            why: match error.kind() {
                io::ErrorKind::InvalidInput => "cannot be used: it is not a small file".to_owned(),
                kind => format!("cannot be read: {kind}"),
            },
        })?;
    let secret = text.expose_secret().trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(MintError::Unreadable {
            setting,
            why: "is empty".to_owned(),
        });
    }
    Ok(SecretString::from(secret))
}

/// Tells when a file may have changed, if there is one.
pub(super) struct Watch(Option<FileWatch>);

impl Watch {
    /// Of the file that `setting` names. One that cannot be watched is a warning: it is
    /// still read at every mint.
    pub(super) fn of_file(setting: &'static str, path: &Path) -> Self {
        let watch = FileWatch::new(path);
        Self(
            watch
                .inspect_err(|error| {
                    tracing::warn!(%error, setting, "the file cannot be watched: a change in it is seen late");
                })
                .ok(),
        )
    }

    /// Of the file that a secret comes from, if it comes from one.
    pub(super) fn of_secret(secret: &SecretSource) -> Self {
        match secret {
            SecretSource::Value(..) => Self(None),
            SecretSource::File(setting, path) => Self::of_file(setting, path),
        }
    }

    /// Resolves when the file may have changed.
    pub(super) async fn changed(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

async fn read_small(path: &Path) -> io::Result<SecretString> {
    // Asked first, since a pipe or a device named by mistake might never end.
    let file = tokio::fs::metadata(path).await?;
    if !file.is_file() || file.len() > MAX_FILE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    tokio::fs::read_to_string(path)
        .await
        .map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::temp_file;

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_and_loses_its_last_newline() {
        let path = temp_file("first\r\n");
        let now = async || read("SETTING", &path).await.unwrap();
        assert_eq!(now().await.expose_secret(), "first");
        std::fs::write(&*path, " second \n").unwrap();
        assert_eq!(now().await.expose_secret(), " second ");
    }

    #[tokio::test]
    async fn an_unreadable_file_is_an_error_that_names_the_setting() {
        let empty = temp_file("");
        let huge = temp_file(&"x".repeat(MAX_FILE as usize + 1));
        let no_where = Path::new("/nowhere/at/all");
        for path in [&**empty, &**huge, no_where, Path::new("/dev/zero")] {
            let error = read("SETTING", path).await.unwrap_err();
            assert!(error.to_string().starts_with("SETTING "), "{error}");
        }
    }
}
