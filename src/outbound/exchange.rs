//! One request on its way to a child, and what comes back for it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{
    Failure, Question, credentials::Shown, http::HttpExchange, slots::Slot, sse::SseExchange,
    stdio::PipeExchange,
};
use crate::protocol::Frame;

/// One request to send.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The message, spliced and ready.
    pub frame: Bytes,
    /// Its id as it stands in the frame.
    pub id: &'a str,
    /// The number this program knows it by; in the id, where that is ours.
    pub number: u64,
    /// Its method.
    pub method: &'a str,
    /// The child's own name for the thing it is about, if it is about one.
    pub name: Option<&'a str>,
    /// What its user has shown, for a child that is to know it.
    pub shown: Option<Shown>,
    /// Headers for an HTTP child: what it is to read of the arguments there, and where
    /// the request stands in a trace.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The client's id (JSON text), where it can take an answer that is still arriving: but
    /// for its id that must be fit to be passed on as it is.
    pub passes_as: Option<&'a str>,
}

/// One thing that came back.
#[derive(Debug)]
pub enum Part {
    /// A notification of the child for this request.
    Aside(Frame),
    /// A request of the child's to whoever sent this one.
    Request(Question),
    /// The answer: the last part.
    Answer(Frame),
    /// The answer, too long to be gathered: its first bytes, and the rest.
    Long(LongAnswer),
}

/// An answer that is passed on while it arrives.
#[derive(Debug)]
pub struct LongAnswer {
    /// What has arrived.
    pub head: Bytes,
    /// What is still to come. Ends with an error if the child cuts it.
    pub rest: hyper::body::Incoming,
    /// Held until the answer has passed.
    pub slot: Option<Slot>,
}

/// A request that has been sent. Its drop, before the answer has come, cancels the
/// child's work.
#[derive(Debug)]
pub enum Exchange {
    /// Over pipes.
    Pipe(PipeExchange),
    /// Over HTTP.
    Http(HttpExchange),
    /// Over HTTP, answered on the one stream.
    Sse(SseExchange),
}

impl Exchange {
    /// Whether the answer is an error that came with an HTTP error: what was refused is
    /// the protocol, not the call.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Pipe(_) | Self::Sse(_) => false,
            Self::Http(exchange) => exchange.is_refusal(),
        }
    }

    /// The next part. Not to be called after the answer.
    ///
    /// # Errors
    ///
    /// When no answer can come any more.
    pub async fn next(&mut self) -> Result<Part, Failure> {
        match self {
            Self::Pipe(exchange) => exchange.next().await,
            Self::Http(exchange) => exchange.next().await,
            Self::Sse(exchange) => exchange.next().await,
        }
    }
}
