//! The official conformance suite. It listens on every interface, so it runs where
//! there is none but loopback: in a network namespace of its own.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Words, bare, folder, installed, node, ours};
use crate::support::{
    http::Http,
    pipe::Log,
    wait::{soon, within},
};

/// How long all scenarios of one run may take together, on a machine that is busy.
const RUN: Duration = Duration::from_secs(600);

/// A release of the suite, which is a package of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// 0.1: the protocol up to 2025-11-25.
    Stable,
    /// 0.2: also 2026-07-28.
    Next,
}

impl Suite {
    /// All that are installed.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Next];

    fn package(self) -> &'static str {
        match self {
            Self::Stable => "@modelcontextprotocol/conformance",
            Self::Next => "conformance-next",
        }
    }

    /// Runs one scenario for clients against the multiplexer, with these words at the
    /// end of the suite's command line.
    pub async fn client(self, scenario: &str, words: &[&str]) -> Checks {
        let client = match scenario.starts_with("auth/") {
            true => "conformance_client.mjs",
            false => "conformance_uses.mjs",
        };
        let results = TempDir::with_prefix("conformance-").expect("a folder");
        let mut suite = self.alone(results.path());
        // The suite hands this to a shell after it has cut it at every space.
        suite.arg("client").arg("--command");
        suite.arg(r#""$CLIENT_NODE" "$CLIENT" "$PEERS" "$MULTIPLEXER""#);
        suite.env("CLIENT_NODE", node::program());
        suite.env("CLIENT", ours(client));
        suite.env("PEERS", folder());
        suite.env("MULTIPLEXER", env!("CARGO_BIN_EXE_mcp-multiplexer"));
        suite.args(["--scenario", scenario, "--timeout", "60000"]);
        suite.arg("--output-dir").arg(results.path()).args(words);
        let output = soon("the end of the suite", suite.output()).await;
        let output = output.expect("the suite runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{self:?} {scenario}:\n{said}");
        Checks::read(results.path(), scenario)
            .unwrap_or_else(|| panic!("{self:?} {scenario} left no checks:\n{said}"))
    }

    /// Runs all scenarios for servers against the one at this URL, with these words at
    /// the end of the suite's command line. The checks are by scenario.
    pub async fn servers(self, url: &str, words: &[&str]) -> BTreeMap<String, Checks> {
        let results = TempDir::with_prefix("conformance-").expect("a folder");
        let mut suite = Command::new(node::program());
        suite.arg(self.program());
        suite.args(["server", "--url", url, "--suite", "all"]);
        suite.arg("--output-dir").arg(results.path()).args(words);
        bare(&mut suite).env("HOME", results.path());
        let output = within(RUN, "the end of the suite", suite.output()).await;
        let output = output.expect("the suite runs");
        let scenarios = results_in(results.path(), "server-");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Total: "), "{self:?} did not finish:\n{said}");
        scenarios
    }

    /// Runs all scenarios for authorization servers against the one of this name, as this
    /// client, for this resource. `person` is handed the page that the suite wants opened,
    /// and gives what the browser is sent to in the end.
    pub async fn authorization_server(
        self,
        issuer: &str,
        (client, port): (&str, u16),
        resource: &str,
        person: impl AsyncFn(&str) -> String,
    ) -> BTreeMap<String, Checks> {
        let results = TempDir::with_prefix("conformance-").expect("a folder");
        let mut suite = Command::new(node::program());
        suite.arg(self.program()).arg("authorization");
        suite.args([
            "--url",
            issuer,
            "--client-id",
            client,
            "--resource",
            resource,
        ]);
        suite.args(["--port", &port.to_string()]);
        suite.arg("--output-dir").arg(results.path());
        let mut suite = bare(&mut suite)
            .env("HOME", results.path())
            .spawn()
            .expect("the suite runs");
        let (out, _) = Log::gather(suite.stdout.take().expect("stdout is piped"));
        let (err, _) = Log::gather(suite.stderr.take().expect("stderr is piped"));
        let words = Words(err);
        let page = out.until("a page", |line| line.starts_with("http")).await;
        let listening = |line: &str| line.contains("Callback server started");
        out.until("the suite to listen", listening).await;
        let back = person(&page).await;
        Http::default().get(&back).await;
        let status = within(RUN, "the end of the suite", suite.wait()).await;
        status.expect("an exit status");
        drop(words);
        results_in(results.path(), "authorization-server-")
    }

    fn program(self) -> PathBuf {
        installed(format!("node_modules/{}/dist/index.js", self.package()))
    }

    /// The suite's program, in a place without a network. As anybody but root that takes
    /// user namespaces, which some machines forbid.
    fn alone(self, home: &Path) -> Command {
        let mut suite = Command::new("unshare");
        suite.args(["--map-root-user", "--net", "sh", "-c"]);
        suite.arg(r#"ip link set lo up && exec "$@""#).arg("sh");
        suite.arg(node::program());
        suite.arg(self.program());
        bare(&mut suite).env("HOME", home);
        suite
    }
}

/// The checks of all scenarios that left their results here.
fn results_in(folder: &Path, prefix: &str) -> BTreeMap<String, Checks> {
    let runs = fs::read_dir(folder).expect("results");
    runs.map(|run| {
        let run = run.expect("a result").path();
        let name = scenario_of(&run, prefix).expect("a scenario");
        let checks = Checks::of(&run).unwrap_or_else(|| panic!("no checks of {name}"));
        (name, checks)
    })
    .collect()
}

/// The scenario that left its results in this folder: the prefix, its name, the time.
fn scenario_of(run: &Path, prefix: &str) -> Option<String> {
    const TIME: usize = "-2026-07-28T00-00-00-000Z".len();
    let folder = run.file_name()?.to_str()?.strip_prefix(prefix)?;
    folder
        .get(..folder.len().checked_sub(TIME)?)
        .map(str::to_owned)
}

/// What a run of one scenario checked, by the id of the check: how often it was passed,
/// and how often not.
#[derive(Debug, Default)]
pub struct Checks(pub BTreeMap<String, Counts>);

/// How one check ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `SUCCESS`.
    pub passed: u32,
    /// `FAILURE` and `WARNING`.
    pub failed: u32,
}

impl Checks {
    /// The results are in a folder named by the scenario and the time.
    fn read(results: &Path, scenario: &str) -> Option<Self> {
        let folder = results.join(Path::new(scenario).parent()?);
        let run = fs::read_dir(folder).ok()?.next()?.ok()?;
        Self::of(&run.path())
    }

    fn of(run: &Path) -> Option<Self> {
        let text = fs::read_to_string(run.join("checks.json")).ok()?;
        let mut checks = Self::default();
        for check in serde_json::from_str::<Vec<Value>>(&text).ok()? {
            let counts = checks
                .0
                .entry(check["id"].as_str()?.to_owned())
                .or_default();
            match check["status"].as_str()? {
                "SUCCESS" => counts.passed += 1,
                "FAILURE" | "WARNING" => counts.failed += 1,
                // What went over the wire, for a person to read.
                _ => {}
            }
        }
        checks.0.retain(|_, counts| *counts != Counts::default());
        Some(checks)
    }

    /// How many were passed.
    pub fn passed(&self) -> u32 {
        self.0.values().map(|counts| counts.passed).sum()
    }

    /// How many were not.
    pub fn failed(&self) -> u32 {
        self.0.values().map(|counts| counts.failed).sum()
    }

    /// What was checked.
    pub fn ids(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, Counts { passed, failed }) in &self.0 {
            writeln!(f, "  {id:<36} {passed:>3} passed {failed:>3} failed")?;
        }
        let all = self.passed() + self.failed();
        write!(f, "  {} of {all}", self.passed())
    }
}
