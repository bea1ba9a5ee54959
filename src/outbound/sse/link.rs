//! One handshake's worth of HTTP+SSE.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{exchange::SseExchange, stream};
use crate::outbound::{
    Failure, Outgoing,
    credentials::Shown,
    http::{ASIDE_TIMEOUT, HttpLink, Remote, body},
    link::Link,
    slots::Slot,
    stdio::{Pipe, Reader},
    unasked::Unasked,
};
use crate::protocol::Frame;

/// The way to a child over one event stream; clones are the same one.
#[derive(Clone, Debug)]
pub(in crate::outbound) struct SseLink {
    pipe: Pipe,
    endpoint: watch::Receiver<Endpoint>,
    /// Whether any message has come by the stream.
    pub(super) spoken: Arc<AtomicBool>,
}

/// Where messages to the child go.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// The stream has not named it yet.
    Unnamed,
    /// There.
    Named(HttpLink),
    /// Nowhere: there is no stream.
    None(Failure),
}

impl SseLink {
    /// Opens the stream; what is sent meanwhile waits for the endpoint.
    pub(in crate::outbound) fn open(remote: Remote, unasked: Unasked) -> Self {
        let (pipe, outgoing) = Pipe::open(unasked.clone());
        let (named, endpoint) = watch::channel(Endpoint::Unnamed);
        let link = Self {
            pipe: pipe.clone(),
            endpoint,
            spoken: Arc::default(),
        };
        let spoken = Arc::clone(&link.spoken);
        let reader = Reader {
            pipe,
            way: Link::Sse(link.clone()),
        };
        tokio::spawn(stream::read(remote, unasked, reader, named, spoken));
        tokio::spawn(link.clone().carry(outgoing));
        link
    }

    /// Begins a request of a client. `slot` is held until the child is done with it.
    ///
    /// # Errors
    ///
    /// When the stream is closed already.
    pub(in crate::outbound) fn call(
        &self,
        request: &Outgoing<'_>,
        slot: Option<Slot>,
    ) -> Result<SseExchange, Failure> {
        let way = Link::Sse(self.clone());
        let expected = self.pipe.expect(request.number, slot, way);
        // After that: the closing reader empties the table once.
        if self.closed().is_cancelled() {
            expected.forget();
            return Err(Failure::not_sent("has closed its connection"));
        }
        let (link, message) = (self.clone(), request.frame.clone());
        let (shown, headers) = (
            request.shown.clone(),
            request.headers.iter().cloned().collect(),
        );
        let posting = async move { link.post(message, headers, shown.as_ref()).await };
        Ok(SseExchange::new(expected, Box::pin(posting)))
    }

    /// Queues a message that nobody waits for; whether it was taken.
    pub(in crate::outbound) fn tell(&self, message: Bytes) -> bool {
        self.pipe.send(message)
    }

    /// Gives the child an answer to a request of its own. None waits for another.
    pub(in crate::outbound) fn reply(&self, answer: Frame) {
        // Whoever asks has named it: that comes first on the stream.
        if let Endpoint::Named(link) = &*self.endpoint.borrow() {
            link.reply(answer);
        }
    }

    /// Where messages outside of any request go.
    pub(in crate::outbound) fn unasked(&self) -> &Unasked {
        self.pipe.unasked()
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// When the child did not take it.
    pub(in crate::outbound) async fn post(
        &self,
        message: Bytes,
        extra: HeaderMap,
        shown: Option<&Shown>,
    ) -> Result<(), Failure> {
        let endpoint = self.endpoint().await?;
        let mut response = endpoint.post_as(message, extra, shown).await?;
        match response.status() {
            status if status.is_success() => {
                // Read to its end, so that the connection is free again.
                body::error_body(response.body_mut()).await;
                Ok(())
            }
            // The endpoint stands for a session: one that was there is there no more.
            StatusCode::NOT_FOUND if self.spoken.load(Ordering::Relaxed) => {
                Err(Failure::session_lost())
            }
            _ => Err(endpoint.refused(&response)),
        }
    }

    /// Whether the stream has named an endpoint.
    pub(in crate::outbound) fn is_open(&self) -> bool {
        matches!(*self.endpoint.borrow(), Endpoint::Named(_))
    }

    /// Cancelled when the stream is closed, from either end.
    pub(in crate::outbound) fn closed(&self) -> &CancellationToken {
        self.pipe.closed()
    }

    async fn endpoint(&self) -> Result<HttpLink, Failure> {
        let mut endpoint = self.endpoint.clone();
        let named = endpoint.wait_for(|endpoint| !matches!(endpoint, Endpoint::Unnamed));
        match named.await.as_deref() {
            Ok(Endpoint::Named(link)) if !self.closed().is_cancelled() => Ok(link.clone()),
            Ok(Endpoint::None(failure)) => Err(failure.clone()),
            _ => Err(Failure::not_sent("has closed its connection")),
        }
    }

    /// Sends what nobody waits for, one after the other.
    async fn carry(self, mut outgoing: mpsc::Receiver<Bytes>) {
        let sent = async {
            while let Some(message) = outgoing.recv().await {
                // The child's loss: it is cleaned up when the connection ends.
                let _ =
                    tokio::time::timeout(ASIDE_TIMEOUT, self.post(message, HeaderMap::new(), None))
                        .await;
            }
        };
        self.closed().run_until_cancelled(sent).await;
    }
}
