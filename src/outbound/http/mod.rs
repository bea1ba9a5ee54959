//! Children that are reached over Streamable HTTP.

pub(super) mod body;
mod client;
mod events;
mod link;

pub use client::{HttpClient, TlsError};
pub(super) use events::follow;
pub use link::HttpExchange;
pub(super) use link::{HttpLink, Remote};
