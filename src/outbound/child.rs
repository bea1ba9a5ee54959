//! A child as everybody above sees it: may I call, and through what.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    BreakerState, Connection, Failure, Phase, Slot, State, breaker::Breaker, mask::Mask,
    slots::Slots,
};
use crate::{
    catalog::Listing,
    config::{ChildSettings, TransportSettings},
    protocol::ChildName,
    telemetry::ChildMetrics,
};

/// A request has found that a connection no longer holds.
#[derive(Debug)]
pub(super) struct Loss {
    /// The connection it was sent on.
    pub(super) generation: u64,
    /// What it found.
    pub(super) failure: Failure,
}

/// One entry of the configuration, supervised by a task of its own.
#[derive(Debug)]
pub struct Child {
    /// What the configuration says.
    pub settings: ChildSettings,
    /// Its counters.
    pub metrics: ChildMetrics,
    pub(super) breaker: Breaker,
    pub(super) state: watch::Sender<Arc<State>>,
    pub(super) listing: ArcSwapOption<Listing>,
    pub(super) changed: Arc<Notify>,
    pub(super) lost: mpsc::UnboundedSender<Loss>,
    pub(super) mask: Mask,
    slots: Slots,
}

impl Child {
    /// A child that nothing has been done for yet, and where its task learns of
    /// lost sessions.
    pub(super) fn new(settings: ChildSettings) -> (Arc<Self>, mpsc::UnboundedReceiver<Loss>) {
        let metrics = ChildMetrics::new(&settings.name);
        let (lost, losses) = mpsc::unbounded_channel();
        let child = Self {
            breaker: Breaker::new(&settings.name, &settings.breaker, metrics.clone()),
            state: watch::Sender::new(Arc::new(State::first(settings.disabled.clone()))),
            listing: ArcSwapOption::empty(),
            changed: Arc::default(),
            lost,
            mask: Mask::of(&settings),
            slots: Slots::new(settings.max_concurrency, settings.queue_timeout),
            metrics,
            settings,
        };
        (Arc::new(child), losses)
    }

    /// Its name.
    pub fn name(&self) -> &ChildName {
        &self.settings.name
    }

    /// The word for its transport in metrics, status and logs.
    pub fn transport(&self) -> &'static str {
        match self.settings.transport {
            TransportSettings::Stdio(_) => "stdio",
            TransportSettings::Http(_) => "http",
            TransportSettings::Sse(_) => "sse",
            TransportSettings::Unusable => "none",
        }
    }

    /// Where it stands.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// What it offers; the last known while it is down, `None` before the first.
    pub fn listing(&self) -> Option<Arc<Listing>> {
        self.listing.load_full()
    }

    /// Where its breaker stands.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Requests it is working on, and requests that wait for a slot.
    pub fn load(&self) -> (usize, usize) {
        (self.slots.in_flight(), self.slots.queued())
    }

    /// When it is tried next: a connect attempt, or the breaker's probe.
    pub fn next_retry(&self) -> Option<Instant> {
        let state = self.state();
        match state.phase {
            Phase::Down => state.next_retry,
            Phase::Ready => self.breaker.probe_at(),
            _ => None,
        }
    }

    /// The same in Unix time, for metrics.
    pub fn next_retry_timestamp(&self) -> Option<f64> {
        let wait = self.next_retry()?.saturating_duration_since(Instant::now());
        let at = SystemTime::now() + wait;
        at.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|since| since.as_secs_f64())
    }

    /// Whether a request may be sent now. The one predicate behind every refusal.
    ///
    /// # Errors
    ///
    /// `unavailable` or `circuit_open`, with the reason and when to try again.
    pub fn callable(&self) -> Result<Arc<Connection>, Failure> {
        let retry_after = || {
            self.next_retry()
                .map(|at| at.saturating_duration_since(Instant::now()))
        };
        let state = self.state();
        let Some(connection) = &state.connection else {
            let reason = match &state.reason {
                Some(reason) => reason.clone(),
                None => "is still being connected".to_owned(),
            };
            return Err(Failure::unavailable(reason, retry_after()));
        };
        match self.breaker() {
            BreakerState::Closed => Ok(Arc::clone(connection)),
            _ => Err(Failure::circuit_open(retry_after())),
        }
    }

    /// The same; a child that is only being given a new session is waited for, at most
    /// `patience`.
    ///
    /// # Errors
    ///
    /// As [`Child::callable`].
    pub async fn callable_soon(&self, patience: Duration) -> Result<Arc<Connection>, Failure> {
        if self.state.borrow().renewing {
            let mut states = self.state.subscribe();
            let decided = states.wait_for(|state| !state.renewing);
            let _ = tokio::time::timeout(patience, decided).await;
        }
        self.callable()
    }

    /// A slot for one request.
    ///
    /// # Errors
    ///
    /// `busy`.
    pub async fn slot(&self) -> Result<Slot, Failure> {
        self.slots.take().await
    }

    /// Waits until the child's task has given up a connection that was reported lost,
    /// at most `patience`.
    pub async fn given_up(&self, lost: &Connection, patience: Duration) {
        let mut states = self.state.subscribe();
        let given_up = states.wait_for(|state| {
            let current = state.connection.as_ref();
            current.is_none_or(|current| current.generation != lost.generation)
        });
        let _ = tokio::time::timeout(patience, given_up).await;
    }

    /// Waits until the first attempt to connect is over, at most `patience`.
    pub async fn attempted(&self, patience: Duration) {
        let mut states = self.state.subscribe();
        let over = states.wait_for(|state| state.attempted && state.phase != Phase::Connecting);
        let _ = tokio::time::timeout(patience, over).await;
    }

    /// A request on `connection` has got an answer.
    pub fn succeeded(&self, connection: &Connection) {
        if self.is_current(connection) {
            self.breaker.succeeded();
        }
    }

    /// A request on `connection` has failed. A child that has lost our session, or
    /// cannot be reached any more, is connected anew. What happens on a connection
    /// that was given up says nothing of the one in its place.
    pub fn failed(&self, connection: &Connection, failure: &Failure) {
        if !self.is_current(connection) {
            return;
        }
        if failure.counts() {
            self.breaker.failed();
        }
        if failure.loses_connection() {
            // Without a task there is no connection to be lost.
            let _ = self.lost.send(Loss {
                generation: connection.generation,
                failure: failure.clone(),
            });
        }
    }

    fn is_current(&self, connection: &Connection) -> bool {
        let state = self.state.borrow();
        let current = state.connection.as_ref();
        current.is_some_and(|current| current.generation == connection.generation)
    }
}
