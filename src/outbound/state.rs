//! Where a child stands, as operators see it.

use std::{sync::Arc, time::SystemTime};

use serde::Serialize;
use tokio::time::Instant;

use super::{Connection, Failure};
use crate::{protocol::Era, telemetry::Outcome};

/// The states of a child. There is no terminal one: `down` is always tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being started or connected.
    Connecting,
    /// Connected and listed.
    Ready,
    /// Not connected; the reason says why, and it will be tried again.
    Down,
    /// Lazy, and stopped: the next call starts it.
    Idle,
    /// Not to be used; the reason says why.
    Disabled,
}

impl Phase {
    /// Whether a call is in good hands: a child that is idle is started for it.
    pub fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Idle)
    }

    /// The word used in status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Down => "down",
            Self::Idle => "idle",
            Self::Disabled => "disabled",
        }
    }
}

/// The state of a child, replaced whole by its task.
#[derive(Clone, Debug)]
pub struct State {
    /// Which one.
    pub phase: Phase,
    /// Why it is `down` or `disabled`, in words for clients too.
    pub reason: Option<String>,
    /// The kind of that failure: `unauthorized`, say.
    pub cause: Option<Outcome>,
    /// How its user was refused, where that is what keeps it from being connected.
    pub(super) refused: Option<Failure>,
    /// Whether it was refused for want of a token.
    pub(super) without_token: bool,
    /// What else operators want to know of that: the child's own words.
    pub detail: Option<String>,
    /// Whether it is only being given a new session, or started for a call: calls
    /// wait for that.
    pub(super) renewing: bool,
    /// The reason last told in the log.
    pub(super) told: Option<String>,
    /// What requests go through: there is one exactly while it is `ready`.
    pub(super) connection: Option<Arc<Connection>>,
    /// Since when it is in this phase; of `down`: since it was lost, whatever was tried
    /// meanwhile.
    pub since: SystemTime,
    /// Since when it is neither ready nor resting.
    pub(super) lost: Option<SystemTime>,
    /// Attempts to connect since it was last stable.
    pub attempt: u32,
    /// When it is tried again.
    pub next_retry: Option<Instant>,
    /// The era it speaks, once known.
    pub era: Option<Era>,
    /// Its process, if it is one that runs.
    pub pid: Option<u32>,
    /// How often it was lost after having been ready.
    pub restarts: u64,
    /// Whether its first attempt to connect is over, however it ended.
    pub attempted: bool,
}

impl State {
    /// Whether a call is better off waiting: it will be decided soon, one way or the
    /// other. A child that is idle is about to be started.
    pub fn is_undecided(&self) -> bool {
        self.renewing || self.phase == Phase::Idle
    }

    /// Reason and detail, for operators.
    pub fn told_in_full(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(match &self.detail {
            Some(detail) => format!("{reason} ({detail})"),
            None => reason.clone(),
        })
    }

    /// The first state of a child: not connected yet, or never to be.
    pub(super) fn first(disabled: Option<String>) -> Self {
        Self {
            phase: match disabled {
                Some(_) => Phase::Disabled,
                None => Phase::Connecting,
            },
            attempted: disabled.is_some(),
            reason: disabled,
            cause: None,
            refused: None,
            without_token: false,
            detail: None,
            told: None,
            renewing: false,
            connection: None,
            since: SystemTime::now(),
            lost: None,
            attempt: 0,
            next_retry: None,
            era: None,
            pid: None,
            restarts: 0,
        }
    }
}
