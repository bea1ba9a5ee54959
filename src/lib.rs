//! One MCP server in front of many.
pub mod catalog;
pub mod config;
pub mod fleet;
pub mod identity;
pub mod outbound;
pub mod protocol;
pub mod relay;
pub mod telemetry;
