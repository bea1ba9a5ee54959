//! Bodies that are sent while they come into being.
//!
//! Once an answer is streamed, its work runs in a task of its own: a client that does
//! not read must not keep the work from being polled, for that holds a child's slot.
//! What it does not take within [`STALL`] is taken back.

use std::{io, pin::Pin, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use crate::{
    protocol::{
        error::{RpcError, code},
        splice::on_one_line,
    },
    relay::{LongReply, Reply},
};

/// Between two comments on a stream on which nothing else is said: balancers cut
/// what is silent.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client may take to read what is there for it.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Pieces that may wait for the client.
const PIECES: usize = 16;
const EVENT: &[u8] = b"event: message\ndata: ";
pub(super) const EVENT_END: Bytes = Bytes::from_static(b"\n\n");
pub(super) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An event stream of what comes before the answer, and the answer, if there is one.
/// The client's going drops the work.
pub(super) fn events<F>(
    first: Option<Bytes>,
    work: Pin<Box<F>>,
    asides: mpsc::Receiver<Bytes>,
) -> Body
where
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let (out, body) = Out::new();
    tokio::spawn(async move {
        tokio::select! {
            _ = say(&out, first, work, asides) => {}
            () = out.gone() => {}
        }
    });
    body
}

/// An answer that is passed on while it arrives.
pub(super) fn long(mut answer: LongReply) -> Body {
    let (out, body) = Out::new();
    tokio::spawn(async move {
        let passed = async {
            while let Some(piece) = answer.next().await {
                out.send(piece).await?;
            }
            out.end().await
        };
        tokio::select! {
            _ = passed => {}
            () = out.gone() => {}
        }
    });
    body
}

/// The same, all of it: for a client that takes whole messages only.
pub(super) async fn gather(answer: LongReply, id: Option<&str>) -> Bytes {
    let gathered: io::Result<BytesMut> = answer.try_collect().await;
    match gathered {
        Ok(bytes) => bytes.freeze(),
        Err(error) => RpcError::new(code::INTERNAL, error.to_string())
            .answer(id)
            .into_bytes(),
    }
}

async fn say<F>(
    out: &Out,
    first: Option<Bytes>,
    mut work: Pin<Box<F>>,
    mut asides: mpsc::Receiver<Bytes>,
) -> Result<(), Gone>
where
    F: Future<Output = Option<Reply>>,
{
    match first {
        Some(first) => out.event(first).await?,
        // Some proxies pass nothing on, not even the head, before the first byte.
        None => out.send(Ok(COMMENT)).await?,
    }
    let reply = loop {
        tokio::select! {
            biased;
            Some(aside) = asides.recv() => out.event(aside).await?,
            reply = &mut work => break reply,
            () = tokio::time::sleep(KEEP_ALIVE) => out.send(Ok(COMMENT)).await?,
        }
    };
    while let Ok(aside) = asides.try_recv() {
        out.event(aside).await?;
    }
    match reply {
        None => {}
        Some(Reply::Whole(answer) | Reply::Challenged(_, answer)) => out.event(answer).await?,
        Some(Reply::Long(mut answer)) => {
            out.send(Ok(Bytes::from_static(EVENT))).await?;
            while let Some(piece) = answer.next().await {
                out.send(piece.map(on_one_line)).await?;
            }
            out.send(Ok(EVENT_END)).await?;
        }
    }
    out.end().await
}

/// The sending end of a body. If it is dropped before its end was said, the body is
/// cut, for the client to see.
#[derive(Debug)]
pub(super) struct Out(mpsc::Sender<Piece>);

#[derive(Debug)]
enum Piece {
    Data(io::Result<Bytes>),
    End,
}

/// The client has gone, or does not read.
#[derive(Debug)]
pub(super) struct Gone;

impl Out {
    pub(super) fn new() -> (Self, Body) {
        let (out, pieces) = mpsc::channel(PIECES);
        let body = stream::unfold(
            Some(pieces),
            async |pieces: Option<mpsc::Receiver<Piece>>| {
                let mut pieces = pieces?;
                match pieces.recv().await {
                    Some(Piece::Data(Ok(data))) => Some((Ok(data), Some(pieces))),
                    Some(Piece::Data(Err(error))) => Some((Err(error), None)),
                    Some(Piece::End) => None,
                    None => Some((Err(io::Error::other("the answer was cut")), None)),
                }
            },
        );
        (Self(out), Body::from_stream(body))
    }

    pub(super) async fn send(&self, data: io::Result<Bytes>) -> Result<(), Gone> {
        self.piece(Piece::Data(data)).await
    }

    pub(super) async fn end(&self) -> Result<(), Gone> {
        self.piece(Piece::End).await
    }

    async fn piece(&self, piece: Piece) -> Result<(), Gone> {
        match tokio::time::timeout(STALL, self.0.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    async fn event(&self, message: Bytes) -> Result<(), Gone> {
        let message = on_one_line(message);
        let mut event = BytesMut::with_capacity(message.len() + EVENT.len() + EVENT_END.len());
        event.extend_from_slice(EVENT);
        event.extend_from_slice(&message);
        event.extend_from_slice(&EVENT_END);
        self.send(Ok(event.freeze())).await
    }

    /// Resolves when there is room for one more piece.
    pub(super) async fn ready(&self) {
        // A client that is gone has none: see `gone`.
        if self.0.reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends what there is room for at once.
    pub(super) fn send_now(&self, data: Bytes) -> Result<(), Gone> {
        self.0.try_send(Piece::Data(Ok(data))).map_err(|_| Gone)
    }

    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_comment_comes_when_nothing_else_has_for_fifteen_seconds() {
        let (asides, heard) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let _ = asides.send("x".into()).await;
            std::future::pending::<()>().await;
        });
        let mut body = events(None, Box::pin(std::future::pending()), heard);
        let began = Instant::now();
        let mut came = Vec::new();
        for _ in 0..4 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            came.push((began.elapsed().as_secs(), piece == COMMENT));
        }
        assert_eq!(came, [(0, true), (10, false), (25, true), (40, true)]);
    }
}
