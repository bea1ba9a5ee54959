//! The node that is installed with the peers: the conformance suite and the OpenID
//! provider need a newer one than the machine may have.

use std::env::consts::ARCH;

use tokio::process::Command;

use super::{folder, installed, ours};

/// A script of ours, which is told first where the peers' packages are.
pub fn node(script: &str) -> Command {
    let mut node = Command::new(program());
    node.arg(ours(script)).arg(folder());
    node
}

/// Its path.
pub fn program() -> std::path::PathBuf {
    let arch = match ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    installed(format!("node_modules/node-linux-{arch}/bin/node"))
}
