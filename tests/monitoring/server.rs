//! A Prometheus that scrapes a multiplexer, every second.

use std::{fs, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child as Process, Command};

use super::promtool::{RULES, program};
use crate::support::{
    eventually,
    http::{Http, request},
    pipe::Log,
    wait::eventually_within,
};

/// Generous: on a loaded machine its start alone takes a while.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Prometheus {
    origin: String,
    http: Http,
    log: Log,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it, to scrape this origin. The alerts are the shipped ones, but for their
    /// patience.
    pub async fn watching(origin: &str) -> Self {
        let folder = TempDir::with_prefix("prometheus-").expect("a folder");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("a file");
        };
        let rules = fs::read_to_string(RULES).expect("the rules");
        let at_once = rules.lines().map(|line| match line.trim_start() {
            patient if patient.starts_with("for: ") => line.replace(patient, "for: 0s"),
            _ => line.to_owned(),
        });
        write("rules.yml", at_once.collect::<Vec<_>>().join("\n"));
        let target = origin.strip_prefix("http://").expect("an origin");
        write(
            "prometheus.yml",
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
                 rule_files: [rules.yml]\n\
                 scrape_configs:\n\
                 - {{job_name: mcp-multiplexer, static_configs: [{{targets: ['{target}']}}]}}\n"
            ),
        );
        let mut process = Command::new(program("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts");
        let (log, _) = Log::gather(process.stderr.take().expect("a pipe"));
        let listening = |line: &str| line.contains(r#"msg="Listening on""#);
        let line = eventually("where prometheus listens", async || log.find(listening)).await;
        let (_, address) = line.split_once("address=").expect("an address");
        let this = Self {
            origin: format!("http://{}", address.trim()),
            http: Http::default(),
            log,
            _process: process,
            _folder: folder,
        };
        eventually("a prometheus that is ready", async || {
            let ready = request(
                http::Method::GET,
                &format!("{}/-/ready", this.origin),
                Vec::new(),
            );
            let reply = this.http.try_send(ready).await?;
            reply.status.is_success().then_some(())
        })
        .await;
        this
    }

    /// Waits until an alert rings of which `wanted` is true.
    pub async fn until_ringing(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{name} rings");
        eventually_within(PATIENCE, &what, async || {
            let answer = self.get("/api/v1/alerts").await;
            let alerts = answer["data"]["alerts"].as_array().cloned();
            let mut alerts = alerts.unwrap_or_default().into_iter();
            alerts.find(|alert| {
                alert["labels"]["alertname"] == name && alert["state"] == "firing" && wanted(alert)
            })
        })
        .await
    }

    /// What a query finds now.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub async fn find(&self, query: &str) -> Vec<Value> {
        let mut url = url::Url::parse(&self.origin).expect("an origin");
        url.set_path("/api/v1/query");
        url.query_pairs_mut().append_pair("query", query);
        let answer = self.http.get(url.as_str()).await.json().await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let found = answer["data"]["result"].as_array().cloned();
        found.unwrap_or_default()
    }

    /// Waits until a query finds something.
    pub async fn until_found(&self, query: &str) -> Vec<Value> {
        eventually_within(PATIENCE, query, async || {
            Some(self.find(query).await).filter(|found| !found.is_empty())
        })
        .await
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.origin);
        self.http.get(&url).await.json().await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- prometheus ---\n{}\n---", self.log.text());
        }
    }
}
