//! `bearer-file`: a token that somebody else mints and keeps in a file.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::{
    answer,
    error::MintError,
    file::{self, Watch},
    mint::{Minted, Minter},
};
const SETTING: &str = "MCP_CLIENT_BEARER_FILE";

/// Reads the token, and reads it again when the file changes.
pub(super) struct BearerFile {
    path: PathBuf,
    watch: Watch,
}

impl BearerFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let watch = Watch::of_file(SETTING, &path);
        Self { path, watch }
    }
}

impl Minter for BearerFile {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        let token = file::read(SETTING, &self.path).await?;
        Ok(Minted {
            header: answer::bearer(token.expose_secret().trim())?,
            life: None,
        })
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }
}
