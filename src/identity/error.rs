//! What can go wrong: at the start, and at a mint.

use std::time::Duration;

use http::StatusCode;

use super::provider::ProviderError;

/// Why no identity could be started. Every variant names the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificates of a private authority cannot be used.
    #[error("OIDC_CA_FILE cannot be used: {0}; it needs certificates in PEM")]
    CaFile(String),
    /// The TLS configuration of this machine cannot be used.
    #[error("cannot set up HTTPS to the identity provider: {0}")]
    Tls(String),
}

/// Why one mint gave no token. Shown to operators, so no variant holds a
/// secret, and what the provider said is bounded (see [`quoted`]).
#[derive(Debug, thiserror::Error)]
pub(super) enum MintError {
    #[error("{setting} {why}")]
    Unreadable { setting: &'static str, why: String },
    #[error("OIDC_CLIENT_KEY_FILE holds no private key in PEM (PKCS#8) that is RSA or P-256")]
    UnusableKey,
    #[error("the identity provider refused: {code}{}", detail(.description))]
    Refused {
        code: String,
        description: Option<String>,
    },
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the answer of the token endpoint is not a token answer")]
    NotATokenAnswer,
    #[error("the answer of the token endpoint has no access_token")]
    NoToken,
    #[error("the token endpoint gave a token of type `{0}`, not Bearer")]
    NotBearer(String),
    #[error("the token holds characters that no header may hold")]
    IllegalToken,
    #[error("the discovery document is of issuer `{found}`, not of `{configured}`")]
    IssuerMismatch { configured: String, found: String },
    #[error("the discovery document names a token endpoint that is not a safe http(s) URL: `{0}`")]
    UnsafeEndpoint(String),
    #[error(
        "no discovery document at issuer `{0}`, and no token endpoint where Keycloak has it; set OIDC_TOKEN_URL"
    )]
    NoEndpoint(String),
    #[error("no token within {} s", .0.as_secs())]
    TookTooLong(Duration),
}

impl MintError {
    /// The provider does not know this client or its secret. To a wrong secret
    /// Keycloak says `unauthorized_client`.
    pub(super) fn is_invalid_client(&self) -> bool {
        let codes = ["invalid_client", "unauthorized_client"];
        matches!(self, Self::Refused { code, .. } if codes.contains(&code.as_str()))
    }

    /// How long the provider asked us to stay away.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(ProviderError::Status { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// The word for the metrics. A provider that answers 5xx is as good as
    /// unreachable; without a secret we refuse in its stead.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreadable { .. } | Self::UnusableKey | Self::Refused { .. } => Outcome::Refused,
            Self::TookTooLong(_) => Outcome::Timeout,
            Self::Provider(error) => match error {
                ProviderError::Unreachable { .. } => Outcome::Unreachable,
                ProviderError::Timeout { .. } => Outcome::Timeout,
                ProviderError::Status { status, .. } if status.is_server_error() => {
                    Outcome::Unreachable
                }
                ProviderError::Status { status, .. }
                    if matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS
                            | StatusCode::UNAUTHORIZED
                            | StatusCode::FORBIDDEN
                    ) =>
                {
                    Outcome::Refused
                }
                _ => Outcome::InvalidAnswer,
            },
            _ => Outcome::InvalidAnswer,
        }
    }
}

/// How a mint ended: the `outcome` of `mcp_multiplexer_token_mints_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Refused,
    Unreachable,
    Timeout,
    InvalidAnswer,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::InvalidAnswer => "invalid_answer",
        }
    }
}

/// Enough of a foreign text to know what is meant, too little to flood a log.
const QUOTED_CHARS: usize = 200;

/// A foreign text as it may be shown: bounded, and without control characters,
/// which could forge log lines or drive a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut shown = text.chars().filter(|c| !c.is_control());
    let mut quoted: String = shown.by_ref().take(QUOTED_CHARS).collect();
    if shown.next().is_some() {
        quoted.push('…');
    }
    quoted
}

fn detail(description: &Option<String>) -> String {
    description
        .as_ref()
        .map(|text| format!(" ({text})"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_shown_bounded_and_on_one_line() {
        assert_eq!(quoted("bad\r\n\u{1b}[31mclient"), "bad[31mclient");
        assert_eq!(quoted(&"x".repeat(QUOTED_CHARS)).chars().count(), 200);
        let long = quoted(&"ß".repeat(5000));
        assert_eq!(long.chars().count(), QUOTED_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
