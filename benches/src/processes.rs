//! Starting and ending the processes that are measured.

use std::{path::Path, process::Stdio};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::{
    bench::Cell,
    message::{Era, PREFIX, Payload},
    web::Error,
};

/// A running server. Its drop kills it.
pub struct Server {
    pub url: String,
    pub pid: u32,
    _process: Child,
}

impl Server {
    /// One that has been started, and serves there.
    pub fn of(process: Child, pid: u32, url: String) -> Self {
        Self {
            url,
            pid,
            _process: process,
        }
    }
}

/// How a proxy reaches its child.
pub enum Way {
    /// Over HTTP, at this address.
    Http(String),
    /// Over stdio, with this command line.
    Stdio(Vec<String>),
}

/// The command line of the child.
pub fn child(transport: &str, era: Era, payloads: &[Payload]) -> Result<Vec<String>, Error> {
    let program = std::env::current_exe()?.display().to_string();
    let payloads: Vec<_> = payloads.iter().map(Payload::to_string).collect();
    let arguments = [
        &program,
        "child",
        "--transport",
        transport,
        "--era",
        era.word(),
    ];
    let mut line: Vec<_> = arguments.map(str::to_owned).into();
    line.extend(["--payloads".to_owned(), payloads.join(",")]);
    Ok(line)
}

/// Starts a server that says its URL on stdout.
pub async fn start(line: &[String]) -> Result<Server, Error> {
    let (mut process, pid) = spawn(command(line))?;
    let stdout = process.stdout.take().ok_or("no stdout")?;
    let url = BufReader::new(stdout).lines().next_line().await?;
    let url = format!("{}/mcp", url.ok_or("it ended at once")?);
    Ok(Server {
        url,
        pid,
        _process: process,
    })
}

/// Starts a bare proxy.
pub async fn start_bare(way: &Way) -> Result<Server, Error> {
    start(&bare(way, &[])?).await
}

/// The command line of a bare proxy.
pub fn bare(way: &Way, options: &[&str]) -> Result<Vec<String>, Error> {
    let program = std::env::current_exe()?.display().to_string();
    let mut line = vec![program, "bare".to_owned()];
    line.extend(options.iter().map(|&option| option.to_owned()));
    match way {
        Way::Http(url) => line.extend(["--to".to_owned(), url.clone()]),
        Way::Stdio(child) => {
            line.push("--".to_owned());
            line.extend_from_slice(child);
        }
    }
    Ok(line)
}

/// The one child of a multiplexer, under the name that its tools' prefix comes from.
pub fn only(way: &Way) -> Map<String, Value> {
    let entry = match way {
        Way::Http(url) => json!({"url": url}),
        Way::Stdio(line) => json!({"command": line[0], "args": line[1..]}),
    };
    let name = PREFIX.trim_end_matches('_').to_owned();
    Map::from_iter([(name, entry)])
}

/// Starts a multiplexer in its usual settings: logs, metrics, the breaker, and for a
/// remote child the service token, which `issuer` gives.
pub async fn start_multiplexer(
    program: &Path,
    folder: &Path,
    entries: Map<String, Value>,
    issuer: &str,
) -> Result<Server, Error> {
    let config = json!({"mcpServers": entries});
    start_configured(program, folder, &config, issuer).await
}

/// The command line of a multiplexer with this configuration, but for its transport.
pub fn multiplexer(
    program: &Path,
    folder: &Path,
    settings: &Value,
    issuer: &str,
) -> Result<Command, Error> {
    let config = folder.join("mcp_config.json");
    std::fs::write(&config, settings.to_string())?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(config)
        .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
        .env("OIDC_TOKEN_URL", issuer.replace("/mcp", "/token"))
        .env("OIDC_CLIENT_ID", "benches")
        .env("OIDC_CLIENT_SECRET", "benches")
        .env_remove("RUST_LOG");
    Ok(command)
}

/// The same with all of its configuration.
pub async fn start_configured(
    program: &Path,
    folder: &Path,
    settings: &Value,
    issuer: &str,
) -> Result<Server, Error> {
    let mut command = multiplexer(program, folder, settings, issuer)?;
    command
        .args(["--transport", "http", "--port", "0"])
        // As many as any measurement here opens.
        .args(["--max-connections", "100000"])
        .stderr(Stdio::piped());
    let (mut process, pid) = spawn(command)?;
    let mut log = BufReader::new(process.stderr.take().ok_or("no stderr")?).lines();
    let url = listening(&mut log).await?;
    // A log that nobody reads would block it one day.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    Ok(Server {
        url,
        pid,
        _process: process,
    })
}

/// The URL in the log line of a multiplexer that listens.
async fn listening(log: &mut Lines<BufReader<ChildStderr>>) -> Result<String, Error> {
    let mut seen = String::new();
    while let Some(line) = log.next_line().await? {
        if let Some((_, url)) = line.split_once("listening url=") {
            return Ok(url.split(' ').next().unwrap_or(url).to_owned());
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    Err(format!("the multiplexer ended:\n{seen}").into())
}

/// Where a load goes.
#[derive(Clone, Debug)]
pub enum Door {
    /// To a server that listens there.
    Http(String),
    /// To a process that the load starts by this command line.
    Stdio(Vec<String>),
}

/// The command line that starts the same with the same variables.
pub fn line(command: &Command) -> Vec<String> {
    let command = command.as_std();
    let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let mut line = vec!["env".to_owned()];
    // Its options come before its variables.
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        line.extend(["-u".to_owned(), word(name)]);
    }
    for (name, value) in command.get_envs() {
        line.extend(value.map(|value| format!("{}={}", word(name), word(value))));
    }
    line.push(word(command.get_program()));
    line.extend(command.get_args().map(word));
    line
}

/// A process that makes load, warm and waiting.
pub struct Load {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// The process it has started, if it has.
    pub peer: Option<u32>,
}

impl Load {
    /// Starts one with options of its own.
    pub async fn with(
        options: &[&str],
        door: &Door,
        era: Era,
        prefix: &str,
        cell: Cell,
        millis: u64,
    ) -> Result<Self, Error> {
        Self::of(Self::command(door, era, prefix, cell, millis, options)?).await
    }

    /// Starts a flood of these tokens, a line each, so many a second.
    pub async fn flood(url: &str, tokens: &Path, rate: u32, millis: u64) -> Result<Self, Error> {
        let mut flood = Command::new(std::env::current_exe()?);
        flood
            .args(["flood", "--url", url, "--tokens"])
            .arg(tokens)
            .args(["--rate", &rate.to_string()])
            .args(["--millis", &millis.to_string()]);
        Self::of(flood).await
    }

    fn command(
        door: &Door,
        era: Era,
        prefix: &str,
        cell: Cell,
        millis: u64,
        options: &[&str],
    ) -> Result<Command, Error> {
        let mut load = Command::new(std::env::current_exe()?);
        load.args(["load", "--era", era.word(), "--prefix", prefix])
            .args(["--payload", &cell.payload.to_string()])
            .args(["--concurrency", &cell.concurrency.to_string()])
            .args(["--millis", &millis.to_string()])
            .args(options);
        match door {
            Door::Http(url) => load.args(["--url", url]),
            Door::Stdio(line) => load.arg("--").args(line),
        };
        Ok(load)
    }

    async fn of(mut load: Command) -> Result<Self, Error> {
        load.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (mut process, _) = spawn(load)?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        let mut said = BufReader::new(stdout).lines();
        let line = said.next_line().await?;
        let Some(peer) = line.as_ref().and_then(|line| line.strip_prefix("warm")) else {
            return Err("no load can be made".into());
        };
        let peer = peer.trim().parse().ok();
        Ok(Self {
            process,
            said,
            peer,
        })
    }

    /// Lets it begin, and waits for what it measured.
    pub async fn measure<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        self.go().await
    }

    /// The same. What it has started lives on until the load is dropped.
    pub async fn go<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        if let Some(stdin) = &mut self.process.stdin {
            stdin.write_all(b"go\n").await?;
        }
        let line = self.said.next_line().await?;
        Ok(serde_json::from_str(&line.ok_or("the load failed")?)?)
    }
}

fn command(line: &[String]) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdout(Stdio::piped());
    command
}

/// Starts a process that is killed when it is dropped.
pub fn spawn(mut command: Command) -> Result<(Child, u32), Error> {
    let process = command.kill_on_drop(true).spawn()?;
    let pid = process.id().ok_or("it ended at once")?;
    Ok((process, pid))
}
