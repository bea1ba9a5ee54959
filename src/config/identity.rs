//! The service identity's settings, which come from the environment alone.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;
use url::Url;

use super::{
    environment::{Environment, flag, setting},
    error::ConfigError,
    scalars::one_of,
    shown::ShownUrl,
    transport::web_url,
    warning::Warning,
};

const DEFAULT_AUDIENCE: &str = "agent-services";

/// How the multiplexer identifies itself to remote children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityMode {
    /// It does not.
    #[default]
    None,
    /// With a token from the OAuth 2.0 client-credentials grant.
    ClientCredentials,
}

const MODES: &[(&str, IdentityMode)] = &[
    ("none", IdentityMode::None),
    ("oidc-client-credentials", IdentityMode::ClientCredentials),
];

/// What `MCP_CLIENT_AUTH` and the `OIDC_…` variables say. With
/// [`IdentityMode::ClientCredentials`] an id, a secret or its file, and a token
/// URL or an issuer are there.
#[derive(Clone)]
pub struct IdentitySettings {
    /// `MCP_CLIENT_AUTH`.
    pub mode: IdentityMode,
    /// `OIDC_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `OIDC_CLIENT_SECRET`.
    pub client_secret: Option<SecretString>,
    /// `OIDC_CLIENT_SECRET_FILE`, read anew at every mint.
    pub client_secret_file: Option<PathBuf>,
    /// `OIDC_AUDIENCE`; `agent-services` where it is not set.
    pub audience: Option<String>,
    /// `OIDC_SCOPE`.
    pub scope: Option<String>,
    /// `OIDC_TOKEN_URL`.
    pub token_url: Option<Url>,
    /// `OIDC_ISSUER`, else the first of `FASTMCP_SERVER_AUTH_JWT_ISSUER`.
    pub issuer: Option<Url>,
    /// `OIDC_TLS_VERIFY`; whether the provider's certificate is checked.
    pub tls_verify: bool,
}

impl fmt::Debug for IdentitySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentitySettings")
            .field("mode", &self.mode)
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("client_secret_file", &self.client_secret_file)
            .field("audience", &self.audience)
            .field("scope", &self.scope)
            .field("token_url", &self.token_url.as_ref().map(ShownUrl))
            .field("issuer", &self.issuer.as_ref().map(ShownUrl))
            .field("tls_verify", &self.tls_verify)
            .finish()
    }
}

/// Reads the variables. Those of an identity that is switched off are read too,
/// for an entry's own `auth` may rest on them, but cannot stop the start.
pub(super) fn read(
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) -> Result<IdentitySettings, ConfigError> {
    let mode = read_mode(env)?;
    let on = mode != IdentityMode::None;
    let settings = IdentitySettings {
        mode,
        client_id: setting(env, "OIDC_CLIENT_ID"),
        client_secret: setting(env, "OIDC_CLIENT_SECRET").map(SecretString::from),
        client_secret_file: setting(env, "OIDC_CLIENT_SECRET_FILE").map(PathBuf::from),
        audience: setting(env, "OIDC_AUDIENCE").or_else(|| Some(DEFAULT_AUDIENCE.to_owned())),
        scope: setting(env, "OIDC_SCOPE"),
        token_url: needed(
            on,
            read_url("OIDC_TOKEN_URL", setting(env, "OIDC_TOKEN_URL")),
        )?,
        issuer: needed(on, read_issuer(env))?,
        tls_verify: needed(on, read_tls_verify(env))?.unwrap_or(true),
    };
    if on {
        check(&settings, warnings)?;
    }
    Ok(settings)
}

/// A variable's value; where the identity is off, a wrong one is no value.
fn needed<T>(on: bool, read: Result<Option<T>, ConfigError>) -> Result<Option<T>, ConfigError> {
    if on { read } else { Ok(read.ok().flatten()) }
}

fn read_mode(env: &dyn Environment) -> Result<IdentityMode, ConfigError> {
    let Some(word) = setting(env, "MCP_CLIENT_AUTH") else {
        return Ok(IdentityMode::None);
    };
    match MODES.iter().find(|(known, _)| *known == word) {
        Some((_, mode)) => Ok(*mode),
        // Not shown: in such a place stands a mistyped word or a pasted token.
        None => Err(ConfigError::Variable {
            problem: format!(
                "MCP_CLIENT_AUTH has a value that is not known; known are {}",
                one_of(MODES.iter().map(|(known, _)| *known))
            ),
        }),
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

fn read_url(name: &str, text: Option<String>) -> Result<Option<Url>, ConfigError> {
    text.map(|text| web_url(&text))
        .transpose()
        .map_err(|why| ConfigError::Variable {
            problem: format!("{name}: {why}"),
        })
}

fn read_tls_verify(env: &dyn Environment) -> Result<Option<bool>, ConfigError> {
    let Some(text) = setting(env, "OIDC_TLS_VERIFY") else {
        return Ok(None);
    };
    match flag(&text) {
        Some(verify) => Ok(Some(verify)),
        None => Err(ConfigError::Variable {
            problem: "OIDC_TLS_VERIFY: expected true or false".into(),
        }),
    }
}

fn check(settings: &IdentitySettings, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    let mut missing = Vec::new();
    if settings.client_id.is_none() {
        missing.push("OIDC_CLIENT_ID");
    }
    if settings.client_secret.is_none() && settings.client_secret_file.is_none() {
        missing.push("OIDC_CLIENT_SECRET (or OIDC_CLIENT_SECRET_FILE)");
    }
    if settings.token_url.is_none() && settings.issuer.is_none() {
        missing.push("OIDC_TOKEN_URL (or OIDC_ISSUER, or FASTMCP_SERVER_AUTH_JWT_ISSUER)");
    }
    if !missing.is_empty() {
        return Err(ConfigError::Identity { missing });
    }
    if let Some(path) = &settings.client_secret_file
        && let Some(why) = unreadable(path)
    {
        warnings.push(Warning::new(format!(
            "OIDC_CLIENT_SECRET_FILE: {} {why}; it is tried again at every mint",
            path.display()
        )));
    }
    if !settings.tls_verify {
        warnings.push(Warning::new(
            "OIDC_TLS_VERIFY is off: whoever can stand between here and the identity provider can take the client secret",
        ));
    }
    Ok(())
}

/// Why a secret cannot be had from this file now. A pipe is not opened: that
/// would wait for its writer.
fn unreadable(path: &PathBuf) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn with(extra: &[(&str, &str)]) -> (Result<IdentitySettings, ConfigError>, Vec<String>) {
        let base = [
            ("MCP_CLIENT_AUTH", "oidc-client-credentials"),
            ("OIDC_CLIENT_ID", "mux"),
            ("OIDC_CLIENT_SECRET", "hunter2"),
            ("OIDC_ISSUER", "https://id/realms/x"),
        ];
        let env: HashMap<String, String> = base
            .iter()
            .chain(extra)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut warnings = Vec::new();
        let settings = read(&env, &mut warnings);
        (settings, warnings.iter().map(Warning::to_string).collect())
    }

    fn refused(extra: &[(&str, &str)]) -> String {
        let error = with(extra).0.expect_err("refused");
        error.to_string()
    }

    #[test]
    fn without_the_switch_there_is_no_identity() {
        let env: HashMap<String, String> = HashMap::new();
        let settings = read(&env, &mut Vec::new()).expect("valid");
        assert_eq!(settings.mode, IdentityMode::None);
        assert!(settings.tls_verify);
        let (settings, warnings) =
            with(&[("MCP_CLIENT_AUTH", "none"), ("OIDC_ISSUER", "nonsense")]);
        assert_eq!(settings.expect("valid").issuer, None);
        assert!(warnings.is_empty());
    }

    #[test]
    fn the_audience_has_a_default() {
        let settings = with(&[("OIDC_AUDIENCE", " ")]).0.expect("valid");
        assert_eq!(settings.audience.as_deref(), Some("agent-services"));
        assert_eq!(settings.mode, IdentityMode::ClientCredentials);
    }

    #[test]
    fn an_unknown_mode_stops_the_start_and_lists_the_known_ones() {
        let text = refused(&[("MCP_CLIENT_AUTH", "hunter2")]);
        assert!(
            text.contains(r#""none" or "oidc-client-credentials""#),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_is_missing_is_named_all_at_once() {
        let text = refused(&[
            ("OIDC_CLIENT_ID", ""),
            ("OIDC_CLIENT_SECRET", " "),
            ("OIDC_ISSUER", ""),
        ]);
        for name in [
            "OIDC_CLIENT_ID",
            "OIDC_CLIENT_SECRET",
            "OIDC_TOKEN_URL",
            "OIDC_ISSUER",
        ] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn the_issuer_may_come_from_the_first_of_a_list() {
        let list = (
            "FASTMCP_SERVER_AUTH_JWT_ISSUER",
            " , https://a/x , https://b/",
        );
        let settings = with(&[("OIDC_ISSUER", ""), list]).0.expect("valid");
        assert_eq!(
            settings.issuer.map(String::from).as_deref(),
            Some("https://a/x")
        );
    }

    #[test]
    fn a_wrong_url_or_switch_names_its_variable_and_not_its_value() {
        for name in ["OIDC_TOKEN_URL", "OIDC_ISSUER", "OIDC_TLS_VERIFY"] {
            let text = refused(&[(name, "hunter2")]);
            assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_secret_file_that_is_not_there_yet_is_a_warning() {
        let (settings, warnings) = with(&[
            ("OIDC_CLIENT_SECRET", ""),
            ("OIDC_CLIENT_SECRET_FILE", "/nowhere/secret"),
        ]);
        assert!(settings.is_ok());
        assert!(warnings[0].contains("/nowhere/secret"), "{warnings:?}");
    }

    #[test]
    fn unchecked_certificates_are_a_warning() {
        let (settings, warnings) = with(&[("OIDC_TLS_VERIFY", "0")]);
        assert!(!settings.expect("valid").tls_verify);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn debug_shows_no_secret() {
        let url = "https://me:hunter2@id/token";
        let settings = with(&[("OIDC_TOKEN_URL", url)]).0.expect("valid");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
