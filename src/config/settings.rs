//! All settings together.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use url::Url;

use super::{
    child::ChildSettings, document, door::DoorSettings, environment::Environment,
    error::ConfigError, file, identity::IdentitySettings, self_reference,
    session_keys::SessionKeys, shown::ShownUrl, synonyms::WordGroup, warning::Warning,
};
use crate::protocol::names::ChildName;

/// Everything the configuration file and the environment say, checked.
///
/// `Debug` shows no secret.
#[derive(Clone)]
pub struct Settings {
    /// The file these settings come from.
    pub path: PathBuf,
    /// Every entry of `mcpServers` in file order, disabled and broken ones
    /// included. No two usable ones have the same prefix, the empty one aside.
    pub children: Vec<ChildSettings>,
    /// Longest public name, in characters.
    pub max_name_length: usize,
    /// What `tools/list` shows.
    pub mode: Mode,
    /// The address clients know this multiplexer by, `http` or `https`.
    pub public_url: Option<Url>,
    /// Who may come in over HTTP.
    pub door: DoorSettings,
    /// Groups in file order, each with the children it names; all of them exist.
    pub groups: Vec<(String, Vec<ChildName>)>,
    /// Whether meta-tools are offered in eager mode too.
    pub meta_tools: bool,
    /// Globs on public names of tools that dynamic mode always lists.
    pub always_load: Vec<String>,
    /// Globs on the names of children all of whose tools it always lists.
    pub always_on: Vec<String>,
    /// Words that mean the same to those who search for tools, beside those known anyway.
    pub synonyms: Vec<WordGroup>,
    /// The service identity.
    pub identity: IdentitySettings,
    /// The keys that replicas have in common.
    pub session_keys: Option<SessionKeys>,
    /// What the operator should look at, one sentence each.
    pub warnings: Vec<Warning>,
}

/// What `tools/list` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every tool.
    #[default]
    Eager,
    /// A few tools that find and load the others.
    Dynamic,
}

impl Mode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Dynamic => "dynamic",
        }
    }
}

impl Settings {
    /// Whether the tools that find and load others are offered.
    pub fn offers_meta_tools(&self) -> bool {
        self.mode == Mode::Dynamic || self.meta_tools
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not JSON, or a setting that concerns the whole
    /// is wrong. A broken entry is no error: its child is disabled.
    pub fn load(path: &Path, env: &dyn Environment) -> Result<Self, ConfigError> {
        Self::from_file(path, env, None)
    }

    /// Reads and checks the file again. What is read at the start only, and cannot be read
    /// any more, is no reason to refuse the rest: it stays as it is in `self`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_again(&self, path: &Path, env: &dyn Environment) -> Result<Self, ConfigError> {
        Self::from_file(path, env, Some(self))
    }

    fn from_file(
        path: &Path,
        env: &dyn Environment,
        before: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let bytes = fs::read(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        file::read(path, document::decode(path, &bytes)?, env, before)
    }

    /// Checks a file's text; `path` only names it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), reading aside.
    pub fn from_json(path: &Path, text: &str, env: &dyn Environment) -> Result<Self, ConfigError> {
        file::read(path, text, env, None)
    }

    /// Whether the one needs not be put in force where the other one is.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.children == other.children
            && self.max_name_length == other.max_name_length
            && self.door == other.door
            && self.groups == other.groups
            && self.synonyms == other.synonyms
            && self.differs_at_start(other).is_empty()
    }

    /// The keys that take effect at the start of a process only, and do not say what
    /// they say in `started`.
    pub fn differs_at_start(&self, started: &Self) -> Vec<&'static str> {
        let keys = [
            ("mode", self.mode != started.mode),
            ("metaTools", self.meta_tools != started.meta_tools),
            ("alwaysLoad", self.always_load != started.always_load),
            ("MCP_DYNAMIC_ALWAYS_ON", self.always_on != started.always_on),
            ("publicUrl", self.door.resource != started.door.resource),
            ("audit", self.door.audit != started.door.audit),
            ("the service identity", self.identity != started.identity),
            ("MCP_SESSION_KEY", self.session_keys != started.session_keys),
        ];
        let differs = keys.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(key, _)| key).collect()
    }

    /// Disables every child whose URL `is_me` recognizes as this multiplexer's
    /// own address, with a warning. Only the caller knows where it listens.
    pub fn disable_self(&mut self, is_me: impl Fn(&Url) -> bool) {
        self_reference::skip_own_urls(&mut self.children, is_me, &mut self.warnings);
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("path", &self.path)
            .field("children", &self.children)
            .field("max_name_length", &self.max_name_length)
            .field("mode", &self.mode)
            .field("public_url", &self.public_url.as_ref().map(ShownUrl))
            .field("door", &self.door)
            .field("groups", &self.groups)
            .field("meta_tools", &self.meta_tools)
            .field("always_load", &self.always_load)
            .field("always_on", &self.always_on)
            .field("synonyms", &self.synonyms)
            .field("identity", &self.identity)
            .field("session_keys", &self.session_keys)
            .field("warnings", &self.warnings)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{AuthSettings, TransportSettings};

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn session_keys_that_cannot_be_read_again_stay_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let [path, key] = ["mcp_config.json", "key"].map(|name| folder.path().join(name));
        let env = env(&[("MCP_SESSION_KEY_FILE", key.to_str().unwrap())]);
        fs::write(&key, "k".repeat(32)).unwrap();
        fs::write(&path, r#"{"mcpServers":{}}"#).unwrap();
        let started = Settings::load(&path, &env).unwrap();
        fs::remove_file(&key).unwrap();
        fs::write(&path, r#"{"mcpServers":{"new":{"command":"x"}}}"#).unwrap();

        let again = started.load_again(&path, &env).unwrap();

        assert_eq!(again.children.len(), 1);
        assert_eq!(again.session_keys, started.session_keys);
        let warned = again.warnings.iter().map(ToString::to_string);
        let warned = warned.collect::<Vec<_>>().join("\n");
        assert!(warned.contains("MCP_SESSION_KEY_FILE"), "{warned}");
        Settings::load(&path, &env).unwrap_err();
    }

    #[test]
    fn the_example_loads_without_a_warning() {
        let text = include_str!("../../mcp_config.example.json");
        let env = env(&[("GITHUB_TOKEN", "hunter2")]);
        let settings = Settings::from_json(Path::new("example"), text, &env).expect("valid");
        assert_eq!(settings.warnings, []);
        assert!(
            settings
                .children
                .iter()
                .all(|child| child.disabled.is_none())
        );
        let prefixes: Vec<_> = settings
            .children
            .iter()
            .map(|c| c.prefix.as_str())
            .collect();
        assert_eq!(prefixes, ["time", "container_manager", "gh"]);
        assert_eq!(settings.children[1].auth, AuthSettings::Service);
        assert!(!settings.children[2].enabled_tools.is_empty());
    }

    #[test]
    fn an_address_of_our_own_is_disabled_with_a_warning() {
        let text = r#"{"mcpServers": {
            "me": {"url": "http://localhost:8000/mcp"},
            "other": {"url": "http://localhost:9000/mcp"}
        }}"#;
        let mut settings =
            Settings::from_json(Path::new("c.json"), text, &env(&[])).expect("valid");
        settings.disable_self(|url| url.port() == Some(8000));
        assert!(settings.children[0].disabled.is_some());
        assert!(settings.children[1].disabled.is_none());
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = Settings::load(Path::new("/nowhere/c.json"), &env(&[])).expect_err("missing");
        assert!(error.to_string().starts_with("cannot read /nowhere/c.json"));
        let error = Settings::load(&std::env::temp_dir(), &env(&[])).expect_err("a folder");
        assert!(matches!(error, ConfigError::Unreadable { .. }));
    }

    #[test]
    fn a_secret_in_any_place_is_shown_nowhere() {
        let text = r#"{
            "auth": {"introspection": {
                "endpoint": "https://h/introspect?key=${S}", "clientId": "mux", "clientSecret": "${S}"
            }},
            "publicUrl": "https://me:${S}@host",
            "mcpServers": {
                "a": {"command": "x", "args": ["--key=${S}"], "env": {"K": "${S}"}},
                "b": {"url": "https://u:${S}@h/mcp?key=${S}", "headers": {"X-K": "${S}"}},
                "c": {"url": "${S}", "timeout": "${S}", "type": "${S}", "lazy": "${S}",
                      "prefix": "${S} ", "session": "${S}", "enabledTools": ["[${S}"]},
                "d": {"url": "https://h", "headers": {"X-K": "${S}\n", "X-\n": "${S}"}},
                "e": {"url": "https://h", "auth": {"clientSecret": "${S}", "${S}": 1}},
                "f": {"command": "x", "env": {"K": "${S}\u0000"}, "cwd": "${S}", "args": "${S}"}
            },
            "groups": {"g": ["${S}"]}
        }"#;
        let env = env(&[
            ("S", "hunter2"),
            ("MCP_CLIENT_AUTH", "oidc-client-credentials"),
            ("OIDC_CLIENT_ID", "mux"),
            ("OIDC_CLIENT_SECRET", "hunter2"),
            ("OIDC_TOKEN_URL", "https://h/token?key=hunter2"),
        ]);
        let settings = Settings::from_json(Path::new("c.json"), text, &env).expect("valid");
        let warnings: Vec<_> = settings.warnings.iter().map(Warning::to_string).collect();
        for shown in [format!("{settings:?}"), warnings.join("\n")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let broken = |child: &&ChildSettings| child.disabled.is_some();
        assert_eq!(settings.children.iter().filter(broken).count(), 3);
        assert!(matches!(
            settings.children[1].transport,
            TransportSettings::Http(_)
        ));
    }
}
