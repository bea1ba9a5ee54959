//! Secrets are used and never shown: a canary in every setting that can hold one is
//! searched for in everything the program says, at the level at which it says most.

mod support;

use std::fs;

use serde_json::json;
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer, Provider, eventually,
    http::{ClosedPort, Http},
    provider::{Mood, fingerprint, jwt},
};

/// The word that every secret holds, and what base64 makes of it wherever it stands.
const TRACES: [&str; 4] = ["canary", "y2fuyxj5", "nhbmfye", "jyw5hcn"];

/// The program and every library in it at their most talkative: a bare level would
/// wake the program alone.
const EVERYTHING: &str = "trace,mcp_multiplexer=trace";

/// The places that show a canary, in any letter case or encoding.
#[derive(Default)]
struct Leaks(Vec<String>);

impl Leaks {
    fn search(&mut self, what: &str, said: &str) {
        let lower = said.to_lowercase();
        for trace in TRACES {
            let Some(at) = lower.find(trace) else {
                continue;
            };
            let before: Vec<char> = lower[..at].chars().rev().take(300).collect();
            let before: String = before.into_iter().rev().collect();
            let after: String = lower[at..].chars().take(60).collect();
            self.0.push(format!("{what}: …{before}>>>{after}…"));
        }
    }

    /// Everything a running multiplexer shows, and its log when it has ended.
    async fn search_all_of(&mut self, mux: &mut Multiplexer) {
        self.search("/status", &mux.status().await.to_string());
        self.search("/metrics", &mux.metrics().await.0);
        let events = Http::default().get(&mux.at("/status/events")).await;
        let first = events.events().next().await.expect("an event");
        assert!(first.contains("lastFailure"), "{first}");
        self.search("/status/events", &first);
        mux.terminate();
        assert!(mux.ended().await.success());
        let log = mux.log.text();
        assert!(log.contains("TRACE"), "the log says all there is:\n{log}");
        self.search("the log", &log);
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(
            self.0.is_empty(),
            "secrets are shown:\n{}",
            self.0.join("\n")
        );
    }
}

/// A fleet in which every setting that can hold a secret holds one: of children that
/// work, that cannot be reached, and that are misconfigured.
fn full_of_secrets(provider: &Provider, closed: &ClosedPort) -> Fleet {
    let fleet = Fleet::new()
        .identity(provider)
        .env("OIDC_CLIENT_SECRET", "canary-client-secret")
        .env("HELD", "canary-variable")
        .top(
            "publicUrl",
            "https://me:canary-public@mux.example/?k=canary-public",
        );
    let unreachable = closed.url("/mcp?key=canary-query");
    let with_user = |url: &str| url.replace("http://", "http://user:canary-password@");
    fleet
        .http(
            "remote",
            Child::modern().key(
                "headers",
                json!({"Authorization": "Bearer canary-header", "X-Api-Key": "${HELD}"}),
            ),
        )
        .http("old", Child::legacy().key("headers", json!({"X-Api-Key": "canary-header"})))
        .http("service", Child::modern())
        .stdio(
            "local",
            Child::legacy().key(
                "env",
                json!({"API_KEY": "canary-environment", "OTHER": "${HELD}"}),
            ),
        )
        .entry("unreachable", json!({"url": with_user(&unreachable)}))
        .entry("missing", json!({"command": "no-such-program", "args": ["--key", "canary-argument"]}))
        .entry("dies", json!({
            "command": "false", "args": ["canary-argument"], "env": {"K": "canary-environment"},
        }))
        .entry("bad-header", json!({
            "url": unreachable, "headers": {"X-Key": "canary\nheader", "Bad Name: canary-name": "x"},
        }))
        .entry("bad-url", json!({"url": "canary-scheme://user:canary-password@h"}))
        .entry("bad-values", json!({
            "command": "x", "timeout": "${HELD}", "prefix": "${HELD} ",
            "session": "${HELD}", "env": {"K=canary-name": "canary\u{0}"},
        }))
}

/// A run at trace level, of children that work and others that do not.
async fn running(
    provider: &Provider,
    closed: &ClosedPort,
    door: Door,
    flags: &[&str],
) -> Multiplexer {
    let fleet = full_of_secrets(provider, closed)
        .env("RUST_LOG", EVERYTHING)
        .flags(flags);
    let mux = fleet.over(door).await;
    for name in ["remote", "old", "service", "local"] {
        mux.until_ready(name).await;
    }
    for name in ["unreachable", "missing", "dies"] {
        mux.until_child(name, "has failed twice", |child| {
            child["attempt"].as_u64() >= Some(2)
        })
        .await;
    }
    mux
}

/// Every way for a call to go well or wrong.
async fn provoked(mux: &mut Multiplexer, client: &mut Client, provider: &Provider) -> Vec<Answer> {
    let mut answers = vec![client.request("tools/list", "{}").await];
    for tool in [
        "remote__echo",
        "old__echo",
        "service__echo",
        "local__echo",
        "local__fail",
        "unreachable__echo",
        "missing__echo",
        "dies__echo",
        "bad_header__echo",
        "bad_url__echo",
        "bad_values__echo",
        "nobody__echo",
    ] {
        answers.push(client.call(tool, "{}").await);
    }
    provider.be(Mood::Indiscreet);
    for behaviour in ["unauthorized", "server-error", "html", "garbage"] {
        for name in ["remote", "old", "service"] {
            mux.remote(name).behave(behaviour).await;
            answers.push(client.call(&format!("{name}__echo"), "{}").await);
        }
    }
    answers.push(client.call("local__exit", "{}").await);
    eventually("a mint that was refused", async || {
        let metrics = mux.metrics().await;
        (metrics.sum("token_mints_total", &[("outcome", "refused")]) >= 1.0).then_some(())
    })
    .await;
    answers
}

#[tokio::test]
async fn a_secret_in_any_setting_is_shown_nowhere() {
    for (door, era, flags) in [
        (Door::Http, Era::Legacy, &["--log-format", "text"]),
        (Door::Stdio, Era::Modern, &["--log-format", "json"]),
    ] {
        let provider = Provider::with("canary-token", 3600).await;
        let closed = ClosedPort::pick();
        let mut mux = running(&provider, &closed, door, flags).await;

        // Held to the end: a stdio server ends with its client.
        let mut client = mux.client(era).await;
        let answers = provoked(&mut mux, &mut client, &provider).await;

        let mut leaks = Leaks::default();
        for answer in &answers {
            leaks.search("an answer", &answer.frame);
        }
        leaks.search_all_of(&mut mux).await;
        leaks.assert_none();
    }
}

/// Or the search above would find nothing because there was nothing.
#[tokio::test]
async fn the_secrets_are_in_use() {
    let provider = Provider::with("canary-token", 3600).await;
    let closed = ClosedPort::pick();
    let mut mux = running(&provider, &closed, Door::Http, &[]).await;
    let mut client = mux.client(Era::Legacy).await;

    let mut seen = async |prefix: &str| {
        let answer = client.call(&format!("{prefix}__identity"), "{}").await;
        answer.content()["authorization"].clone()
    };
    assert_eq!(seen("remote").await, fingerprint("Bearer canary-header"));
    assert_eq!(seen("service").await, provider.bearer(1));
    let received = client.call("remote__received", "{}").await;
    assert_eq!(
        received.content()["headers"]["x-api-key"],
        "canary-variable"
    );
    let names = client.call("local__env", "{}").await;
    assert!(names.structured().contains("API_KEY"), "{}", names.frame);
    // base64 of multiplexer:canary-client-secret
    let basic = "Basic bXVsdGlwbGV4ZXI6Y2FuYXJ5LWNsaWVudC1zZWNyZXQ=";
    assert_eq!(provider.asked()[0].authorization, basic);
    for name in ["bad-header", "bad-url", "bad-values"] {
        assert_eq!(mux.child(name).await["state"], "disabled", "{name}");
    }
}

#[tokio::test]
async fn a_secret_in_a_file_is_shown_nowhere() {
    for of_variables in [false, true] {
        let provider = Provider::with("canary-token", 3600).await;
        provider.be(Mood::Indiscreet);
        let fleet = Fleet::new()
            .identity(&provider)
            .http("child", Child::modern())
            .env("OIDC_CLIENT_SECRET", "")
            .env("RUST_LOG", EVERYTHING);
        let path = fleet.path("secret");
        let place = path.display().to_string();
        let (fleet, text) = match of_variables {
            true => (
                fleet.flags(&["--env-file", &place]),
                "OIDC_CLIENT_SECRET=canary-from-a-file\n",
            ),
            false => (
                fleet.env("OIDC_CLIENT_SECRET_FILE", &place),
                "canary-from-a-file\n",
            ),
        };
        fs::write(&path, text).expect("the secret can be written");
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        provider.until_asked(2).await;
        let told = provider.asked()[0].authorization.clone();
        assert!(
            told.contains("Y2FuYXJ5"),
            "the file's secret is in use: {told}"
        );

        let mut leaks = Leaks::default();
        leaks.search_all_of(&mut mux).await;
        leaks.assert_none();
    }
}

/// Whatever the service sends, and however a child says it again.
#[tokio::test]
async fn what_a_child_repeats_of_the_credentials_it_was_sent_is_shown_nowhere() {
    let provider = Provider::with("canary-token", 3600).await;
    let foreign = jwt(&json!({"sub": "canary"}));
    for basic in [false, true] {
        let mut fleet = Fleet::new().identity(&provider).env("RUST_LOG", EVERYTHING);
        if basic {
            fleet = fleet
                .env("MCP_CLIENT_AUTH", "basic")
                .env("MCP_CLIENT_BASIC_USERNAME", "multiplexer")
                .env("MCP_CLIENT_BASIC_PASSWORD", "canary-password");
        }
        let password = if basic { "canary-password" } else { "" };
        let words = format!("no: {{token}} token={foreign} {password}");
        let challenge = format!(r#"Bearer error="invalid_token", error_description="{words}""#);
        let refusing = Child::broken("forbidden")
            .option("--refusal", &words)
            .option("--challenge", "Basic");
        let mut mux = fleet
            .http(
                "challenges",
                Child::broken("unauthorized").option("--challenge", &challenge),
            )
            .http("refuses", refusing)
            .http("changes", Child::modern().option("--challenge", &challenge))
            .over(Door::Http)
            .await;
        mux.until_ready("changes").await;
        let mut leaks = Leaks::default();
        for name in ["challenges", "refuses"] {
            let down = mux
                .until_child(name, "is down", |child| child["state"] == "down")
                .await;
            let reason = down["reason"].as_str().unwrap_or_default();
            let told = name == "refuses" || reason.contains("no: [secret]");
            assert!(told, "{name}: {down:#}");
        }
        let mut client = mux.client(Era::Legacy).await;
        for behaviour in ["unauthorized", "forbidden"] {
            mux.remote("changes").behave(behaviour).await;
            for prefix in ["challenges", "refuses", "changes"] {
                let answer = client.call(&format!("{prefix}__echo"), "{}").await;
                leaks.search("an answer", &answer.frame);
            }
        }
        leaks.search_all_of(&mut mux).await;
        leaks.assert_none();
    }
}

/// What stops the start names the setting and not what stands in it.
#[tokio::test]
async fn a_start_that_fails_shows_no_secret() {
    let text = |more: &str| {
        format!(
            r#"{{"mcpServers": {{"a": {{"url": "http://h/?k=canary", "headers": {{"X": "canary"}}}}{more}}}"#
        )
    };
    let broken_json = text("");
    let twice = text(r#", "a": {"command": "canary"}}"#);
    for (what, fleet) in [
        ("a cut file", Fleet::new().config_text(&broken_json)),
        ("two of a name", Fleet::new().config_text(&twice)),
        (
            "a bare word",
            Fleet::new().config_text(r#"{"mcpServers": canary}"#),
        ),
        (
            "a locked door",
            Fleet::new().top("auth", json!({"introspection": {"clientSecret": "canary"}})),
        ),
        ("no object", Fleet::new().config_text(r#""canary""#)),
        ("a mode", Fleet::new().env("MCP_CLIENT_AUTH", "canary")),
        (
            "a token URL",
            Fleet::new()
                .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
                .env("OIDC_CLIENT_ID", "x")
                .env("OIDC_CLIENT_SECRET", "canary")
                .env("OIDC_TOKEN_URL", "canary"),
        ),
        (
            "a token URL with a password",
            Fleet::new()
                .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
                .env("OIDC_CLIENT_ID", "x")
                .env("OIDC_CLIENT_SECRET", "canary")
                .env("OIDC_TOKEN_URL", "http://me:canary@127.0.0.1:1/token"),
        ),
    ] {
        let output = fleet.env("RUST_LOG", EVERYTHING).run(&["serve"]).await;

        assert!(!output.status.success(), "{what}: {}", output.stderr);
        assert!(!output.stderr.is_empty(), "{what}");
        let mut leaks = Leaks::default();
        leaks.search(what, &output.stderr);
        leaks.search(what, &output.stdout);
        leaks.assert_none();
    }
}
