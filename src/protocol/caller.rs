//! What is known of whoever sent a request.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Abilities, Bearer, Era, SessionKey, Subject, User, View};

/// The few facts of a client that decide how its requests are carried.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The era its request speaks.
    pub era: Era,
    /// The least severe log message it wants. A modern request without one wants
    /// none; a legacy client that has not said wants what the child sends.
    pub log_level: Option<LogLevel>,
    /// Its session; a modern request over HTTP has none.
    pub session: Option<SessionKey>,
    /// Who it is, as its token says; `None` for one without a token.
    pub subject: Option<Arc<Subject>>,
    /// The token it has shown, whether or not that was asked for.
    pub bearer: Option<Bearer>,
    /// Whether callers are told apart: the door is locked.
    pub told_apart: bool,
    /// Whether it can take an answer that is still arriving.
    pub takes_pieces: bool,
    /// The part of the fleet it sees.
    pub view: View,
    /// What it may be asked.
    pub abilities: Abilities,
}

/// The severity of a log message (RFC 5424), the least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    /// The level of this spelling.
    pub fn read(spelling: &str) -> Option<Self> {
        serde_json::from_value(spelling.into()).ok()
    }

    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

impl Caller {
    /// Somebody of whom nothing else is known.
    pub fn nobody(era: Era, view: View) -> Self {
        Self {
            era,
            log_level: None,
            session: None,
            subject: None,
            bearer: None,
            told_apart: false,
            takes_pieces: false,
            view,
            abilities: Abilities::default(),
        }
    }

    /// Who uses what is not to be shared.
    pub fn user(&self) -> User {
        match (&self.subject, &self.bearer) {
            (Some(subject), _) => User::Subject(subject.key()),
            (None, Some(bearer)) => User::Token(bearer.fingerprint()),
            (None, None) => User::Nobody,
        }
    }

    /// Whether a log message of this level is for the caller.
    pub fn wants_log(&self, level: Option<LogLevel>) -> bool {
        match (self.era, self.log_level, level) {
            (_, Some(wanted), Some(level)) => level >= wanted,
            (_, Some(_), None) | (Era::Legacy, None, _) => true,
            (Era::Modern, None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_request_gets_log_messages_only_if_it_asked() {
        let caller = |era, log_level| Caller {
            log_level,
            ..Caller::nobody(era, View::All)
        };
        assert!(!caller(Era::Modern, None).wants_log(Some(LogLevel::Emergency)));
        assert!(caller(Era::Legacy, None).wants_log(Some(LogLevel::Debug)));
        let warned = caller(Era::Modern, LogLevel::read("warning"));
        assert!(warned.wants_log(Some(LogLevel::Error)));
        assert!(!warned.wants_log(Some(LogLevel::Info)));
    }
}
