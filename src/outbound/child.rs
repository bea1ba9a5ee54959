//! A child as everybody above sees it: may I call, and through what.

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    BreakerState, Connection, Failure, Need, Phase, Slot, State, breaker::Breaker,
    credentials::UserTokens, dedicated::Dedicated, demand::Demand, elicited::Elicited,
    keeping::Keeping, mask::Mask, owner::Owner, slots::Slots, subscriptions::Subscriptions,
    supervisor::Backoff,
};
use crate::{
    catalog::{Filter, Listing},
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

/// What a child is there for, beside its entry.
#[derive(Debug, Default)]
pub(super) struct Role {
    pub(super) keeping: Keeping,
    pub(super) dedicated: Option<Dedicated>,
    pub(super) owner: Option<Owner>,
    pub(super) tokens: Option<Arc<UserTokens>>,
    pub(super) entry: Weak<Child>,
    pub(super) subscriptions: Arc<Subscriptions>,
}

/// One entry of the configuration, or a client's own connection to it, supervised
/// by a task of its own.
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
    /// Told when an answer suggests that the child speaks another era by now.
    pub(super) doubted: Notify,
    /// Told when that has been looked into and the connection stays.
    pub(super) doubt_settled: watch::Sender<()>,
    /// Boxed, as a channel keeps room for many of them.
    pub(super) lost: mpsc::UnboundedSender<Box<Loss>>,
    pub(super) mask: Mask,
    /// The calls that keep it running, if it does not run all the time.
    pub(super) demand: Option<Demand>,
    /// Where its catalog is kept, if it is.
    pub(super) keeping: Keeping,
    /// The clients' own connections, if it gives them any.
    pub(super) dedicated: Option<Dedicated>,
    /// Whom it belongs to, if it does not belong to all.
    pub(super) owner: Option<Owner>,
    /// What its user has shown, if the child is to know the user.
    pub(super) tokens: Option<Arc<UserTokens>>,
    /// The entry, where it is somebody's own connection to it.
    pub(super) entry: Weak<Child>,
    /// What the owner's next connection is to know, if this one ends in failure.
    pub(super) backoff: Mutex<Option<Backoff>>,
    /// The resources of it that clients have subscribed to.
    pub subscriptions: Arc<Subscriptions>,
    /// Whom it has sent to a URL.
    pub(super) elicited: Elicited,
    slots: Slots,
}

impl Child {
    /// A child that nothing has been done for yet, and where its task learns of
    /// lost sessions.
    pub(super) fn new(
        settings: ChildSettings,
        role: Role,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Box<Loss>>) {
        let Role {
            keeping,
            dedicated,
            owner,
            tokens,
            entry,
            subscriptions,
        } = role;
        let mut first = State::first(settings.disabled.clone());
        // The call for which it is made waits for it.
        first.renewing = owner.is_some();
        let metrics = ChildMetrics::new(&settings.name);
        let (lost, losses) = mpsc::unbounded_channel();
        let child = Self {
            breaker: Breaker::new(
                &settings.name,
                &settings.breaker,
                settings.restart.stable,
                metrics.clone(),
            ),
            state: watch::Sender::new(Arc::new(first)),
            listing: ArcSwapOption::empty(),
            changed: Arc::default(),
            doubted: Notify::new(),
            doubt_settled: watch::Sender::new(()),
            lost,
            mask: Mask::of(&settings, tokens.clone()),
            demand: (settings.lazy || owner.is_some()).then(Demand::default),
            keeping,
            dedicated,
            owner,
            tokens,
            entry,
            backoff: Mutex::default(),
            subscriptions,
            elicited: Elicited::default(),
            slots: Slots::new(
                settings.max_concurrency,
                settings.max_queue,
                settings.queue_timeout,
            ),
            metrics,
            settings,
        };
        (Arc::new(child), losses)
    }

    /// Lists what `before`, which had its place, was listed with, as far as the filters
    /// let it, until it has been listed itself. One that knows its users lists to each.
    pub fn inherit(&self, before: &Self) {
        if self.settings.disabled.is_none()
            && !self.settings.is_per_user()
            && let Some(listing) = before.listing()
        {
            self.listing
                .store(Some(Arc::new(self.filtered(Listing::clone(&listing)))));
        }
    }

    /// The listing without what the entry's filters hold back.
    pub(super) fn filtered(&self, listing: Listing) -> Listing {
        let ChildSettings {
            enabled_tools,
            disabled_tools,
            ..
        } = &self.settings;
        match Filter::new(enabled_tools, disabled_tools) {
            Ok(filter) => listing.filtered(&filter),
            // The configuration refuses such a pattern before it comes here.
            Err(_) => listing,
        }
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

    /// Reason and detail of a failure of its, for operators.
    pub fn told_in_full(&self, failure: &Failure) -> String {
        self.mask.told_in_full(failure)
    }

    /// Where its breaker stands.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Requests it is working on, and requests that wait for a slot; those of the
    /// clients' own connections among them.
    pub fn load(&self) -> (usize, usize) {
        let sum = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
        let sessions = self.sessions();
        let loads = sessions.iter().map(|session| session.own_load());
        loads.fold(self.own_load(), sum)
    }

    /// The same, on this connection alone.
    pub(super) fn own_load(&self) -> (usize, usize) {
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
            return Err(match &state.refused {
                // It is its user who is refused: what is demanded is for that user's client.
                Some(refused) => refused.clone(),
                None => Failure::unavailable(reason, retry_after()),
            });
        };
        match self.breaker() {
            BreakerState::Closed => Ok(Arc::clone(connection)),
            _ => Err(Failure::circuit_open(retry_after())),
        }
    }

    /// The same; a child that is only being given a new session, or is started for
    /// this call, is waited for, at most `patience`.
    ///
    /// # Errors
    ///
    /// As [`Child::callable`].
    pub async fn callable_soon(&self, patience: Duration) -> Result<Arc<Connection>, Failure> {
        if self.state.borrow().is_undecided() {
            let mut states = self.state.subscribe();
            let decided = states.wait_for(|state| !state.is_undecided());
            let _ = tokio::time::timeout(patience, decided).await;
        }
        self.callable()
    }

    /// Takes no more requests, if it has none. Whoever comes is told that the child is
    /// `unavailable`.
    pub fn close_if_idle(&self) -> bool {
        // All of them: a session whose calls have ended begins no more here.
        let sessions = self.sessions();
        let busy = |it: &&Arc<Self>| !it.slots.close_if_idle() && it.own_load().0 > 0;
        let busy = sessions.iter().filter(busy).count();
        busy == 0 && self.slots.close_if_idle()
    }

    /// Takes no more requests. Whoever waits for a slot is told so.
    pub fn close(&self) {
        self.slots.close();
        for session in self.sessions() {
            session.slots.close();
        }
    }

    /// To be held from before a call asks for the child until it has ended: starts a
    /// child that is idle, and keeps it running.
    pub(super) fn needed(&self) -> Need {
        match &self.demand {
            Some(demand) => demand.need(),
            None => Need::of_no_account(),
        }
    }

    /// A slot for one request.
    ///
    /// # Errors
    ///
    /// `busy`, or `unavailable` where the child takes no more.
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

    /// Waits until the first attempt to connect is over, at most `patience`. Later ones
    /// are not waited for: the child is known to be gone.
    pub async fn attempted(&self, patience: Duration) {
        let mut states = self.state.subscribe();
        let over = states.wait_for(|state| state.attempted);
        let _ = tokio::time::timeout(patience, over).await;
    }

    /// A request on `connection` has got an answer.
    pub fn succeeded(&self, connection: &Connection) {
        if self.is_current(connection) {
            self.breaker.succeeded();
        }
    }

    /// A request on `connection` was refused as if it had been asked in the wrong
    /// protocol: the child is asked anew what it speaks. Whether that is another era now.
    pub async fn has_changed_era(&self, connection: &Connection) -> bool {
        let patience = self.settings.timeout;
        if self.is_current(connection) {
            let mut settled = self.doubt_settled.subscribe();
            self.doubted.notify_one();
            tokio::select! {
                _ = settled.changed() => {}
                () = self.given_up(connection, patience) => {}
            }
        }
        let now = self.callable_soon(patience).await;
        now.is_ok_and(|now| now.era() != connection.era())
    }

    /// It shows that its list is no longer what was listed: it is asked for it again.
    pub fn list_again(&self) {
        self.changed.notify_one();
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
            let _ = self.lost.send(Box::new(Loss {
                generation: connection.generation,
                failure: failure.clone(),
            }));
        }
    }

    fn is_current(&self, connection: &Connection) -> bool {
        let state = self.state.borrow();
        let current = state.connection.as_ref();
        current.is_some_and(|current| current.generation == connection.generation)
    }
}
