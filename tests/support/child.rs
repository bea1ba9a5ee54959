//! A `test-child` as a test describes it, and as a process when it serves HTTP.

use std::{
    env,
    fmt::{self, Display},
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use serde_json::{Map, Value};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child as Process, Command},
};

use super::{
    client::Era,
    http::{Http, post},
    wait::soon,
};

/// The description of one child: flags of `test-child` and keys of its entry.
#[derive(Clone, Default)]
pub struct Child {
    pub(super) flags: Vec<String>,
    pub(super) keys: Map<String, Value>,
    pub(super) result: Option<String>,
    pub(super) entries: Vec<String>,
    pub(super) gated: bool,
}

impl Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flags.join(" "))
    }
}

impl Child {
    /// A child that knows `initialize` only.
    pub fn legacy() -> Self {
        Self::default().option("--era", "legacy")
    }

    /// A child that knows `server/discover` only.
    pub fn modern() -> Self {
        Self::default().option("--era", "modern")
    }

    /// A child of the given era.
    pub fn of(era: Era) -> Self {
        match era {
            Era::Legacy => Self::legacy(),
            Era::Modern => Self::modern(),
        }
    }

    /// A child that is broken in this way.
    pub fn broken(behaviour: &str) -> Self {
        Self::default().option("--behaviour", behaviour)
    }

    /// Answers every HTTP request as an event stream.
    pub fn sse(self) -> Self {
        self.flag("--sse")
    }

    /// Lists a further tool that does what `echo` does.
    pub fn named(self, tool: &str) -> Self {
        self.option("--named", tool)
    }

    /// Lists only the tools that the test names.
    pub fn bare(self) -> Self {
        self.flag("--bare")
    }

    /// Lists a tool of this name with this entry, byte for byte.
    pub fn listing(mut self, name: &str, entry: &str) -> Self {
        self.entries.push(format!("{name}\t{entry}"));
        self
    }

    /// The tool `raw` returns this, byte for byte.
    pub fn returning(mut self, result: &str) -> Self {
        self.result = Some(result.to_owned());
        self
    }

    /// Answers nothing until the test says [`super::Multiplexer::open_gate`].
    pub fn gated(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Starts `test-child` with this flag.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts `test-child` with this option.
    pub fn option(mut self, flag: &str, value: impl Display) -> Self {
        self.flags.extend([flag.to_owned(), value.to_string()]);
        self
    }

    /// Puts a key into the child's entry.
    pub fn key(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// Puts a key into the child's entry where the test has not done so.
    pub fn key_unless_set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.entry(key).or_insert(value.into());
        self
    }
}

/// A child that listens on HTTP, started by the test.
pub struct Remote {
    port: u16,
    flags: Vec<String>,
    process: Process,
}

impl Remote {
    /// Starts `test-child` with these flags.
    pub async fn start(flags: Vec<String>) -> Self {
        let (process, port) = listen(&flags, 0).await;
        Self {
            port,
            flags,
            process,
        }
    }

    /// Where it serves MCP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// The host and port at which it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the child runs")
    }

    /// Forgets every session it has given out.
    pub async fn forget_sessions(&self) {
        self.control("forget-sessions", "").await;
    }

    /// Breaks or heals it while it runs.
    pub async fn behave(&self, behaviour: &str) {
        self.control("behaviour", behaviour).await;
    }

    /// Ends every stream on which it tells what nobody asked for.
    pub async fn end_streams(&self) {
        self.control("end-streams", "").await;
    }

    /// Ends the process.
    pub async fn stop(&mut self) {
        self.process.kill().await.expect("the child can be ended");
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) {
        let (process, _) = listen(&self.flags, self.port).await;
        self.process = process;
    }

    /// Starts it again where it was, as a child of this era.
    pub async fn restart_as(&mut self, era: Era) {
        let at = self.flags.iter().position(|flag| flag == "--era");
        let at = at.expect("a child of one era");
        self.flags[at + 1] = match era {
            Era::Legacy => "legacy".to_owned(),
            Era::Modern => "modern".to_owned(),
        };
        self.restart().await;
    }

    async fn control(&self, what: &str, body: &str) {
        let url = format!("http://127.0.0.1:{}/control/{what}", self.port);
        let reply = Http::default().send(post(&url, body.to_owned())).await;
        assert!(reply.status.is_success(), "{what} {body}: {}", reply.status);
    }
}

async fn listen(flags: &[String], port: u16) -> (Process, u16) {
    let mut process = Command::new(program())
        .args(["--transport", "http", "--port", &port.to_string()])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("test-child starts");
    let stdout = process.stdout.take().expect("stdout is piped");
    let mut first = String::new();
    let read = soon(
        "PORT= of a child",
        BufReader::new(stdout).read_line(&mut first),
    )
    .await;
    read.expect("a child's stdout");
    let port = first
        .trim()
        .strip_prefix("PORT=")
        .and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("a child said {first:?} instead of its port"));
    (process, port)
}

/// The path of `test-child`, built once for each test program.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("test-children", "test-child"))
}

/// The path of a neighbour's binary, which is built: cargo builds a package's own
/// binaries for its tests, but not those of its neighbours.
pub fn built(package: &str, binary: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_mcp-multiplexer"));
    let profile = ours
        .parent()
        .expect("the binary lies in its profile's folder");
    let target = profile
        .parent()
        .expect("the profile lies in the target folder");
    let mut build = std::process::Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build
        .args(["build", "--quiet", "--package", package, "--target-dir"])
        .arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status().expect("cargo runs");
    assert!(built.success(), "{binary} does not build");
    profile.join(binary)
}
