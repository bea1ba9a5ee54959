//! The variables that say what the file can say, those of others among them: FastMCP's
//! for a JWT verifier, and Kuadrant's for the metadata.

use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use super::{Layer, Trust, file, issuer, metadata};
use crate::config::{
    document::Node,
    environment::{Environment, flag, setting},
    error::ConfigError,
    identity,
    reader::Reader,
    transport::web_url,
};

/// How a variable's text becomes a value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Separated by commas.
    List,
    /// A public key, or the file that holds it.
    Key,
}
use Kind::{Key, List, Text};

/// A key, and the variables that stand for it: the first that is set counts.
type Variables = &'static [(&'static str, Kind, &'static [&'static str])];

const LOCK: Variables = &[
    ("mode", Text, &["MCP_AUTH_MODE"]),
    ("provider", Text, &["MCP_AUTH_PROVIDER"]),
    (
        "audiences",
        List,
        &["MCP_AUTH_AUDIENCES", "FASTMCP_SERVER_AUTH_JWT_AUDIENCE"],
    ),
    (
        "requiredScopes",
        List,
        &[
            "MCP_AUTH_REQUIRED_SCOPES",
            "FASTMCP_SERVER_AUTH_JWT_REQUIRED_SCOPES",
        ],
    ),
    ("requiredClaims", List, &["MCP_AUTH_REQUIRED_CLAIMS"]),
    ("leeway", Text, &["MCP_AUTH_LEEWAY"]),
    ("caFile", Text, &["MCP_AUTH_CA_FILE", "OIDC_CA_FILE"]),
    (
        "issuer",
        List,
        &["MCP_AUTH_ISSUER", "FASTMCP_SERVER_AUTH_JWT_ISSUER"],
    ),
    (
        "jwks",
        Text,
        &["MCP_AUTH_JWKS_URL", "FASTMCP_SERVER_AUTH_JWT_JWKS_URI"],
    ),
    ("jwks", Key, &["FASTMCP_SERVER_AUTH_JWT_PUBLIC_KEY"]),
    (
        "algorithms",
        List,
        &["MCP_AUTH_ALGORITHMS", "FASTMCP_SERVER_AUTH_JWT_ALGORITHM"],
    ),
];

const INTROSPECTION: Variables = &[
    ("endpoint", Text, &["MCP_AUTH_INTROSPECTION_ENDPOINT"]),
    ("clientId", Text, &["MCP_AUTH_INTROSPECTION_CLIENT_ID"]),
    ("cache", Text, &["MCP_AUTH_INTROSPECTION_CACHE"]),
];
const SECRET: &str = "MCP_AUTH_INTROSPECTION_CLIENT_SECRET";
const SECRET_FILE: &str = "MCP_AUTH_INTROSPECTION_CLIENT_SECRET_FILE";

const METADATA: Variables = &[
    ("resource", Text, &["OAUTH_RESOURCE"]),
    ("resourceName", Text, &["OAUTH_RESOURCE_NAME"]),
    (
        "authorizationServers",
        List,
        &["OAUTH_AUTHORIZATION_SERVERS"],
    ),
    (
        "bearerMethodsSupported",
        List,
        &["OAUTH_BEARER_METHODS_SUPPORTED"],
    ),
    ("scopesSupported", List, &["OAUTH_SCOPES_SUPPORTED"]),
];

const PLACE: Variables = &[("trustedProxies", List, &["MCP_TRUSTED_PROXIES"])];

const POLICY: &str = "MCP_AUTH_POLICY_FILE";
const AUDIT: &str = "MCP_AUDIT";
const PUBLIC_URL: [&str; 2] = ["MCP_PUBLIC_URL", "FASTMCP_SERVER_AUTH_JWT_BASE_URL"];

/// What the environment says.
pub(super) struct Said {
    pub(super) layer: Layer,
    /// Whether it asks for a lock. The issuer that FastMCP's variable names does not: the
    /// service identity rests on it too.
    pub(super) asks_for_lock: bool,
    pub(super) public_url: Option<Url>,
    pub(super) trusted_proxies: Option<Vec<IpNet>>,
}

/// Reads them all, with the rules of the file.
pub(super) fn read(env: &dyn Environment) -> Result<Said, ConfigError> {
    let mut problems = Vec::new();
    let by_type = read_type(env, &mut problems);
    let own = ["MCP_AUTH_MODE", "MCP_AUTH_ISSUER", INTROSPECTION[0].2[0]];
    let asks_for_lock = by_type || own.iter().any(|name| setting(env, name).is_some());
    let mut layer = Layer::default();
    if asks_for_lock {
        layer = read_lock(env, &mut problems);
    }
    layer.policy = setting(env, POLICY).map(PathBuf::from);
    layer.audit = setting(env, AUDIT).and_then(|text| {
        let audit = flag(&text);
        if audit.is_none() {
            problems.push(format!("{AUDIT}: expected 1 or 0"));
        }
        audit
    });
    layer.metadata = with(env, METADATA, &mut problems, metadata::Layer::read);
    let trusted_proxies = with(env, PLACE, &mut problems, file::read_proxies);
    let public_url = first_set(env, &PUBLIC_URL).and_then(|(name, text)| match web_url(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            problems.push(format!("{name}: {why}"));
            None
        }
    });
    if !problems.is_empty() {
        return Err(ConfigError::Variable {
            problem: problems.join("; "),
        });
    }
    Ok(Said {
        layer,
        asks_for_lock,
        public_url,
        trusted_proxies,
    })
}

fn read_lock(env: &dyn Environment, problems: &mut Vec<String>) -> Layer {
    let mut layer = with(env, LOCK, problems, |reader| Layer {
        required_claims: file::read_claims(reader),
        trust: issuer::read(reader).map(Trust::Jwt),
        ..file::read(reader)
    });
    if setting(env, INTROSPECTION[0].2[0]).is_some() {
        let secret = identity::secret(env, SECRET, SECRET_FILE);
        let issuer = match &layer.trust {
            Some(Trust::Jwt(issuers)) => issuers.first().map(|issuer| issuer.name.clone()),
            _ => None,
        };
        layer.trust = with(env, INTROSPECTION, problems, |reader| {
            file::read_introspection(reader, issuer, secret)
        });
    }
    layer
}

/// `AUTH_TYPE`: whether it asks for a lock.
fn read_type(env: &dyn Environment, problems: &mut Vec<String>) -> bool {
    match setting(env, "AUTH_TYPE").as_deref() {
        None | Some("none") => false,
        Some("jwt") => true,
        // Whoever set it believes that callers are authenticated.
        Some(_) => {
            problems
                .push("AUTH_TYPE: expected \"jwt\" or \"none\"; others are not known here".into());
            false
        }
    }
}

/// The first of these variables that is set.
fn first_set(env: &dyn Environment, names: &[&'static str]) -> Option<(&'static str, String)> {
    names
        .iter()
        .find_map(|name| Some((*name, setting(env, name)?)))
}

/// A key as `jwks` has it. Files of variables often have no room for line breaks.
fn public_key(text: String) -> Node {
    let (kind, text) = match text.contains("-----BEGIN") {
        true => ("inline", text.replace("\\n", "\n")),
        false => ("file", text),
    };
    Node::Object(vec![(kind.to_owned(), Node::String(text))])
}

/// Reads variables as if their values stood in the file under the keys they stand for.
fn with<T>(
    env: &dyn Environment,
    variables: Variables,
    problems: &mut Vec<String>,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> T {
    let nodes: Vec<_> = variables
        .iter()
        .filter_map(|(key, kind, names)| {
            let (name, text) = first_set(env, names)?;
            let node = match kind {
                Text => Node::String(text),
                List => Node::List(
                    text.split(',')
                        .map(str::trim)
                        .filter(|one| !one.is_empty())
                        .map(|one| Node::String(one.to_owned()))
                        .collect(),
                ),
                Key => public_key(text),
            };
            Some((*key, name, node))
        })
        .collect();
    let mut reader = Reader::of_variables(&nodes, env);
    let read = read(&mut reader);
    problems.extend(reader.finish().problems);
    read
}
