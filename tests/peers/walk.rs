//! Servers and clients of the official SDKs that do a little of everything.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Words, bare, folder, installed, ours};
use crate::support::{pipe::Log, wait::soon};

/// The entry of a server of version 1 of the SDK for Python.
pub fn old_server() -> Value {
    let python = installed("venv-eunomia/bin/python");
    json!({"command": python, "args": [ours("walk_server.py")]})
}

/// The entry of a server of version 2.
pub fn new_server() -> Value {
    let python = installed("venv/bin/python");
    json!({"command": python, "args": [ours("walk_server.py")]})
}

/// A client.
#[derive(Debug, Clone, Copy)]
pub enum Walker {
    /// Of version 1 of the SDK for Python.
    OldPython,
    /// Of version 2, which begins with `initialize`.
    LegacyPython,
    /// Of version 2, which speaks the newest protocol.
    Python,
    /// Of the SDK for TypeScript.
    TypeScript,
}

impl Walker {
    fn command(self) -> Command {
        let (python, mode) = match self {
            Self::OldPython => ("venv-eunomia/bin/python", "legacy"),
            Self::LegacyPython => ("venv/bin/python", "legacy"),
            Self::Python => ("venv/bin/python", "auto"),
            Self::TypeScript => {
                let mut client = Command::new("node");
                client.arg(ours("walk_client.mjs"));
                return client;
            }
        };
        let mut client = Command::new(installed(python));
        client.arg(ours("walk_client.py")).arg(mode);
        client
    }

    /// What it sees that walks through what is served here.
    pub async fn walk(self, url: &str) -> Value {
        seen_by(self.command().arg(url)).await
    }
}

async fn seen_by(client: &mut Command) -> Value {
    bare(client).env("PEERS", folder());
    let mut process = client.spawn().expect("a client starts");
    let (out, out_end) = Log::gather(process.stdout.take().expect("stdout is piped"));
    let (err, _) = Log::gather(process.stderr.take().expect("stderr is piped"));
    let words = Words(err);
    let status = soon("the end of a client", process.wait()).await;
    soon("the end of a client's stdout", out_end)
        .await
        .expect("stdout was gathered");
    assert!(status.expect("an exit status").success(), "a client failed");
    drop(words);
    serde_json::from_str(&out.text()).expect("a client prints JSON")
}
