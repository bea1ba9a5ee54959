//! `schema`: the JSON Schema of the configuration.

use std::io::{Write, stdout};

use clap::Args;

use super::CliError;
use crate::config;

/// Print the JSON Schema of mcp_config.json, for editors.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer schema > mcp_config.schema.json

Then, at the top of mcp_config.json:
  \"$schema\": \"./mcp_config.schema.json\"")]
pub(super) struct Schema;

impl Schema {
    pub(super) fn run(self) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(&config::schema())
            .map_err(|error| CliError::Broken(error.to_string()))?;
        writeln!(stdout(), "{text}").map_err(CliError::io("stdout"))
    }
}
