//! What the headers of a request must say.

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::refused::Refused;
use crate::protocol::{
    error::{RpcError, code},
    headers,
    model::ProtocolVersion,
    request::{Params, name_key},
    version::MODERN,
};

/// Both kinds of answer that there are.
const BOTH: &str = "application/json, text/event-stream";

/// Checks the content types: a client must be able to take both kinds of answer.
pub(super) fn content_types(all: &HeaderMap) -> Result<(), Refused> {
    let content_type = all.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next();
    if !essence.is_some_and(|e| e.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refused::plainly(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        ));
    }
    // As the specification's own clients say it, it need not be taken apart.
    let accepts_both = all.get(ACCEPT).is_some_and(|value| value == BOTH)
        || accepts(all, "application/json") && accepts(all, "text/event-stream");
    if !accepts_both {
        return Err(Refused::plainly(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must include application/json and text/event-stream",
        ));
    }
    Ok(())
}

/// Whether `Accept` lets a type through. Absent, it lets through everything (RFC
/// 9110, 12.5.1).
pub(super) fn accepts(all: &HeaderMap, wanted: &str) -> bool {
    let mut values = all.get_all(ACCEPT).iter().peekable();
    let kind = wanted.split('/').next().unwrap_or_default();
    values.peek().is_none()
        || values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .map(str::trim)
            .any(|range| {
                range == "*/*"
                    || range.eq_ignore_ascii_case(wanted)
                    || range
                        .strip_suffix("/*")
                        .is_some_and(|r| r.eq_ignore_ascii_case(kind))
            })
}

/// The version that the headers of a modern request name must be the one in its body.
pub(super) fn version(all: &HeaderMap, params: &Params) -> Result<(), RpcError> {
    let version = params.version.as_deref().unwrap_or_default();
    says(all, &headers::PROTOCOL_VERSION, version)
}

/// The other standard headers must say what the body says (MCP 2026-07-28, SEP-2243).
pub(super) fn standard_headers(
    all: &HeaderMap,
    method: &str,
    params: &Params,
) -> Result<(), RpcError> {
    says(all, &headers::METHOD, method)?;
    match (name_key(method), &params.name) {
        (Some(_), Some(name)) => says(all, &headers::NAME, name),
        _ => Ok(()),
    }
}

fn says(all: &HeaderMap, name: &HeaderName, expected: &str) -> Result<(), RpcError> {
    let mut values = all.get_all(name).iter();
    let how = match (values.next().and_then(headers::decode), values.next()) {
        (Some(value), None) if value == expected => return Ok(()),
        (None, _) => "is missing or cannot be read",
        _ => "does not say what the body says",
    };
    let message = format!("the header {name} {how}");
    Err(RpcError::new(code::HEADER_MISMATCH, message))
}

/// The headers that repeat arguments of a call. Whether they are right, only the
/// called tool's schema says.
pub(super) fn param_headers(all: &HeaderMap) -> HeaderMap {
    let repeated = all
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(headers::PARAM_PREFIX));
    let mut param = HeaderMap::new();
    for (name, value) in repeated {
        param.append(name, value.clone());
    }
    param
}

/// Whether the headers say that the request is a modern one.
pub(super) fn is_modern(all: &HeaderMap) -> bool {
    all.get(headers::PROTOCOL_VERSION)
        .is_some_and(|version| version == MODERN.as_str())
}

/// Whether an event stream may begin with an event that holds nothing but its id: older
/// clients than that of 2025-11-25 take it for a message.
pub(super) fn takes_priming(all: &HeaderMap) -> bool {
    let version = all.get(headers::PROTOCOL_VERSION);
    version.is_some_and(|version| version == ProtocolVersion::V_2025_11_25.as_str())
}

/// The event after which a legacy client wants to go on.
pub(super) fn last_event(all: &HeaderMap) -> Option<&str> {
    all.get(headers::LAST_EVENT_ID)?.to_str().ok()
}

/// The session that a legacy request names.
pub(super) fn session_id(all: &HeaderMap) -> Option<&str> {
    all.get(headers::SESSION_ID)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Frame;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn accept_lets_through_what_it_names() {
        let both = accept("application/json;q=0.9, Text/Event-Stream");
        assert!(accepts(&both, "application/json") && accepts(&both, "text/event-stream"));
        assert!(accepts(&accept("*/*"), "application/json"));
        assert!(accepts(&accept("text/*"), "text/event-stream"));
        assert!(accepts(&HeaderMap::new(), "application/json"));
        assert!(!accepts(&accept("text/*"), "application/json"));
    }

    #[test]
    fn a_header_that_stands_twice_says_nothing() {
        let frame = Frame::made(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":
                {"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#
                .to_owned(),
        );
        let params = Params::read(&frame, "tools/list").unwrap();
        let standard_headers = |all: &HeaderMap| {
            version(all, &params)?;
            standard_headers(all, "tools/list", &params)
        };
        let mut all = HeaderMap::new();
        all.insert(headers::PROTOCOL_VERSION, headers::encode(MODERN.as_str()));
        all.insert(headers::METHOD, headers::encode("tools/list"));
        assert_eq!(standard_headers(&all), Ok(()));
        all.append(headers::METHOD, headers::encode("tools/list"));
        let refused = standard_headers(&all).unwrap_err();
        assert_eq!(refused.code, code::HEADER_MISMATCH);
    }
}
