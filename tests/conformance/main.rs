//! The official conformance suite, around the multiplexer: as the server of its clients,
//! and as the client of its servers.

#[path = "../peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod clients;
mod identity;
mod known;
mod servers;
