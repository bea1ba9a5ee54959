//! An HTTP client that hides nothing: every header sent is one the test wrote,
//! and the body is there as bytes or as events.

use std::net::IpAddr;

use ::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use sse_stream::{Sse, SseStream};
use tokio::net::TcpSocket;

use super::{
    wait::soon,
    wire::{Answer, member, method},
};

/// What a conforming client accepts.
pub const ACCEPT_BOTH: &str = "application/json, text/event-stream";

/// A client with a pool of connections of its own.
#[derive(Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Http {
    /// One that comes from this address of the machine.
    pub fn coming_from(address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends a request as it is and waits for the head of the reply.
    pub async fn send(&self, request: Request<Bytes>) -> Reply {
        let what = format!("a reply to {} {}", request.method(), request.uri());
        let reply = soon(&what, self.0.request(request.map(Full::new))).await;
        let (head, body) = reply
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
            .into_parts();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Like [`Http::send`] where no reply at all is an answer too, as while a
    /// server comes up or goes down.
    pub async fn try_send(&self, request: Request<Bytes>) -> Option<Reply> {
        let (head, body) = self
            .0
            .request(request.map(Full::new))
            .await
            .ok()?
            .into_parts();
        Some(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// GETs a URL.
    pub async fn get(&self, url: &str) -> Reply {
        self.send(request(Method::GET, url, Bytes::new())).await
    }

    /// POSTs a frame as any conforming client would.
    pub async fn post(&self, url: &str, frame: impl Into<Bytes>) -> Reply {
        self.send(post(url, frame)).await
    }
}

/// A bare request.
pub fn request(method: Method, url: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
    request
}

/// A POST with the headers every conforming client sends.
pub fn post(url: &str, frame: impl Into<Bytes>) -> Request<Bytes> {
    let json = "application/json";
    request(Method::POST, url, frame)
        .with(header::ACCEPT.as_str(), ACCEPT_BOTH)
        .with(header::CONTENT_TYPE.as_str(), json)
}

/// Headers, one after the other.
pub trait With {
    /// The request with this header, in place of any of the same name.
    fn with(self, name: &str, value: &str) -> Self;
    /// The request without this header.
    fn without(self, name: &str) -> Self;
}

impl With for Request<Bytes> {
    fn with(mut self, name: &str, value: &str) -> Self {
        let name: header::HeaderName = name.parse().expect("a header name");
        self.headers_mut()
            .insert(name, value.parse().expect("a header value"));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers_mut().remove(name);
        self
    }
}

/// The head of a reply, and its body still to be read.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Reply {
    /// One header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The whole body.
    pub async fn bytes(self) -> Bytes {
        let body = soon("the end of a body", self.body.collect()).await;
        body.expect("a body without errors").to_bytes()
    }

    /// The whole body, or nothing if it was cut before its end.
    pub async fn try_bytes(self) -> Option<Bytes> {
        let body = soon("the end of a body", self.body.collect()).await;
        Some(body.ok()?.to_bytes())
    }

    /// The whole body as text.
    pub async fn text(self) -> String {
        String::from_utf8(self.bytes().await.into()).expect("a body in UTF-8")
    }

    /// The whole body as JSON.
    pub async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The body as a stream of frames.
    pub fn events(self) -> Events {
        assert_eq!(self.header("content-type"), "text/event-stream");
        Events(SseStream::new(self.body))
    }

    /// The answer to a request, whether it came as JSON or as a stream.
    pub async fn answer(self) -> Answer {
        if !self.header("content-type").starts_with("text/event-stream") {
            let frame = self.text().await;
            return Answer {
                frame,
                before: Vec::new(),
            };
        }
        let mut events = self.events();
        let mut before = Vec::new();
        loop {
            let frame = events
                .next()
                .await
                .expect("an answer before the stream ends");
            if method(&frame).is_none() && member(&frame, "id").is_some() {
                return Answer { frame, before };
            }
            before.push(frame);
        }
    }
}

/// The frames of an event stream.
pub struct Events(SseStream<Incoming>);

impl Events {
    /// The next frame; `None` at the end of the stream. Events without data, which
    /// keep a connection alive or carry an id only, are no frames.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match self.next_event().await?.data {
                Some(data) if !data.is_empty() => return Some(data),
                _ => {}
            }
        }
    }

    /// The next event, whatever it carries.
    pub async fn next_event(&mut self) -> Option<Sse> {
        let event = soon("an event on a stream", self.0.next()).await?;
        Some(event.expect("a well-formed event stream"))
    }
}

/// A port on which every connection is refused, for as long as this is held: bound,
/// so that nobody else gets it, and never listening.
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    /// One that the system picks.
    pub fn pick() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = "127.0.0.1:0".parse().expect("an address");
        socket.bind(any).expect("a port");
        Self(socket)
    }

    /// An address of it.
    pub fn url(&self, path: &str) -> String {
        let address = self.0.local_addr().expect("a bound socket");
        format!("http://{address}{path}")
    }
}
