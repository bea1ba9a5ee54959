//! The end of a request, told once: to breaker, metrics and log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use crate::{
    outbound::{Child, Connection, Failure},
    protocol::OwnName,
    telemetry::Outcome,
};

/// One request that has not ended yet. Its drop settles what nobody settled: the
/// client took the request back, or went away.
#[derive(Debug)]
pub struct Settlement {
    child: Arc<Child>,
    method: &'static str,
    tool: OwnName,
    began: Instant,
    /// Time that was not ours: waiting for a slot, and for the child.
    waited: Duration,
    /// Since when time has not been ours, if that is so now.
    waiting_since: Option<Instant>,
    settled: bool,
}

impl Settlement {
    pub(super) fn new(
        child: Arc<Child>,
        method: &'static str,
        tool: OwnName,
        began: Instant,
    ) -> Self {
        Self {
            child,
            method,
            tool,
            began,
            waited: Duration::ZERO,
            waiting_since: None,
            settled: false,
        }
    }

    /// Time has passed that was not ours.
    pub(super) fn has_waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// From now on time is not ours: for good, or until [`Self::waits_no_more`].
    pub(super) fn waits(&mut self) {
        self.waiting_since = Some(Instant::now());
    }

    fn waits_no_more(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Runs something that takes time which is not ours.
    pub(super) async fn waiting<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.waits();
        let done = work.await;
        self.waits_no_more();
        done
    }

    /// The child has answered on this connection: `ok`, `tool_error` or `rpc_error`.
    /// An error of its own proves that it lives.
    pub fn answered(mut self, connection: &Connection, outcome: Outcome) {
        self.child.succeeded(connection);
        self.record(outcome);
    }

    /// The child gave no answer. `connection` is the one the request was sent on, if
    /// it was.
    pub fn failed(mut self, connection: Option<&Connection>, failure: &Failure) {
        if let Some(connection) = connection {
            self.child.failed(connection, failure);
        }
        self.record(failure.outcome);
    }

    fn record(&mut self, outcome: Outcome) {
        self.settled = true;
        self.waits_no_more();
        let took = self.began.elapsed();
        let ours = took.saturating_sub(self.waited);
        self.child.metrics.request(self.method, outcome, took, ours);
        self.child.metrics.tool_call(&self.tool, outcome, took);
        debug!(
            child = %self.child.name(), tool = %self.tool, outcome = outcome.as_str(),
            us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "call"
        );
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !self.settled {
            self.record(Outcome::Cancelled);
        }
    }
}
