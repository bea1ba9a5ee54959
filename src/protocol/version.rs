//! Protocol versions and the two eras they fall into.

use rmcp::model::ProtocolVersion;
use serde::{Deserialize, Serialize};

/// The two families of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2025-11-25 and older: `initialize`, sessions.
    Legacy,
    /// 2026-07-28: stateless, `server/discover`, `_meta` with every request.
    Modern,
}

impl Era {
    /// The era of a version as it is negotiated.
    pub fn of(version: &ProtocolVersion) -> Self {
        if version.has_initialize() {
            Self::Legacy
        } else {
            Self::Modern
        }
    }

    /// The word used in metrics, status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// The newest version of the modern era.
pub const MODERN: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// The newest version of the legacy era.
pub const NEWEST_LEGACY: ProtocolVersion = ProtocolVersion::LATEST_WITH_INITIALIZE;

/// The known version of this spelling.
pub fn known_version(spelling: &str) -> Option<ProtocolVersion> {
    ProtocolVersion::KNOWN_VERSIONS
        .iter()
        .find(|known| known.as_str() == spelling)
        .cloned()
}

/// The version to answer an `initialize` with: the one asked for, if it has a
/// handshake and is known; else the newest that has one.
pub fn negotiate_legacy(asked: &str) -> ProtocolVersion {
    known_version(asked)
        .filter(ProtocolVersion::has_initialize)
        .unwrap_or(NEWEST_LEGACY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initialize_is_never_answered_with_a_version_that_has_none() {
        assert_eq!(negotiate_legacy("2025-06-18").as_str(), "2025-06-18");
        assert_eq!(negotiate_legacy("2026-07-28"), NEWEST_LEGACY);
        assert_eq!(negotiate_legacy("1999-01-01"), NEWEST_LEGACY);
    }
}
