//! `basic`: user name and password (RFC 7617) in the place of a token.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::{
    error::MintError,
    file::Watch,
    mint::{Minted, Minter},
    proof,
};
use crate::config::SecretSource;

/// Makes the header, and makes it again when the password's file changes.
pub(super) struct Basic {
    username: String,
    password: SecretSource,
    watch: Watch,
}

impl Basic {
    pub(super) fn new(username: String, password: SecretSource) -> Self {
        let watch = Watch::of_secret(&password);
        Self {
            username,
            password,
            watch,
        }
    }
}

impl Minter for Basic {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        let password = proof::read(&self.password).await?;
        Ok(Minted {
            header: header(&self.username, &password)?,
            life: None,
        })
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

fn header(username: &str, password: &SecretString) -> Result<HeaderValue, MintError> {
    let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
    let encoded = BASE64_STANDARD.encode(pair.expose_secret());
    let mut header =
        HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|_| MintError::IllegalToken)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_header_is_as_rfc_7617_has_it() {
        let password = SecretSource::Value("PASSWORD", "open sesame".into());
        let minted = Basic::new("Aladdin".into(), password).mint().await.unwrap();
        assert_eq!(minted.header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(minted.header.is_sensitive());
        assert_eq!(minted.life, None);
    }
}
