//! Where the client secret comes from.

use std::{io, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::config::IdentitySettings;

use super::error::{IdentityError, MintError};

/// No secret is longer; a file that is was named by mistake.
const MAX_FILE: u64 = 64 * 1024;

#[derive(Clone, Debug)]
pub(super) enum SecretSource {
    Value(SecretString),
    /// Read at every mint, so that a rotated secret heals without a restart. It
    /// need not exist at the start: an orchestrator may mount it later.
    File(PathBuf),
}

impl SecretSource {
    /// The file, if both are set: it is the one that can follow a rotation.
    pub(super) fn of(settings: &IdentitySettings) -> Result<Self, IdentityError> {
        if let Some(path) = &settings.client_secret_file {
            return Ok(Self::File(path.clone()));
        }
        match &settings.client_secret {
            Some(secret) if !secret.expose_secret().is_empty() => Ok(Self::Value(secret.clone())),
            _ => Err(IdentityError::MissingSecret),
        }
    }

    /// The secret as it is now, without the newline editors leave at the end.
    pub(super) async fn read(&self) -> Result<SecretString, MintError> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let text = read_small(path).await.map_err(|error| {
            MintError::Secret(format!("OIDC_CLIENT_SECRET_FILE: {}", error.kind()))
        })?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(MintError::Secret("OIDC_CLIENT_SECRET_FILE is empty".into()));
        }
        Ok(SecretString::from(secret))
    }
}

async fn read_small(path: &PathBuf) -> io::Result<String> {
    // Asked first, since a pipe or a device named by mistake might never end.
    let file = tokio::fs::metadata(path).await?;
    if !file.is_file() || file.len() > MAX_FILE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    tokio::fs::read_to_string(path).await
}

pub(super) fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{settings, temp_file};

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_and_loses_its_last_newline() {
        let path = temp_file("first\r\n");
        let source = SecretSource::File(path.to_path_buf());
        assert_eq!(source.read().await.unwrap().expose_secret(), "first");
        std::fs::write(&*path, " second \n").unwrap();
        assert_eq!(source.read().await.unwrap().expose_secret(), " second ");
    }

    #[tokio::test]
    async fn an_unreadable_file_is_an_error_that_names_the_setting() {
        let empty = temp_file("");
        let huge = temp_file(&"x".repeat(MAX_FILE as usize + 1));
        for path in [
            empty.clone(),
            huge.clone(),
            "/nowhere/at/all".into(),
            "/dev/zero".into(),
        ] {
            let error = SecretSource::File(path).read().await.unwrap_err();
            assert!(error.to_string().contains("OIDC_CLIENT_SECRET_FILE"));
        }
    }

    #[test]
    fn the_file_wins_over_the_value_and_one_is_needed() {
        let mut both = settings("http://127.0.0.1:1/token");
        both.client_secret_file = Some("/run/secrets/it".into());
        assert!(matches!(SecretSource::of(&both), Ok(SecretSource::File(_))));
        let mut none = settings("http://127.0.0.1:1/token");
        none.client_secret = Some("".into());
        assert!(SecretSource::of(&none).is_err());
    }
}
