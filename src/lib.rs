//! One MCP server in front of many.
pub mod protocol;
