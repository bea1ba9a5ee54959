//! The standard headers of Streamable HTTP (MCP 2025-11-25 and 2026-07-28).

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};

/// The protocol version of a request.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The session of a legacy connection.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The last event that a legacy client has got of a stream.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The method of a modern request (SEP-2243).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The one name in a modern request (SEP-2243).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What the headers begin with that repeat arguments of a call (SEP-2243).
pub const PARAM_PREFIX: &str = "mcp-param-";

const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

/// `text` as a header value; in the `=?base64?…?=` form where it could not stand
/// as it is (SEP-2243).
pub fn encode(text: &str) -> HeaderValue {
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    let looks_encoded = text.starts_with(BASE64_PREFIX) && text.ends_with(BASE64_SUFFIX);
    let printable = text.bytes().all(|b| (0x20..=0x7e).contains(&b));
    let plain = printable && !padded && !looks_encoded;
    let value = if plain {
        Cow::Borrowed(text)
    } else {
        let encoded = BASE64_STANDARD.encode(text);
        Cow::Owned(format!("{BASE64_PREFIX}{encoded}{BASE64_SUFFIX}"))
    };
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The text a header value stands for; `None` if it is not one that
/// [`encode`] could have made.
pub fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = value.to_str().ok()?;
    let Some(encoded) = text
        .strip_prefix(BASE64_PREFIX)
        .and_then(|rest| rest.strip_suffix(BASE64_SUFFIX))
    else {
        return Some(Cow::Borrowed(text));
    };
    let bytes = BASE64_STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(encode("github__search"), "github__search");
        assert_eq!(encode("grün"), "=?base64?Z3LDvG4=?=");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same(text in "\\PC*|[ \t\r\n=?base64]*") {
            let value = encode(&text);
            prop_assert_eq!(decode(&value).unwrap(), text);
        }
    }
}
