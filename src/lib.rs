//! One MCP server in front of many.
//!
//! The map of the house is `docs/ARCHITECTURE.md`, which is part of this page.
#![cfg_attr(doc, doc = include_str!("../docs/ARCHITECTURE.md"))]
//!
//! The names in it:
//! [`fleet::Permitted`], [`fleet::Snapshot`], [`inbound::Dispatch`], [`inbound::Entrance`],
//! [`inbound::Guard`], [`inbound::serve_http`], [`inbound::serve_stdio`], [`outbound::Child`],
//! [`outbound::Connection`], [`outbound::Exchange`], [`outbound::Question`],
//! [`protocol::Frame`], [`protocol::TraceContext`], [`protocol::request::Params`],
//! [`relay::Relay`].
pub mod catalog;
mod cli;
pub mod config;
pub mod fleet;
#[cfg(test)]
mod fuzz;
pub mod identity;
pub mod inbound;
pub mod outbound;
pub mod policy;
pub mod protocol;
pub mod relay;
pub mod telemetry;

pub use cli::{CliError, run};

/// The version of this build, as operators see it: a release names its commit too. Clients and
/// children are told that of the package.
pub const VERSION: &str = match option_env!("BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
