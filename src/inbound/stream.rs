//! Bodies that are sent while they come into being.

use std::{io, pin::Pin, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use crate::{
    outbound::{Failure, LongAnswer},
    protocol::{
        error::{RpcError, code},
        splice::on_one_line,
    },
    relay::{Reply, Settlement},
    telemetry::Outcome,
};

/// Between two comments on a stream on which nothing else is said: balancers cut
/// what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An answer that is passed on while it arrives, settled at its end. A child that
/// cuts it cuts it for the client too.
pub(super) fn long(
    answer: LongAnswer,
    settlement: Settlement,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    struct Passing {
        answer: LongAnswer,
        settlement: Settlement,
    }
    let head = stream::iter([Ok(answer.head.clone())]);
    let passing = Some(Passing { answer, settlement });
    let rest = stream::try_unfold(passing, async |passing| {
        let Some(mut passing) = passing else {
            return Ok(None);
        };
        loop {
            match passing.answer.rest.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some((data, Some(passing))));
                    }
                }
                Some(Err(_)) => {
                    let cut = Failure::transport("cut its answer");
                    passing.settlement.failed(None, &cut);
                    return Err(io::Error::other("the child cut its answer"));
                }
                None => {
                    passing.settlement.answered(Outcome::Ok);
                    return Ok(None);
                }
            }
        }
    });
    head.chain(rest)
}

/// The same, all of it: for a client that takes whole messages only.
pub(super) async fn gather(answer: LongAnswer, settlement: Settlement, id: Option<&str>) -> Bytes {
    let gathered: io::Result<BytesMut> = long(answer, settlement).try_collect().await;
    match gathered {
        Ok(bytes) => bytes.freeze(),
        Err(error) => RpcError::new(code::INTERNAL, error.to_string())
            .answer(id)
            .into_bytes(),
    }
}

/// A request that is being worked on, and what comes before its answer.
pub(super) struct Working<F> {
    pub(super) work: Pin<Box<F>>,
    pub(super) asides: mpsc::Receiver<Bytes>,
}

/// An event stream of what comes before the answer, and the answer, if there is one.
/// Its drop drops the work.
pub(super) fn events<F>(first: Option<Bytes>, working: Working<F>) -> Body
where
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let first = stream::iter(first.map(|message| Ok(event(message))));
    let rest = stream::unfold(Some((working, keep_alive())), async |working| {
        let (mut working, mut silent) = working?;
        let next = tokio::select! {
            biased;
            Some(aside) = working.asides.recv() => Next::More(event(aside)),
            reply = &mut working.work => Next::Last(reply),
            () = &mut silent => Next::More(COMMENT),
        };
        match next {
            Next::More(bytes) => {
                silent.as_mut().reset(Instant::now() + KEEP_ALIVE);
                let more = stream::iter([Ok(bytes)]).boxed();
                Some((more, Some((working, silent))))
            }
            Next::Last(reply) => Some((last(working.asides, reply), None)),
        }
    });
    Body::from_stream(first.chain(rest.flatten()))
}

enum Next {
    More(Bytes),
    Last(Option<Reply>),
}

fn keep_alive() -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(KEEP_ALIVE))
}

/// What was said before the answer and not yet sent, and the answer.
fn last(
    mut asides: mpsc::Receiver<Bytes>,
    reply: Option<Reply>,
) -> stream::BoxStream<'static, io::Result<Bytes>> {
    let mut before = Vec::new();
    while let Ok(aside) = asides.try_recv() {
        before.push(Ok(event(aside)));
    }
    let before = stream::iter(before);
    match reply {
        None => before.boxed(),
        Some(Reply::Whole(answer)) => before.chain(stream::iter([Ok(event(answer))])).boxed(),
        Some(Reply::Long(answer, settlement)) => before
            .chain(stream::iter([Ok(Bytes::from_static(EVENT))]))
            .chain(long(answer, settlement).map_ok(on_one_line))
            .chain(stream::iter([Ok(Bytes::from_static(b"\n\n"))]))
            .boxed(),
    }
}

const EVENT: &[u8] = b"event: message\ndata: ";

/// One message as a server-sent event.
fn event(message: Bytes) -> Bytes {
    let message = on_one_line(message);
    let mut event = BytesMut::with_capacity(message.len() + EVENT.len() + 2);
    event.extend_from_slice(EVENT);
    event.extend_from_slice(&message);
    event.extend_from_slice(b"\n\n");
    event.freeze()
}
