//! The way to a child, whichever it is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Exchange, Failure, Outgoing, http::HttpLink, slots::Slot, sse::SseLink, stdio::Pipe,
    unasked::Unasked,
};
use crate::protocol::{Frame, model::ProtocolVersion};

/// The way to a child for as long as one handshake holds; clones are the same one.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Its stdin and stdout.
    Pipe(Pipe),
    /// HTTP requests.
    Http(HttpLink),
    /// HTTP requests one way, one event stream the other.
    Sse(SseLink),
}

impl Link {
    /// Sends a request of a client.
    ///
    /// # Errors
    ///
    /// When the child did not accept it.
    pub(super) async fn call(
        &self,
        request: &Outgoing<'_>,
        slot: Option<Slot>,
    ) -> Result<Exchange, Failure> {
        match self {
            Self::Pipe(pipe) => pipe.call(request, slot).map(Exchange::Pipe),
            Self::Http(http) => http.call(request, slot).await.map(Exchange::Http),
            Self::Sse(sse) => sse.call(request, slot).map(Exchange::Sse),
        }
    }

    /// Passes on a notification, without waiting; whether it was taken.
    pub(super) fn tell(&self, notification: Frame) -> bool {
        match self {
            Self::Pipe(pipe) => pipe.send(notification.into_bytes()),
            Self::Http(http) => {
                // It counts what it drops.
                http.post_aside(notification);
                true
            }
            Self::Sse(sse) => sse.tell(notification.into_bytes()),
        }
    }

    /// Gives the child an answer to a request of its own. Never waits.
    pub(super) fn reply(&self, answer: Frame) {
        match self {
            Self::Pipe(pipe) => pipe.reply(answer),
            Self::Http(http) => http.reply(answer),
            Self::Sse(sse) => sse.reply(answer),
        }
    }

    /// Where messages outside of any request go.
    pub(super) fn unasked(&self) -> &Unasked {
        match self {
            Self::Pipe(pipe) => pipe.unasked(),
            Self::Http(http) => http.unasked(),
            Self::Sse(sse) => sse.unasked(),
        }
    }

    /// What the handshake settled on.
    pub(super) fn negotiated(&self, version: ProtocolVersion) {
        if let Self::Http(http) = self {
            http.negotiated(version);
        }
    }

    /// Why a handshake came to nothing within `patience`.
    pub(super) fn silence(&self, patience: Duration) -> Failure {
        let failure = Failure::timeout(patience);
        match self {
            Self::Pipe(pipe) if pipe.has_heard_junk() => Failure {
                reason: format!("printed lines that are not JSON, and {}", failure.reason),
                ..failure
            },
            Self::Sse(sse) if !sse.is_open() => Failure {
                reason: format!(
                    "named no endpoint on an event stream, and {}",
                    failure.reason
                ),
                ..failure
            },
            _ => failure,
        }
    }

    /// Closes the way, and waits a moment for the child to end its session.
    pub(super) async fn end(&self) {
        self.closed().cancel();
        if let Self::Http(http) = self {
            http.end_session().await;
        }
    }

    /// Closes a way on which no connection came about, and the child's session, if it
    /// has begun one.
    pub(super) fn give_up(&self) {
        self.closed().cancel();
        if let Self::Http(http) = self {
            let http = http.clone();
            tokio::spawn(async move { http.end_session().await });
        }
    }

    /// Why a way that is closed is of no more use. What stands between ends long streams
    /// as it likes: that says nothing of the child, and a new one is made at once.
    pub(super) fn loss(&self) -> Failure {
        match self {
            Self::Sse(_) => Failure {
                reason: "ended its event stream".to_owned(),
                ..Failure::session_lost()
            },
            Self::Pipe(_) | Self::Http(_) => Failure::transport("closed its connection"),
        }
    }

    /// Cancelled when the way is closed, from either end.
    pub(super) fn closed(&self) -> &CancellationToken {
        match self {
            Self::Pipe(pipe) => pipe.closed(),
            Self::Http(http) => http.closed(),
            Self::Sse(sse) => sse.closed(),
        }
    }
}
