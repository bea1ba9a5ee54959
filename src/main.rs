//! The command: see [`mcp_multiplexer`] for the map of the house.

use std::process::ExitCode;

fn main() -> ExitCode {
    match mcp_multiplexer::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_status().into()
        }
    }
}
