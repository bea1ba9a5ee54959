//! One MCP server in front of many.
pub mod config;
pub mod protocol;
