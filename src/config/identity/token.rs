//! One token to be had: where, as whom and for what.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::{
    environment::{Environment, flag, setting},
    error::ConfigError,
    scalars::one_of,
    shown::ShownUrl,
    transport::web_url,
    warning::Warning,
};

const DEFAULT_AUDIENCE: &str = "agent-services";

/// A token from the client-credentials grant (RFC 6749, 4.4). Two that are equal are
/// the same token. `Debug` shows no secret.
#[derive(Clone, PartialEq)]
pub struct TokenSettings {
    /// Where it is had.
    pub place: TokenPlace,
    /// As whom it is asked for.
    pub client_id: String,
    /// How that is proven.
    pub credential: Credential,
    /// `audience`: for whom the token is meant.
    pub audience: Option<String>,
    /// `scope`: space-separated (RFC 6749, 3.3).
    pub scope: Option<String>,
    /// `resource`: an absolute URI without fragment (RFC 8707, 2).
    pub resource: Option<String>,
    /// How the provider's certificate is checked.
    pub tls: ProviderTls,
}

/// Where a token is had.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// At this token endpoint; perhaps it is known who issues it.
    Endpoint {
        /// The endpoint.
        token_url: Url,
        /// The issuer.
        issuer: Option<Url>,
    },
    /// Where this issuer says.
    Issuer(Url),
}

impl TokenPlace {
    /// The place, if either is known.
    pub(super) fn of(token_url: Option<&Url>, issuer: Option<&Url>) -> Option<Self> {
        match (token_url, issuer) {
            (Some(token_url), issuer) => Some(Self::Endpoint {
                token_url: token_url.clone(),
                issuer: issuer.cloned(),
            }),
            (None, issuer) => issuer.cloned().map(Self::Issuer),
        }
    }

    /// The token endpoint, where the issuer is not asked for it.
    pub fn token_url(&self) -> Option<&Url> {
        match self {
            Self::Endpoint { token_url, .. } => Some(token_url),
            Self::Issuer(_) => None,
        }
    }

    /// Who issues the token, as far as it is known.
    pub fn issuer(&self) -> Option<&Url> {
        match self {
            Self::Endpoint { issuer, .. } => issuer.as_ref(),
            Self::Issuer(issuer) => Some(issuer),
        }
    }
}

/// How a client proves to the token endpoint who it is (OpenID Connect Core, 9).
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// `client_secret_basic`: in a header.
    Basic(SecretSource),
    /// `client_secret_post`: in the body.
    Post(SecretSource),
    /// `private_key_jwt`: a signed assertion (RFC 7523).
    Key {
        /// The private key in PEM, read anew at every mint.
        file: PathBuf,
        /// The `kid` of the assertion's header.
        id: Option<String>,
    },
}

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// The secret itself, from the variable of this name.
    Value(&'static str, SecretString),
    /// A file, read anew whenever the secret is needed, and the name of the setting
    /// that names it. It need not exist at the start: an orchestrator may mount it later.
    File(&'static str, PathBuf),
}

impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(_, one), Self::Value(_, other)) => {
                one.expose_secret() == other.expose_secret()
            }
            (Self::File(_, one), Self::File(_, other)) => one == other,
            _ => false,
        }
    }
}

/// How the certificate of the identity provider is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTls {
    /// `OIDC_TLS_VERIFY`: whether it is checked at all.
    pub verify: bool,
    /// `OIDC_CA_FILE`: certificates in PEM that are trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for TokenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSettings")
            .field("token_url", &self.place.token_url().map(ShownUrl))
            .field("issuer", &self.place.issuer().map(ShownUrl))
            .field("client_id", &self.client_id)
            .field("credential", &self.credential)
            .field("audience", &self.audience)
            .field("scope", &self.scope)
            .field("resource", &self.resource)
            .field("tls", &self.tls)
            .finish()
    }
}

/// What the `OIDC_…` variables say, complete or not: an entry's own `auth` rests on
/// them too.
#[derive(Clone)]
pub(in crate::config) struct TokenDefaults {
    pub(super) token_url: Option<Url>,
    pub(super) issuer: Option<Url>,
    pub(super) client_id: Option<String>,
    pub(super) credential: Option<Credential>,
    /// What `credential` is to be, where a secret comes from elsewhere.
    pub(super) method: Method,
    pub(super) audience: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) tls: ProviderTls,
    /// Why none of it can be relied on.
    pub(super) wrong: Option<String>,
}

/// `OIDC_CLIENT_AUTH_METHOD`, in the words of OpenID Connect Core, 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Basic,
    Post,
    Key,
}

const METHODS: &[(&str, Method)] = &[
    ("client_secret_basic", Method::Basic),
    ("client_secret_post", Method::Post),
    ("private_key_jwt", Method::Key),
];

impl Method {
    /// The credential of this method that a secret makes.
    pub(super) fn with_secret(self, secret: SecretSource) -> Credential {
        match self {
            Self::Post => Credential::Post(secret),
            Self::Basic | Self::Key => Credential::Basic(secret),
        }
    }
}

impl TokenDefaults {
    /// Reads the variables. Where they are not `needed`, a wrong one is as good as none.
    pub(in crate::config) fn read(
        env: &dyn Environment,
        needed: bool,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Wrong {
            needed,
            first: None,
        };
        let secret = secret(env, "OIDC_CLIENT_SECRET", "OIDC_CLIENT_SECRET_FILE");
        let key = setting(env, "OIDC_CLIENT_KEY_FILE").map(PathBuf::from);
        let method = match wrong.tolerated(read_method(env))? {
            Some(method) => method,
            None if secret.is_none() && key.is_some() => Method::Key,
            None => Method::Basic,
        };
        let credential = match method {
            Method::Key => key.map(|file| Credential::Key {
                file,
                id: setting(env, "OIDC_CLIENT_KEY_ID"),
            }),
            Method::Basic | Method::Post => secret.map(|secret| method.with_secret(secret)),
        };
        let resource = setting(env, "OIDC_RESOURCE")
            .map(|text| resource(&text).map_err(variable("OIDC_RESOURCE")))
            .transpose();
        let token_url = read_url("OIDC_TOKEN_URL", setting(env, "OIDC_TOKEN_URL"));
        Ok(Self {
            token_url: wrong.tolerated(token_url)?,
            issuer: wrong.tolerated(read_issuer(env))?,
            client_id: setting(env, "OIDC_CLIENT_ID"),
            credential,
            method,
            audience: setting(env, "OIDC_AUDIENCE"),
            scope: setting(env, "OIDC_SCOPE"),
            resource: wrong.tolerated(resource)?,
            tls: ProviderTls {
                verify: wrong.tolerated(read_tls_verify(env))?.unwrap_or(true),
                ca_file: setting(env, "OIDC_CA_FILE").map(PathBuf::from),
            },
            wrong: wrong.first,
        })
    }

    /// For whom a token is meant that says nothing of it: who asks for a resource has
    /// said so already.
    pub(super) fn audience(&self, resource: Option<&String>) -> Option<String> {
        let default = || resource.is_none().then(|| DEFAULT_AUDIENCE.to_owned());
        self.audience.clone().or_else(default)
    }

    /// The service's token.
    pub(super) fn service(&self) -> Result<TokenSettings, ConfigError> {
        let mut missing = Vec::new();
        if self.client_id.is_none() {
            missing.push("OIDC_CLIENT_ID");
        }
        if self.credential.is_none() {
            missing.push(match self.method {
                Method::Key => "OIDC_CLIENT_KEY_FILE",
                Method::Basic | Method::Post => "OIDC_CLIENT_SECRET (or OIDC_CLIENT_SECRET_FILE)",
            });
        }
        let place = TokenPlace::of(self.token_url.as_ref(), self.issuer.as_ref());
        if place.is_none() {
            missing.push("OIDC_TOKEN_URL (or OIDC_ISSUER, or FASTMCP_SERVER_AUTH_JWT_ISSUER)");
        }
        match (place, self.client_id.clone(), self.credential.clone()) {
            (Some(place), Some(client_id), Some(credential)) => Ok(TokenSettings {
                place,
                client_id,
                credential,
                audience: self.audience(self.resource.as_ref()),
                scope: self.scope.clone(),
                resource: self.resource.clone(),
                tls: self.tls.clone(),
            }),
            _ => Err(ConfigError::Identity {
                mode: "oidc-client-credentials",
                missing,
            }),
        }
    }
}

/// A secret from a variable or from the file another one names. The file wins: it is
/// the one that can follow a rotation.
pub(in crate::config) fn secret(
    env: &dyn Environment,
    variable: &'static str,
    file: &'static str,
) -> Option<SecretSource> {
    match setting(env, file) {
        Some(path) => Some(SecretSource::File(file, path.into())),
        None => setting(env, variable).map(|text| SecretSource::Value(variable, text.into())),
    }
}

/// What an operator should know of a token before anybody asks for it.
pub(super) fn warn_of(token: &TokenSettings, warnings: &mut Vec<Warning>) {
    match &token.credential {
        Credential::Basic(secret) | Credential::Post(secret) => warn_of_secret(secret, warnings),
        Credential::Key { file, .. } => {
            warn_of_file("OIDC_CLIENT_KEY_FILE", file, warnings);
        }
    }
}

pub(super) fn warn_of_secret(secret: &SecretSource, warnings: &mut Vec<Warning>) {
    if let SecretSource::File(name, path) = secret {
        warn_of_file(name, path, warnings);
    }
}

pub(super) fn warn_of_file(name: &str, path: &Path, warnings: &mut Vec<Warning>) {
    if let Some(why) = unreadable(path) {
        warnings.push(Warning::new(format!(
            "{name}: {} {why}; it is tried again at every mint",
            path.display()
        )));
    }
}

/// A resource indicator, or what is wrong with it (RFC 8707, 2).
pub(super) fn resource(text: &str) -> Result<String, String> {
    let url: Url = text
        .parse()
        .map_err(|error| format!("expected an absolute URI ({error})"))?;
    match url.fragment() {
        Some(_) => Err("a resource must not have a fragment (RFC 8707)".into()),
        // As written: providers compare it by its characters.
        None => Ok(text.to_owned()),
    }
}

/// What to do with a variable that cannot be used: where none is needed, it is a
/// reason only for those who need it after all.
struct Wrong {
    needed: bool,
    first: Option<String>,
}

impl Wrong {
    fn tolerated<T>(
        &mut self,
        read: Result<Option<T>, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        match read {
            Err(error) if !self.needed => {
                self.first.get_or_insert_with(|| error.to_string());
                Ok(None)
            }
            read => read,
        }
    }
}

fn variable(name: &'static str) -> impl FnOnce(String) -> ConfigError {
    move |why| ConfigError::Variable {
        problem: format!("{name}: {why}"),
    }
}

fn read_method(env: &dyn Environment) -> Result<Option<Method>, ConfigError> {
    let name = "OIDC_CLIENT_AUTH_METHOD";
    let Some(word) = setting(env, name) else {
        return Ok(None);
    };
    match METHODS.iter().find(|(known, _)| *known == word) {
        Some((_, method)) => Ok(Some(*method)),
        None => Err(variable(name)(format!(
            "expected {}",
            one_of(METHODS.iter().map(|(known, _)| *known))
        ))),
    }
}

fn read_issuer(env: &dyn Environment) -> Result<Option<Url>, ConfigError> {
    if let Some(issuer) = setting(env, "OIDC_ISSUER") {
        return read_url("OIDC_ISSUER", Some(issuer));
    }
    let name = "FASTMCP_SERVER_AUTH_JWT_ISSUER";
    let list = setting(env, name).unwrap_or_default();
    let mut issuers = list.split(',').map(str::trim);
    let first = issuers.find(|issuer| !issuer.is_empty());
    read_url(name, first.map(str::to_owned))
}

fn read_url(name: &'static str, text: Option<String>) -> Result<Option<Url>, ConfigError> {
    text.map(|text| provider_url(&text))
        .transpose()
        .map_err(variable(name))
}

/// An address a secret may be sent to. What is wrong is told without showing it.
pub(super) fn provider_url(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err(
            "a user name or password must not stand in it (the client's are settings of their own)"
                .into(),
        )
    }
}

fn read_tls_verify(env: &dyn Environment) -> Result<Option<bool>, ConfigError> {
    let Some(text) = setting(env, "OIDC_TLS_VERIFY") else {
        return Ok(None);
    };
    match flag(&text) {
        Some(verify) => Ok(Some(verify)),
        None => Err(variable("OIDC_TLS_VERIFY")("expected true or false".into())),
    }
}

/// Why nothing can be had from this file now. A pipe is not opened: that would wait
/// for its writer.
fn unreadable(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Err(error) => Some(format!("cannot be read ({error})")),
        Ok(file) if file.is_dir() => Some("is a folder".into()),
        Ok(file) if file.is_file() && file.len() == 0 => Some("is empty".into()),
        Ok(file) if file.is_file() => {
            let error = std::fs::File::open(path).err()?;
            Some(format!("cannot be read ({error})"))
        }
        Ok(_) => None,
    }
}
