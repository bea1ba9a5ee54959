//! The MCP Inspector's command line: one request of a server, and what came of it.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use super::{bare, installed, node::program};
use crate::support::wait::soon;

/// What a request came to.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// What was printed; nothing where it was no JSON.
    pub result: Option<Value>,
    /// The exit status: the Inspector has one for each kind of failure.
    pub status: Option<i32>,
}

/// Sends one request, described by these words, to what serves a URL or is started by a
/// command line. What the Inspector keeps lies in `home`.
pub async fn inspect(target: &[String], words: &[String], home: &Path) -> Outcome {
    let mut inspector = Command::new(program());
    inspector.arg(installed(
        "node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js",
    ));
    inspector.args(words);
    match target {
        [url] => inspector.args(["--server-url", url, "--transport", "http"]),
        command => inspector.arg("--").args(command),
    };
    bare(&mut inspector).env("HOME", home).stderr(Stdio::null());
    let output = soon("the end of the Inspector", inspector.output())
        .await
        .expect("the Inspector starts");
    Outcome {
        result: serde_json::from_slice(&output.stdout).ok(),
        status: output.status.code(),
    }
}
