//! What a mint that failed looks like to somebody who has seen many, and what to do.
//! Where providers differ, Keycloak's words and menus are meant.

use http::StatusCode;

use super::{
    error::MintError,
    provider::ProviderError::{self, Redirect, Status, Timeout, Unreachable},
};
use crate::config::{Credential, SecretSource, TokenSettings};

/// Whose settings a token is asked for with, and by that, what they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The service's: variables.
    Service,
    /// Those of an entry with an `auth` of its own, which win over the variables.
    Entry,
}

impl Whose {
    fn audience(self) -> &'static str {
        self.either("OIDC_AUDIENCE", "auth.audience")
    }

    fn scope(self) -> &'static str {
        self.either("OIDC_SCOPE", "auth.scope")
    }

    fn resource(self) -> &'static str {
        self.either("OIDC_RESOURCE", "auth.resource")
    }

    fn token_url(self) -> &'static str {
        self.either("OIDC_TOKEN_URL", "auth.tokenUrl")
    }

    fn either(self, service: &'static str, entry: &'static str) -> &'static str {
        match self {
            Self::Service => service,
            Self::Entry => entry,
        }
    }
}

/// What to do, one sentence or two each; empty where the error says all there is.
/// `asked` is what the token was asked for with, where it was, and `whose` that is.
pub(super) fn advice(
    error: &MintError,
    asked: Option<&TokenSettings>,
    whose: Whose,
) -> Vec<String> {
    match error {
        MintError::Unreadable { setting, .. } => one(format!(
            "the file that {setting} names must exist, hold something, and be readable by this user"
        )),
        MintError::UnusableKey => one("convert it with: openssl pkcs8 -topk8 -nocrypt -in KEY"),
        MintError::Refused { code, description } => asked
            .map(|asked| {
                refused(
                    code,
                    description.as_deref().unwrap_or_default(),
                    asked,
                    whose,
                )
            })
            .unwrap_or_default(),
        MintError::Provider(error) => provider(error, asked, whose),
        MintError::NotATokenAnswer | MintError::NoToken => not_an_endpoint(whose),
        MintError::NotBearer(_) => one(
            "the client is set to tokens bound to a key. In Keycloak: Clients > the client > Settings \
             > Capability config, \"Require DPoP bound tokens\" off",
        ),
        MintError::IllegalToken => {
            one("the token must stand alone: one line, without `Bearer` before it, without quotes")
        }
        MintError::IssuerMismatch { configured, found } => one(format!(
            "children will see `iss` as {found:?}: set OIDC_ISSUER to it if it is the right name; else \
             give Keycloak its public address (KC_HOSTNAME), so that it calls itself {configured:?}"
        )),
        MintError::UnsafeEndpoint(_) => one(format!(
            "an https issuer must not name a plain http endpoint. Behind a proxy that ends TLS, Keycloak \
             needs KC_HOSTNAME with https, or KC_PROXY_HEADERS; or set {}",
            whose.token_url()
        )),
        MintError::NoEndpoint(_) => one(wrong_path(whose)),
        MintError::TookTooLong(_) => one(silent()),
    }
}

fn refused(code: &str, description: &str, asked: &TokenSettings, whose: Whose) -> Vec<String> {
    let said = description.to_ascii_lowercase();
    let client = &asked.client_id;
    let with_key = matches!(asked.credential, Credential::Key { .. });

    if said.contains("service account") {
        return one(format!(
            "service accounts are not enabled for this client. In Keycloak: Clients > {client} > \
             Settings > Capability config, \"Client authentication\" and \"Service accounts roles\" on"
        ));
    }
    let realm = format!("{code} {description}").to_ascii_lowercase();
    if says_any(&realm, &["realm does not exist", "realm not found"]) {
        return one(
            "there is no such realm: its name stands after /realms/ in the URL, and letter case \
             matters. Keycloak's list is at the top left of its console",
        );
    }
    let late = ["not active", "expired", "future", "too old", "lifetime"];
    if with_key && says_any(&said, &late) {
        return one(
            "the assertion was refused for its time: the clocks of this machine and of the identity \
             provider differ. Compare them with `date -u`, and let both follow NTP",
        );
    }
    match code {
        "invalid_client" | "unauthorized_client" if with_key => one(format!(
            "the provider does not take this key for this client. In Keycloak: Clients > {client} > \
             Credentials, \"Signed Jwt\" as the authenticator; Keys, the public half of \
             OIDC_CLIENT_KEY_FILE, under the `kid` of OIDC_CLIENT_KEY_ID. The clocks of both machines \
             must agree, too"
        )),
        // What Keycloak says to a wrong secret; others say `invalid_client`.
        "unauthorized_client" => one(wrong_secret(asked)),
        "invalid_client" => vec![
            format!(
                "the provider knows no client {client:?}, or it is disabled. In Keycloak: the client \
                 must stand under Clients of this very realm, and be switched on at the top right of \
                 its page"
            ),
            wrong_secret(asked),
        ],
        "invalid_scope" => one(format!(
            "the scope {:?} is not allowed for this client. In Keycloak: create it under Client scopes, \
             and add it under Clients > {client} > Client scopes; or change {}",
            asked.scope.as_deref().unwrap_or_default(),
            whose.scope()
        )),
        "invalid_target" => one(format!(
            "the provider does not know this resource or audience: change {} or {}, or register it there",
            whose.resource(),
            whose.audience()
        )),
        "unsupported_grant_type" => one(
            "the provider does not offer the client-credentials grant, or this is not its token endpoint",
        ),
        _ => Vec::new(),
    }
}

fn wrong_secret(asked: &TokenSettings) -> String {
    let secret = match &asked.credential {
        Credential::Basic(SecretSource::File(name, _))
        | Credential::Post(SecretSource::File(name, _)) => format!("the file of {name}"),
        Credential::Basic(SecretSource::Value(name, _))
        | Credential::Post(SecretSource::Value(name, _)) => (*name).to_owned(),
        Credential::Key { .. } => "it".to_owned(),
    };
    format!(
        "the secret may be wrong: compare {secret} with Keycloak's Clients > {} > Credentials > \
         Client Secret",
        asked.client_id
    )
}

fn provider(error: &ProviderError, asked: Option<&TokenSettings>, whose: Whose) -> Vec<String> {
    match error {
        Unreachable { cause } => one(unreachable(cause, asked, whose)),
        Timeout { .. } => one(silent()),
        Redirect { .. } => one(format!(
            "the client's secret is not taken to another address: set OIDC_ISSUER or {} to where it \
             finally leads, often the same with https, without a port, or without a slash at the end",
            whose.token_url()
        )),
        // What servers with TLS say to a request without (nginx, Go, Jetty).
        Status { status, .. } if *status == StatusCode::BAD_REQUEST && is_plain(asked) => {
            one(plain_to_tls())
        }
        Status { status, .. } if *status == StatusCode::NOT_FOUND => one(wrong_path(whose)),
        Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
            one("the provider limits how often it may be asked: wait, and see who else asks")
        }
        Status { status, .. } if status.is_server_error() => {
            one("the fault is the provider's, or that of a proxy before it: its log says more")
        }
        Status { .. } => one(
            "this is no answer of a token endpoint: a proxy or a firewall before the provider may have \
             given it",
        ),
        ProviderError::NotJson { .. } | ProviderError::NotAnObject | ProviderError::TooLarge => {
            not_an_endpoint(whose)
        }
    }
}

/// The causes come from the system, rustls and hyper, which have no better types here.
fn unreachable(cause: &str, asked: Option<&TokenSettings>, whose: Whose) -> String {
    let cause = cause.to_ascii_lowercase();
    let says = |words: &[&str]| says_any(&cause, words);
    if says(&["notvalidforname", "not valid for name"]) {
        format!(
            "its certificate is for another name: use the name in the certificate in OIDC_ISSUER or {}",
            whose.token_url()
        )
    } else if says(&["certificate"]) && says(&["expired", "notvalidyet", "not valid yet"]) {
        "its certificate has expired, or is not valid yet by the clock of this machine".to_owned()
    } else if says(&["causedasendentity"]) {
        "its certificate is made for an authority, and no server may use one: make a certificate without \
         CA:TRUE, and name that of the authority that issues it in OIDC_CA_FILE"
            .to_owned()
    } else if says(&["certificate", "unknownissuer"]) {
        "its certificate is not trusted here: put the certificate of the authority that issued it into a \
         PEM file and name it in OIDC_CA_FILE"
            .to_owned()
    } else if says(&[
        "invalidcontenttype",
        "corrupt message",
        "wrong version number",
    ]) {
        "this port speaks plain http and not TLS: the port of https is another, or the URL should begin \
         with http://"
            .to_owned()
    } else if says(&["lookup", "name or service not known", "dns", "no such host"]) {
        "the name of its host cannot be resolved here: check it for typing errors, and whether this \
         machine or container shares a network with it"
            .to_owned()
    } else if says(&["refused"]) {
        "nothing listens there: check the port and whether it runs. In a container, localhost is the \
         container itself"
            .to_owned()
    } else if is_plain(asked) && says(&["http version", "parsed", "closed before", "reset"]) {
        plain_to_tls()
    } else {
        "check the address, and what lies between: routes, firewalls, HTTPS_PROXY".to_owned()
    }
}

fn says_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Whether it was asked without TLS.
fn is_plain(asked: Option<&TokenSettings>) -> bool {
    let url = asked.and_then(|asked| asked.place.token_url().or(asked.place.issuer()));
    url.is_some_and(|url| url.scheme() == "http")
}

fn plain_to_tls() -> String {
    "perhaps this port speaks TLS: the URL should begin with https://".to_owned()
}

fn wrong_path(whose: Whose) -> String {
    format!(
        "check the path: Keycloak's issuer is https://HOST/realms/REALM (before version 17, and where \
         KC_HTTP_RELATIVE_PATH says so, https://HOST/auth/realms/REALM), its token URL the same with \
         /protocol/openid-connect/token; or set {}",
        whose.token_url()
    )
}

fn silent() -> String {
    "it does not answer: a firewall may drop what is sent there, or the provider may be overloaded"
        .to_owned()
}

fn not_an_endpoint(whose: Whose) -> Vec<String> {
    one(format!(
        "this does not look like a token endpoint: a login page or a proxy may stand there. Check {}",
        whose.token_url()
    ))
}

fn one(sentence: impl Into<String>) -> Vec<String> {
    vec![sentence.into()]
}

#[cfg(test)]
mod tests;
