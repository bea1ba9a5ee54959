//! A client's session, as everything behind the doors knows it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::Asked;

/// Which session a request belongs to, and when that is over; clones are the same one.
///
/// Not the id that the client shows: that stays at its door. Says nothing of who the
/// client is, and gives no right to anything.
#[derive(Clone, Debug)]
pub struct SessionKey {
    number: u64,
    over: CancellationToken,
    asked: Asked,
}

impl SessionKey {
    /// The key of a session that begins.
    pub fn begin() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            over: CancellationToken::new(),
            asked: Asked::default(),
        }
    }

    /// What its client has been asked.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Its number, unique in this process. Not a secret.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The session is over, and with it what was made for it alone.
    pub fn end(&self) {
        self.over.cancel();
        self.asked.end();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is over.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }
}
