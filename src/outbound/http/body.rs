//! What a child's HTTP response carries: one message, or an event stream.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use sse_stream::{Sse, SseStream};

use crate::{
    outbound::{Failure, MESSAGE_LIMIT},
    protocol::Frame,
};

/// How much of an error's body is read.
const ERROR_LIMIT: usize = 64 * 1024;

/// An event stream's messages. Each holds whole bytes of one event's data.
pub(in crate::outbound) type Events = BoxStream<'static, Result<Event, Failure>>;

/// One event of a stream.
#[derive(Debug)]
pub(in crate::outbound) struct Event {
    /// The message, if the event carries anything.
    pub(in crate::outbound) frame: Option<Result<Frame, Failure>>,
    /// Where to resume after it; empty: nowhere.
    pub(in crate::outbound) id: Option<String>,
    /// How long to wait before resuming, from now on.
    pub(in crate::outbound) retry: Option<Duration>,
}

/// How far a stream has been read: what `Last-Event-ID` says when it is asked for again.
/// An id that no header can hold is none.
#[derive(Clone, Debug, Default)]
pub(in crate::outbound) struct LastEvent(pub(super) Option<HeaderValue>);

impl LastEvent {
    /// This event has been read.
    pub(super) fn read(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            let id = Some(id.as_bytes()).filter(|id| !id.is_empty());
            self.0 = id.and_then(|id| HeaderValue::from_bytes(id).ok());
        }
    }
}

/// A successful response, by its shape.
pub(in crate::outbound) enum Shape {
    /// 202, or nothing in it.
    Accepted,
    /// One JSON message.
    Message,
    /// `text/event-stream`.
    Events,
}

/// The shape of a successful response.
///
/// # Errors
///
/// `protocol` for any other content type: an HTML page is no MCP server.
pub(in crate::outbound) fn shape(response: &Response<Incoming>) -> Result<Shape, Failure> {
    if matches!(
        response.status(),
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT
    ) {
        return Ok(Shape::Accepted);
    }
    match content_type(response) {
        "application/json" => Ok(Shape::Message),
        "text/event-stream" => Ok(Shape::Events),
        other => Err(Failure::protocol(format!(
            "answered HTTP {} with what is no MCP",
            response.status().as_u16()
        ))
        .with_detail(&format!("content type {other:?}"))),
    }
}

fn content_type(response: &Response<Incoming>) -> &str {
    let value = response.headers().get(CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    text.split(';').next().unwrap_or("").trim()
}

/// What has been read of a body.
pub(in crate::outbound) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// More than asked for: the rest is still in the body.
    Beyond(Bytes),
}

impl Gathered {
    /// The message that this is.
    ///
    /// # Errors
    ///
    /// When it is too long, or none.
    pub(in crate::outbound) fn message(self) -> Result<Frame, Failure> {
        match self {
            Self::Whole(bytes) => frame(bytes),
            Self::Beyond(_) => Err(Failure::too_long()),
        }
    }
}

/// Reads a body, of which `head` has been read, until its end or until more than `enough`
/// bytes are there.
///
/// # Errors
///
/// When the child cuts it.
pub(in crate::outbound) async fn gather(
    head: Bytes,
    body: &mut Incoming,
    enough: usize,
) -> Result<Gathered, Failure> {
    let mut first = Some(head).filter(|head| !head.is_empty());
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        // One piece, the common case, is passed on without a copy.
        match first.take() {
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(before) => {
                // Where the child has said how long it is, there is room for all of it.
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(enough);
                all.reserve(before.len() + data.len() + rest.min(enough));
                all.extend_from_slice(&before);
                all.extend_from_slice(&data);
            }
        }
        if first.as_ref().map_or(all.len(), Bytes::len) > enough {
            return Ok(Gathered::Beyond(first.unwrap_or_else(|| all.freeze())));
        }
    }
    Ok(Gathered::Whole(first.unwrap_or_else(|| all.freeze())))
}

/// Reads one message.
///
/// # Errors
///
/// When it is cut, too long, or no message.
pub(in crate::outbound) async fn message(body: &mut Incoming) -> Result<Frame, Failure> {
    gather(Bytes::new(), body, MESSAGE_LIMIT).await?.message()
}

/// The beginning of an error's body.
pub(in crate::outbound) async fn error_body(body: &mut Incoming) -> Bytes {
    match gather(Bytes::new(), body, ERROR_LIMIT).await {
        Ok(Gathered::Whole(bytes) | Gathered::Beyond(bytes)) => bytes,
        Err(_) => Bytes::new(),
    }
}

/// One message from its bytes.
///
/// # Errors
///
/// `protocol` when it is none.
pub(in crate::outbound) fn frame(bytes: Bytes) -> Result<Frame, Failure> {
    Frame::read(bytes)
        .map_err(|error| Failure::protocol(format!("sent what is no MCP message: {error}")))
}

/// The messages of an event stream.
pub(in crate::outbound) fn events(body: impl Body<Data = Bytes> + Send + 'static) -> Events {
    raw_events(body)
        .map(|event| {
            let event = event?;
            let data = event.data.filter(|data| !data.trim().is_empty());
            Ok(Event {
                frame: data.map(|data| frame(data.into())),
                id: event.id,
                retry: event.retry.map(Duration::from_millis),
            })
        })
        .boxed()
}

/// The events of a stream, whatever they are. The parser has no limit of its own: one
/// that grows beyond ours ends the stream.
pub(in crate::outbound) fn raw_events(
    body: impl Body<Data = Bytes> + Send + 'static,
) -> BoxStream<'static, Result<Sse, Failure>> {
    let since_event = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&since_event);
    let data = Box::pin(body).into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(|_| io::Error::other("the connection was cut"))?;
        let before = counted.fetch_add(chunk.len(), Ordering::Relaxed);
        if before + chunk.len() > MESSAGE_LIMIT {
            Err(io::Error::other("an event is too long"))
        } else {
            Ok(chunk)
        }
    });
    SseStream::from_bytes_stream(data)
        .map(move |event| {
            let read = since_event.swap(0, Ordering::Relaxed);
            event.map_err(|error| match read > MESSAGE_LIMIT {
                true => Failure::too_long(),
                false => {
                    Failure::transport("broke its event stream").with_detail(&error.to_string())
                }
            })
        })
        .boxed()
}

fn cut(_: hyper::Error) -> Failure {
    Failure::transport("cut the connection in the middle of its answer")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::Full;

    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn a_stream_is_asked_for_again_from_the_last_id_that_can_be_said() {
        let mut last = LastEvent::default();
        for (id, said) in [
            (Some("1"), Some("1")),
            (None, Some("1")),
            (Some("größe"), Some("größe")),
            (Some("a\u{1}b"), None),
            (Some("2"), Some("2")),
            (Some(""), None),
        ] {
            last.read(&Event {
                frame: None,
                id: id.map(str::to_owned),
                retry: None,
            });
            let told = last.0.as_ref().map(HeaderValue::as_bytes);
            assert_eq!(told, said.map(str::as_bytes), "{id:?}");
        }
    }

    #[test]
    fn a_fuzzed_event_stream_ends_whatever_is_in_it() {
        fuzz("events", |input| {
            let body = Full::new(Bytes::copy_from_slice(input));
            let events = events(body).collect::<Vec<_>>().now_or_never();
            let events = events.expect("nothing is waited for");
            let frames = events.into_iter().flatten().filter_map(|event| event.frame);
            for frame in frames.flatten() {
                assert!(frame.bytes().len() <= input.len());
            }
        });
    }
}
