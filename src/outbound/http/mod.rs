//! Children that are reached over Streamable HTTP.

pub(super) mod body;
mod client;
mod events;
mod link;

pub use client::HttpClient;
pub(super) use events::follow;
pub(super) use link::HttpLink;
pub use link::HttpExchange;
