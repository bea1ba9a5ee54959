//! Tokens that are JWTs (RFC 7519, RFC 9068), checked by the keys of their issuers.
//!
//! What a token says of itself chooses the issuer and the key, and nothing else: what
//! the key may sign with, and for whom, is the settings' and the key's to say.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, Header, TokenData, Validation,
    dangerous::insecure_decode,
    decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    GuardError,
    claims::Claims,
    key_set::{Found, KeySet},
    keys::{Keys, Newer},
    refusal::{Reason, Refusal},
};
use crate::{
    config::{Claim, IssuerSettings, KeysSource, LockSettings, ProviderTls},
    protocol::Subject,
};

/// When to ask again, while the first keys are on their way.
const SOON: Duration = Duration::from_secs(2);
/// How much of what a token says stands in the log.
const SHOWN: usize = 100;

/// The issuers whose tokens are let in.
pub(super) struct Jwt {
    issuers: Vec<Issuer>,
    required: Vec<Claim>,
    leeway: u64,
}

struct Issuer {
    name: String,
    source: KeysSource,
    audiences: Option<Vec<String>>,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

/// What is read of a token before anything in it is believed.
#[derive(Deserialize)]
struct Unverified {
    iss: String,
    #[serde(default)]
    iat: Option<f64>,
}

impl Jwt {
    /// `known` are keys that are kept fresh already.
    pub(super) fn new(
        issuers: &[IssuerSettings],
        settings: &LockSettings,
        known: impl Fn(&IssuerSettings) -> Option<Keys>,
        tls: &ProviderTls,
        shutdown: &CancellationToken,
    ) -> Result<Self, GuardError> {
        let issuers = issuers.iter().map(|issuer| {
            Ok(Issuer {
                name: issuer.name.clone(),
                audiences: issuer.audiences.clone(),
                algorithms: issuer.algorithms.clone(),
                keys: match known(issuer) {
                    Some(keys) => keys,
                    None => Keys::of(issuer, tls, shutdown)?,
                },
                source: issuer.keys.clone(),
            })
        });
        Ok(Self {
            issuers: issuers.collect::<Result<_, GuardError>>()?,
            required: settings.required_claims.clone(),
            leeway: settings.leeway.as_secs(),
        })
    }

    /// The keys of an issuer that has them from there.
    pub(super) fn keys_of(&self, issuer: &IssuerSettings) -> Option<Keys> {
        let same = |one: &&Issuer| one.name == issuer.name && one.source == issuer.keys;
        self.issuers.iter().find(same).map(|one| one.keys.clone())
    }

    /// Whose token it is. It must be meant for one of `resources`, where its issuer has
    /// no audiences of its own.
    pub(super) async fn subject(
        &self,
        token: &str,
        resources: &[String],
    ) -> Result<Subject, Refusal> {
        let header = decode_header(token).map_err(|error| malformed(&error))?;
        check_header(&header)?;
        let said: TokenData<Unverified> =
            insecure_decode(token).map_err(|error| malformed(&error))?;
        let said = said.claims;
        let Some(issuer) = self.issuers.iter().find(|issuer| issuer.is(&said.iss)) else {
            let name = shown(&said.iss);
            return Err(Refusal::new(
                Reason::Issuer,
                format!("the issuer {name:?} is not known"),
            ));
        };
        if !issuer.algorithms.contains(&header.alg) {
            let algorithm = header.alg;
            return Err(Refusal::new(
                Reason::Algorithm,
                format!("{algorithm:?} is not allowed"),
            ));
        }
        let keys = issuer.keys_for(&header, said.iat).await?;
        let key = match keys.find(header.kid.as_deref(), header.alg) {
            Found::Key(key) => key,
            missing => return Err(no_key(&missing, &header)),
        };
        let audiences = issuer.audiences.as_deref().unwrap_or(resources);
        let validation = self.validation(header.alg, &said.iss, audiences);
        let checked = decode::<Claims>(token, key, &validation).map_err(|error| refused(&error))?;
        let mut claims = checked.claims;
        let name = claims.iss.take().unwrap_or(said.iss);
        claims.subject(name, token)
    }

    fn validation(&self, algorithm: Algorithm, issuer: &str, audiences: &[String]) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(audiences);
        // By whom and for whom it is cannot be left open.
        let required = self.required.iter().chain(&[Claim::Iss, Claim::Aud]);
        let required: Vec<_> = required.map(|claim| claim.as_str()).collect();
        validation.set_required_spec_claims(&required);
        validation
    }
}

/// A slash at the end makes no other issuer: they write it in one place and not in the
/// next.
pub(super) fn same_issuer(one: &str, other: &str) -> bool {
    one.strip_suffix('/').unwrap_or(one) == other.strip_suffix('/').unwrap_or(other)
}

impl Issuer {
    /// Whether it is the one a token names.
    fn is(&self, name: &str) -> bool {
        same_issuer(&self.name, name)
    }

    /// The keys to look in: newer ones, where the one that is named is not known yet.
    async fn keys_for(&self, header: &Header, iat: Option<f64>) -> Result<Arc<KeySet>, Refusal> {
        let Some(keys) = self.keys.now() else {
            let why = format!("the keys of {:?} are not there yet", self.name);
            return Err(Refusal::unavailable(why, SOON));
        };
        let id = header.kid.as_deref();
        if !matches!(keys.find(id, header.alg), Found::Unknown) {
            return Ok(keys);
        }
        match self.keys.newer().await {
            Newer::Keys(newer) => Ok(newer),
            Newer::Not {
                retry: Some(retry), ..
            } => Err(Refusal::unavailable(
                format!(
                    "the key {:?} is not known, and the issuer cannot be asked for newer ones",
                    shown(id.unwrap_or_default())
                ),
                retry,
            )),
            // A token that says it is newer than the keys may be signed by one of those
            // to come: its bearer must not throw it away.
            Newer::Not { asked_at, .. } if iat.is_some_and(|iat| iat >= asked_at as f64) => {
                match self.keys.next_wish() {
                    Some(retry) => Err(Refusal::unavailable(
                        "the token is newer than the keys, and its key is not known yet",
                        retry,
                    )),
                    None => Ok(keys),
                }
            }
            Newer::Not { .. } => Ok(keys),
        }
    }
}

/// What no access token has in its header: keys of its own, extensions that must be
/// understood, another kind of content.
fn check_header(header: &Header) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new(Reason::Header, why));
    let odd = [
        ("crit", header.crit.is_some()),
        ("jwk", header.jwk.is_some()),
        ("jku", header.jku.is_some()),
        ("x5u", header.x5u.is_some()),
        ("x5c", header.x5c.is_some()),
        ("enc", header.enc.is_some()),
        ("zip", header.zip.is_some()),
        ("cty", header.cty.is_some()),
        ("b64", header.extras.inner().contains_key("b64")),
    ];
    if let Some((name, _)) = odd.iter().find(|(_, stands)| *stands) {
        return refuse(format!("the header has {name:?}"));
    }
    let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
    match typ.as_deref() {
        None | Some("jwt" | "at+jwt" | "application/at+jwt") => Ok(()),
        Some(other) => refuse(format!("the type {:?} is no access token's", shown(other))),
    }
}

fn no_key(missing: &Found<'_>, header: &Header) -> Refusal {
    let id = shown(header.kid.as_deref().unwrap_or_default());
    let algorithm = header.alg;
    match missing {
        Found::OtherAlgorithm => Refusal::new(
            Reason::Algorithm,
            format!("the key {id:?} does not sign with {algorithm:?}"),
        ),
        Found::Unnamed => Refusal::new(
            Reason::Key,
            format!("no key is named, and not just one signs with {algorithm:?}"),
        ),
        Found::Unknown | Found::Key(_) => {
            Refusal::new(Reason::Key, format!("the key {id:?} is not known"))
        }
    }
}

fn malformed(error: &Error) -> Refusal {
    let why = error.to_string();
    // The one that everybody tries deserves its own word.
    let reason = match error.kind() {
        ErrorKind::Json(_) if why.contains("unknown variant") => Reason::Algorithm,
        ErrorKind::Json(_) if why.contains("missing field `iss`") => Reason::Issuer,
        _ => Reason::Malformed,
    };
    Refusal::new(reason, shown(&why).to_owned())
}

fn refused(error: &Error) -> Refusal {
    let reason = match error.kind() {
        ErrorKind::ExpiredSignature => Reason::Expired,
        ErrorKind::ImmatureSignature => Reason::NotYetValid,
        ErrorKind::InvalidAudience => Reason::Audience,
        ErrorKind::InvalidIssuer => Reason::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Reason::Audience,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::InvalidSubject => Reason::Claims,
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => Reason::Algorithm,
        ErrorKind::InvalidSignature => Reason::Signature,
        _ => Reason::Malformed,
    };
    Refusal::new(reason, shown(&error.to_string()).to_owned())
}

/// As much of a token's own words as the log repeats.
fn shown(text: &str) -> &str {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
