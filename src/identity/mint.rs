//! One mint: the client-credentials grant (RFC 6749, 4.4) at the token endpoint, or the
//! exchange of a user's token (RFC 8693).

use std::{pin::Pin, time::Duration};

use http::HeaderValue;
use oauth2::{
    AsyncHttpClient, AuthType, Client, ClientId, ClientSecret, HttpRequest, HttpResponse,
    RequestTokenError, Scope, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use secrecy::{ExposeSecret, SecretString};
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

/// What the crate asks with, and what an exchange asks with in its place: it has no
/// request of that grant (RFC 8693, 2.1), which is proven and answered like the other.
const ITS_GRANT: &str = "grant_type=client_credentials";
const EXCHANGE: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
/// What is exchanged, and what is wanted for it (RFC 8693, 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The multiplexer as an OAuth client, that mints for itself.
pub(super) struct ClientCredentials {
    asker: Asker,
    endpoint: Endpoint,
    /// Where it was asked for last: the endpoint forgets what has failed.
    asked_at: Option<Url>,
    watch: Watch,
}

/// The multiplexer as an OAuth client.
pub(super) struct Asker {
    pub(super) provider: Provider,
    settings: TokenSettings,
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
        let (asker, endpoint) = Asker::of(settings, timeout)?;
        Ok(Self {
            asker,
            endpoint,
            asked_at: None,
            watch: match &settings.credential {
                Credential::Basic(secret) | Credential::Post(secret) => Watch::of_secret(secret),
                Credential::Key { file, .. } => Watch::of_file("OIDC_CLIENT_KEY_FILE", file),
            },
        })
    }
}

impl Asker {
    /// One that asks as these settings have it, and where it is to be found out where.
    pub(super) fn of(
        settings: &TokenSettings,
        timeout: Duration,
    ) -> Result<(Self, Endpoint), IdentityError> {
        let endpoint = Endpoint::of(&settings.place);
        let asker = Self {
            provider: Provider::new(endpoint.host(), &settings.tls, timeout)?,
            settings: settings.clone(),
        };
        Ok((asker, endpoint))
    }

    /// Mints with the secret as it is now; if the provider does not know it,
    /// and it was replaced just then, once more with the new one. In exchange for the token
    /// of `user`, if there is one.
    pub(super) async fn mint_at(
        &self,
        place: &Place,
        user: Option<&SecretString>,
    ) -> Result<Minted, MintError> {
        let proof = Proof::read(&self.settings.credential).await?;
        let refused = match self.ask(place, &proof, user).await {
            Err(error) if error.is_invalid_client() => error,
            answered => return answered,
        };
        let newer = Proof::read(&self.settings.credential).await?;
        if newer.is(&proof) {
            return Err(refused);
        }
        self.ask(place, &newer, user).await
    }

    async fn ask(
        &self,
        place: &Place,
        proof: &Proof,
        user: Option<&SecretString>,
    ) -> Result<Minted, MintError> {
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
        if let Some(user) = user {
            for (name, value) in [
                ("subject_token", user.expose_secret()),
                ("subject_token_type", ACCESS_TOKEN),
                ("requested_token_type", ACCESS_TOKEN),
            ] {
                request = request.add_extra_param(name, value);
            }
        }
        let asked = Asked {
            provider: &self.provider,
            exchanges: user.is_some(),
        };
        let answer = request.request_async(&asked).await.map_err(|error| {
            let shown = |text: &str| match user {
                // Some repeat what they were asked.
                Some(user) => text.replace(user.expose_secret(), "[secret]"),
                None => text.to_owned(),
            };
            explain(error, &|text| {
                proof::without(
                    client_id,
                    proof.expose(),
                    assertion.as_deref(),
                    &shown(text),
                )
            })
        })?;
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

/// The way to the provider, on which the grant of an exchange takes its place.
struct Asked<'p> {
    provider: &'p Provider,
    exchanges: bool,
}

impl<'c> AsyncHttpClient<'c> for Asked<'_> {
    type Error = ProviderError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderError>> + Send + 'c>>;

    fn call(&'c self, mut request: HttpRequest) -> Self::Future {
        if self.exchanges {
            let form = String::from_utf8_lossy(request.body());
            *request.body_mut() = form.replacen(ITS_GRANT, EXCHANGE, 1).into_bytes();
        }
        self.provider.call(request)
    }
}

impl Minter for ClientCredentials {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        let place = self.endpoint.locate(&self.asker.provider).await?;
        self.asked_at = Some(place.token_url.clone());
        let minted = self.asker.mint_at(&place, None).await;
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
    without: &dyn Fn(&str) -> String,
) -> MintError {
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
