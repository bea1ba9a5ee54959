//! The token as it is attached to requests.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// A minted token. Cloning it copies a pointer.
#[derive(Clone)]
pub struct ServiceToken(Arc<Token>);

struct Token {
    header: HeaderValue,
    generation: u64,
    minted_at: Instant,
    expires_at: Option<Instant>,
}

impl ServiceToken {
    /// A token good from `minted_at` until just before `expires_at`; with `None`, until
    /// it is replaced. `header` is expected to be marked sensitive.
    pub(super) fn new(
        header: HeaderValue,
        generation: u64,
        minted_at: Instant,
        expires_at: Option<Instant>,
    ) -> Self {
        Self(Arc::new(Token {
            header,
            generation,
            minted_at,
            expires_at,
        }))
    }

    /// The value of `Authorization`, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The secret in the header, and for a user with a password the password too.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let text = self.0.header.to_str().unwrap_or_default();
        let (scheme, secret) = text.split_once(' ').unwrap_or_default();
        let mut secrets = vec![SecretString::from(secret)];
        if scheme == "Basic"
            && let Ok(pair) = BASE64_STANDARD.decode(secret)
            && let Ok(pair) = String::from_utf8(pair).map(SecretString::from)
            && let Some((_, password)) = pair.expose_secret().split_once(':')
        {
            secrets.push(SecretString::from(password));
        }
        secrets.retain(|secret| !secret.expose_secret().is_empty());
        secrets
    }

    /// Counts the tokens, from 1: the greater, the newer.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    pub(super) fn is_valid_at(&self, now: Instant) -> bool {
        self.0.expires_at.is_none_or(|at| now < at)
    }

    pub(super) fn minted_at(&self) -> Instant {
        self.0.minted_at
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.0.expires_at
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceToken")
            .field("generation", &self.0.generation)
            .finish_non_exhaustive()
    }
}
