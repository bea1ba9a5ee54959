//! One MCP server in front of many.
pub mod catalog;
pub mod protocol;
pub mod telemetry;
