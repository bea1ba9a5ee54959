//! `schema`: the JSON Schema of the configuration.

use clap::Args;

use super::{CliError, out};
use crate::config;

/// Print the JSON Schema of mcp_config.json, for editors.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer schema > mcp_config.schema.json

Then, at the top of mcp_config.json:
  \"$schema\": \"./mcp_config.schema.json\"

Exit status:
  0  it is printed
  1  it cannot be printed
  2  the command line is wrong")]
pub(super) struct Schema;

impl Schema {
    pub(super) fn run(self) -> Result<(), CliError> {
        out::print_json(&config::schema())
    }
}
