//! Stand-in for the real settings: only what `identity` reads.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

/// How the multiplexer proves who it is to its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityMode {
    /// It does not.
    #[default]
    None,
    /// With a token from the OAuth 2.0 client-credentials grant.
    ClientCredentials,
}

/// Where the service token comes from.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// `MCP_CLIENT_AUTH`
    pub mode: IdentityMode,
    /// `OIDC_CLIENT_ID`
    pub client_id: Option<String>,
    /// `OIDC_CLIENT_SECRET`
    pub client_secret: Option<SecretString>,
    /// `OIDC_CLIENT_SECRET_FILE`
    pub client_secret_file: Option<PathBuf>,
    /// `OIDC_AUDIENCE`
    pub audience: Option<String>,
    /// `OIDC_SCOPE`
    pub scope: Option<String>,
    /// `OIDC_TOKEN_URL`
    pub token_url: Option<Url>,
    /// `OIDC_ISSUER`
    pub issuer: Option<Url>,
    /// Whether the provider's certificate is checked.
    pub tls_verify: bool,
}
