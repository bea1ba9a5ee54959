//! An answer that is too long to be gathered: passed on while it arrives.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::settle::Settlement;
use crate::{
    outbound::{Connection, Failure, LongAnswer, MESSAGE_LIMIT},
    telemetry::Outcome,
};

/// The pieces of one answer, in order. Ends with an error if the child cuts it, or
/// says nothing more for too long. Settles the call at its end; its drop before that
/// settles it as cancelled.
pub type LongReply = BoxStream<'static, io::Result<Bytes>>;

/// How long the rest of an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between two pieces.
    pub(super) pause: Option<Duration>,
    /// For all of it: who sends a byte now and then must not hold its slot for ever.
    pub(super) last: Option<Instant>,
}

impl Patience {
    /// The end of the wait for a piece, and what it is called then.
    async fn ends(self) -> Failure {
        let pause = async {
            match self.pause {
                Some(pause) => {
                    tokio::time::sleep(pause).await;
                    Failure::timeout(pause)
                }
                None => std::future::pending().await,
            }
        };
        let all = async {
            match self.last {
                Some(last) => tokio::time::sleep_until(last).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = pause => failure,
            () = all => Failure::endless(),
        }
    }
}

/// How much of the beginning and of the end is looked at for what the outcome was.
const SEEN: usize = 4096;

fn end_of(piece: &Bytes) -> Bytes {
    piece.slice(piece.len().saturating_sub(SEEN)..)
}

struct Passing {
    answer: LongAnswer,
    connection: Arc<Connection>,
    settlement: Settlement,
    patience: Patience,
    passed: usize,
    /// The end of what has passed, [`SEEN`] bytes at most: an `isError` mostly stands there.
    tail: Bytes,
}

/// Passes `answer` on.
pub(super) fn pass(
    answer: LongAnswer,
    connection: Arc<Connection>,
    mut settlement: Settlement,
    patience: Patience,
) -> LongReply {
    settlement.waits();
    let head = answer.head.clone();
    let passing = Passing {
        passed: head.len(),
        tail: end_of(&head),
        answer,
        connection,
        settlement,
        patience,
    };
    let rest = stream::unfold(Some(passing), async |passing| {
        let mut passing = passing?;
        match passing.next().await {
            Ok(Some(data)) => Some((Ok(data), Some(passing))),
            Ok(None) => {
                let outcome = passing.outcome();
                passing.settlement.answered(&passing.connection, outcome);
                None
            }
            Err(failure) => {
                let error = io::Error::other(failure.reason.clone());
                passing
                    .settlement
                    .failed(Some(&passing.connection), &failure);
                Some((Err(error), None))
            }
        }
    });
    stream::iter([Ok(head)]).chain(rest).boxed()
}

impl Passing {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::select! {
                // First: an answer that trickles has a piece ready whenever it is asked.
                biased;
                failure = self.patience.ends() => return Err(failure),
                frame = self.answer.rest.frame() => frame,
            };
            let data = match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Failure::transport("cut its answer")),
                Some(Ok(frame)) => frame.into_data(),
            };
            let Ok(data) = data else { continue };
            self.passed += data.len();
            if self.passed > MESSAGE_LIMIT {
                return Err(Failure::protocol("sent a message over the limit"));
            }
            self.tail = match data.len() {
                SEEN.. => end_of(&data),
                _ => end_of(&[&self.tail[..], &data].concat().into()),
            };
            return Ok(Some(data));
        }
    }

    /// What is told of an answer that nobody has read whole: a tool's error is seen
    /// where servers put it, at the beginning or at the end.
    fn outcome(&self) -> Outcome {
        let says_error = |part: &[u8]| {
            [&b"\"isError\":true"[..], b"\"isError\": true"]
                .iter()
                .any(|said| memchr::memmem::find(part, said).is_some())
        };
        let beginning = &self.answer.head[..self.answer.head.len().min(SEEN)];
        if says_error(beginning) || says_error(&self.tail) {
            Outcome::ToolError
        } else {
            Outcome::Ok
        }
    }
}
