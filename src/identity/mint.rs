//! One mint: the client-credentials grant (RFC 6749, 4.4) at the token endpoint.

use std::time::Duration;

use http::HeaderValue;
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, RequestTokenError, Scope, StandardRevocableToken,
    TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use url::Url;

use super::{
    answer::TokenAnswer,
    assertion,
    discovery::{Endpoint, Place},
    error::{IdentityError, MintError},
    file::Watch,
    proof::{self, Proof},
    provider::{self, Provider, ProviderError},
    status::shown,
};
use crate::config::{Credential, TokenSettings};

/// The value of `client_assertion_type` (RFC 7523, 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a mint gives. No `Debug`: the header is the token.
pub(super) struct Minted {
    /// The value of `Authorization`, marked sensitive.
    pub(super) header: HeaderValue,
    /// How long it is good, from when it was asked for; `None`: until it is replaced.
    pub(super) life: Option<Duration>,
}

/// Somebody who mints tokens, one at a time.
pub(super) trait Minter: Send + 'static {
    /// Mints one token. Dropping the future gives the mint up.
    fn mint(&mut self) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// Where it asks, as far as it knows.
    fn token_url(&self) -> Option<String> {
        None
    }

    /// Resolves when what it mints from has changed, so that a mint may now end otherwise.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// The multiplexer as an OAuth client.
pub(super) struct ClientCredentials {
    provider: Provider,
    endpoint: Endpoint,
    /// Where it was asked for last: the endpoint forgets what has failed.
    asked_at: Option<Url>,
    settings: TokenSettings,
    watch: Watch,
}

type OAuthClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

impl ClientCredentials {
    pub(super) fn new(settings: &TokenSettings) -> Result<Self, IdentityError> {
        Self::with_timeout(settings, provider::TIMEOUT)
    }

    fn with_timeout(settings: &TokenSettings, timeout: Duration) -> Result<Self, IdentityError> {
        let endpoint = Endpoint::of(settings).ok_or(IdentityError::MissingEndpoint)?;
        Ok(Self {
            provider: Provider::new(endpoint.host(), &settings.tls, timeout)?,
            endpoint,
            asked_at: None,
            watch: match &settings.credential {
                Credential::Basic(secret) | Credential::Post(secret) => Watch::of_secret(secret),
                Credential::Key { file, .. } => Watch::of_file("OIDC_CLIENT_KEY_FILE", file),
            },
            settings: settings.clone(),
        })
    }

    /// Mints with the secret as it is now; if the provider does not know it,
    /// and it was replaced just then, once more with the new one.
    async fn mint_at(&self, place: &Place) -> Result<Minted, MintError> {
        let proof = Proof::read(&self.settings.credential).await?;
        let refused = match self.ask(place, &proof).await {
            Err(error) if error.is_invalid_client() => error,
            answered => return answered,
        };
        let newer = Proof::read(&self.settings.credential).await?;
        if newer.is(&proof) {
            return Err(refused);
        }
        self.ask(place, &newer).await
    }

    async fn ask(&self, place: &Place, proof: &Proof) -> Result<Minted, MintError> {
        let TokenSettings {
            client_id,
            credential,
            ..
        } = &self.settings;
        let client = OAuthClient::new(ClientId::new(client_id.clone()))
            .set_token_uri(TokenUrl::from_url(place.token_url.clone()));
        let with_secret = || ClientSecret::new(proof.expose().to_owned());
        let (client, assertion) = match credential {
            Credential::Basic(_) => (
                client
                    .set_auth_type(AuthType::BasicAuth)
                    .set_client_secret(with_secret()),
                None,
            ),
            Credential::Post(_) => (
                client
                    .set_auth_type(AuthType::RequestBody)
                    .set_client_secret(with_secret()),
                None,
            ),
            Credential::Key { id, .. } => {
                let signed =
                    assertion::signed(proof.expose(), id.as_deref(), client_id, &place.audience)?;
                (client.set_auth_type(AuthType::RequestBody), Some(signed))
            }
        };
        let mut request = client.exchange_client_credentials();
        for (name, value) in self.extra(assertion.as_deref()) {
            request = request.add_extra_param(name, value);
        }
        if let Some(scope) = &self.settings.scope {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let answer = request
            .request_async(&self.provider)
            .await
            .map_err(|error| explain(error, client_id, proof.expose(), assertion.as_deref()))?;
        Ok(Minted {
            header: answer.header()?,
            life: Some(answer.life()),
        })
    }

    /// The parameters that the grant itself does not have.
    fn extra<'a>(&'a self, assertion: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let TokenSettings {
            audience, resource, ..
        } = &self.settings;
        let mut extra = Vec::new();
        extra.extend(audience.as_deref().map(|audience| ("audience", audience)));
        extra.extend(resource.as_deref().map(|resource| ("resource", resource)));
        if let Some(assertion) = assertion {
            extra.push(("client_assertion_type", JWT_BEARER));
            extra.push(("client_assertion", assertion));
        }
        extra
    }
}

impl Minter for ClientCredentials {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        let place = self.endpoint.locate(&self.provider).await?;
        self.asked_at = Some(place.token_url.clone());
        let minted = self.mint_at(&place).await;
        minted.map_err(|error| self.endpoint.failed(error))
    }

    fn token_url(&self) -> Option<String> {
        self.endpoint.known().or(self.asked_at.as_ref()).map(shown)
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

/// Drops the crate's own texts: they quote the answer, which may hold a token.
fn explain(
    error: RequestTokenError<ProviderError, BasicErrorResponse>,
    id: &str,
    secret: &str,
    assertion: Option<&str>,
) -> MintError {
    let without = |text: &str| proof::without(id, secret, assertion, text);
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(refusal) => MintError::Refused {
            code: without(refusal.error().as_ref()),
            description: refusal.error_description().map(|text| without(text)),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => MintError::NotATokenAnswer,
    }
}

#[cfg(test)]
mod tests;
