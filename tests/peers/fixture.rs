//! `tests/fixture`: the server, written with rmcp, that the conformance suite is run
//! against.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tokio::process::Command;

use super::Server;
use crate::support::child::built;

/// One that listens on HTTP.
pub async fn over_http() -> Server {
    Server::start(Command::new(program()).arg("http")).await
}

/// Its path; the one argument is how it is to be reached.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("conformance-fixture", "conformance-fixture"))
}
