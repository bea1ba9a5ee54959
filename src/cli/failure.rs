//! Why a command failed, as it is told to the user.

use thiserror::Error;

use crate::{
    config::ConfigError,
    identity::{IdentityError, Mistake},
    policy::PolicyError,
};

/// A failed command.
#[derive(Debug, Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The service identity cannot be set up.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The policies cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
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
    /// Whoever reads what is printed has seen enough: no failure, but the end.
    #[error("nobody reads what is printed")]
    Unread,
    /// What must not happen did.
    #[error("{0}")]
    Broken(String),
    /// The command line asks for what will not be done.
    #[error("{0}")]
    Usage(String),
    /// No token could be had.
    #[error("{0}{hints}", hints = hints(&.0.advice))]
    NotMinted(Mistake),
    /// A call has failed; what was said of that has been printed.
    #[error("{0} has failed")]
    ToolFailed(String),
    /// A command whose answer is its exit status could not begin.
    #[error(transparent)]
    Input(Box<CliError>),
}

impl CliError {
    /// Wraps what the system said about `what`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Wraps what the system said about what is printed.
    pub(super) fn stdout(source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::io("stdout")(source),
        }
    }

    /// The same, told apart from the answer "no" by its exit status.
    pub(super) fn into_input(self) -> Self {
        Self::Input(Box::new(self))
    }

    /// The status the program ends with: 2 for a command line or settings that a
    /// question cannot be asked with, else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            _ => 1,
        }
    }
}

fn hints(advice: &[String]) -> String {
    advice
        .iter()
        .map(|hint| format!("\nhint: {hint}"))
        .collect()
}
