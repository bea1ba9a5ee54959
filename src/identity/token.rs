//! The token as it is attached to requests.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use tokio::time::Instant;

/// A minted token. Cloning it copies a pointer.
#[derive(Clone)]
pub struct ServiceToken(Arc<Token>);

struct Token {
    header: HeaderValue,
    generation: u64,
    minted_at: Instant,
    expires_at: Instant,
}

impl ServiceToken {
    /// A token good from `minted_at` until just before `expires_at`. `header`
    /// is expected to be marked sensitive.
    pub(super) fn new(
        header: HeaderValue,
        generation: u64,
        minted_at: Instant,
        expires_at: Instant,
    ) -> Self {
        Self(Arc::new(Token {
            header,
            generation,
            minted_at,
            expires_at,
        }))
    }

    /// The value of `Authorization`: `Bearer …`, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// Which mint it came from, counted from 1: the greater, the newer.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    pub(super) fn is_valid_at(&self, now: Instant) -> bool {
        now < self.0.expires_at
    }

    /// Whether it came after the token a child has refused. A request that
    /// went without a token is older than any.
    pub(super) fn is_newer_than(&self, used: Option<u64>) -> bool {
        used.is_none_or(|used| self.0.generation > used)
    }

    pub(super) fn minted_at(&self) -> Instant {
        self.0.minted_at
    }

    pub(super) fn expires_at(&self) -> Instant {
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
