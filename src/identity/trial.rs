//! One mint with the settings as they are, for an operator to look at.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::Utc;
use http::HeaderValue;
use secrecy::SecretString;
use serde::Serialize;
use thiserror::Error;
use tokio::time::timeout;

use super::{
    advice::{Whose, advice},
    basic::Basic,
    bearer_file::BearerFile,
    claims::Claims,
    doubts::doubts,
    error::{IdentityError, MintError},
    keeper::MINT_DEADLINE,
    mint::{ClientCredentials, Minted, Minter},
    status::Terms,
};
use crate::config::{Credential, ServiceSettings, TokenSettings};

/// What came of one mint.
#[derive(Debug)]
pub struct Trial {
    /// What was asked, and where.
    pub asked: Asked,
    /// How long it took, discovery included.
    pub took: Duration,
    /// What came of it.
    pub result: Result<Sample, Mistake>,
}

/// How a token is asked for. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// As whom, and for what.
    #[serde(flatten)]
    pub terms: Terms,
    /// How that was proven, in the words of OpenID Connect Core, 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth_method: Option<&'static str>,
    /// The file a token was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The user name of `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A token. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The token itself; `None` for `basic`, which has none.
    pub token: Option<SecretString>,
    /// What it says of itself; `None` where it is opaque.
    pub claims: Option<Claims>,
    /// How long it would be used; `None`: until it is replaced.
    pub life: Option<Duration>,
    /// Why children may refuse it.
    pub doubts: Vec<String>,
}

/// Why there is no token, and what to do.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Mistake {
    /// The word for it in the metrics.
    pub outcome: &'static str,
    /// What failed.
    pub reason: String,
    /// What to do, one sentence or two each.
    pub advice: Vec<String>,
}

impl Trial {
    /// Mints once; `None` where no identity is configured. A failure is told with the
    /// names of the settings to change, which are `whose`.
    ///
    /// # Errors
    ///
    /// When it can never work as it is configured.
    pub async fn of(
        settings: &ServiceSettings,
        whose: Whose,
    ) -> Result<Option<Self>, IdentityError> {
        let asked = Asked::of(settings);
        Ok(Some(match settings {
            ServiceSettings::None => return Ok(None),
            ServiceSettings::ClientCredentials(token) => {
                let minter = ClientCredentials::new(token)?;
                Self::with(minter, asked, Some((&**token, whose))).await
            }
            ServiceSettings::BearerFile(path) => {
                Self::with(BearerFile::new(path.clone()), asked, None).await
            }
            ServiceSettings::Basic { username, password } => {
                let minter = Basic::new(username.clone(), password.clone());
                Self::with(minter, asked, None).await
            }
        }))
    }

    async fn with(
        mut minter: impl Minter,
        mut asked: Asked,
        settings: Option<(&TokenSettings, Whose)>,
    ) -> Self {
        let (token, whose) = settings.unzip();
        let began = Instant::now();
        let minted = timeout(MINT_DEADLINE, minter.mint()).await;
        let took = began.elapsed();
        asked.terms.token_url = minter.token_url();
        Self {
            asked,
            took,
            result: minted
                .unwrap_or(Err(MintError::TookTooLong(MINT_DEADLINE)))
                .map(|minted| Sample::of(&minted, token))
                .map_err(|error| Mistake::of(&error, token, whose.unwrap_or(Whose::Service))),
        }
    }
}

impl Asked {
    fn of(settings: &ServiceSettings) -> Self {
        let about = Self {
            terms: Terms::of_service(settings),
            ..Self::default()
        };
        match settings {
            ServiceSettings::None => about,
            ServiceSettings::ClientCredentials(token) => Self {
                client_auth_method: Some(method(&token.credential)),
                ..about
            },
            ServiceSettings::BearerFile(path) => Self {
                file: Some(path.clone()),
                ..about
            },
            ServiceSettings::Basic { username, .. } => Self {
                username: Some(username.clone()),
                ..about
            },
        }
    }
}

fn method(credential: &Credential) -> &'static str {
    match credential {
        Credential::Basic(_) => "client_secret_basic",
        Credential::Post(_) => "client_secret_post",
        Credential::Key { .. } => "private_key_jwt",
    }
}

impl Sample {
    fn of(minted: &Minted, asked: Option<&TokenSettings>) -> Self {
        let token = token(&minted.header);
        let claims = token.and_then(Claims::of);
        let told = |claims| doubts(asked, claims, Utc::now().timestamp());
        Self {
            doubts: claims.as_ref().map(told).unwrap_or_default(),
            claims,
            token: token.map(SecretString::from),
            life: minted.life,
        }
    }
}

impl Mistake {
    fn of(error: &MintError, asked: Option<&TokenSettings>, whose: Whose) -> Self {
        Self {
            outcome: error.outcome().as_str(),
            reason: error.to_string(),
            advice: advice(error, asked, whose),
        }
    }
}

/// The token in a header.
fn token(header: &HeaderValue) -> Option<&str> {
    header.to_str().ok()?.strip_prefix("Bearer ")
}
