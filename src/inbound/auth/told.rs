//! The exact reasons of refusals, in the log and where it is on in the audit: one line of
//! each kind in a second, so that a flood of bad tokens does not become a flood of lines.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use tracing::{debug, info};
use uuid::Uuid;

use super::refusal::{Reason, Refusal};
use crate::telemetry::AUDIT;

/// The word for who is not let in because of `Host` or `Origin`.
const ELSEWHERE: &str = "elsewhere";

/// When each kind was last told of.
pub(super) struct Told {
    began: Instant,
    kinds: [Kind; Reason::COUNT],
    /// Of those who come from where nobody may come from.
    elsewhere: Kind,
    /// Whether refusals are written down.
    audit: bool,
}

#[derive(Default)]
struct Kind {
    /// The second of the last line, counted from 1.
    second: AtomicU64,
    /// Refusals since then that have none.
    untold: AtomicU64,
}

impl Told {
    /// Nothing yet; with `audit` refusals are written down, too.
    pub(super) fn new(audit: bool) -> Self {
        Self {
            began: Instant::now(),
            kinds: Default::default(),
            elsewhere: Kind::default(),
            audit,
        }
    }

    /// Tells of a refusal; gives the id it is told under.
    pub(super) fn refused(&self, refusal: &Refusal, peer: Option<IpAddr>) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let reason = refusal.reason.as_str();
        let detail = &*refusal.detail;
        let peer = peer.map(tracing::field::display);
        match self.turn(self.kind(refusal.reason)) {
            Some(untold) => {
                info!(reason, ?detail, correlation_id = %id, peer, untold, "refused at the door");
                if self.audit {
                    info!(
                        target: AUDIT,
                        outcome = "refused",
                        reason,
                        status = refusal.reason.status().as_u16(),
                        peer,
                        untold,
                        correlation_id = %id,
                        "audit"
                    );
                }
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
        match self.turn(self.kind(refusal.reason)) {
            Some(untold) => info!(reason, ?detail, peer, untold, "let in with a bad token"),
            None => debug!(reason, ?detail, peer, "let in with a bad token"),
        }
    }

    /// Tells of a request that names another host, or comes from a page elsewhere.
    pub(super) fn turned_away(&self, detail: &str, peer: Option<IpAddr>) {
        let peer = peer.map(tracing::field::display);
        let Some(untold) = self.turn(&self.elsewhere) else {
            return debug!(reason = ELSEWHERE, detail, peer, "refused at the door");
        };
        info!(
            reason = ELSEWHERE,
            detail, peer, untold, "refused at the door"
        );
        if self.audit {
            info!(
                target: AUDIT,
                outcome = "refused",
                reason = ELSEWHERE,
                status = 403,
                peer,
                untold,
                "audit"
            );
        }
    }

    fn kind(&self, reason: Reason) -> &Kind {
        &self.kinds[reason as usize]
    }

    /// Whether it is this refusal's turn to be told of: with how many were not.
    fn turn(&self, kind: &Kind) -> Option<u64> {
        let now = self.began.elapsed().as_secs() + 1;
        if kind.second.swap(now, Ordering::Relaxed) == now {
            kind.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(kind.untold.swap(0, Ordering::Relaxed))
    }
}
