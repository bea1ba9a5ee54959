//! The identity as `/status` shows it.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::token::ServiceToken;

/// What an operator may know of the identity. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// The value of `MCP_CLIENT_AUTH`.
    pub mode: &'static str,
    /// Where tokens are asked for: as configured, or as found by discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// As whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// For whom the tokens are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How long the token is still valid; absent when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// How old the token is; absent when none is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Tokens minted since the start.
    pub mints: u64,
    /// Mints that failed since the start.
    pub failures: u64,
    /// Why the last mint failed; absent when it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// All that handles read: written by the keeper alone, replaced whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) token: Option<ServiceToken>,
    pub(super) token_url: Option<Arc<str>>,
    pub(super) mints: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<Arc<str>>,
}

impl Snapshot {
    /// The token, while it is valid: the one predicate for calls and status.
    pub(super) fn valid_token(&self) -> Option<&ServiceToken> {
        self.token
            .as_ref()
            .filter(|token| token.is_valid_at(Instant::now()))
    }

    /// What changes of the status; the rest is `about`, which does not.
    pub(super) fn status(&self, about: &IdentityStatus) -> IdentityStatus {
        let now = Instant::now();
        let token = self.valid_token();
        IdentityStatus {
            token_url: self.token_url.as_deref().map(String::from),
            expires_in_seconds: token.map(|token| (token.expires_at() - now).as_secs()),
            age_seconds: token.map(|token| (now - token.minted_at()).as_secs()),
            mints: self.mints,
            failures: self.failures,
            last_error: self.last_error.as_deref().map(String::from),
            ..about.clone()
        }
    }
}

/// An address without the parts that may hold a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both only fail for URLs that cannot have a host, hence no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
