//! The multiplexer as a process: started, found, asked, ended.

use std::{
    collections::HashMap,
    env,
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child as Process, Command},
    task::JoinHandle,
};

use super::{
    child::{Child, Remote},
    client::{Client, Door, Era},
    fleet::{Started, config_text, stdio_entry},
    http::Http,
    journal::Journal,
    metrics::Metrics,
    pipe::{Log, Pipe},
    process::{alive, signal},
    wait::{eventually, soon},
};

/// A running multiplexer, with the fleet it serves.
pub struct Multiplexer {
    /// What it has written to stderr.
    pub log: Log,
    log_end: Option<JoinHandle<()>>,
    process: Process,
    /// Scheme, host and port of `/status` and its siblings.
    origin: String,
    door: Door,
    pipe: Option<Pipe>,
    http: Http,
    names: Vec<String>,
    remotes: HashMap<String, Remote>,
    folder: TempDir,
}

impl Multiplexer {
    /// Starts the program and waits until it listens.
    pub(super) async fn start(fleet: Started, door: Door) -> Self {
        let mut command = command(&fleet);
        command.arg("serve").args(config_flag(&fleet));
        match door {
            Door::Http => command.args(["--transport", "http"]),
            Door::Stdio => command.args(["--admin-addr", "127.0.0.1:0"]),
        };
        if door == Door::Http && !fleet.flags.iter().any(|flag| flag == "--port") {
            command.args(["--port", "0"]);
        }
        command
            .args(&fleet.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("the multiplexer starts");
        let (log, mut log_end) = Log::gather(process.stderr.take().expect("stderr is piped"));
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let listening = listening(&log, &mut process, door).await;
        let origin = match listening {
            Ok(origin) => origin,
            Err(status) => {
                // Its last words may still be on their way.
                let _ = soon("the end of stderr", &mut log_end).await;
                panic!("the multiplexer ended with {status}:\n{}", log.text());
            }
        };
        Self {
            log,
            log_end: Some(log_end),
            process,
            origin,
            door,
            pipe: Some(Pipe::new(stdin, stdout)),
            http: Http::default(),
            names: fleet.names,
            remotes: fleet.remotes,
            folder: fleet.folder,
        }
    }

    /// Where clients reach it over HTTP.
    pub fn url(&self) -> String {
        assert_eq!(self.door, Door::Http, "this one serves stdio");
        self.at("/mcp")
    }

    /// The URL of one of its pages.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// A client that has introduced itself. Over stdio there is room for one.
    pub async fn client(&mut self, era: Era) -> Client {
        match self.door {
            Door::Http => Client::over_http(self.url(), era).await,
            Door::Stdio => Client::over_stdio(self.pipe(), era).await,
        }
    }

    /// Its standard streams.
    pub fn pipe(&mut self) -> Pipe {
        self.pipe.take().expect("nobody has taken the pipe yet")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the multiplexer runs")
    }

    /// What the child of this name has noted.
    pub fn journal(&self, name: &str) -> Journal {
        Journal::at(self.path(&format!("{name}.journal")))
    }

    /// A path in the fleet's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The entry of a child that it is to start, for [`Multiplexer::configure`].
    pub fn process(&self, name: &str, child: Child) -> (String, Value) {
        let entry = stdio_entry(self.folder.path(), name, child);
        (name.to_owned(), entry)
    }

    /// The entry of a child that the test has started.
    pub fn connection(&self, name: &str) -> (String, Value) {
        (name.to_owned(), json!({"url": self.remotes[name].url()}))
    }

    /// Exchanges the config for one of these entries, as editors do it.
    pub fn configure(&self, entries: &[(String, Value)]) {
        self.write_config(&config_text(entries, &Map::new()));
    }

    /// The same, with these keys beside the entries.
    pub fn configure_with(&self, entries: &[(String, Value)], top: &Map<String, Value>) {
        self.write_config(&config_text(entries, top));
    }

    /// Exchanges the config for this text.
    pub fn write_config(&self, text: &str) {
        let new = self.path("mcp_config.json.new");
        fs::write(&new, text).expect("the config can be written");
        fs::rename(new, self.path("mcp_config.json")).expect("the config can be exchanged");
    }

    /// Waits until so many configs have been in force.
    pub async fn until_generation(&self, generation: u64) {
        eventually(&format!("config generation {generation}"), async || {
            let status = self.status().await;
            (status["config"]["generation"] == generation).then_some(())
        })
        .await;
    }

    /// Asks it to read its config again.
    pub fn hang_up(&self) {
        signal(self.pid(), Signal::SIGHUP);
    }

    /// Lets a child begin that was described as gated.
    pub fn open_gate(&self, name: &str) {
        fs::write(self.path(&format!("{name}.gate")), "").expect("the gate opens");
    }

    /// The child of this name that listens on HTTP.
    pub fn remote(&mut self, name: &str) -> &mut Remote {
        self.remotes
            .get_mut(name)
            .expect("a child that the test started")
    }

    /// The same, for the test to keep.
    pub fn take_remote(&mut self, name: &str) -> Option<Remote> {
        self.remotes.remove(name)
    }

    /// What `/status` says.
    pub async fn status(&self) -> Value {
        self.http.get(&self.at("/status")).await.json().await
    }

    /// What `/status` says of one child.
    pub async fn child(&self, name: &str) -> Value {
        let status = self.status().await;
        let children = status["children"].as_array().expect("children in /status");
        let child = children.iter().find(|child| child["name"] == name);
        child
            .unwrap_or_else(|| panic!("no child {name} in {status:#}"))
            .clone()
    }

    /// Waits until `/status` says of this child what `wanted` wants to hear.
    pub async fn until_child(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("{name} {what}"), async || {
            Some(self.child(name).await).filter(&wanted)
        })
        .await
    }

    /// Waits until this child is ready.
    pub async fn until_ready(&self, name: &str) -> Value {
        self.until_child(name, "is ready", |child| child["state"] == "ready")
            .await
    }

    /// Waits until every child is ready.
    pub async fn all_ready(&self) {
        for name in &self.names {
            self.until_ready(name).await;
        }
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> Metrics {
        Metrics(self.http.get(&self.at("/metrics")).await.text().await)
    }

    /// Waits until `/metrics` says what `wanted` wants to hear.
    pub async fn until_metrics(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) {
        eventually(what, async || wanted(&self.metrics().await).then_some(())).await;
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(self.pid(), Signal::SIGTERM);
    }

    /// Ends it without asking.
    pub fn kill(&self) {
        signal(self.pid(), Signal::SIGKILL);
    }

    /// Waits for its end, and for the last word on stderr.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = soon("the end of the multiplexer", self.process.wait()).await;
        if let Some(log_end) = self.log_end.take() {
            soon("the end of stderr", log_end)
                .await
                .expect("stderr was gathered");
        }
        status.expect("an exit status")
    }
}

impl Drop for Multiplexer {
    /// The processes end with their handles; a test that failed leaves its log, and
    /// no grandchild may outlive a test that was about grandchildren.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- stderr of the multiplexer ---\n{}\n---",
                self.log.text()
            );
        }
        for name in &self.names {
            for grandchild in self.journal(name).of("grandchild") {
                let pid = grandchild["pid"]
                    .as_u64()
                    .and_then(|pid| u32::try_from(pid).ok());
                if let Some(pid) = pid.filter(|pid| is_sleep(*pid)) {
                    signal(pid, Signal::SIGKILL);
                }
            }
        }
    }
}

/// Process ids are used again: only what a child started is ended here.
fn is_sleep(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim() == "sleep" && alive(pid)
}

/// What a run of the program left behind.
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Output {
    /// Runs the program to its end with these words, then the fleet's.
    pub(super) async fn of(fleet: Started, words: &[&str]) -> Self {
        let mut command = command(&fleet);
        command
            .args(words)
            .args(config_flag(&fleet))
            .args(&fleet.flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let output = soon("the end of a run", command.output())
            .await
            .expect("a run");
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program in an environment that holds nothing of the machine's but PATH.
fn command(fleet: &Started) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-multiplexer"));
    command.env_clear();
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    command.env("HOME", fleet.folder.path());
    command.envs(fleet.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(fleet.folder.path());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn config_flag(fleet: &Started) -> Vec<&OsStr> {
    let config = fleet.config.iter();
    config
        .flat_map(|path| [OsStr::new("--config"), path.as_os_str()])
        .collect()
}

/// The origin that the log names once the program listens, unless it ends before.
async fn listening(log: &Log, process: &mut Process, door: Door) -> Result<String, ExitStatus> {
    let wanted = |line: &str| match door {
        Door::Http => line.contains("listening") && !line.contains("admin listening"),
        Door::Stdio => line.contains("admin listening"),
    };
    let line = eventually("a line that says where it listens", async || {
        match (log.find(wanted), process.try_wait()) {
            (Some(line), _) => Some(Ok(line)),
            (None, Ok(Some(status))) => Some(Err(status)),
            (None, _) => None,
        }
    })
    .await?;
    Ok(origin(&line).unwrap_or_else(|| panic!("no url in {line}")))
}

/// `http://host:port` out of a log line of either format.
fn origin(line: &str) -> Option<String> {
    let url = &line[line.find("http://")?..];
    let authority = url["http://".len()..]
        .find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c)))
        .map_or(url.len(), |end| end + "http://".len());
    Some(url[..authority].to_owned())
}
