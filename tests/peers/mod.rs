//! Servers and clients that others have made, installed by `tests/run` from the
//! pins beside this file, and started by the test that wants them.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod browser;
pub mod conformance;
pub mod fixture;
pub mod inspector;
pub mod node;
pub mod oauth;
pub mod oidc;
pub mod walk;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use serde_json::{Value, json};
use tokio::process::{Child as Process, Command};

use crate::support::{Fleet, pipe::Log, wait::soon};

/// Who the multiplexer is to the issuer.
const CLIENT: (&str, &str) = ("the-fleet", "a secret: with + and %");

/// For whom its tokens are meant.
const AUDIENCE: &str = "agent-services";

/// The servers that a test starts itself, for the multiplexer to connect to.
pub struct Peers {
    issuer: Server,
    guarded: Server,
    everything: Server,
}

impl Peers {
    /// Starts them and waits until they listen.
    pub async fn start() -> Self {
        let issuer = Server::start(python("issuer.py").args([CLIENT.0, CLIENT.1])).await;
        let mut everything = everything_by_http();
        let mut guarded = jwt_server(&json!({
            "jwks_uri": format!("{}/jwks", issuer.origin),
            "issuer": issuer.origin,
            "audience": AUDIENCE,
        }));
        let (guarded, everything) =
            tokio::join!(Server::start(&mut guarded), Server::start(&mut everything));
        Self {
            issuer,
            guarded,
            everything,
        }
    }

    /// All of them and two children over stdio, behind the service identity.
    pub fn fleet(&self) -> Fleet {
        let python = installed("venv/bin/python");
        Fleet::new()
            .entry(
                "everything",
                json!({"command": "node", "args": [server_everything(), "stdio"]}),
            )
            .entry("everything-by-http", json!({"url": self.everything.mcp(), "prefix": "remote"}))
            .entry(
                "mcp-server-time",
                json!({"command": python, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}),
            )
            .entry("guarded", json!({"url": self.guarded.mcp()}))
            .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
            .env("OIDC_ISSUER", &self.issuer.origin)
            .env("OIDC_CLIENT_ID", CLIENT.0)
            .env("OIDC_CLIENT_SECRET", CLIENT.1)
    }

    /// Where the server listens that wants a token.
    pub fn guarded(&self) -> String {
        self.guarded.mcp()
    }

    /// Who called, as the token of the service identity tells it.
    pub fn identity(&self) -> Value {
        json!({
            "iss": self.issuer.origin,
            "sub": format!("service-account-{}", CLIENT.0),
            "azp": CLIENT.0,
            "client_id": CLIENT.0,
            "aud": AUDIENCE,
            "kid": "the-only-key",
        })
    }
}

/// One server, which ends with this value.
pub struct Server {
    origin: String,
    out: Log,
    err: Log,
    process: Process,
}

impl Server {
    /// Starts it and waits for the line in which it tells its port.
    pub async fn start(command: &mut Command) -> Self {
        let mut process = bare(command).spawn().expect("a peer starts");
        let (out, _) = Log::gather(process.stdout.take().expect("stdout is piped"));
        let (err, _) = Log::gather(process.stderr.take().expect("stderr is piped"));
        let mut server = Self {
            origin: String::new(),
            out,
            err,
            process,
        };
        let told = |line: &str| line.starts_with("PORT=");
        let line = server.out.until("PORT= of a peer", told).await;
        server.origin = line.replace("PORT=", "http://127.0.0.1:");
        server
    }

    /// Where it serves MCP.
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Where it serves MCP over HTTP+SSE.
    pub fn sse(&self) -> String {
        format!("{}/sse", self.origin)
    }

    /// Its port.
    pub fn port(&self) -> &str {
        self.origin.rsplit(':').next().unwrap_or_default()
    }

    /// Ends it without asking.
    pub async fn stop(&mut self) {
        self.process.kill().await.expect("a peer can be ended");
    }
}

impl Drop for Server {
    /// A test that failed leaves what its servers had to say.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- stderr of {} ---\n{}\n---",
                self.origin,
                self.err.text()
            );
        }
    }
}

/// The official SDK that a client is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// The one for Python, which speaks the newest protocol.
    Python,
    /// The one for Python, which is told to begin with `initialize`.
    LegacyPython,
    /// The one for TypeScript, which always does.
    TypeScript,
}

impl Sdk {
    /// Lists what the server at this URL has, and calls some of it.
    pub async fn at(self, url: &str, calls: &[(String, Value)]) -> Heard {
        self.run(url, &[], calls).await
    }

    /// The same with a server that the client starts.
    pub async fn over(
        self,
        command_line: &[String],
        environment: &[(String, String)],
        calls: &[(String, Value)],
    ) -> Heard {
        self.run(&json!(command_line).to_string(), environment, calls)
            .await
    }

    /// In dynamic mode: finds `tool`, loads it together with `echo`, which it calls, and
    /// unloads both. Gives what it was told.
    pub async fn walk(self, url: &str, query: &str, tool: &str, echo: &str) -> Value {
        let mut client = python("dynamic.py");
        if self == Self::LegacyPython {
            client.arg("--legacy");
        }
        client.args([url, query, tool, echo]);
        // It imports its neighbour, and is to leave nothing beside it.
        bare(&mut client).env("PYTHONDONTWRITEBYTECODE", "1");
        serde_json::from_str(&run(client).await).expect("a client prints JSON")
    }

    async fn run(
        self,
        target: &str,
        environment: &[(String, String)],
        calls: &[(String, Value)],
    ) -> Heard {
        let mut client = match self {
            Self::Python | Self::LegacyPython => python("client.py"),
            Self::TypeScript => {
                let mut node = Command::new("node");
                node.arg(ours("client.mjs"));
                node
            }
        };
        if self == Self::LegacyPython {
            client.arg("--legacy");
        }
        client.arg(target);
        for (tool, arguments) in calls {
            client.args([tool, &arguments.to_string()]);
        }
        bare(&mut client)
            .env("PEERS", folder())
            .envs(environment.iter().map(|(name, value)| (name, value)));
        Heard::from(client).await
    }
}

/// What a client was told.
pub struct Heard {
    /// The tools, by name.
    pub listed: BTreeMap<String, Value>,
    /// The calls, in their order, with `result` or `error`, and `progress`.
    pub calls: Vec<Value>,
}

impl Heard {
    async fn from(client: Command) -> Self {
        Self::read(&run(client).await)
    }

    fn read(text: &str) -> Self {
        let mut heard = Self {
            listed: BTreeMap::new(),
            calls: Vec::new(),
        };
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a client prints JSON");
            if let Some(name) = line["listed"]["name"].as_str() {
                let before = heard.listed.insert(name.to_owned(), line["listed"].clone());
                assert_eq!(before, None, "{name} is listed twice");
            } else if line["called"].is_string() {
                heard.calls.push(line);
            }
        }
        heard
    }

    /// What a call brought, the first of this tool.
    pub fn result(&self, tool: &str) -> &Value {
        let call = self.calls.iter().find(|call| call["called"] == tool);
        let call = call.unwrap_or_else(|| panic!("{tool} was not called"));
        assert_eq!(call["error"], Value::Null, "{tool}");
        &call["result"]
    }
}

/// What a client prints, to its end.
async fn run(mut client: Command) -> String {
    let mut process = client.spawn().expect("a client starts");
    let (out, out_end) = Log::gather(process.stdout.take().expect("stdout is piped"));
    let (err, err_end) = Log::gather(process.stderr.take().expect("stderr is piped"));
    let words = Words(err);
    let status = soon("the end of a client", process.wait()).await;
    soon("the end of a client's stdout", out_end)
        .await
        .expect("stdout was gathered");
    // Whatever else has this stderr ends with the client: a server it started.
    soon("the end of a client's stderr", err_end)
        .await
        .expect("stderr was gathered");
    assert!(status.expect("an exit status").success(), "a client failed");
    drop(words);
    out.text()
}

/// What a client wrote to stderr, shown when its test fails.
struct Words(Log);

impl Drop for Words {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- stderr of the client ---\n{}\n---", self.0.text());
        }
    }
}

/// server-everything's command line, without its transport.
pub fn server_everything() -> PathBuf {
    installed("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

/// A FastMCP server whose verifier has these arguments.
pub fn jwt_server(verifier: &Value) -> Command {
    let mut server = python("jwt_server.py");
    server.arg(verifier.to_string());
    server
}

/// The same, of FastMCP 2, with what a bearer may do left to eunomia-mcp and this policy.
pub fn eunomia_server(verifier: &Value, policy: &Path) -> Command {
    let mut server = Command::new(installed("venv-eunomia/bin/python"));
    server.arg(ours("jwt_server.py"));
    server.arg(verifier.to_string()).arg(policy);
    server
}

/// A FastMCP server over HTTP+SSE on this port, of the SDK before protocol 2026-07-28.
pub fn sse_server(port: &str) -> Command {
    let mut server = Command::new(installed("venv-eunomia/bin/python"));
    server.arg(ours("sse_server.py")).arg(port);
    server
}

/// The same, of the newest SDK.
pub fn newest_sse_server() -> Command {
    let mut server = python("sse_server.py");
    server.arg("0");
    server
}

/// server-everything over HTTP+SSE.
pub fn everything_by_sse() -> Command {
    everything_by("sse")
}

/// server-everything over streamable HTTP.
pub fn everything_by_http() -> Command {
    everything_by("streamableHttp")
}

fn everything_by(transport: &str) -> Command {
    let mut server = Command::new("node");
    server.arg("--import").arg(ours("loopback.mjs"));
    server.arg(server_everything()).arg(transport);
    server
}

/// A script of ours, with the Python it needs.
fn python(script: &str) -> Command {
    let mut python = Command::new(installed("venv/bin/python"));
    python.arg(ours(script));
    python
}

/// Nothing of the machine's environment but PATH, and no end after the test's.
fn bare(command: &mut Command) -> &mut Command {
    command.env_clear();
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true)
}

fn ours(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(script)
}

pub fn installed(path: impl AsRef<OsStr>) -> PathBuf {
    folder().join(path.as_ref())
}

/// Where `tests/run` installs the peers.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/peers");
    assert!(
        folder.join("installed").exists(),
        "the real servers and SDKs are not installed; hint: start tests/run once, which installs them"
    );
    folder
}
