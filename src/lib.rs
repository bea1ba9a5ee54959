//! One MCP server in front of many.
pub mod catalog;
mod cli;
pub mod config;
pub mod fleet;
pub mod identity;
pub mod inbound;
pub mod outbound;
pub mod protocol;
pub mod relay;
pub mod telemetry;

pub use cli::{CliError, run};
