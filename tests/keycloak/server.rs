//! Keycloak as a process.

use std::{
    env, fs,
    io::Write as _,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::support::wait::eventually_within;

/// What the realm file's placeholder becomes.
pub const SECRET: &str = "as+deployed % {no more}";

/// Twenty seconds of work for a processor, which others may want too.
const START: Duration = Duration::from_secs(300);

/// Runs what is on its command line until its stdin ends, however this program ends;
/// then kills the whole of it. Unless it was told to stop, the folder goes too.
const UNTIL_STDIN_ENDS: &str = r#"
    set -m
    "$@" </dev/null &
    read -r stop
    kill -KILL -- "-$!"
    wait
    [[ $stop ]] || rm -rf -- "$0"
"#;

/// A Keycloak on loopback, with a database of its own.
pub struct Keycloak {
    home: PathBuf,
    /// Zero until the system has picked one.
    port: u16,
    process: Process,
}

impl Keycloak {
    /// The one of this test program. Each test makes a realm of its own in it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Keycloak> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One that a test may stop. It has the realm of `deploy/keycloak` from the start.
    pub async fn start() -> Self {
        let home = home();
        let process = spawn(&home, 0);
        let mut keycloak = Self {
            home,
            port: 0,
            process,
        };
        keycloak.port = keycloak.listening().await;
        keycloak
    }

    /// Ends it at once, as a machine that fails would.
    pub fn stop(&mut self) {
        let mut stdin = self.process.stdin.take().expect("it was started");
        stdin.write_all(b"stop\n").expect("it runs");
        self.process.wait().expect("it can be ended");
    }

    /// Starts it where it was, with what it knew.
    pub async fn restart(&mut self) {
        self.process = spawn(&self.home, self.port);
        self.listening().await;
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until it says on which port it listens.
    async fn listening(&self) -> u16 {
        let said = Said(self.home.join("log"));
        eventually_within(START, "Keycloak listens", async || {
            let text = said.text();
            let (_, rest) = text.split_once("Listening on: http://127.0.0.1:")?;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse().ok()
        })
        .await
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// What it has written, shown when a test gives up waiting for it.
struct Said(PathBuf);

impl Said {
    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = self.text();
            eprintln!("--- what Keycloak says ---\n{text}\n---");
        }
    }
}

/// A folder that is a Keycloak with a database of its own, and all else of the
/// installed one: it looks for its home above its script.
fn home() -> PathBuf {
    let installed = installed();
    let folder = TempDir::with_prefix("keycloak-").expect("a folder").keep();
    for part in ["conf", "lib", "providers", "themes"] {
        symlink(installed.join(part), folder.join(part)).expect("a link");
    }
    for made in ["bin", "data/h2", "data/import"] {
        fs::create_dir_all(folder.join(made)).expect("a folder");
    }
    for copied in ["bin/kc.sh", "data/h2/keycloakdb.mv.db"] {
        fs::copy(installed.join(copied), folder.join(copied)).expect("a copy");
    }
    let import = folder.join("data/import/agents-realm.json");
    fs::copy(realm_file(), import).expect("a copy");
    folder
}

fn spawn(home: &Path, port: u16) -> Process {
    let log = fs::File::create(home.join("log")).expect("a log");
    Command::new("bash")
        .args(["-c", UNTIL_STDIN_ENDS])
        .arg(home)
        .arg(home.join("bin/kc.sh"))
        .args(["start", "--optimized", "--import-realm", "--cache=local"])
        .args(["--hostname-strict=false", "--http-enabled=true"])
        .args(["--http-host=127.0.0.1", &format!("--http-port={port}")])
        // A Ctrl-C is for the tests; this one ends after them.
        .process_group(0)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .envs(env::var_os("JAVA_HOME").map(|home| ("JAVA_HOME", home)))
        // It compiles quickly and not well: it lives too short a time for more.
        .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1")
        .env("MCP_MULTIPLEXER_SECRET", SECRET)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("bash starts")
}

/// The realm as it is deployed.
pub fn realm_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/keycloak/agents-realm.json")
}

/// The password of `admin`.
pub fn admin_password() -> String {
    fs::read_to_string(folder().join("admin")).expect("a password")
}

fn installed() -> PathBuf {
    folder().join("home")
}

/// Where `tests/run` installs Keycloak.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/keycloak");
    assert!(
        folder.join("installed").exists(),
        "Keycloak is not installed; hint: start tests/run once, which installs it"
    );
    folder
}
