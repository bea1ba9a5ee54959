//! A token answer (RFC 6749, 5.1), read with more patience than the crate's own
//! type has: providers send `expires_in` as a string, a fraction or a negative
//! number, and that is no reason to throw a good token away.

use std::time::Duration;

use http::HeaderValue;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse, TokenType};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{
    error::{MintError, quoted},
    lifetime,
};

/// What is read of it; a scope or a refresh token is of no use here.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct TokenAnswer {
    #[serde(default = "no_token", deserialize_with = "token_or_none")]
    access_token: AccessToken,
    #[serde(default)]
    token_type: Kind,
    #[serde(default)]
    expires_in: Option<Box<RawValue>>,
}

/// `token_type`. Where it is missing, Bearer is meant: there is no other.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Kind(Option<String>);

impl TokenType for Kind {}

impl TokenResponse for TokenAnswer {
    type TokenType = Kind;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &Kind {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        Some(self.life())
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl TokenAnswer {
    /// How long the token is used.
    pub(super) fn life(&self) -> Duration {
        lifetime::of_expires_in(self.expires_in.as_deref().map(RawValue::get))
    }

    /// The value of `Authorization` that carries the token.
    pub(super) fn header(&self) -> Result<HeaderValue, MintError> {
        let token = self.access_token.secret();
        if token.is_empty() {
            return Err(MintError::NoToken);
        }
        if let Some(kind) = &self.token_type.0
            && !kind.eq_ignore_ascii_case("bearer")
        {
            return Err(MintError::NotBearer(quoted(kind)));
        }
        bearer(token)
    }
}

/// The value of `Authorization` that carries a token (RFC 6750, 2.1).
pub(super) fn bearer(token: &str) -> Result<HeaderValue, MintError> {
    // Stricter than a header value: a space would end the token.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MintError::IllegalToken);
    }
    let mut header =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| MintError::IllegalToken)?;
    header.set_sensitive(true);
    Ok(header)
}

fn no_token() -> AccessToken {
    AccessToken::new(String::new())
}

fn token_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<AccessToken, D::Error> {
    let token = Option::<AccessToken>::deserialize(from)?;
    Ok(token.unwrap_or_else(no_token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;

    fn read(json: &str) -> TokenAnswer {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_header_is_made_of_a_bearer_token_only() {
        let header = |json: &str| read(json).header();
        let good = header(r#"{"access_token":"a.b-c_~+/=","token_type":"bEARER"}"#).unwrap();
        assert_eq!(good, "Bearer a.b-c_~+/=");
        assert!(good.is_sensitive());
        assert!(header(r#"{"access_token":"abc"}"#).is_ok());

        assert!(matches!(header("{}"), Err(MintError::NoToken)));
        assert!(matches!(
            header(r#"{"access_token":null}"#),
            Err(MintError::NoToken)
        ));
        assert!(matches!(
            header(r#"{"access_token":"abc","token_type":"DPoP"}"#),
            Err(MintError::NotBearer(kind)) if kind == "DPoP"
        ));
        for illegal in [r"a\nb", r"a\r\nX: y", r"a b", r"a\tb", r"a\u0000", "aé"] {
            let json = format!(r#"{{"access_token":"{illegal}"}}"#);
            assert!(matches!(header(&json), Err(MintError::IllegalToken)));
        }
    }

    #[test]
    fn a_strange_expires_in_never_costs_the_token() {
        for (said, seconds) in [
            ("", 300),
            (r#","expires_in":null"#, 300),
            (r#","expires_in":-1"#, 1),
            (r#","expires_in":"60""#, 60),
            (r#","expires_in":1e400"#, 86_400),
            (r#","expires_in":{"s":1}"#, 300),
        ] {
            let answer = read(&format!(r#"{{"access_token":"abc"{said}}}"#));
            assert_eq!(answer.life().as_secs(), seconds, "{said}");
        }
    }

    #[test]
    fn a_fuzzed_token_answer_gives_a_header_or_a_reason() {
        fuzz("token", |input| {
            let Ok(answer) = serde_json::from_slice::<TokenAnswer>(input) else {
                return;
            };
            assert!(answer.life().as_secs() <= 86_400);
            match answer.header() {
                Ok(header) => assert!(header.is_sensitive()),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        });
    }
}
