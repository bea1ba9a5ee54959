//! Who may call: the check of a bearer token, by the issuer's keys.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode_header, jwk::JwkSet};
use serde::{Deserialize, Serialize};

use super::issuer::Issuer;
use crate::cli::CliError;

/// Whom tokens must be meant for.
pub(super) const AUDIENCE: &str = "agent-services";

/// What a token says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Claims {
    /// Who issued it.
    pub(super) iss: String,
    /// Whom it names.
    pub(super) sub: String,
    /// Whom it is meant for.
    pub(super) aud: String,
    /// When it was issued, in Unix time.
    pub(super) iat: u64,
    /// When it expires, in Unix time.
    pub(super) exp: u64,
}

/// Lets in who has a token of one issuer for [`AUDIENCE`].
#[derive(Clone)]
pub(super) struct Guard(Arc<Checks>);

struct Checks {
    keys: JwkSet,
    validation: Validation,
}

impl Guard {
    /// A guard that trusts this issuer, whose keys it fetches once.
    pub(super) async fn trusting(issuer: &Issuer) -> Result<Self, CliError> {
        let fetched = async {
            let client = reqwest::Client::builder().no_proxy().build()?;
            client.get(issuer.jwks_url()).send().await?.json().await
        };
        let keys = fetched
            .await
            .map_err(|error: reqwest::Error| std::io::Error::other(error))
            .map_err(CliError::io("the demo issuer's keys"))?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer.url.as_str()]);
        validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
        Ok(Self(Arc::new(Checks { keys, validation })))
    }

    /// The server, behind this guard.
    pub(super) fn before(&self, server: Router) -> Router {
        server.layer(middleware::from_fn_with_state(self.clone(), admit))
    }

    fn claims(&self, headers: &HeaderMap) -> Option<Claims> {
        let Checks { keys, validation } = &*self.0;
        let token = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let token = token.strip_prefix("Bearer ")?;
        let id = decode_header(token).ok()?.kid?;
        let key = DecodingKey::from_jwk(keys.find(&id)?).ok()?;
        let token = jsonwebtoken::decode(token, &key, validation).ok()?;
        Some(token.claims)
    }
}

/// Hands the caller's claims on with the request, or answers 401 (RFC 6750, 3).
async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.claims(request.headers()) {
        Some(claims) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        None => {
            let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::demo::issuer::CLIENT;

    /// A token for an audience, as the issuer gives it.
    async fn token(issuer: &Issuer, audience: &str) -> HeaderMap {
        let form = format!("grant_type=client_credentials&audience={audience}");
        let answer: Value = reqwest::Client::new()
            .post(issuer.token_url())
            .basic_auth(CLIENT, Some(&issuer.client_secret))
            .body(form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        bearer(answer["access_token"].as_str().unwrap())
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}").parse().unwrap();
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[tokio::test]
    async fn a_token_for_us_names_its_caller() {
        let issuer = Issuer::start().await.unwrap();
        let guard = Guard::trusting(&issuer).await.unwrap();
        let claims = guard.claims(&token(&issuer, AUDIENCE).await).unwrap();
        assert_eq!(claims.sub, CLIENT);
    }

    #[tokio::test]
    async fn any_other_token_is_refused() {
        let issuer = Issuer::start().await.unwrap();
        let stranger = Issuer::start().await.unwrap();
        let guard = Guard::trusting(&issuer).await.unwrap();
        let of_a_stranger = token(&stranger, AUDIENCE).await;
        let for_others = token(&issuer, "others").await;
        for headers in [HeaderMap::new(), bearer("x"), of_a_stranger, for_others] {
            assert!(guard.claims(&headers).is_none(), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn without_the_secret_there_is_no_token() {
        let issuer = Issuer::start().await.unwrap();
        let answer = reqwest::Client::new()
            .post(issuer.token_url())
            .basic_auth(CLIENT, Some("guessed"))
            .body("grant_type=client_credentials&audience=agent-services")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    }
}
