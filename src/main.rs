//! The command: see [`mcp_multiplexer`] for the map of the house.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

fn main() -> ExitCode {
    match mcp_multiplexer::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who closed stderr does not want to be told.
            let _ = writeln!(stderr(), "error: {error}");
            error.exit_status().into()
        }
    }
}
