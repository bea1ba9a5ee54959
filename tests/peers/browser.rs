//! A headless Chromium with one page open, which a test looks at and uses.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child as Process;

use super::{bare, node::node};
use crate::support::pipe::{Log, Pipe};

/// Where Debian puts it.
pub const CHROMIUM: &str = "/usr/bin/chromium";

/// The browser, which ends with this value.
pub struct Browser {
    pipe: Pipe,
    log: Log,
    _process: Process,
    _home: TempDir,
}

impl Browser {
    /// Starts it.
    pub async fn start() -> Self {
        Self::with_environment(&[]).await
    }

    /// Starts it with these variables.
    pub async fn with_environment(variables: &[(&str, &str)]) -> Self {
        assert!(
            Path::new(CHROMIUM).exists(),
            "{CHROMIUM} is not there; hint: start tests/run once, which installs it"
        );
        let home = TempDir::with_prefix("browser-").expect("a folder");
        let mut command = node("browser.mjs");
        command.arg(CHROMIUM).arg(home.path().join("profile"));
        bare(&mut command).stdin(Stdio::piped());
        command.env("HOME", home.path());
        command.envs(variables.iter().copied());
        let mut process = command.spawn().expect("node starts");
        let (log, _) = Log::gather(process.stderr.take().expect("stderr is piped"));
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut browser = Self {
            pipe: Pipe::new(stdin, stdout),
            log,
            _process: process,
            _home: home,
        };
        browser.answer("the start").await;
        browser
    }

    /// Opens a URL, in a window and with tastes as `how` says.
    pub async fn open(&mut self, url: &str, how: Value) {
        let mut how = how;
        how["url"] = json!(url);
        self.tell("open", how).await;
    }

    /// What a JavaScript expression says on the page.
    pub async fn run(&mut self, script: &str) -> Value {
        self.tell("run", json!({"script": script})).await
    }

    /// The same, which is a text.
    pub async fn text(&mut self, script: &str) -> String {
        let value = self.run(script).await;
        value
            .as_str()
            .map(str::to_owned)
            .unwrap_or_else(|| panic!("{script} is {value}"))
    }

    /// Waits until a JavaScript expression is true on the page.
    pub async fn until(&mut self, script: &str) {
        self.tell("until", json!({"script": script})).await;
    }

    /// Presses a key.
    pub async fn press(&mut self, key: &str) {
        self.tell("press", json!({"key": key})).await;
    }

    /// Types a text.
    pub async fn write(&mut self, text: &str) {
        self.tell("type", json!({"text": text})).await;
    }

    /// Clicks what a selector finds.
    pub async fn click(&mut self, selector: &str) {
        self.tell("click", json!({"selector": selector})).await;
    }

    /// What a screen reader would tell of it.
    pub async fn heard(&mut self, selector: &str) -> String {
        let heard = self.tell("heard", json!({"selector": selector})).await;
        heard.as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that axe finds nothing that would keep anybody out.
    pub async fn is_accessible(&mut self) {
        assert_eq!(self.tell("axe", json!({})).await, json!([]));
    }

    /// Asserts that nothing was complained of, and nobody asked but `origin`.
    pub async fn is_well_behaved(&mut self, origin: &str) {
        let events = self.tell("events", json!({})).await;
        assert_eq!(events["complaints"], json!([]));
        let asked = events["asked"].as_array().expect("requests");
        assert!(asked.len() >= 4, "{events}");
        for url in asked {
            let url = url.as_str().expect("a URL");
            assert!(url.starts_with(origin), "{url} is not of {origin}");
        }
    }

    /// Takes a picture, of all of the page if `whole`.
    pub async fn picture(&mut self, path: &Path, whole: bool) {
        self.tell("picture", json!({"path": path, "whole": whole}))
            .await;
    }

    async fn tell(&mut self, deed: &str, mut how: Value) -> Value {
        how["do"] = json!(deed);
        self.pipe.line(how.to_string()).await;
        self.answer(&how.to_string()).await
    }

    async fn answer(&mut self, to: &str) -> Value {
        let Some(line) = self.pipe.next().await else {
            panic!("the browser has ended at {to}:\n{}", self.log.text());
        };
        let mut answer: Value = serde_json::from_str(&line).expect("a line of JSON");
        match answer.get_mut("ok") {
            Some(value) => value.take(),
            None => panic!("{to}: {}\n{}", answer["error"], self.log.text()),
        }
    }
}
