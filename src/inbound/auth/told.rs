//! The exact reasons of refusals, in the log: one line of each kind in a second, so that
//! a flood of bad tokens does not become a flood of lines.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use tracing::{debug, info};
use uuid::Uuid;

use super::refusal::{Reason, Refusal};

/// When each kind was last told of.
pub(super) struct Told {
    began: Instant,
    kinds: [Kind; Reason::COUNT],
}

#[derive(Default)]
struct Kind {
    /// The second of the last line, counted from 1.
    second: AtomicU64,
    /// Refusals since then that have none.
    untold: AtomicU64,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            kinds: Default::default(),
        }
    }
}

impl Told {
    /// Tells of a refusal; gives the id it is told under.
    pub(super) fn refused(&self, refusal: &Refusal, peer: Option<IpAddr>) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let reason = refusal.reason.as_str();
        let detail = &*refusal.detail;
        let peer = peer.map(tracing::field::display);
        match self.turn(refusal.reason) {
            Some(untold) => {
                info!(reason, ?detail, correlation_id = %id, peer, untold, "refused at the door")
            }
            None => debug!(reason, ?detail, correlation_id = %id, peer, "refused at the door"),
        }
        id
    }

    /// Tells of a bad token whose bearer comes in all the same.
    pub(super) fn let_in(&self, refusal: &Refusal, peer: Option<IpAddr>) {
        let reason = refusal.reason.as_str();
        let detail = &*refusal.detail;
        let peer = peer.map(tracing::field::display);
        match self.turn(refusal.reason) {
            Some(untold) => info!(reason, ?detail, peer, untold, "let in with a bad token"),
            None => debug!(reason, ?detail, peer, "let in with a bad token"),
        }
    }

    /// Whether it is this refusal's turn to be told of: with how many were not.
    fn turn(&self, reason: Reason) -> Option<u64> {
        let kind = &self.kinds[reason as usize];
        let now = self.began.elapsed().as_secs() + 1;
        if kind.second.swap(now, Ordering::Relaxed) == now {
            kind.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(kind.untold.swap(0, Ordering::Relaxed))
    }
}
