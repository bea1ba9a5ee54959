//! The top-level `auth`: who may come in.
#![expect(
    dead_code,
    reason = "these types describe the file and are never made: it is read by hand"
)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::values::{LockMode, Provider, Span, Switch};

/// Who may come in over HTTP.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Door {
    /// What becomes of requests without a good token.
    mode: Option<LockMode>,
    /// Who issues tokens: a name, an object, or a list of these.
    issuer: Option<Issuers>,
    /// One of them must stand in the token's `aud`; by default the public URL.
    audiences: Option<Vec<String>>,
    /// The issuer's keys; by default found by discovery.
    jwks: Option<KeySource>,
    /// Those that may sign, such as `RS256`.
    algorithms: Option<Vec<String>>,
    /// What else is checked of a JWT.
    jwt_validation_options: Option<Validation>,
    /// Scopes that every token must have.
    required_scopes: Option<Vec<String>>,
    /// How far clocks may differ.
    leeway: Option<Span>,
    /// Ask the issuer about each token instead (RFC 7662).
    introspection: Option<Introspection>,
    /// What clients read of this server (RFC 9728).
    resource_metadata: Option<Metadata>,
    /// Certificates in PEM that the issuer is trusted by, beside the platform's.
    ca_file: Option<String>,
    /// Stand in for what the issuer's software does not do for MCP clients.
    provider: Option<Provider>,
    /// A file or folder of Cedar policies: who may call what.
    policy: Option<String>,
    /// Write a line in the log for every call.
    audit: Option<Switch>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Issuers {
    One(OneIssuer),
    Several(Vec<OneIssuer>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneIssuer {
    Name(String),
    Object(Issuer),
}

/// An issuer with audiences, keys or algorithms of its own.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Issuer {
    /// What stands in tokens as `iss`.
    issuer: String,
    /// One of them must stand in its tokens' `aud`.
    audiences: Option<Vec<String>>,
    /// Its keys; by default found by discovery.
    jwks: Option<KeySource>,
    /// Those that may sign.
    algorithms: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum KeySource {
    Url(String),
    Object(Keys),
}

/// Where keys are: one of these.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Keys {
    /// At this address.
    url: Option<String>,
    /// In this file.
    file: Option<String>,
    /// Here: a JWK set, as an object or as its text.
    inline: Option<KeySet>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum KeySet {
    Text(String),
    Object(BTreeMap<String, Value>),
}

/// What else is checked of a JWT.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Validation {
    /// Claims that must be there: of `exp`, `nbf`, `aud`, `iss`, `sub`.
    required_claims: Option<Vec<String>>,
}

/// Whom to ask about tokens, and as whom.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Introspection {
    /// Where.
    endpoint: Option<String>,
    /// As whom.
    client_id: Option<String>,
    /// The client's secret: better `${VAR}` than in clear text.
    client_secret: Option<String>,
    /// The file that holds it.
    client_secret_file: Option<String>,
    /// How long an answer is good at most.
    cache: Option<Span>,
}

/// What clients read of this server.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    /// The address of `/mcp`; by default the public URL.
    resource: Option<String>,
    /// Its name, for people.
    resource_name: Option<String>,
    /// Who issues tokens; by default the issuers.
    authorization_servers: Option<Vec<String>>,
    /// How a token may be sent.
    bearer_methods_supported: Option<Vec<String>>,
    /// Scopes there are; by default the required ones.
    scopes_supported: Option<Vec<String>>,
    /// A page for developers.
    resource_documentation: Option<String>,
    /// A page on what a client may do with the data.
    resource_policy_uri: Option<String>,
}
