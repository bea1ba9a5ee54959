//! How soon after the start of the process the first answers come.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    crowd, message,
    processes::{Server, multiplexer, spawn, start},
    report,
    web::{self, Error},
};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before the next try of a port on which nobody listens yet.
const AGAIN: Duration = Duration::from_micros(200);

/// Measures how soon the first answers come.
#[derive(Args, Debug)]
pub struct Start {
    /// The multiplexer.
    #[arg(long, default_value = "target/release/mcp-multiplexer")]
    multiplexer: PathBuf,
    /// Another build of it, to be measured beside it.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Another program that serves over stdio: its name and its command line. Repeatable.
    #[arg(long, value_name = "NAME=COMMAND LINE", value_parser = peer)]
    peer: Vec<Peer>,
    /// Where configurations go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Configured children.
    #[arg(long, value_delimiter = ',', default_value = "1,57,1000")]
    children: Vec<usize>,
    /// How often everything is started.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

/// Another program.
#[derive(Clone, Debug)]
struct Peer {
    name: String,
    line: Vec<String>,
}

fn peer(text: &str) -> Result<Peer, String> {
    let (name, line) = text.split_once('=').ok_or("expected NAME=COMMAND LINE")?;
    let line: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    match line.is_empty() {
        true => Err("there is no command".to_owned()),
        false => Ok(Peer {
            name: name.to_owned(),
            line,
        }),
    }
}

/// What is started, and what is waited for.
enum Subject {
    Health(PathBuf, usize),
    Answer(PathBuf, usize),
    Peer(Peer),
}

impl Start {
    /// Runs everything and prints the table.
    pub async fn run(self) -> Result<(), Error> {
        let program = std::env::current_exe()?.display().to_string();
        let crowd = start(&[program, "crowd".to_owned()]).await?;
        let subjects = self.subjects();
        let mut times = vec![Vec::new(); subjects.len()];
        for round in 0..self.rounds {
            for turn in 0..subjects.len() {
                // To and fro, so that a machine that grows slower is no one's loss.
                let at = match round % 2 {
                    0 => turn,
                    _ => subjects.len() - 1 - turn,
                };
                let took = timeout(PATIENCE, self.measure(&subjects[at].1, &crowd)).await??;
                times[at].push(took.as_secs_f64() * 1e3);
            }
        }
        print!("{}", report::machine());
        println!(
            "\n{:<44}{:>10}{:>10}{:>10}",
            "ms", "median", "least", "most"
        );
        for ((name, _), times) in subjects.iter().zip(&times) {
            let least = times.iter().copied().fold(f64::INFINITY, f64::min);
            let most = times.iter().copied().fold(0.0, f64::max);
            let median = report::median(times).unwrap_or_default();
            println!("{name:<44}{median:>10.1}{least:>10.1}{most:>10.1}");
        }
        Ok(())
    }

    fn subjects(&self) -> Vec<(String, Subject)> {
        let mut subjects = Vec::new();
        let builds = [
            ("multiplexer", Some(&self.multiplexer)),
            ("beside", self.beside.as_ref()),
        ];
        let builds = builds
            .iter()
            .filter_map(|(name, path)| Some((name, (*path)?)));
        for &children in &self.children {
            for (name, path) in builds.clone() {
                let named = |what: &str| format!("{name}, {children} children, {what}");
                let health = Subject::Health(path.clone(), children);
                let answer = Subject::Answer(path.clone(), children);
                subjects.push((named("/health"), health));
                subjects.push((named("stdio"), answer));
            }
        }
        for peer in &self.peer {
            let name = format!("{}, stdio", peer.name);
            subjects.push((name, Subject::Peer(peer.clone())));
        }
        subjects
    }

    async fn measure(&self, subject: &Subject, crowd: &Server) -> Result<Duration, Error> {
        match subject {
            Subject::Health(program, children) => {
                let command = self.command(program, *children, crowd)?;
                health(command).await
            }
            Subject::Answer(program, children) => {
                let command = self.command(program, *children, crowd)?;
                answer(command).await
            }
            Subject::Peer(peer) => {
                let mut command = Command::new(&peer.line[0]);
                command.args(&peer.line[1..]);
                answer(command).await
            }
        }
    }

    fn command(&self, program: &Path, children: usize, crowd: &Server) -> Result<Command, Error> {
        let folder = self.out.join("start");
        std::fs::create_dir_all(&folder)?;
        let at = crowd.url.trim_end_matches("/mcp");
        let url = format!("{at}{}", crowd::path(1, false));
        let entry = |n| (format!("child-{n}"), json!({"url": url}));
        let entries: Map<String, Value> = (0..children).map(entry).collect();
        let settings = json!({"mcpServers": entries});
        multiplexer(program, &folder, &settings, &crowd.url)
    }
}

/// Until `/health` says that all is well.
async fn health(mut command: Command) -> Result<Duration, Error> {
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    command
        .args(["--transport", "http", "--port", &port.to_string()])
        .stderr(Stdio::null());
    let url = format!("http://127.0.0.1:{port}/health");
    let began = Instant::now();
    let (_process, _) = spawn(command)?;
    loop {
        match web::get(&url).await {
            Ok(said) if said.as_ref() == br#"{"status":"ok"}"# => return Ok(began.elapsed()),
            Ok(said) => return Err(String::from_utf8_lossy(&said).into_owned().into()),
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Until `initialize` is answered over stdio.
async fn answer(mut command: Command) -> Result<Duration, Error> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let began = Instant::now();
    let (mut process, _) = spawn(command)?;
    let mut stdin = process.stdin.take().ok_or("no stdin")?;
    stdin.write_all(&message::initialize()).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await?;
    let mut said = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
    while let Some(line) = said.next_line().await? {
        if line.contains("\"result\"") {
            return Ok(began.elapsed());
        }
    }
    Err("it ended without an answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command_line() {
        let read = peer("other=npx -y other --stdio").unwrap();
        assert_eq!(read.name, "other");
        assert_eq!(read.line, ["npx", "-y", "other", "--stdio"]);
        assert!(peer("other").is_err());
        assert!(peer("other= ").is_err());
    }
}
