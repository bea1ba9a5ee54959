//! Who is woken by an alert is told what to do.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, discover, locked, page},
    support::{
        Child, Door, Fleet, Multiplexer, Provider, eventually,
        http::{Http, With as _},
        provider::Mood,
    },
};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/rules.yml");
const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/runbook.md");

#[test]
fn every_alert_says_what_it_is_about_and_where_to_read_on() {
    let rules = fs::read_to_string(RULES).expect("the rules");
    let runbook = fs::read_to_string(RUNBOOK).expect("the runbook");
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    let names: Vec<_> = alerts
        .iter()
        .map(|alert| alert.lines().next().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "McpServiceDown",
            "McpProbeFailed",
            "McpProbeMissing",
            "McpHighToolErrorRate",
            "McpHighToolLatencyP95",
            "McpChildBreakerOpen",
            "McpTokenExpiring",
            "McpConfigReloadFailed",
        ]
    );
    for (alert, name) in alerts.iter().zip(names) {
        let anchor = format!("docs/src/runbook.md#{}", name.to_lowercase());
        for wanted in ["summary: ", "description: ", &anchor] {
            assert!(alert.contains(wanted), "{name}: {wanted}");
        }
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name}");
    }
}

#[tokio::test]
async fn what_the_runbook_looks_at_in_the_status_is_there() {
    let provider = Provider::start().await;
    provider.be(Mood::Says(503, "{}"));
    let mux = Fleet::new()
        .http("child", Child::modern())
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let status = eventually("a mint that failed", async || {
        let status = mux.status().await;
        status["identity"].get("lastError")?;
        Some(status)
    })
    .await;
    let child = &status["children"][0];
    let runbook = fs::read_to_string(RUNBOOK).expect("the runbook");
    for (of, keys) in [
        (&status["config"], ["lastReload"].as_slice()),
        (&status["config"]["lastReload"], &["error"]),
        (&status["identity"], &["lastError"]),
        (child, &["name", "state", "cause", "reason", "nextRetryMs"]),
    ] {
        for key in keys {
            assert!(of.get(key).is_some(), "{key} in {status:#}");
            assert!(runbook.contains(key), "{key}");
        }
    }
}

/// The queries that whoever was woken is told to ask.
pub fn queries() -> Vec<String> {
    let runbook = fs::read_to_string(RUNBOOK).expect("the runbook");
    let blocks = runbook.split("\n```promql\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n```").next().expect("an end"));
    blocks.map(str::to_owned).collect()
}

/// One whose address for operators can be reached by strangers, as in the stack and the
/// manifests that are shipped, and of which everything is wrong that its log has a line for.
async fn locked_on_a_bad_day(issuer: &Issuer, provider: &Provider) -> Multiplexer {
    issuer.be_down(true);
    provider.be(Mood::Says(503, "{}"));
    let gone = json!({"command": "/no/such/program", "breaker": {"failures": 1}});
    let fleet = locked(issuer, json!({}));
    let policies = fleet.path("policies.cedar");
    fs::write(&policies, "permit(principal, action, resource);").expect("a file");
    let mux = fleet
        .flags(&["--admin-addr", "0.0.0.0:0", "--log-format", "json"])
        .env("MCP_AUTH_POLICY_FILE", &policies.to_string_lossy())
        .entry("gone", gone)
        .identity(provider)
        .over(Door::Http)
        .await;
    fs::write(&policies, "permit(principal;").expect("a file");
    mux.write_config("no configuration");
    let stranger = Knock::with(&Http::default(), discover(&mux.url()), &[]).await;
    assert_eq!(stranger.status, 401);
    mux.log
        .until("no keys", |line| line.contains("cannot be had"))
        .await;
    issuer.be_down(false);
    mux
}

/// The operators' address, by loopback.
fn admin(mux: &Multiplexer) -> String {
    let line = mux.log.find(|line| line.contains("admin listening"));
    let line: Value = serde_json::from_str(&line.expect("an address")).expect("JSON");
    let url = line["url"].as_str().expect("a url");
    url.replace("0.0.0.0", "127.0.0.1")
}

#[tokio::test]
async fn a_locked_address_tells_reasons_to_a_token_and_its_log_tells_them_to_all() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let provider = Provider::start().await;
    let mux = locked_on_a_bad_day(&issuer, &provider).await;
    let url = format!("{}/status", admin(&mux));
    let http = Http::default();
    let bearer = format!("Bearer {}", issuer.token(&key));
    let asked = async |authorization: &str| -> Value {
        let request = page(Method::GET, &url).with("authorization", authorization);
        http.send(request).await.json().await
    };

    let told = eventually("all reasons, with a token", async || {
        let status = asked(&bearer).await;
        let all = [
            &status["children"][0]["reason"],
            &status["children"][0]["cause"],
            &status["children"][0]["lastFailure"],
            &status["identity"]["lastError"],
            &status["config"]["lastReload"]["error"],
            &status["policy"]["lastReload"]["error"],
        ];
        let all = all.into_iter().all(|reason| !reason.is_null());
        all.then_some(status)
    })
    .await;
    let hidden = asked("Basic eDp5").await;
    let child = &hidden["children"][0];
    assert_eq!(child["name"], "gone");
    assert_eq!(child["state"], told["children"][0]["state"]);
    for (of, key) in [
        (child, "reason"),
        (child, "cause"),
        (child, "lastFailure"),
        (&hidden["identity"], "lastError"),
        (&hidden["config"]["lastReload"], "error"),
        (&hidden["policy"]["lastReload"], "error"),
    ] {
        assert!(of[key].is_null(), "{key} in {hidden:#}");
    }
    assert_eq!(hidden["config"]["lastReload"]["ok"], false);
    let elsewhere = page(Method::GET, &url).with("host", "10.0.0.7:9464");
    assert_eq!(http.send(elsewhere).await.status, 403);

    let token = issuer.token(&key);
    for (token, is_told) in [("", false), (&*token, true)] {
        let shell = Fleet::new()
            .without_config()
            .env("MCP_MULTIPLEXER_TOKEN", token);
        let shown = shell.run(&["status", "--url", &admin(&mux)]).await;
        assert!(shown.status.success(), "{}", shown.stderr);
        let told = shown.stdout.contains("could not be started");
        assert_eq!(told, is_told, "{}", shown.stdout);
    }

    for (message, fields) in lines_of_the_runbook() {
        let is_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["message"] == *message && fields.iter().all(|field| line.get(field).is_some())
        };
        mux.log.until(&message, is_it).await;
    }
    let found = filtered(&mux.log.text());
    for reason in [
        "could not be started",
        "mcp_config.json:1:",
        "policies.cedar:1:",
    ] {
        assert!(found.contains(reason), "{reason} in {found}");
    }
}

/// What the log's table says: messages, and their fields.
fn lines_of_the_runbook() -> Vec<(String, Vec<String>)> {
    let runbook = fs::read_to_string(RUNBOOK).expect("the runbook");
    let (_, table) = runbook.split_once("\n| the line |").expect("a table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let codes = |cell: &str| -> Vec<String> {
        let codes = cell.split('`').skip(1).step_by(2);
        codes.map(str::to_owned).collect()
    };
    let lines: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split('|').collect();
            (codes(cells[0]).remove(0), codes(cells[2]))
        })
        .collect();
    assert!(lines.len() > 5, "{lines:?}");
    lines
}

/// What is left of a log by the runbook's filter.
fn filtered(log: &str) -> String {
    let runbook = fs::read_to_string(RUNBOOK).expect("the runbook");
    let (_, filter) = runbook.split_once("\njq -Rc '").expect("a filter");
    let (filter, _) = filter.split_once('\'').expect("an end");
    let mut jq = Command::new("jq")
        .args(["-Rc", filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq is there");
    let mut stdin = jq.stdin.take().expect("a pipe");
    let log = log.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(log.as_bytes()));
    let output = jq.wait_with_output().expect("jq ends");
    writing.join().expect("a writer").expect("jq reads");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}
