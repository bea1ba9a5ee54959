//! What a token says of itself (RFC 7519, 4.1; RFC 9068, 2.2), for people to read.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::quoted;

/// The claims that decide whether children accept a token. They are read and not
/// verified, so nothing may be decided by them. Foreign text, bounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Claims {
    /// `iss`: who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// `aud`: for whom it is meant.
    pub aud: Vec<String>,
    /// `azp`: the client it was issued to, as OpenID has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azp: Option<String>,
    /// `client_id`: the same, as RFC 9068 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `sub`: as whom its bearer acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// `scope`, or `scp` where a provider calls it that: space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// `nbf`: Unix time in seconds before which it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// `exp`: Unix time in seconds at which it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
}

impl Claims {
    /// The claims of a JWT; `None` for a token that is none.
    pub(super) fn of(token: &str) -> Option<Self> {
        // Two dots: without them the library takes any two parts for a token.
        (token.split('.').count() == 3).then_some(())?;
        let claims: Map<String, Value> =
            jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        let text = |name: &str| texts(claims.get(name)?).into_iter().next();
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|at| at as i64);
        Some(Self {
            iss: text("iss"),
            aud: claims.get("aud").map(texts).unwrap_or_default(),
            azp: text("azp"),
            client_id: text("client_id"),
            sub: text("sub"),
            scope: ["scope", "scp"]
                .into_iter()
                .find_map(|name| claims.get(name))
                .map(|scope| texts(scope).join(" ")),
            nbf: time("nbf"),
            exp: time("exp"),
        })
    }
}

/// A claim of one text or of several.
fn texts(claim: &Value) -> Vec<String> {
    match claim {
        Value::String(text) => vec![quoted(text)],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(quoted).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn of(claims: Value) -> Option<Claims> {
        let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        // An algorithm that the library does not know is no obstacle.
        let token = format!("{}.{}.c2ln", part(json!({"alg": "XY1"})), part(claims));
        Claims::of(&token)
    }

    #[test]
    fn the_claims_are_read_whatever_signs_them() {
        let claims = of(json!({
            "iss": "https://id", "aud": ["a", "b"], "azp": "me", "sub": "s", "scope": "x y",
            "exp": 1_700_000_000.7, "nbf": 5,
        }))
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = Claims {
            iss: text("https://id"),
            aud: vec!["a".into(), "b".into()],
            azp: text("me"),
            client_id: None,
            sub: text("s"),
            scope: text("x y"),
            nbf: Some(5),
            exp: Some(1_700_000_000),
        };
        assert_eq!(claims, expected);
    }

    #[test]
    fn one_audience_and_a_list_of_scopes_are_read_too() {
        let claims = of(json!({"aud": "a", "scp": ["x", "y"], "iss": 5, "exp": "soon"})).unwrap();
        assert_eq!(claims.aud, ["a"]);
        assert_eq!(claims.scope.as_deref(), Some("x y"));
        assert_eq!((claims.iss, claims.exp), (None, None));
    }

    #[test]
    fn a_foreign_text_does_not_drive_the_terminal() {
        let claims = of(json!({"iss": "\u{1b}[31mred\n"})).unwrap();
        assert_eq!(claims.iss.as_deref(), Some("[31mred"));
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        for opaque in ["", "opaque", "a.b", "a.b.c", "a.bnVsbA.c", "a.e30.c.d"] {
            assert_eq!(Claims::of(opaque), None, "{opaque}");
        }
        assert_eq!(Claims::of("a.e30.c"), Some(Claims::default()));
    }
}
