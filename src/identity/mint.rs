//! One mint: the client-credentials grant (RFC 6749, 4.4) at the token endpoint.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RequestTokenError,
    Scope, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded::byte_serialize};

use crate::config::IdentitySettings;

use super::{
    answer::TokenAnswer,
    discovery::{Endpoint, is_usable},
    error::{IdentityError, MintError, quoted},
    provider::{self, Provider, ProviderError},
    secret::{self, SecretSource},
    status::shown,
};

/// What a mint gives. No `Debug`: the header is the token.
pub(super) struct Minted {
    /// The value of `Authorization`, marked sensitive.
    pub(super) header: HeaderValue,
    /// How long it is good, from when it was asked for.
    pub(super) life: Duration,
}

/// Somebody who mints tokens, one at a time.
pub(super) trait Minter: Send + 'static {
    /// Mints one token. Dropping the future gives the mint up.
    fn mint(&mut self) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// Where it asks, as far as it knows.
    fn token_url(&self) -> Option<String>;
}

/// The multiplexer as an OAuth client.
pub(super) struct ClientCredentials {
    provider: Provider,
    endpoint: Endpoint,
    client_id: ClientId,
    secret: SecretSource,
    audience: Option<String>,
    scope: Option<Scope>,
}

type OAuthClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl ClientCredentials {
    pub(super) fn new(settings: &IdentitySettings) -> Result<Self, IdentityError> {
        Self::with_timeout(settings, provider::TIMEOUT)
    }

    fn with_timeout(settings: &IdentitySettings, timeout: Duration) -> Result<Self, IdentityError> {
        let client_id = filled(&settings.client_id).ok_or(IdentityError::MissingClientId)?;
        let secret = SecretSource::of(settings)?;
        let (setting, at, endpoint) = match (&settings.token_url, &settings.issuer) {
            (Some(url), _) => ("OIDC_TOKEN_URL", url, Endpoint::Configured(url.clone())),
            (None, Some(issuer)) => (
                "OIDC_ISSUER",
                issuer,
                Endpoint::Issuer {
                    issuer: issuer.clone(),
                    found: None,
                },
            ),
            (None, None) => return Err(IdentityError::MissingEndpoint),
        };
        if !is_usable(at) {
            return Err(IdentityError::UnusableUrl { setting });
        }
        Ok(Self {
            provider: Provider::new(at, settings.tls_verify, timeout)?,
            endpoint,
            client_id: ClientId::new(client_id),
            secret,
            audience: filled(&settings.audience),
            scope: filled(&settings.scope).map(Scope::new),
        })
    }

    /// Mints with the secret as it is now; if the provider does not know it,
    /// and it was replaced just then, once more with the new one.
    async fn mint_at(&self, token_url: Url) -> Result<Minted, MintError> {
        let secret = self.secret.read().await?;
        let refused = match self.ask(&token_url, &secret).await {
            Err(error) if error.is_invalid_client() => error,
            answered => return answered,
        };
        let newer = self.secret.read().await?;
        if secret::same(&secret, &newer) {
            return Err(refused);
        }
        self.ask(&token_url, &newer).await
    }

    async fn ask(&self, token_url: &Url, secret: &SecretString) -> Result<Minted, MintError> {
        let client = self.client(token_url, secret);
        let mut request = client.exchange_client_credentials();
        if let Some(scope) = &self.scope {
            request = request.add_scope(scope.clone());
        }
        if let Some(audience) = &self.audience {
            request = request.add_extra_param("audience", audience);
        }
        let answer = request
            .request_async(&self.provider)
            .await
            .map_err(|error| explain(error, &self.client_id, secret))?;
        Ok(Minted {
            header: answer.header()?,
            life: answer.life(),
        })
    }

    fn client(&self, token_url: &Url, secret: &SecretString) -> OAuthClient {
        Client::new(self.client_id.clone())
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::BasicAuth)
            .set_token_uri(TokenUrl::from_url(token_url.clone()))
    }
}

impl Minter for ClientCredentials {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        let token_url = self.endpoint.locate(&self.provider).await?;
        let minted = self.mint_at(token_url).await;
        minted.map_err(|error| self.endpoint.failed(error))
    }

    fn token_url(&self) -> Option<String> {
        self.endpoint.known().map(shown)
    }
}

fn filled(setting: &Option<String>) -> Option<String> {
    setting.clone().filter(|value| !value.trim().is_empty())
}

/// Drops the crate's own texts: they quote the answer, which may hold a token.
fn explain(
    error: RequestTokenError<ProviderError, BasicErrorResponse>,
    id: &ClientId,
    secret: &SecretString,
) -> MintError {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(refusal) => MintError::Refused {
            code: without(id, secret, refusal.error().as_ref()),
            description: refusal
                .error_description()
                .map(|text| without(id, secret, text)),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => MintError::NotATokenAnswer,
    }
}

/// A provider's text as it may be shown: some repeat the request in it, and with it the
/// secret in one of the forms in which it was sent (RFC 6749, 2.3.1).
fn without(id: &ClientId, secret: &SecretString, text: &str) -> String {
    let secret = secret.expose_secret();
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let basic = |id: &str, secret: &str| BASE64_STANDARD.encode(format!("{id}:{secret}"));
    let forms = [
        basic(&encoded(id), &encoded(secret)),
        basic(id, secret),
        encoded(secret),
        secret.to_owned(),
    ];
    let shown = forms
        .iter()
        // In base64 the padding is often left out.
        .map(|form| form.trim_end_matches('='))
        .filter(|form| !form.is_empty())
        .fold(text.to_owned(), |text, form| text.replace(form, "[secret]"));
    quoted(&shown)
}

#[cfg(test)]
mod tests;
