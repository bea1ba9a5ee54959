//! What a client proves itself with at the token endpoint, as it is now.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::byte_serialize;

use super::{
    error::{MintError, quoted},
    file,
};
use crate::config::{Credential, SecretSource};

/// A secret or a private key, read from where it is kept.
pub(super) struct Proof(SecretString);

impl Proof {
    /// Reads it anew.
    pub(super) async fn read(credential: &Credential) -> Result<Self, MintError> {
        match credential {
            Credential::Basic(secret) | Credential::Post(secret) => read(secret).await.map(Self),
            Credential::Key { file, .. } => {
                file::read("OIDC_CLIENT_KEY_FILE", file).await.map(Self)
            }
        }
    }

    /// The secret, or the key in PEM.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing has changed between two readings.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// A secret as it is now.
pub(super) async fn read(source: &SecretSource) -> Result<SecretString, MintError> {
    match source {
        SecretSource::Value(_, secret) => Ok(secret.clone()),
        SecretSource::File(setting, path) => file::read(setting, path).await,
    }
}

/// A provider's text as it may be shown: some repeat the request in it, and with it the
/// secret in one of the forms in which it was sent (RFC 6749, 2.3.1), or the `assertion`.
pub(super) fn without(id: &str, secret: &str, assertion: Option<&str>, text: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let basic = |id: &str, secret: &str| BASE64_STANDARD.encode(format!("{id}:{secret}"));
    let forms = [
        basic(&encoded(id), &encoded(secret)),
        basic(id, secret),
        encoded(secret),
        secret.to_owned(),
        assertion.unwrap_or_default().to_owned(),
    ];
    let shown = forms
        .iter()
        // In base64 the padding is often left out.
        .map(|form| form.trim_end_matches('='))
        .filter(|form| !form.is_empty())
        .fold(text.to_owned(), |text, form| text.replace(form, "[secret]"));
    quoted(&shown)
}
