//! A new connection that is made beside the one there is: the breaker's probe, and the
//! look at which era the child speaks by now.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Supervisor,
    connect::{Live, handshake_after},
    serve::End,
};
use crate::{
    outbound::{Failure, control::Handshake},
    telemetry::Outcome,
};

/// Between two looks whether a child has changed its era, if it had not.
const DOUBT_EVERY: Duration = Duration::from_secs(10);

/// A new connection that is made beside the one there is.
pub(super) struct Beside {
    why: Why,
    how: Handshake,
    began: Instant,
    work: BoxFuture<'static, Result<Live, Failure>>,
    given_up: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The breaker's probe.
    Probe,
    /// The child may speak another era by now.
    Doubt,
}

impl Supervisor {
    /// Makes a new connection beside the one there is. Over HTTP it is a handshake on
    /// fresh connections. A process has only the one pipe, so it is a fresh process:
    /// that is how one that hangs is healed. The old one is left alone until the new one
    /// has answered, and its open calls may end.
    pub(super) fn connect_beside(&mut self, why: Why, how: Handshake) {
        let given_up = self.shutdown.child_token();
        let attempt = self.attempt(how, given_up.clone());
        self.beside = Some(Beside {
            why,
            how,
            began: Instant::now(),
            work: attempt.run().boxed(),
            given_up,
        });
    }

    /// An answer came as if the child spoke another protocol than was agreed. Programs
    /// behind a URL are exchanged without a word; a process cannot be.
    pub(super) fn doubt(&mut self, remote: bool) {
        let due = self
            .last_doubt
            .is_none_or(|last| last.elapsed() >= DOUBT_EVERY);
        if remote && due && self.beside.is_none() {
            self.last_doubt = Some(Instant::now());
            self.connect_beside(Why::Doubt, Handshake::Either);
        } else {
            self.child.doubt_settled.send_replace(());
        }
    }

    /// An attempt beside the connection has ended.
    pub(super) fn made(
        &mut self,
        why: Why,
        result: Result<Live, Failure>,
        there: &Live,
    ) -> Option<End> {
        let Beside { how, began, .. } = self.beside.take()?;
        let outcome = result.as_ref().map_or_else(|f| f.outcome, |_| Outcome::Ok);
        self.child.metrics.connect_attempt(outcome);
        // A silence says nothing of how to begin: it was known before.
        if matches!(outcome, Outcome::Ok | Outcome::Protocol) {
            self.handshake = handshake_after(how, &result);
        }
        if why == Why::Probe {
            self.probed(&result);
        }
        match result {
            // As it was: nothing is to be replaced.
            Ok(same) if why == Why::Doubt && same.connection.era() == there.connection.era() => {
                self.odd_pings = true;
                self.leaves(same.stop());
                self.child.doubt_settled.send_replace(());
                None
            }
            Ok(fresh) => Some(End::Replaced {
                fresh: Box::new(fresh),
                why,
                began,
            }),
            // Nobody is there any more. A process that cannot be started says nothing of
            // the one that runs.
            Err(failure) if failure.loses_connection() && there.process.is_none() => {
                Some(End::Lost(failure))
            }
            // What it needs may be held by the one that hangs (a port, a lock): that one
            // is ended if it answers nothing at all.
            Err(failure) => {
                let ours = failure.outcome == Outcome::Busy;
                self.replaceable = ours || why == Why::Doubt || there.process.is_none();
                self.child.doubt_settled.send_replace(());
                None
            }
        }
    }

    /// The child is lost, or all is over: nothing is to come of an attempt beside it.
    pub(super) fn give_up_beside(&mut self) {
        if let Some(Beside { work, given_up, .. }) = self.beside.take() {
            given_up.cancel();
            self.leaves(async move {
                if let Ok(live) = work.await {
                    live.stop().await;
                }
            });
        }
        self.breaker.probe_failed();
    }

    /// Ends a connection in whose place another is, without haste.
    pub(super) fn retire(&mut self, old: Live) {
        let patience = self.child.settings.max_call_timeout;
        let hurry = self.shutdown.clone();
        self.leaves(old.retire(patience, hurry));
    }

    /// A connection is on its way out; those that are gone are forgotten.
    fn leaves(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        while self.leaving.try_join_next().is_some() {}
        self.leaving.spawn(end);
    }

    pub(super) fn replaced(&self, live: &Live, why: Why, began: Instant) {
        let reason = match why {
            Why::Probe => "breaker",
            Why::Doubt => "era_changed",
        };
        self.child.metrics.restarted(reason);
        self.child
            .state
            .send_modify(|state| Arc::make_mut(state).restarts += 1);
        self.announce(live, began);
        self.breaker.reset();
    }

    /// The breaker's one probe, never a client's call, has come back. One that succeeds
    /// closes the breaker when it takes the old connection's place.
    fn probed(&self, result: &Result<Live, Failure>) {
        if result.is_err() {
            self.breaker.probe_failed();
        }
        info!(
            child = %self.child.name(), alive = result.is_ok(),
            reason = result.as_ref().err().map(|failure| self.child.mask.told_in_full(failure)), "probed"
        );
    }
}

/// What an attempt beside the connection came to; never, while there is none.
pub(super) async fn made(beside: &mut Option<Beside>) -> (Why, Result<Live, Failure>) {
    match beside {
        Some(beside) => (beside.why, beside.work.as_mut().await),
        None => std::future::pending().await,
    }
}
