//! What becomes of a child, told to everybody: its state, the log, the fleet.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Supervisor, connect::Live};
use crate::outbound::{Child, Failure, Phase, State, seconds, stdio::Process};

const ENDED: &str = "has been ended, or exchanged by a change of the configuration";

/// A session that was lost after this long is renewed at once, however often.
const SESSION_SETTLED: Duration = Duration::from_secs(5);

impl Supervisor {
    /// A connected child is lost: say so at once, then clear up, then say what came
    /// to light. Gives how long to wait before it is tried again.
    pub(super) async fn lost(&mut self, live: Live, failure: Failure, lived: Duration) -> Duration {
        self.odd_pings = false;
        self.backoff.lived(lived);
        let (reason, pause) = match failure.session_lost {
            true => {
                self.child.metrics.session_renewed();
                // At once, unless it was had a moment ago: then something is wrong.
                let settled = lived >= SESSION_SETTLED || self.backoff.attempt() == 0;
                let pause = self.backoff.next();
                ("session_lost", if settled { Duration::ZERO } else { pause })
            }
            false => ("connection_lost", self.backoff.next()),
        };
        self.child.metrics.restarted(reason);
        let phase = match pause {
            Duration::ZERO => Phase::Connecting,
            _ => Phase::Down,
        };
        self.enter(phase, |state| {
            state.restarts += 1;
            state.renewing = phase == Phase::Connecting;
            state.reason = Some(failure.reason.clone());
            state.cause = Some(failure.outcome);
        });
        self.tell();
        let failure = live.release(failure).await;
        self.count_exit(&failure);
        if phase == Phase::Down {
            self.down(&failure, pause);
        }
        pause
    }

    pub(super) fn announce(&self, live: &Live, began: Instant) {
        let Live {
            connection,
            listing,
            process,
        } = live;
        if self.child.is_listed() {
            self.warn_of_unfit(listing);
            self.child.lists(Arc::clone(listing), connection.era());
        }
        self.enter(Phase::Ready, |state| {
            state.attempted = true;
            state.reason = None;
            state.cause = None;
            state.refused = None;
            state.without_token = false;
            state.detail = None;
            state.told = None;
            state.attempt = 0;
            state.era = Some(connection.era());
            state.pid = process.as_ref().and_then(Process::pid);
            state.connection = Some(Arc::clone(connection));
        });
        self.tell();
        info!(
            child = %self.child.name(), session = self.child.session_number(),
            transport = self.child.transport(), state = "ready",
            era = connection.era().as_str(), tools = listing.tools().len(),
            ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "child"
        );
    }

    pub(super) fn down(&self, failure: &Failure, pause: Duration) {
        let told = self.child.state().told.as_ref() == Some(&failure.reason)
            && !(failure.exited && self.backoff.loop_begins());
        let reason = match self.backoff.crash_loop().filter(|_| failure.exited) {
            Some(crash_loop) => format!("{} ({crash_loop})", failure.reason),
            None => failure.reason.clone(),
        };
        let detail = failure
            .detail
            .as_deref()
            .map(|detail| self.child.mask.shown(detail));
        self.enter(Phase::Down, |state| {
            state.attempted = true;
            state.reason = Some(reason.clone());
            state.cause = Some(failure.outcome);
            // Whoever comes now has not been executed either.
            state.refused = failure.is_of_user().then(|| Failure {
                not_executed: true,
                ..failure.clone()
            });
            state.without_token = failure.without_token;
            state.told = Some(failure.reason.clone());
            state.detail = detail.clone();
            state.next_retry = Some(Instant::now() + pause);
        });
        if let Some(reason) = self.child.state().told_in_full() {
            self.child.metrics.failed(failure.outcome, reason, None);
        }
        self.tell();
        let (child, transport) = (self.child.name(), self.child.transport());
        let (retry_in, session) = (seconds(pause), self.child.session_number());
        // The same reason again and again is told once.
        if told {
            debug!(%child, session, transport, state = "down", ?reason, detail, retry_in, "child");
        } else {
            warn!(%child, session, transport, state = "down", ?reason, detail, retry_in, "child");
        }
    }

    /// Its entry, its session or the whole program is over.
    pub(super) fn ended(&self) {
        let reason = match self.child.is_entry() {
            true => ENDED,
            false => "is not there for this client any more",
        };
        self.enter(Phase::Down, |state| {
            state.reason = Some(reason.to_owned());
            state.cause = None;
            state.refused = None;
            state.detail = None;
        });
    }

    /// Enters a phase. The reason of the last failure stays until the child is
    /// ready: while it is being tried again, that is what a caller wants to know.
    pub(super) fn enter(&self, phase: Phase, also: impl FnOnce(&mut State)) {
        self.child.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            set_phase(state, phase, self.backoff.attempt());
            also(state);
        });
    }

    pub(super) fn tell(&self) {
        if self.child.is_listed() {
            // Nobody left to be told: the fleet has ended before its children.
            let _ = self.surroundings.news.send(());
        }
    }
}

impl Child {
    /// It is connected to when a user comes, for that user. As far as it is known, a call
    /// is in good hands.
    pub(super) fn waits_for_users(&self) {
        self.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            set_phase(state, Phase::Idle, 0);
            state.attempted = true;
        });
        info!(
            child = %self.name(), transport = self.transport(), state = "idle",
            reason = "each user has a connection of its own", "child"
        );
    }

    /// Its entry is over.
    pub(super) fn users_leave(&self) {
        self.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            set_phase(state, Phase::Down, 0);
            state.reason = Some(ENDED.to_owned());
        });
    }

    /// Its task has failed: nothing becomes of it any more.
    pub fn unsupervised(&self) {
        self.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            set_phase(state, Phase::Down, 0);
            state.attempted = true;
            state.cause = None;
            state.detail = None;
            state.reason = Some("is not watched over any more: restart the multiplexer".to_owned());
        });
    }
}

pub(super) fn set_phase(state: &mut State, phase: Phase, attempt: u32) {
    let now = SystemTime::now();
    state.lost = match phase {
        Phase::Connecting | Phase::Down => Some(state.lost.unwrap_or(now)),
        Phase::Ready | Phase::Idle | Phase::Disabled => None,
    };
    if state.phase != phase {
        state.since = match phase {
            Phase::Down => state.lost.unwrap_or(now),
            _ => now,
        };
    }
    state.phase = phase;
    state.attempt = attempt;
    state.next_retry = None;
    state.pid = None;
    state.connection = None;
    // What is being renewed stays so until it is ready, or down.
    state.renewing &= phase == Phase::Connecting;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_down_since_it_was_lost_however_often_it_is_tried() {
        let mut state = State::first(None);
        set_phase(&mut state, Phase::Ready, 1);
        set_phase(&mut state, Phase::Connecting, 1);
        let lost = state.since;
        for attempt in 1..4 {
            set_phase(&mut state, Phase::Down, attempt);
            assert_eq!(state.since, lost);
            set_phase(&mut state, Phase::Connecting, attempt);
        }
        set_phase(&mut state, Phase::Ready, 4);
        assert_eq!(state.lost, None);
    }
}
