//! Who may come in: the top-level `auth`, `publicUrl` and `trustedProxies`, and the
//! variables that say the same. The file wins over the environment.

mod file;
mod issuer;
mod metadata;
mod variables;

use std::{fmt, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

pub use issuer::{IssuerSettings, KeysSource};
pub use metadata::MetadataSettings;

use super::{
    environment::Environment, error::ConfigError, identity::SecretSource, reader::Reader,
    shown::ShownUrl, transport::web_url,
};

/// How much a clock may be wrong.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long an answer about a token is good.
const CACHE: Duration = Duration::from_secs(30);

/// Who may come in over HTTP, and what they are told of it. `Debug` shows no secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DoorSettings {
    /// How callers prove who they are; `None`: nobody is asked.
    pub lock: Option<LockSettings>,
    /// What is told of the resource (RFC 9728), if anything is.
    pub metadata: Option<MetadataSettings>,
    /// The address of `/mcp` as clients know it, if that was said.
    pub resource: Option<Url>,
    /// Whose `X-Forwarded-…` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The file or folder that says who may call what; without one everybody may call
    /// everything.
    pub policy: Option<PathBuf>,
    /// Whether every call has a line of its own in the log.
    pub audit: bool,
}

/// How callers prove who they are.
#[derive(Clone, Debug, PartialEq)]
pub struct LockSettings {
    /// What becomes of those who do not.
    pub mode: LockMode,
    /// How tokens are checked.
    pub check: TokenCheck,
    /// The claims that a JWT must have.
    pub required_claims: Vec<Claim>,
    /// The scopes that every token must have.
    pub required_scopes: Vec<String>,
    /// How far the clocks of others may be off.
    pub leeway: Duration,
    /// The realm whose document and registration clients are to find here too.
    pub realm: Option<Url>,
    /// Certificates in PEM that are trusted beside the platform's, at the issuers.
    pub ca_file: Option<PathBuf>,
}

/// What becomes of requests without a token that is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockMode {
    /// They are refused.
    #[default]
    Strict,
    /// Those without any token come in, as nobody; a bad token is refused.
    Optional,
    /// They come in, as nobody.
    Permissive,
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenCheck {
    /// By the keys of their issuers (RFC 7519, RFC 9068).
    Jwt(Vec<IssuerSettings>),
    /// By asking the issuer (RFC 7662).
    Introspection(IntrospectionSettings),
}

/// Whom to ask about tokens.
#[derive(Clone, PartialEq)]
pub struct IntrospectionSettings {
    /// Where.
    pub endpoint: Url,
    /// Who issues them, where that was said.
    pub issuer: Option<String>,
    /// As whom.
    pub client_id: String,
    /// How that is proven.
    pub client_secret: SecretSource,
    /// For whom a token must be meant; `None`: for the resource.
    pub audiences: Option<Vec<String>>,
    /// How long an answer is good at most.
    pub cache: Duration,
}

impl fmt::Debug for IntrospectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionSettings")
            .field("endpoint", &ShownUrl(&self.endpoint))
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .finish_non_exhaustive()
    }
}

/// A claim that a token can be required to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of RFC 7519, 4.1")]
pub enum Claim {
    Exp,
    Nbf,
    Aud,
    Iss,
    Sub,
}

const MODES: &[(&str, LockMode)] = &[
    ("strict", LockMode::Strict),
    ("optional", LockMode::Optional),
    ("permissive", LockMode::Permissive),
];

impl LockMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Optional => "optional",
            Self::Permissive => "permissive",
        }
    }
}

const CLAIMS: &[(&str, Claim)] = &[
    ("exp", Claim::Exp),
    ("nbf", Claim::Nbf),
    ("aud", Claim::Aud),
    ("iss", Claim::Iss),
    ("sub", Claim::Sub),
];

impl Claim {
    /// Its name in a token.
    pub fn as_str(self) -> &'static str {
        let named = CLAIMS.iter().find(|(_, claim)| *claim == self);
        named.map_or("", |(name, _)| name)
    }
}

/// Issuers that need help with what clients expect of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Keycloak,
}

const PROVIDERS: &[(&str, Provider)] = &[("keycloak", Provider::Keycloak)];

/// What the file or the environment says, key by key.
#[derive(Clone, Default)]
struct Layer {
    mode: Option<LockMode>,
    provider: Option<Provider>,
    /// Who vouches, and how that is checked: never some of one layer and some of another.
    trust: Option<Trust>,
    audiences: Option<Vec<String>>,
    required_claims: Option<Vec<Claim>>,
    required_scopes: Option<Vec<String>>,
    leeway: Option<Duration>,
    ca_file: Option<PathBuf>,
    policy: Option<PathBuf>,
    audit: Option<bool>,
    metadata: metadata::Layer,
}

#[derive(Clone)]
enum Trust {
    Jwt(Vec<issuer::Layer>),
    Introspection(IntrospectionSettings),
}

impl Layer {
    fn over(self, lower: Self) -> Self {
        Self {
            mode: self.mode.or(lower.mode),
            provider: self.provider.or(lower.provider),
            trust: self.trust.or(lower.trust),
            audiences: self.audiences.or(lower.audiences),
            required_claims: self.required_claims.or(lower.required_claims),
            required_scopes: self.required_scopes.or(lower.required_scopes),
            leeway: self.leeway.or(lower.leeway),
            ca_file: self.ca_file.or(lower.ca_file),
            policy: self.policy.or(lower.policy),
            audit: self.audit.or(lower.audit),
            metadata: self.metadata.over(lower.metadata),
        }
    }
}

/// Reads all of it, and gives the public address beside it. A lock that was asked for and would not lock is a mistake.
pub(super) fn read(
    top: &mut Reader<'_>,
    env: &dyn Environment,
) -> Result<(DoorSettings, Option<Url>), ConfigError> {
    let variables = variables::read(env)?;
    let found_before = top.findings.problems.len();
    let by_file = file::read_auth(top);
    let asked_for = top.field("auth").is_some() || variables.asks_for_lock;
    let public_url = read_public_url(top).or(variables.public_url);
    let trusted_proxies = file::read_proxies(top)
        .or(variables.trusted_proxies)
        .unwrap_or_default();
    let layer = by_file.over(variables.layer);
    let resource = match &layer.metadata.resource {
        Some(resource) => Some(resource.clone()),
        None => public_url.clone().map(endpoint),
    };
    let told = layer.metadata.clone();
    let (policy, audit) = (layer.policy.clone(), layer.audit.unwrap_or(false));
    let mut scopes = Vec::new();
    let lock = if asked_for {
        scopes = layer.required_scopes.clone().unwrap_or_default();
        // What is wrong in it has been told: what follows from that need not be.
        let sound = top.findings.problems.len() == found_before;
        match resolve(layer, resource.is_some()) {
            Ok(lock) => Some(lock),
            Err(why) => {
                if sound {
                    top.refuse(top.spelling("auth"), &why);
                }
                None
            }
        }
    } else {
        None
    };
    let settings = DoorSettings {
        metadata: told.resolve(lock.as_ref().map(LockSettings::issuers), scopes),
        lock,
        resource,
        trusted_proxies,
        policy,
        audit,
    };
    Ok((settings, public_url))
}

fn resolve(layer: Layer, has_resource: bool) -> Result<LockSettings, String> {
    let no_audience = "it needs \"audiences\", or \"publicUrl\" beside it: a token that is not meant for this resource must not get in";
    let audiences = layer.audiences;
    let check = match layer.trust {
        None => {
            return Err("it needs \"issuer\" or \"introspection\": without one of them nobody could be let in".into());
        }
        Some(Trust::Jwt(issuers)) => {
            let issuers: Vec<_> = issuers
                .into_iter()
                .map(|issuer| issuer.resolve(audiences.as_ref()))
                .collect::<Result<_, _>>()?;
            if !has_resource && issuers.iter().any(|issuer| issuer.audiences.is_none()) {
                return Err(no_audience.into());
            }
            TokenCheck::Jwt(issuers)
        }
        Some(Trust::Introspection(mut settings)) => {
            settings.audiences = audiences;
            if !has_resource && settings.audiences.is_none() {
                return Err(no_audience.into());
            }
            TokenCheck::Introspection(settings)
        }
    };
    let realm = match layer.provider {
        Some(Provider::Keycloak) => Some(realm(&check)?),
        None => None,
    };
    Ok(LockSettings {
        mode: layer.mode.unwrap_or_default(),
        realm,
        check,
        required_claims: layer.required_claims.unwrap_or_else(|| vec![Claim::Exp]),
        required_scopes: layer.required_scopes.unwrap_or_default(),
        leeway: layer.leeway.unwrap_or(LEEWAY),
        ca_file: layer.ca_file,
    })
}

/// The realm that a provider is: there is no telling which, where there are several.
fn realm(check: &TokenCheck) -> Result<Url, String> {
    let name = match check {
        TokenCheck::Jwt(issuers) if issuers.len() == 1 => Some(&issuers[0].name),
        TokenCheck::Jwt(_) => None,
        TokenCheck::Introspection(settings) => settings.issuer.as_ref(),
    };
    let name = name.ok_or("\"provider\" needs one \"issuer\": the realm")?;
    issuer::safe_url(name)
        .map_err(|why| format!("\"provider\" needs the realm's address as \"issuer\": {why}"))
}

impl DoorSettings {
    /// Whether nobody comes in without a good token.
    pub fn is_locked(&self) -> bool {
        let lock = self.lock.as_ref();
        lock.is_some_and(|lock| lock.mode == LockMode::Strict)
    }
}

impl LockSettings {
    /// Who issues tokens, as far as that was said.
    fn issuers(&self) -> Vec<String> {
        match &self.check {
            TokenCheck::Jwt(issuers) => issuers.iter().map(|issuer| issuer.name.clone()).collect(),
            TokenCheck::Introspection(settings) => settings.issuer.iter().cloned().collect(),
        }
    }
}

fn read_public_url(top: &mut Reader<'_>) -> Option<Url> {
    let text = top.text("publicUrl")?;
    match web_url(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            top.refuse(top.spelling("publicUrl"), &why);
            None
        }
    }
}

/// The address of `/mcp` at a public address, with what is public of it.
fn endpoint(mut url: Url) -> Url {
    // Both only fail for URLs that cannot have a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let path = match path.ends_with("/mcp") {
        true => path,
        false => path + "/mcp",
    };
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests;
