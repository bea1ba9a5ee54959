//! `mcp_config.json` and the environment, read into one validated [`Settings`].
//!
//! **What it is for.** Everything an operator can write is parsed and checked
//! here, once, so that no other folder asks again whether a number is in range
//! or a header is well formed. A mistake in one entry disables that entry and
//! says so in a sentence; only a mistake that concerns the whole stops the start
//! ([`ConfigError`]). What is odd but harmless is a [`Warning`].
//!
//! **What it owns.** The names of the keys and variables, their defaults and
//! ranges, the `${VAR}` expansion, the rule that turns an entry's name into a
//! prefix, the watch on a file that may change, and the order of precedence:
//! entry, then `defaults`, then environment, then built in.
//!
//! **What it must never know.** What a child answers, whether it runs, how a
//! token is minted, what a public name finally looks like. It opens no
//! connection and starts no process. And it never shows a value that came from
//! the environment, a header or a URL's userinfo: not in an error, not in
//! `Debug`.

mod child;
mod collections;
mod diagnosis;
mod document;
mod door;
mod duration;
mod entry;
mod env_file;
mod environment;
mod error;
mod expand;
mod file;
mod groups;
mod headers;
mod identity;
mod keys;
mod layer;
mod locate;
mod position;
mod prefix;
mod reach;
mod reader;
mod scalars;
mod schema;
mod self_reference;
mod session_keys;
mod settings;
mod shown;
mod status;
mod synonyms;
mod transport;
mod warning;
mod watch;

pub use child::{
    AuthSettings, BreakerSettings, ChildSettings, DISABLED_IN_CONFIG, HttpSettings,
    RestartSettings, SessionMode, StdioSettings, TransportSettings,
};
pub use diagnosis::{Diagnosis, Finding};
pub use door::{
    Claim, DoorSettings, IntrospectionSettings, IssuerSettings, KeysSource, LockMode, LockSettings,
    MetadataSettings, TokenCheck,
};
pub use environment::{Environment, ProcessEnvironment};
pub use error::ConfigError;
pub use identity::{
    Credential, IdentitySettings, ProviderTls, SecretSource, ServiceSettings, TokenHosts,
    TokenPlace, TokenSettings,
};
pub use locate::{locate, user_file};
pub use reach::Reach;
pub use schema::schema;
pub use session_keys::SessionKeys;
pub use settings::{Mode, Settings};
pub use shown::ShownUrl;
pub use status::{ConfigStatus, LastReload};
pub use synonyms::{BadGroup, WordGroup};
pub use warning::Warning;
pub use watch::{FileWatch, WatchError};
