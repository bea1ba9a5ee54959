//! What is known of whoever sent a request.

use rmcp::model::LoggingLevel;

use super::Era;

/// The few facts of a client that decide how its requests are carried.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The era its request speaks.
    pub era: Era,
    /// The least severe log message it wants. A modern request without one wants
    /// none; a legacy client that has not said wants what the child sends.
    pub log_level: Option<LoggingLevel>,
}

impl Caller {
    /// Whether a log message of this level is for the caller.
    pub fn wants_log(&self, level: Option<LoggingLevel>) -> bool {
        match (self.era, self.log_level, level) {
            (_, Some(wanted), Some(level)) => severity(level) >= severity(wanted),
            (_, Some(_), None) => true,
            (Era::Legacy, None, _) => true,
            (Era::Modern, None, _) => false,
        }
    }
}

/// The order of log levels (RFC 5424), the least severe first.
pub fn severity(level: LoggingLevel) -> u8 {
    level as u8
}

/// The log level of this spelling.
pub fn log_level(spelling: &str) -> Option<LoggingLevel> {
    serde_json::from_value(spelling.into()).ok()
}

/// The word for a log level on the wire.
pub fn log_level_word(level: LoggingLevel) -> &'static str {
    match level {
        LoggingLevel::Debug => "debug",
        LoggingLevel::Info => "info",
        LoggingLevel::Notice => "notice",
        LoggingLevel::Warning => "warning",
        LoggingLevel::Error => "error",
        LoggingLevel::Critical => "critical",
        LoggingLevel::Alert => "alert",
        LoggingLevel::Emergency => "emergency",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_request_gets_log_messages_only_if_it_asked() {
        let caller = |era, log_level| Caller { era, log_level };
        assert!(!caller(Era::Modern, None).wants_log(Some(LoggingLevel::Emergency)));
        assert!(caller(Era::Legacy, None).wants_log(Some(LoggingLevel::Debug)));
        let warned = caller(Era::Modern, log_level("warning"));
        assert!(warned.wants_log(log_level("error")));
        assert!(!warned.wants_log(log_level("info")));
    }
}
