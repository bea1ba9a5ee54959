//! What the issuer says of a token (RFC 7662).

use std::collections::BTreeMap;

use oauth2::{
    AccessToken, AuthType, Client, ClientId, ClientSecret, ExtraTokenFields, IntrospectionUrl,
    RequestTokenError, StandardRevocableToken, StandardTokenIntrospectionResponse,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    answer::{Kind, TokenAnswer},
    error::{IdentityError, MintError},
    proof,
    provider::{self, Provider, ProviderError},
};
use crate::config::{ProviderTls, SecretSource};

/// Whom to ask about tokens, and as whom.
pub struct Introspector {
    provider: Provider,
    endpoint: Url,
    client_id: String,
    client_secret: SecretSource,
}

/// Why nothing is known of a token. What the provider said is bounded, and holds neither
/// the token nor the secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IntrospectionError(String);

/// Members of the answer that the crate does not know.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Others(BTreeMap<String, Value>);

impl ExtraTokenFields for Others {}

type Answer = StandardTokenIntrospectionResponse<Others, Kind>;

type OAuthClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    Answer,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

impl Introspector {
    /// Asks there, as this client.
    ///
    /// # Errors
    ///
    /// The TLS settings cannot be used.
    pub fn new(
        endpoint: Url,
        client_id: String,
        client_secret: SecretSource,
        tls: &ProviderTls,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            provider: Provider::new(&endpoint, tls, provider::TIMEOUT)?,
            endpoint,
            client_id,
            client_secret,
        })
    }

    /// What the issuer says of this token: an object with `active`, its members of the
    /// types that RFC 7662 gives them, `aud` always a list.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not with such an object.
    pub async fn ask(&self, token: &str) -> Result<Value, IntrospectionError> {
        let secret = proof::read(&self.client_secret).await.map_err(told)?;
        let client = OAuthClient::new(ClientId::new(self.client_id.clone()))
            .set_introspection_url(IntrospectionUrl::from_url(self.endpoint.clone()))
            .set_auth_type(AuthType::BasicAuth)
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        let token = AccessToken::new(token.to_owned());
        let answer = client
            .introspect(&token)
            .set_token_type_hint("access_token")
            .request_async(&self.provider)
            .await
            .map_err(explain)?;
        serde_json::to_value(answer).map_err(|_| not_an_answer())
    }
}

/// Drops the crate's own texts: they quote the answer.
fn explain(error: RequestTokenError<ProviderError, BasicErrorResponse>) -> IntrospectionError {
    match error {
        RequestTokenError::Request(error) => told(error.into()),
        RequestTokenError::ServerResponse(refusal) => told(MintError::Refused {
            code: super::error::quoted(refusal.error().as_ref()),
            description: None,
        }),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => not_an_answer(),
    }
}

fn told(error: MintError) -> IntrospectionError {
    IntrospectionError(error.to_string())
}

fn not_an_answer() -> IntrospectionError {
    IntrospectionError("the answer is not an introspection answer".to_owned())
}
