//! Children that are reached over HTTP+SSE, the transport of 2024-11-05: one event
//! stream brings everything the child says, requests go by POST to an endpoint that
//! the stream names first.
//!
//! To everybody else that is a pipe: what comes by the stream is sorted as what comes
//! by stdout is.

mod exchange;
mod link;
mod stream;

pub use exchange::SseExchange;
pub(super) use link::SseLink;
