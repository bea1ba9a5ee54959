//! One child as the rest of the program sees it.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{identity::TokenSettings, shown::ShownUrl};
use crate::protocol::names::ChildName;

/// Why a child is disabled when its own entry says `"disabled": true`; every
/// other reason is a fault the operator should see.
pub const DISABLED_IN_CONFIG: &str = "disabled in the config";

/// One entry of `mcpServers`, defaults filled in.
///
/// Two values are equal exactly if a child started from one need not be
/// restarted for the other. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildSettings {
    /// The key of the entry.
    pub name: ChildName,
    /// What stands before its tools' names; empty: they stay as they are.
    pub prefix: String,
    /// How to reach it.
    pub transport: TransportSettings,
    /// Globs on the child's own names: a tool must match one. Empty: all do.
    pub enabled_tools: Vec<String>,
    /// Globs on the child's own names: a tool that matches one is left out.
    pub disabled_tools: Vec<String>,
    /// Why the child is not used, as a sentence; `None`: it is used.
    pub disabled: Option<String>,
    /// Limit for connecting and the handshake together.
    pub timeout: Duration,
    /// Limit for one call; `None`: no limit.
    pub call_timeout: Option<Duration>,
    /// What progress can extend a call to; at least `call_timeout`.
    pub max_call_timeout: Duration,
    /// Calls in flight at once, at least 1.
    pub max_concurrency: usize,
    /// Calls that may wait for a free slot.
    pub max_queue: usize,
    /// How long a call waits for a free slot; zero: not at all.
    pub queue_timeout: Duration,
    /// How often an idle remote child is asked whether it is there; `None`: never.
    pub keep_alive: Option<Duration>,
    /// How a child that is lost is tried again.
    pub restart: RestartSettings,
    /// When to stop sending calls to a failing child.
    pub breaker: BreakerSettings,
    /// Who the child is told we are; without meaning for a stdio child.
    pub auth: AuthSettings,
    /// Whether clients share one connection.
    pub session: SessionMode,
    /// Client sessions that may have a connection of their own, at least 1.
    pub max_sessions: usize,
    /// Whether the child runs only while it is needed.
    pub lazy: bool,
    /// How long a lazy child, or a session's own connection, stays up after its last call.
    pub idle_timeout: Duration,
}

impl ChildSettings {
    /// Whether it learns who its users are: each has a connection of its own, and sees
    /// what the child lists to it.
    pub fn is_per_user(&self) -> bool {
        let by_user = matches!(
            self.auth,
            AuthSettings::Passthrough | AuthSettings::Exchange(_)
        );
        match &self.transport {
            TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
                by_user && !remote.has_own_authorization()
            }
            TransportSettings::Stdio(_) | TransportSettings::Unusable => false,
        }
    }
}

/// How to reach a child.
#[derive(Clone, Debug, PartialEq)]
pub enum TransportSettings {
    /// A process, spoken to over its stdin and stdout.
    Stdio(StdioSettings),
    /// Streamable HTTP.
    Http(HttpSettings),
    /// HTTP with server-sent events, the transport of 2024-11-05.
    Sse(HttpSettings),
    /// The entry is too broken to tell; `disabled` says why.
    Unusable,
}

/// How to start a child that is a process.
#[derive(Clone)]
pub struct StdioSettings {
    /// The program, a path or a name to be found in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables it gets beside the allow-list, in file order.
    pub env: Vec<(String, SecretString)>,
    /// Where it starts; `None`: where the multiplexer did.
    pub cwd: Option<PathBuf>,
    /// Whether it gets the multiplexer's whole environment.
    pub inherit_env: bool,
}

/// Where a remote child is.
#[derive(Clone, PartialEq)]
pub struct HttpSettings {
    /// The endpoint, `http` or `https`; may carry userinfo.
    pub url: Url,
    /// Sent with every request; all values are marked sensitive.
    pub headers: HeaderMap,
}

impl HttpSettings {
    /// Whether the entry says itself who we are to this child, in a header or as userinfo:
    /// then no token of ours is sent to it.
    pub fn has_own_authorization(&self) -> bool {
        let userinfo = !self.url.username().is_empty() || self.url.password().is_some();
        userinfo || self.headers.contains_key(AUTHORIZATION)
    }
}

/// How a child that is lost is tried again. There is no last attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartSettings {
    /// The pause before the first attempt.
    pub backoff: Duration,
    /// What the pause doubles up to; at least `backoff`.
    pub max_backoff: Duration,
    /// A child that was up this long starts from the first pause again.
    pub stable: Duration,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(60),
            stable: Duration::from_secs(60),
        }
    }
}

/// When a child's breaker opens and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Failures in a row that open it; 0: never.
    pub failures: u32,
    /// The first cool-down.
    pub cooldown: Duration,
    /// What the cool-down doubles up to; at least `cooldown`.
    pub max_cooldown: Duration,
    /// Share of failures within `window` that opens it too, above 0 and up to 1.
    pub failure_rate: Option<f64>,
    /// The time over which `failure_rate` is taken.
    pub window: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            cooldown: Duration::from_secs(15),
            max_cooldown: Duration::from_secs(5 * 60),
            failure_rate: None,
            window: Duration::from_secs(60),
        }
    }
}

/// Which token a remote child gets, unless it
/// [has an authorization of its own](HttpSettings::has_own_authorization).
#[derive(Clone, Default, PartialEq)]
pub enum AuthSettings {
    /// The service identity's, if there is one.
    #[default]
    Service,
    /// None.
    None,
    /// One of its own.
    Own(Arc<TokenSettings>),
    /// One for each user, in exchange for the client's (RFC 8693).
    Exchange(Arc<TokenSettings>),
    /// The client's own token, for a child that checks its users itself.
    Passthrough,
}

/// Whether clients share a child's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionMode {
    /// All clients share one.
    #[default]
    Shared,
    /// Each client session has its own.
    Dedicated,
}

impl PartialEq for StdioSettings {
    fn eq(&self, other: &Self) -> bool {
        self.command == other.command
            && self.args == other.args
            && self.cwd == other.cwd
            && self.inherit_env == other.inherit_env
            && exposed(&self.env).eq(exposed(&other.env))
    }
}

fn exposed(env: &[(String, SecretString)]) -> impl Iterator<Item = (&str, &str)> {
    env.iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
}

impl fmt::Debug for StdioSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioSettings")
            .field("command", &self.command)
            // Keys are passed as arguments too often to show them.
            .field("args", &format_args!("[{} redacted]", self.args.len()))
            .field("env", &self.env)
            .field("cwd", &self.cwd)
            .field("inherit_env", &self.inherit_env)
            .finish()
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("url", &ShownUrl(&self.url))
            .field("headers", &self.headers)
            .finish()
    }
}

impl fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::None => "None",
            Self::Own(token) => return f.debug_tuple("Own").field(token).finish(),
            Self::Exchange(token) => return f.debug_tuple("Exchange").field(token).finish(),
            Self::Passthrough => "Passthrough",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn stdio(secret: &str) -> TransportSettings {
        TransportSettings::Stdio(StdioSettings {
            command: "npx".into(),
            args: vec!["--key".into(), secret.into()],
            env: vec![("TOKEN".into(), secret.into())],
            cwd: None,
            inherit_env: false,
        })
    }

    fn http(secret: &str) -> TransportSettings {
        let mut value = HeaderValue::from_str(secret).expect("a header value");
        value.set_sensitive(true);
        TransportSettings::Http(HttpSettings {
            url: format!("https://me:{secret}@host/mcp?k={secret}")
                .parse()
                .expect("a URL"),
            headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]),
        })
    }

    #[test]
    fn debug_shows_no_secret() {
        for transport in [stdio("hunter2"), http("hunter2")] {
            let shown = format!("{transport:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_changed_secret_is_a_change() {
        assert!(stdio("a") == stdio("a"));
        assert!(stdio("a") != stdio("b"));
        assert!(http("a") == http("a"));
        assert!(http("a") != http("b"));
        assert!(http("a") != TransportSettings::Unusable);
    }
}
