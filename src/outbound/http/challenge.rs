//! What a child says about credentials it does not accept: `WWW-Authenticate` (RFC
//! 9110, 11.6.1; RFC 6750, 3).

use http::{HeaderMap, Response, StatusCode, header::WWW_AUTHENTICATE};
use http_auth::{ChallengeRef, parse_challenges};

/// More than an honest list of scopes, or one of them, needs.
const SCOPES: usize = 16;
const SCOPE_CHARS: usize = 64;

/// The Bearer challenge of a response.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Challenge {
    /// The scopes that would do, in a form that may be shown to clients.
    pub(super) scope: Option<String>,
    /// `error` and `error_description`: the child's own words, for operators.
    pub(super) words: String,
}

impl Challenge {
    /// The first Bearer challenge; an empty one where there is none.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        bearer(headers)
            .map(|bearer| Self {
                scope: parameter(&bearer, "scope").and_then(|scope| shown(&scope)),
                words: ["error", "error_description"]
                    .into_iter()
                    .filter_map(|name| parameter(&bearer, name))
                    .collect::<Vec<_>>()
                    .join(": "),
            })
            .unwrap_or_default()
    }
}

fn bearer(headers: &HeaderMap) -> Option<ChallengeRef<'_>> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| parse_challenges(value.to_str().ok()?).ok())
        .flatten()
        .find(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"))
}

/// Whether a response says no to who we are, and not to what was asked: then its body,
/// whatever it holds, is no answer.
pub(in crate::outbound) fn denies<T>(response: &Response<T>) -> bool {
    response.status() == StatusCode::FORBIDDEN && response.headers().contains_key(WWW_AUTHENTICATE)
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let named = |(key, _): &&(&str, _)| key.eq_ignore_ascii_case(name);
    let (_, value) = challenge.params.iter().find(named)?;
    Some(value.to_unescaped())
}

/// Scopes of the characters that a scope may have (RFC 6749, 3.3), and not too many.
fn shown(scope: &str) -> Option<String> {
    let legal = |c: char| matches!(c, '!' | '#'..='[' | ']'..='~');
    let scopes: Vec<_> = scope.split_ascii_whitespace().take(SCOPES).collect();
    let sound = |scope: &&str| scope.len() <= SCOPE_CHARS && scope.chars().all(legal);
    (!scopes.is_empty() && scopes.iter().all(sound)).then(|| scopes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&'static str]) -> Challenge {
        let header = |value| (WWW_AUTHENTICATE, http::HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        headers.extend(values.iter().map(|value| header(*value)));
        Challenge::of(&headers)
    }

    #[test]
    fn the_bearer_challenge_is_found_among_others() {
        let found = challenge(&[
            r#"Basic realm="x", Negotiate"#,
            r#"bearer realm="mcp", error="insufficient_scope", scope="read:x write:y", error_description="say \"please\"""#,
        ]);
        assert_eq!(found.scope.as_deref(), Some("read:x write:y"));
        assert_eq!(found.words, r#"insufficient_scope: say "please""#);
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for values in [
            &[][..],
            &["Bearer"],
            &["\"", "Basic realm=x"],
            &["Bearer scope=\"\""],
        ] {
            assert_eq!(challenge(values).scope, None, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_scope_is_not_shown() {
        assert_eq!(shown(&"x".repeat(65)), None);
        assert_eq!(shown("a\u{7f}"), None);
        assert_eq!(shown("a\"b"), None);
        assert_eq!(shown(&"a ".repeat(99)).unwrap().len(), 31);
    }
}
