//! Why a request may not come in, and how its sender is told (RFC 6750, 3).

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use serde_json::json;

/// The header that carries the id under which the log tells the exact reason.
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// Why a request may not come in.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// For the log: bounded, and no secret. What a caller wrote stands in it escaped.
    pub(super) detail: Cow<'static, str>,
    /// When it may be otherwise, if it is us who are not ready.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// It cannot be said whether the token is good, and in this time it may be.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Reason::Unavailable, detail)
        }
    }
}

/// The kinds of reasons: what is counted, and what a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NoToken,
    NotBearer,
    Request,
    Malformed,
    Header,
    Algorithm,
    Issuer,
    Key,
    Signature,
    Expired,
    NotYetValid,
    Audience,
    Claims,
    Inactive,
    Scope,
    Unavailable,
}

impl Reason {
    pub(super) const COUNT: usize = Self::Unavailable as usize + 1;

    /// The word in logs and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::NotBearer => "not_bearer",
            Self::Request => "invalid_request",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Inactive => "inactive",
            Self::Scope => "scope",
            Self::Unavailable => "unavailable",
        }
    }

    /// What the caller is answered with.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Request => StatusCode::BAD_REQUEST,
            Self::Scope => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The code and the sentence for the caller: enough for one who has a token that was
    /// good, nothing for one who tries. Who has shown none is told of no error (RFC 6750,
    /// 3.1).
    fn told(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::NoToken | Self::NotBearer => return None,
            Self::Request => (
                "invalid_request",
                "send one token, in one Authorization header",
            ),
            Self::Malformed => ("invalid_token", "the token is malformed"),
            Self::Header | Self::Algorithm | Self::Issuer | Self::Key | Self::Signature => {
                ("invalid_token", "the token cannot be verified")
            }
            Self::Expired => ("invalid_token", "the token has expired"),
            Self::NotYetValid => ("invalid_token", "the token is not valid yet"),
            Self::Audience => ("invalid_token", "the token is not meant for this resource"),
            Self::Claims => (
                "invalid_token",
                "the token lacks a claim, or is no access token",
            ),
            Self::Inactive => ("invalid_token", "the token is not active"),
            Self::Scope => ("insufficient_scope", "the token lacks a scope"),
            Self::Unavailable => (
                "temporarily_unavailable",
                "tokens cannot be checked at the moment: try again",
            ),
        })
    }
}

/// What a refusal says beside its reason.
pub(super) struct Terms<'a> {
    pub(super) correlation_id: &'a str,
    pub(super) metadata_url: Option<&'a str>,
    pub(super) scopes: &'a [String],
}

impl Refusal {
    /// The answer to the caller.
    pub(super) fn into_response(self, terms: &Terms<'_>) -> Response {
        let reason = self.reason;
        let (code, sentence) = reason
            .told()
            .unwrap_or(("unauthorized", "a token is needed"));
        let body = json!({
            "error": code,
            "error_description": sentence,
            "correlation_id": terms.correlation_id,
        });
        let mut response = (reason.status(), Json(body)).into_response();
        let all = response.headers_mut();
        if reason != Reason::Unavailable
            && let Ok(challenge) = HeaderValue::from_str(&challenge(reason, terms))
        {
            all.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            all.insert(RETRY_AFTER, seconds.max(1).into());
        }
        if let Ok(id) = HeaderValue::from_str(terms.correlation_id) {
            all.insert(CORRELATION_ID, id);
        }
        // A client in a browser has to read where to go.
        all.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        all.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("WWW-Authenticate, Retry-After, X-Correlation-Id"),
        );
        response
    }
}

fn challenge(reason: Reason, terms: &Terms<'_>) -> String {
    let mut challenge = format!("Bearer realm={}", quoted("mcp"));
    let mut add = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = write!(challenge, ", {name}={}", quoted(value));
    };
    if let Some((code, sentence)) = reason.told() {
        add("error", code);
        add("error_description", sentence);
    }
    if let Some(url) = terms.metadata_url {
        add("resource_metadata", url);
    }
    if !terms.scopes.is_empty() {
        add("scope", &terms.scopes.join(" "));
    }
    challenge
}

/// A quoted string (RFC 9110, 5.6.4), without what cannot stand in one.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| matches!(c, ' '..='~')) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reason: Reason, scopes: &[String]) -> Response {
        Refusal::new(reason, "of no interest").into_response(&Terms {
            correlation_id: "abc",
            metadata_url: Some("https://h/.well-known/x"),
            scopes,
        })
    }

    #[test]
    fn a_challenge_says_where_to_get_a_token_and_of_what_kind() {
        let none = answer(Reason::NoToken, &[]);
        assert_eq!(none.status(), 401);
        assert_eq!(
            none.headers()[WWW_AUTHENTICATE],
            r#"Bearer realm="mcp", resource_metadata="https://h/.well-known/x""#
        );
        let scope = answer(Reason::Scope, &["a".into(), "b".into()]);
        assert_eq!(scope.status(), 403);
        assert_eq!(
            scope.headers()[WWW_AUTHENTICATE],
            r#"Bearer realm="mcp", error="insufficient_scope", error_description="the token lacks a scope", resource_metadata="https://h/.well-known/x", scope="a b""#
        );
        assert_eq!(scope.headers()["x-correlation-id"], "abc");
    }

    #[test]
    fn what_breaks_out_of_a_string_is_escaped_or_left_out() {
        assert_eq!(quoted("a\"b\\c\r\nd\u{fc}"), r#""a\"b\\cd""#);
    }
}
