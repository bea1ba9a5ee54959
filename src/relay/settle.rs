//! The end of a request, told once: to breaker, metrics and log.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use super::{Method, audit::Audited};
use crate::{
    outbound::{Child, Connection, Failure, Need},
    protocol::{OwnName, TraceContext},
    telemetry::{CallSpan, Outcome},
};

/// One request that has not ended yet. Its drop settles what nobody settled: the
/// client took the request back, or went away.
#[derive(Debug)]
pub struct Settlement {
    child: Arc<Child>,
    method: Method,
    /// Its own name for the tool, if the request is for one.
    tool: Option<OwnName>,
    /// To be written down, if that is asked for.
    audited: Option<Audited>,
    began: Instant,
    /// Time that was not ours: waiting for a slot, and for the child.
    waited: Duration,
    /// Since when time has not been ours, if that is so now.
    waiting_since: Option<Instant>,
    settled: bool,
    span: CallSpan,
    /// The code of the JSON-RPC error that it ends with.
    code: Option<i64>,
    /// Keeps the child running until then.
    _need: Need,
}

impl Settlement {
    pub(super) fn new(
        (child, need): (Arc<Child>, Need),
        method: Method,
        tool: Option<OwnName>,
        began: Instant,
    ) -> Self {
        Self {
            _need: need,
            child,
            method,
            tool,
            audited: None,
            began,
            waited: Duration::ZERO,
            waiting_since: None,
            settled: false,
            span: CallSpan::default(),
            code: None,
        }
    }

    /// The same, told in this span too.
    pub(super) fn traced_by(mut self, span: &CallSpan) -> Self {
        self.span = span.clone();
        self
    }

    /// Where what is sent for the request stands in its trace.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        self.span.trace()
    }

    /// It ends with a JSON-RPC error, whose code only a trace tells.
    pub(super) fn has_code(&mut self, code: impl FnOnce() -> Option<i64>) {
        if CallSpan::are_kept() {
            self.code = code();
        }
    }

    /// The same, of a request that is to be written down.
    pub(super) fn audited(mut self, audited: Option<Audited>) -> Self {
        self.audited = audited;
        self
    }

    /// Time has passed that was not ours.
    pub(super) fn has_waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// From now on time is not ours: for good, or until [`Self::waits_no_more`].
    pub(super) fn waits(&mut self) {
        self.waiting_since = Some(Instant::now());
    }

    /// It is ours again.
    pub(super) fn waits_no_more(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Runs something that takes time which is not ours. The clock is looked at only if it
    /// does: most of it is done at once.
    pub(super) async fn waiting<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let done = poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() && self.waiting_since.is_none() {
                self.waits();
            }
            polled
        });
        let done = done.await;
        self.waits_no_more();
        done
    }

    /// The child has answered on this connection: `ok`, `tool_error` or `rpc_error`.
    /// An error of its own proves that it lives.
    pub fn answered(mut self, connection: &Connection, outcome: Outcome) {
        self.child.succeeded(connection);
        self.record(outcome, None);
    }

    /// The request was answered here, and the child has not seen it: that says nothing of
    /// the child.
    pub(super) fn answered_here(mut self, outcome: Outcome) {
        self.record(outcome, None);
    }

    /// The child gave no answer. `connection` is the one the request was sent on, if
    /// it was.
    pub fn failed(mut self, connection: Option<&Connection>, failure: &Failure) {
        if let Some(connection) = connection {
            self.child.failed(connection, failure);
        }
        self.record(failure.outcome, Some(failure));
    }

    /// The request goes to another child, whose settlement tells of it. Gives the time
    /// until now that was not ours.
    pub(super) fn passed_on(mut self) -> Duration {
        self.settled = true;
        self.waits_no_more();
        self.waited
    }

    fn record(&mut self, outcome: Outcome, failure: Option<&Failure>) {
        self.settled = true;
        self.waits_no_more();
        let took = self.began.elapsed();
        let ours = took.saturating_sub(self.waited);
        let method = self.method.as_str();
        self.child.metrics.request(method, outcome, took, ours);
        if let Some(tool) = &self.tool {
            self.child.metrics.tool_call(tool, outcome, took);
        }
        if let Some(audited) = &self.audited {
            audited.write(Some(self.child.name()), self.method, outcome, took);
        }
        let tool = self.tool.as_ref();
        self.span.ended(self.child.name(), tool, outcome, self.code);
        // A call that was refused says nothing new: why, was told before.
        if let Some(failure) = failure
            && !matches!(outcome, Outcome::CircuitOpen | Outcome::Unavailable)
        {
            let reason = self.child.told_in_full(failure);
            self.child
                .metrics
                .failed(outcome, reason, self.tool.as_ref());
        }
        debug!(
            child = %self.child.name(), method, tool = self.tool.as_ref().map(OwnName::as_str), outcome = outcome.as_str(),
            reason = failure.map(|failure| self.child.told_in_full(failure)),
            us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "call"
        );
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !self.settled {
            self.record(Outcome::Cancelled, None);
        }
    }
}
