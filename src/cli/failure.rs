//! Why a command failed, as it is told to the user.

use thiserror::Error;

use crate::{config::ConfigError, identity::IdentityError};

/// A failed command.
#[derive(Debug, Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The service identity cannot be set up.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::outbound::TlsError),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What it was about.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The demo's tour has seen something else than it promised.
    #[error("the tour stopped at \"{step}\": seen was {seen}")]
    Tour {
        /// The step that did not hold.
        step: &'static str,
        /// What was seen instead.
        seen: String,
    },
    /// What must not happen did.
    #[error("{0}")]
    Broken(String),
    /// The command line asks for what will not be done.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// Wraps what the system said about `what`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
