//! A fleet in a line: entries in order, their children, and a config in a folder
//! of its own.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{
    child::{Child, Remote, program},
    client::Door,
    multiplexer::{Multiplexer, Output},
    provider::Provider,
    wire::quoted,
};

/// What is to be started.
pub struct Fleet {
    folder: TempDir,
    entries: Vec<(String, Entry)>,
    top: Map<String, Value>,
    text: Option<String>,
    place: Place,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Where the config is, and who says so.
enum Place {
    /// In the fleet's folder, named by `--config`.
    Named,
    /// Here in the fleet's folder; the multiplexer finds it by itself.
    Found(PathBuf),
    /// Nowhere.
    Missing,
}

enum Entry {
    Stdio(Child),
    Http(Child),
    Verbatim(Value),
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            folder: TempDir::with_prefix("fleet-").expect("a folder"),
            entries: Vec::new(),
            top: Map::new(),
            text: None,
            place: Place::Named,
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }
}

impl Fleet {
    /// A fleet without children.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a child that the multiplexer starts.
    pub fn stdio(mut self, name: &str, child: Child) -> Self {
        self.entries.push((name.to_owned(), Entry::Stdio(child)));
        self
    }

    /// Adds a child that the test starts, for the multiplexer to connect to.
    pub fn http(mut self, name: &str, child: Child) -> Self {
        self.entries.push((name.to_owned(), Entry::Http(child)));
        self
    }

    /// Adds a child behind the given door.
    pub fn with(self, door: Door, name: &str, child: Child) -> Self {
        match door {
            Door::Stdio => self.stdio(name, child),
            Door::Http => self.http(name, child),
        }
    }

    /// Adds an entry as it is.
    pub fn entry(mut self, name: &str, entry: Value) -> Self {
        self.entries.push((name.to_owned(), Entry::Verbatim(entry)));
        self
    }

    /// Puts a key beside `mcpServers`.
    pub fn top(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.top.insert(key.to_owned(), value.into());
        self
    }

    /// Writes this text as the config, in place of one made of the entries.
    pub fn config_text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Puts the config here in the fleet's folder, which is also the folder the
    /// multiplexer starts in and its user's home, and leaves it to be found.
    pub fn config_found_at(mut self, place: &str) -> Self {
        self.place = Place::Found(place.into());
        self
    }

    /// Writes no config at all.
    pub fn without_config(mut self) -> Self {
        self.place = Place::Missing;
        self
    }

    /// Starts the multiplexer with these words on its command line.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Sets a variable in the multiplexer's environment, which is bare otherwise.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the multiplexer an identity at this provider.
    pub fn identity(self, provider: &Provider) -> Self {
        self.env("MCP_CLIENT_AUTH", "oidc-client-credentials")
            .env("OIDC_CLIENT_ID", "multiplexer")
            .env("OIDC_CLIENT_SECRET", "s3cret")
            .env("OIDC_TOKEN_URL", &provider.token_url())
    }

    /// A path in the fleet's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the children and the multiplexer, which clients reach by `door`.
    pub async fn over(self, door: Door) -> Multiplexer {
        let started = self.start().await;
        Multiplexer::start(started, door).await
    }

    /// Runs the multiplexer with these words in front and waits for its end.
    pub async fn run(self, words: &[&str]) -> Output {
        let started = self.start().await;
        Output::of(started, words).await
    }

    /// Starts the children only: the multiplexer is for a client to start.
    pub async fn unserved(self) -> Started {
        self.start().await
    }

    async fn start(self) -> Started {
        let mut remotes = HashMap::new();
        let mut entries = Vec::new();
        let mut names = Vec::new();
        for (name, entry) in self.entries {
            let entry = match entry {
                Entry::Verbatim(entry) => entry,
                Entry::Stdio(child) => stdio_entry(self.folder.path(), &name, child),
                Entry::Http(child) => {
                    let remote = Remote::start(flags_of(self.folder.path(), &name, &child)).await;
                    let entry = json!({"url": remote.url()});
                    remotes.insert(name.clone(), remote);
                    with_keys(entry, child.keys)
                }
            };
            names.push(name.clone());
            entries.push((name, entry));
        }
        let text = self
            .text
            .unwrap_or_else(|| config_text(&entries, &self.top));
        let config = written(self.folder.path(), self.place, &text);
        Started {
            folder: self.folder,
            config,
            names,
            remotes,
            flags: self.flags,
            environment: self.environment,
        }
    }
}

/// The entry of a child that the multiplexer starts, with the files it needs put into
/// `folder`.
pub(super) fn stdio_entry(folder: &Path, name: &str, child: Child) -> Value {
    let flags = flags_of(folder, name, &child);
    with_keys(json!({"command": program(), "args": flags}), child.keys)
}

/// A config of these entries, in this order: a map has none.
pub(super) fn config_text(entries: &[(String, Value)], top: &Map<String, Value>) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(name, entry)| format!("    {}: {entry}", quoted(name)))
        .collect();
    let entries = entries.join(",\n");
    let top: String = top
        .iter()
        .map(|(key, value)| format!(",\n  {}: {value}", quoted(key)))
        .collect();
    format!("{{\n  \"mcpServers\": {{\n{entries}\n  }}{top}\n}}\n")
}

/// The folder, the config in it, and the children that the test itself started.
pub struct Started {
    pub(super) folder: TempDir,
    /// What `--config` says, where it stands on the command line.
    pub(super) config: Option<PathBuf>,
    pub(super) names: Vec<String>,
    pub(super) remotes: HashMap<String, Remote>,
    pub(super) flags: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// Writes the config; the path is the one to name, if it is to be named.
fn written(folder: &Path, place: Place, text: &str) -> Option<PathBuf> {
    let (path, named) = match place {
        Place::Named => (folder.join("mcp_config.json"), true),
        Place::Found(path) => (folder.join(path), false),
        Place::Missing => return None,
    };
    let parent = path.parent().expect("a folder");
    fs::create_dir_all(parent).expect("the config's folder can be made");
    fs::write(&path, text).expect("the config can be written");
    named.then_some(path)
}

impl Started {
    /// The command line with which a client starts the multiplexer over this fleet.
    pub fn command_line(&self) -> Vec<String> {
        let mut words = vec![env!("CARGO_BIN_EXE_mcp-multiplexer").to_owned()];
        words.push("serve".to_owned());
        if let Some(config) = &self.config {
            words.push("--config".to_owned());
            words.push(config.to_string_lossy().into_owned());
        }
        words.extend(self.flags.iter().cloned());
        words
    }

    /// The variables that the multiplexer is to see, beside PATH.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }
}

/// Keys of the test's own win over ours.
fn with_keys(mut entry: Value, keys: Map<String, Value>) -> Value {
    for (key, value) in keys {
        entry[key] = value;
    }
    entry
}

/// The command line of a child, with the files it needs put into `folder`.
fn flags_of(folder: &Path, name: &str, child: &Child) -> Vec<String> {
    let file = |kind: &str| folder.join(format!("{name}.{kind}"));
    let mut flags = child.flags.clone();
    let mut option = |flag: &str, path: PathBuf| {
        flags.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
    };
    option("--journal", file("journal"));
    if child.gated {
        option("--gate", file("gate"));
    }
    if let Some(result) = &child.result {
        fs::write(file("result"), result).expect("the result can be written");
        option("--result-file", file("result"));
    }
    if !child.entries.is_empty() {
        fs::write(file("tools"), child.entries.join("\n")).expect("the tools can be written");
        option("--tools-file", file("tools"));
    }
    flags
}
