//! The identity as `/status` shows it.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::token::ServiceToken;
use crate::config::{ServiceSettings, TokenSettings};

/// The name of the service identity.
pub(super) const SERVICE: &str = "service";

/// The identities as `/status` shows them.
#[derive(Clone, Debug, Serialize)]
pub struct IdentitiesStatus {
    /// The service identity.
    #[serde(flatten)]
    pub service: IdentityStatus,
    /// Those of children that have one of their own, each by the first such child.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<IdentityStatus>,
}

impl IdentitiesStatus {
    /// The same for those who may know that there is an identity, and not whose.
    pub fn without_reason(self) -> Self {
        let bare = |identity: IdentityStatus| IdentityStatus {
            terms: Terms {
                mode: identity.terms.mode,
                ..Terms::default()
            },
            last_error: None,
            ..identity
        };
        Self {
            service: bare(self.service),
            own: self.own.into_iter().map(bare).collect(),
        }
    }
}

/// Who we are, and for what a token is asked. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// What `MCP_CLIENT_AUTH` calls it.
    pub mode: &'static str,
    /// Who issues the tokens, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Where tokens are asked for: as configured, or as found by discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// As whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// For whom the tokens are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scope asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The resource asked for (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// What an operator may know of an identity. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// The label `identity` of its metrics: `service`, or a child.
    pub name: Arc<str>,
    /// Who we are there.
    #[serde(flatten)]
    pub terms: Terms,
    /// How long the token is still valid; absent when none is, or it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// How old the token is; absent when none is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Mints that succeeded since the start.
    pub mints: u64,
    /// Mints that failed since the start.
    pub failures: u64,
    /// Why the last mint failed; absent when it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Terms {
    /// Those of a token that is minted; where, is not known before.
    pub(super) fn of_token(token: &TokenSettings) -> Self {
        Self {
            mode: "oidc-client-credentials",
            issuer: token.place.issuer().map(shown),
            client_id: Some(token.client_id.clone()),
            audience: token.audience.clone(),
            scope: token.scope.clone(),
            resource: token.resource.clone(),
            ..Self::default()
        }
    }

    /// Those of the service identity.
    pub(super) fn of_service(service: &ServiceSettings) -> Self {
        match service {
            ServiceSettings::ClientCredentials(token) => Self::of_token(token),
            other => Self {
                mode: other.as_str(),
                ..Self::default()
            },
        }
    }
}

impl IdentityStatus {
    /// What does not change of an identity.
    pub(super) fn new(name: &str, terms: Terms) -> Self {
        Self {
            name: name.into(),
            terms,
            ..Self::default()
        }
    }
}

/// All that handles read: written by the keeper alone, replaced whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) token: Option<ServiceToken>,
    /// The one before it: requests that bear it may still be answered.
    pub(super) previous: Option<ServiceToken>,
    pub(super) token_url: Option<Arc<str>>,
    /// Mints that succeeded; a token that was given again is not a new one.
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
            terms: Terms {
                token_url: self.token_url.as_deref().map(String::from),
                ..about.terms.clone()
            },
            expires_in_seconds: token
                .and_then(ServiceToken::expires_at)
                .map(|at| (at - now).as_secs()),
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
