//! One request over HTTP+SSE: posted, and answered on the stream.

use std::fmt;

use futures::future::BoxFuture;

use crate::outbound::{Failure, Part, stdio::PipeExchange};

/// A request that is being sent, or has been. Its drop, before the answer, cancels it.
pub struct SseExchange {
    expected: PipeExchange,
    /// Some servers end the POST only when they have answered on the stream.
    posting: Option<BoxFuture<'static, Result<(), Failure>>>,
}

impl fmt::Debug for SseExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseExchange")
            .field("expected", &self.expected)
            .field("posted", &self.posting.is_none())
            .finish()
    }
}

impl SseExchange {
    /// A request whose answer is expected, and the sending of it.
    pub(super) fn new(
        expected: PipeExchange,
        posting: BoxFuture<'static, Result<(), Failure>>,
    ) -> Self {
        Self {
            expected,
            posting: Some(posting),
        }
    }

    /// The next part.
    pub(in crate::outbound) async fn next(&mut self) -> Result<Part, Failure> {
        let Some(posting) = &mut self.posting else {
            return self.expected.next().await;
        };
        let posted = tokio::select! {
            biased;
            part = self.expected.next() => {
                if matches!(part, Ok(Part::Answer(_)))
                    && let Some(posting) = self.posting.take()
                {
                    // To its end, so that its connection is free again.
                    tokio::spawn(posting);
                }
                return part;
            }
            posted = posting => posted,
        };
        self.posting = None;
        match posted {
            Ok(()) => self.expected.next().await,
            Err(failure) => {
                self.expected.forget();
                Err(failure)
            }
        }
    }
}
