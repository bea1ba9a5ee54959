//! The children of a configuration, started for as long as a command takes.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::CliError;
use crate::{
    config::Settings, fleet::Fleet, identity::Identities, inbound::raise_open_files,
    outbound::HttpClient, policy::Policies,
};

/// How long children may take to end.
const STOP: Duration = Duration::from_secs(5);

/// A fleet of the command's own.
pub(super) struct Started {
    pub(super) fleet: Arc<Fleet>,
    /// What else is to end with it.
    pub(super) shutdown: CancellationToken,
}

impl Started {
    /// Starts or connects every child.
    pub(super) fn of(settings: &Settings) -> Result<Self, CliError> {
        raise_open_files();
        let shutdown = CancellationToken::new();
        let identities = Identities::start(&settings.identity, shutdown.clone())?;
        // Whoever may read the configuration may see all that is in it.
        let policies = Policies::default();
        let fleet = Fleet::start(settings, HttpClient::new()?, identities, policies, None);
        Ok(Self { fleet, shutdown })
    }

    /// Ends them.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        // The watchdog ends what is left of them.
        let _ = tokio::time::timeout(STOP, self.fleet.stop()).await;
    }
}
