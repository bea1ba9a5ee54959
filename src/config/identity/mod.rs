//! The service identity's settings, which come from the environment alone.

mod hosts;
mod own;
mod token;
mod travel;

use std::path::PathBuf;

pub use hosts::TokenHosts;
pub(super) use own::OwnToken;
pub use token::{Credential, ProviderTls, SecretSource, TokenPlace, TokenSettings};
pub(super) use token::{TokenDefaults, secret};
pub(super) use travel::warn;

use super::{
    environment::{Environment, setting},
    error::ConfigError,
    scalars::one_of,
    warning::Warning,
};

/// How the multiplexer identifies itself to remote children.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ServiceSettings {
    /// It does not.
    #[default]
    None,
    /// `oidc-client-credentials`: with a token it mints.
    ClientCredentials(Box<TokenSettings>),
    /// `bearer-file`: with the token in this file, which somebody else keeps fresh.
    BearerFile(PathBuf),
    /// `basic`: with user name and password (RFC 7617).
    Basic {
        /// Without a colon.
        username: String,
        /// The password.
        password: SecretSource,
    },
}

impl ServiceSettings {
    /// The word of `MCP_CLIENT_AUTH` for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => Mode::None,
            Self::ClientCredentials(_) => Mode::ClientCredentials,
            Self::BearerFile(_) => Mode::BearerFile,
            Self::Basic { .. } => Mode::Basic,
        }
        .as_str()
    }
}

/// What `MCP_CLIENT_AUTH` and its variables say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdentitySettings {
    /// Who the multiplexer is to every remote child that is told nothing else.
    pub service: ServiceSettings,
    /// `MCP_CLIENT_AUTH_HOSTS`: to whom any token of ours may go; `None`: to every child.
    pub hosts: Option<TokenHosts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    ClientCredentials,
    BearerFile,
    Basic,
}

const MODES: [Mode; 4] = [
    Mode::None,
    Mode::ClientCredentials,
    Mode::BearerFile,
    Mode::Basic,
];

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientCredentials => "oidc-client-credentials",
            Self::BearerFile => "bearer-file",
            Self::Basic => "basic",
        }
    }
}

impl IdentitySettings {
    /// What the environment says, without a configuration file.
    ///
    /// # Errors
    ///
    /// A variable is wrong, or one that is needed is missing.
    pub fn from_environment(env: &dyn Environment) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let (settings, _) = read(env, &mut warnings)?;
        warn(&settings, &[], &mut warnings);
        Ok((settings, warnings))
    }
}

/// Reads the variables; gives what entries' own tokens rest on beside the settings.
/// Those of an identity that is switched off are read too, but cannot stop the start.
pub(super) fn read(
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) -> Result<(IdentitySettings, TokenDefaults), ConfigError> {
    let mode = read_mode(env)?;
    let defaults = TokenDefaults::read(env, mode == Mode::ClientCredentials)?;
    let service = match mode {
        Mode::None => ServiceSettings::None,
        Mode::ClientCredentials => {
            let token = defaults.service()?;
            token::warn_of(&token, warnings);
            ServiceSettings::ClientCredentials(Box::new(token))
        }
        Mode::BearerFile => {
            let name = "MCP_CLIENT_BEARER_FILE";
            let file = setting(env, name).map(PathBuf::from);
            let file = file.ok_or_else(|| needs(mode, vec![name]))?;
            token::warn_of_file(name, &file, warnings);
            ServiceSettings::BearerFile(file)
        }
        Mode::Basic => basic(env, warnings)?,
    };
    let hosts = TokenHosts::read(env)?;
    Ok((IdentitySettings { service, hosts }, defaults))
}

fn basic(
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) -> Result<ServiceSettings, ConfigError> {
    let username = setting(env, "MCP_CLIENT_BASIC_USERNAME");
    let password = token::secret(
        env,
        "MCP_CLIENT_BASIC_PASSWORD",
        "MCP_CLIENT_BASIC_PASSWORD_FILE",
    );
    let mut missing = Vec::new();
    if username.is_none() {
        missing.push("MCP_CLIENT_BASIC_USERNAME");
    }
    if password.is_none() {
        missing.push("MCP_CLIENT_BASIC_PASSWORD (or MCP_CLIENT_BASIC_PASSWORD_FILE)");
    }
    let (Some(username), Some(password)) = (username, password) else {
        return Err(needs(Mode::Basic, missing));
    };
    if username.contains(':') {
        return Err(ConfigError::Variable {
            problem: "MCP_CLIENT_BASIC_USERNAME: a user name must not hold a colon (RFC 7617)"
                .into(),
        });
    }
    token::warn_of_secret(&password, warnings);
    Ok(ServiceSettings::Basic { username, password })
}

fn needs(mode: Mode, missing: Vec<&'static str>) -> ConfigError {
    ConfigError::Identity {
        mode: mode.as_str(),
        missing,
    }
}

fn read_mode(env: &dyn Environment) -> Result<Mode, ConfigError> {
    let Some(word) = setting(env, "MCP_CLIENT_AUTH") else {
        return Ok(Mode::None);
    };
    match MODES.into_iter().find(|mode| mode.as_str() == word) {
        Some(mode) => Ok(mode),
        // Not shown: in such a place stands a mistyped word or a pasted token.
        None => Err(ConfigError::Variable {
            problem: format!(
                "MCP_CLIENT_AUTH has a value that is not known; known are {}",
                one_of(MODES.into_iter().map(Mode::as_str))
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn with(extra: &[(&str, &str)]) -> (Result<ServiceSettings, ConfigError>, Vec<String>) {
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
        let settings = read(&env, &mut warnings).map(|(identity, _)| identity.service);
        (settings, warnings.iter().map(Warning::to_string).collect())
    }

    fn token(extra: &[(&str, &str)]) -> TokenSettings {
        match with(extra).0.expect("valid") {
            ServiceSettings::ClientCredentials(token) => *token,
            other => panic!("{other:?}"),
        }
    }

    fn refused(extra: &[(&str, &str)]) -> String {
        let error = with(extra).0.expect_err("refused");
        error.to_string()
    }

    #[test]
    fn without_the_switch_there_is_no_identity() {
        let env: HashMap<String, String> = HashMap::new();
        let (settings, _) = read(&env, &mut Vec::new()).expect("valid");
        assert_eq!(settings, IdentitySettings::default());
        let (settings, warnings) =
            with(&[("MCP_CLIENT_AUTH", "none"), ("OIDC_ISSUER", "nonsense")]);
        assert_eq!(settings.expect("valid"), ServiceSettings::None);
        assert!(warnings.is_empty());
    }

    #[test]
    fn the_audience_has_a_default() {
        let token = token(&[("OIDC_AUDIENCE", " ")]);
        assert_eq!(token.audience.as_deref(), Some("agent-services"));
        assert!(token.tls.verify);
    }

    #[test]
    fn the_way_to_prove_oneself_is_a_setting() {
        let key = ("OIDC_CLIENT_KEY_FILE", "/nowhere/key.pem");
        let method = |word| ("OIDC_CLIENT_AUTH_METHOD", word);
        let credential = |extra: &[(&str, &str)]| token(extra).credential;
        assert!(matches!(credential(&[]), Credential::Basic(_)));
        assert!(matches!(credential(&[key]), Credential::Basic(_)));
        let only_key = [key, ("OIDC_CLIENT_SECRET", "")];
        assert!(matches!(credential(&only_key), Credential::Key { .. }));
        let post = [method("client_secret_post")];
        assert!(matches!(credential(&post), Credential::Post(_)));
        let jwt = [method("private_key_jwt"), key, ("OIDC_CLIENT_KEY_ID", "k1")];
        assert!(
            matches!(credential(&jwt), Credential::Key { id, .. } if id.as_deref() == Some("k1"))
        );
        assert!(refused(&[method("private_key_jwt")]).contains("OIDC_CLIENT_KEY_FILE"));
        let unknown = refused(&[method("hunter2")]);
        assert!(
            unknown.contains("private_key_jwt") && !unknown.contains("hunter2"),
            "{unknown}"
        );
    }

    #[test]
    fn a_file_or_a_password_can_stand_for_a_token() {
        let bearer = ("MCP_CLIENT_AUTH", "bearer-file");
        let text = refused(&[bearer]);
        assert!(
            text.contains("MCP_CLIENT_AUTH=bearer-file") && text.contains("MCP_CLIENT_BEARER_FILE"),
            "{text}"
        );
        let (settings, warnings) = with(&[bearer, ("MCP_CLIENT_BEARER_FILE", "/nowhere/token")]);
        let file = ServiceSettings::BearerFile("/nowhere/token".into());
        assert_eq!(settings.expect("valid"), file);
        assert_eq!(warnings.len(), 1);

        let basic = ("MCP_CLIENT_AUTH", "basic");
        let text = refused(&[basic]);
        assert!(
            text.contains("_USERNAME") && text.contains("_PASSWORD"),
            "{text}"
        );
        let password = ("MCP_CLIENT_BASIC_PASSWORD", "hunter2");
        let text = refused(&[basic, ("MCP_CLIENT_BASIC_USERNAME", "a:b"), password]);
        assert!(text.contains("colon"), "{text}");
        let (settings, _) = with(&[basic, ("MCP_CLIENT_BASIC_USERNAME", "me"), password]);
        let shown = format!("{:?}", settings.expect("valid"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn an_unknown_mode_stops_the_start_and_lists_the_known_ones() {
        let text = refused(&[("MCP_CLIENT_AUTH", "hunter2")]);
        assert!(
            text.contains(r#""none", "oidc-client-credentials", "bearer-file" or "basic""#),
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
        let token = token(&[("OIDC_ISSUER", ""), list]);
        assert_eq!(
            token.place.issuer().map(url::Url::as_str),
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
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", token(&[]));
        assert!(!shown.contains("hunter2"), "{shown}");
        let text = refused(&[("OIDC_TOKEN_URL", "https://me:hunter2@id/token")]);
        assert!(
            text.contains("OIDC_TOKEN_URL") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
