//! Why a child gave no answer.

use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use super::{Challenged, MESSAGE_LIMIT};
use crate::telemetry::Outcome;

/// A request, or an attempt to connect, that ended without an answer.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Failure {
    /// The kind, in the words of the metrics. Never one of the answered ones.
    pub outcome: Outcome,
    /// What happened, as the end of a sentence that begins with the child's name.
    /// For clients too: our own words only, no text of the child, no path.
    pub reason: String,
    /// What else an operator wants to know: the child's own words. Only to be shown
    /// through the child's mask.
    pub(super) detail: Option<Box<str>>,
    /// Whether the child's process has ended by itself.
    pub(super) exited: bool,
    /// Whether it says nothing against the child: a 429 that names its time, a client
    /// that does not read.
    pub blameless: bool,
    /// Whether it is asked more than it takes (429): the same again would be more still.
    pub asked_too_much: bool,
    /// When to try again, if the child or its breaker said so.
    pub retry_after: Option<Duration>,
    /// Whether the child certainly did not execute the request.
    pub not_executed: bool,
    /// Whether the child has lost the session the request was sent in.
    pub session_lost: bool,
    /// Whether a child that was given up as modern has turned out to be: what it said came
    /// too late for this handshake.
    pub(super) is_modern: bool,
    /// Whether an HTTP server refused the request itself (4xx): it may speak another
    /// protocol than was agreed.
    pub refused: bool,
    /// What the child demands of the user whose request it refused, where that user's own
    /// token went there.
    pub challenged: Option<Challenged>,
    /// Whether the child refused a request that went without a token, since none could
    /// be had.
    pub without_token: bool,
    /// What the log tells of it under, if it does.
    pub correlation_id: Option<String>,
}

impl Failure {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            detail: None,
            exited: false,
            blameless: false,
            asked_too_much: false,
            retry_after: None,
            not_executed: false,
            session_lost: false,
            is_modern: false,
            refused: false,
            challenged: None,
            without_token: false,
            correlation_id: None,
        }
    }

    /// The connection failed; the request may have been executed.
    pub fn transport(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Transport, reason)
    }

    /// The connection failed before the request was written.
    pub fn not_sent(reason: impl Into<String>) -> Self {
        Self {
            not_executed: true,
            ..Self::transport(reason)
        }
    }

    /// The child sent something that is no answer.
    pub fn protocol(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Protocol, reason)
    }

    /// The child sent more than is taken at once.
    pub(super) fn too_long() -> Self {
        Self::protocol(format!("sent a message over {} MiB", MESSAGE_LIMIT >> 20))
    }

    /// No answer in time.
    pub fn timeout(after: Duration) -> Self {
        Self::new(
            Outcome::Timeout,
            format!("gave no answer within {}", seconds(after)),
        )
    }

    /// An answer that began, and was not whole at the end of the longest a call may
    /// take. Who was slow, the child or the client, nobody knows.
    pub fn endless() -> Self {
        Self {
            blameless: true,
            ..Self::new(
                Outcome::Timeout,
                "was still sending its answer when the call had taken as long as one may take",
            )
        }
    }

    /// The client did not take what the child had sent before its answer.
    pub fn unread(after: Duration) -> Self {
        Self {
            blameless: true,
            ..Self::new(
                Outcome::Timeout,
                format!(
                    "was stopped: what it sent was not read within {}",
                    seconds(after)
                ),
            )
        }
    }

    /// The client was asked for the child, and did not answer.
    pub fn unanswered(after: Duration) -> Self {
        Self {
            blameless: true,
            ..Self::new(
                Outcome::Timeout,
                format!(
                    "was stopped: what it asked the client was not answered within {}",
                    seconds(after)
                ),
            )
        }
    }

    /// The client that was asked for the child has gone.
    pub fn asked_nobody() -> Self {
        Self {
            blameless: true,
            ..Self::new(
                Outcome::Cancelled,
                "was stopped: the client that it asked has gone",
            )
        }
    }

    /// 401, also to a fresh token.
    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Self {
            not_executed: true,
            ..Self::new(Outcome::Unauthorized, reason)
        }
    }

    /// 403.
    pub fn denied(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Denied, reason)
    }

    /// The policies keep the caller from it: nothing was sent.
    pub fn forbidden(why: &str, correlation_id: Option<String>) -> Self {
        Self {
            not_executed: true,
            correlation_id,
            ..Self::denied(format!("may not be asked for this by you: {why}"))
        }
    }

    /// 404 to a request that carried a session: it was not executed.
    pub fn session_lost() -> Self {
        Self {
            not_executed: true,
            session_lost: true,
            ..Self::transport("has lost our session")
        }
    }

    /// Not connected: nothing was sent.
    pub fn unavailable(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self {
            not_executed: true,
            retry_after,
            ..Self::new(Outcome::Unavailable, reason)
        }
    }

    /// Connected and failing: nothing was sent.
    pub fn circuit_open(retry_after: Option<Duration>) -> Self {
        Self {
            not_executed: true,
            retry_after,
            ..Self::new(
                Outcome::CircuitOpen,
                "has failed repeatedly and is being given a rest",
            )
        }
    }

    /// No free slot: nothing was sent.
    pub fn busy(reason: impl Into<String>) -> Self {
        Self {
            not_executed: true,
            ..Self::new(Outcome::Busy, reason)
        }
    }

    /// This process has no file descriptor left: no fault of the child's.
    pub(super) fn out_of_descriptors(error: &std::io::Error) -> Option<Self> {
        let code = Errno::from_raw(error.raw_os_error()?);
        matches!(code, Errno::EMFILE | Errno::ENFILE).then(|| {
            Self::busy("cannot be reached just now: the multiplexer has no file descriptor left")
        })
    }

    /// The same, with what an operator wants to know besides.
    pub fn with_detail(self, detail: &str) -> Self {
        /// More than is ever shown: masking comes before cutting.
        const KEPT: usize = 8 * 1024;
        let detail: String = detail.chars().take(KEPT).collect();
        Self {
            detail: (!detail.trim().is_empty()).then(|| detail.into()),
            ..self
        }
    }

    /// Whether it is one user who is refused, or lacks what the child is to be shown.
    pub fn is_of_user(&self) -> bool {
        self.challenged.is_some() || self.blameless && self.outcome == Outcome::Unauthorized
    }

    /// Whether it shows that the connection itself is gone: the session is lost, the
    /// child cannot be reached, or takes our credentials no more.
    pub fn loses_connection(&self) -> bool {
        match self.outcome {
            Outcome::Transport => self.not_executed,
            // What one user lacks says nothing of the connection.
            Outcome::Unauthorized => !self.blameless,
            _ => false,
        }
    }

    /// Whether the breaker counts it, for a request that was sent. What was refused
    /// on this side says nothing of the child; an answer that makes no sense, a 403,
    /// or a 429 that names its time, show that it lives.
    pub fn counts(&self) -> bool {
        match self.outcome {
            _ if self.blameless => false,
            Outcome::Timeout | Outcome::Unauthorized => true,
            Outcome::Transport => !self.session_lost,
            _ => false,
        }
    }
}

/// A duration as people say it: `250 ms`, `60 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.3}", duration.as_secs_f64())
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
            + " s"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let said = |ms| seconds(Duration::from_millis(ms));
        assert_eq!(
            [said(250), said(1000), said(1500), said(60_000)],
            ["250 ms", "1 s", "1.5 s", "60 s"]
        );
    }

    #[test]
    fn only_what_speaks_against_the_child_counts() {
        assert!(Failure::transport("x").counts());
        assert!(Failure::timeout(Duration::from_secs(1)).counts());
        let ours = std::io::Error::from_raw_os_error(Errno::EMFILE as i32);
        let ours = Failure::out_of_descriptors(&ours).unwrap();
        assert!(!ours.counts() && !ours.loses_connection());
        assert!(!Failure::unread(Duration::from_secs(1)).counts());
        assert!(!Failure::session_lost().counts());
        let (wait, sent) = (Some(Duration::from_secs(7)), Failure::transport("x"));
        let unwell = Failure {
            retry_after: wait,
            ..sent.clone()
        };
        assert!(unwell.counts(), "a 503 that names its time");
        let busy = Failure {
            blameless: true,
            ..unwell
        };
        assert!(!busy.counts(), "a 429 that names its time");
        assert!(!Failure::protocol("answered HTTP 400").counts());
        assert!(!Failure::denied("x").counts());
        assert!(!Failure::busy("x").counts());
        assert!(!Failure::circuit_open(None).counts());
    }
}
