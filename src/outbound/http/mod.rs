//! Children that are reached over Streamable HTTP.

pub(super) mod body;
mod challenge;
mod client;
mod events;
mod exchange;
mod link;
mod resume;

pub(super) use challenge::denies;
pub use client::{HttpClient, TlsError};
pub(super) use events::follow;
pub use exchange::HttpExchange;
pub(super) use link::{ASIDE_TIMEOUT, HttpLink, Remote};
