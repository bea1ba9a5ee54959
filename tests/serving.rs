//! The two doors and what stands beside them: who may come in, how sessions live,
//! what operators are shown, and what a start that cannot be is told.

mod support;

use ::http::{Method, Request};
use bytes::Bytes;
use mcp_multiplexer::VERSION;
use serde_json::Value;
use support::{
    Child, Door, Era, Fleet, Multiplexer,
    client::{LEGACY_VERSION, with_modern_meta},
    eventually,
    http::{ClosedPort, Http, With as _, post, request},
    wait::soon,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{}}"#;

/// A multiplexer over HTTP with one child that is ready.
async fn serving() -> Multiplexer {
    one_child().over_http_when_ready().await
}

fn one_child() -> Fleet {
    Fleet::new().stdio("child", Child::legacy())
}

trait WhenReady {
    async fn over_http_when_ready(self) -> Multiplexer;
}

impl WhenReady for Fleet {
    async fn over_http_when_ready(self) -> Multiplexer {
        let mux = self.over(Door::Http).await;
        mux.all_ready().await;
        mux
    }
}

/// A request that any client in a session sends.
async fn ping(mux: &mut Multiplexer) -> Request<Bytes> {
    let client = mux.client(Era::Legacy).await;
    post(&mux.url(), PING)
        .with("mcp-session-id", client.session().expect("a session"))
        .with("mcp-protocol-version", LEGACY_VERSION)
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_with_the_setting_that_lets_it_in() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    let http = Http::default();
    for (header, value, flag, variable) in [
        (
            "host",
            "evil.example",
            "--allowed-host evil.example",
            "MCP_ALLOWED_HOSTS",
        ),
        (
            "host",
            "127.0.0.1.evil.example:80",
            "--allowed-host",
            "MCP_ALLOWED_HOSTS",
        ),
        (
            "host",
            "localhost.evil.example",
            "--allowed-host",
            "MCP_ALLOWED_HOSTS",
        ),
        (
            "origin",
            "https://evil.example",
            "--allowed-origin https://evil.example",
            "MCP_ALLOWED_ORIGINS",
        ),
        (
            "origin",
            "http://localhost.evil.example",
            "--allowed-origin",
            "MCP_ALLOWED_ORIGINS",
        ),
        ("origin", "null", "--allowed-origin", "MCP_ALLOWED_ORIGINS"),
    ] {
        let refused = http.send(ping.clone().with(header, value)).await;

        assert_eq!(refused.status, 403, "{header}: {value}");
        let text = refused.text().await;
        for part in [flag, variable, value] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let read = request(Method::GET, &mux.url(), "").with("host", "evil.example");
    assert_eq!(http.send(read).await.status, 403, "streams too");
    let status = request(Method::GET, &mux.at("/status"), "").with("host", "evil.example");
    assert_eq!(
        http.send(status).await.status,
        403,
        "and what names children"
    );
    assert_eq!(http.send(ping).await.status, 200);
}

#[tokio::test]
async fn loopback_by_any_of_its_names_and_origins_comes_in() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    for (header, value) in [
        ("host", "localhost"),
        ("host", "LOCALHOST:1234"),
        ("host", "[::1]:1234"),
        ("origin", "http://localhost:6274"),
        ("origin", "http://127.0.0.1:6274"),
    ] {
        let reply = Http::default().send(ping.clone().with(header, value)).await;

        assert_eq!(reply.status, 200, "{header}: {value}");
    }
}

#[tokio::test]
async fn hosts_and_origins_are_let_in_by_flag_and_by_variable() {
    let by_flag = one_child().flags(&[
        "--allowed-host",
        "mux.example",
        "--allowed-host",
        "other.example",
        "--allowed-origin",
        "https://app.example",
    ]);
    let by_variable = one_child()
        .env("MCP_ALLOWED_HOSTS", "mux.example,other.example")
        .env("MCP_ALLOWED_ORIGINS", "https://app.example");
    for fleet in [by_flag, by_variable] {
        let mut mux = fleet.over_http_when_ready().await;
        let ping = ping(&mut mux).await;
        let http = Http::default();
        for host in ["mux.example", "other.example:8000"] {
            let reply = http.send(ping.clone().with("host", host)).await;
            assert_eq!(reply.status, 200, "{host}");
        }
        let reply = http.send(ping.clone().with("origin", "https://app.example"));
        assert_eq!(reply.await.status, 200);
        let foreign = http.send(ping.with("host", "third.example")).await;
        assert_eq!(foreign.status, 403, "one more does not mean all");
    }
}

/// Whoever runs this learns in one sentence what it would mean and how to say so.
#[tokio::test]
async fn an_address_beyond_loopback_is_refused_in_one_sentence() {
    let output = one_child()
        .run(&[
            "serve",
            "--transport",
            "http",
            "--host",
            "0.0.0.0",
            "--port",
            "0",
        ])
        .await;

    assert!(!output.status.success());
    let told = output
        .stderr
        .lines()
        .filter(|line| line.contains("0.0.0.0"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 1, "{}", output.stderr);
    for part in [
        "--insecure-no-auth",
        "MCP_INSECURE_NO_AUTH",
        "not authenticated",
    ] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
}

/// The start goes on to its next step, which is made to fail: nothing is served.
#[tokio::test]
async fn an_address_beyond_loopback_is_taken_when_the_operator_insists() {
    let taken = ClosedPort::pick();
    let admin = taken.url("").replace("http://", "");
    let words = [
        "serve",
        "--transport",
        "http",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--admin-addr",
        &admin,
    ];
    for fleet in [
        one_child().flags(&["--insecure-no-auth"]),
        one_child().env("MCP_INSECURE_NO_AUTH", "1"),
        one_child().env("MCP_INSECURE_NO_AUTH", "true"),
    ] {
        let output = fleet.run(&words).await;

        assert!(!output.status.success());
        assert!(output.stderr.contains(&admin), "{}", output.stderr);
        assert!(
            !output.stderr.contains("--insecure-no-auth"),
            "{}",
            output.stderr
        );
    }
    let off = one_child().env("MCP_INSECURE_NO_AUTH", "0");
    let refused = off.run(&words).await;
    assert!(
        refused.stderr.contains("--insecure-no-auth"),
        "0 does not insist: {}",
        refused.stderr
    );
}

#[tokio::test]
async fn both_spellings_of_the_transport_mean_http() {
    for spelling in ["http", "streamable-http"] {
        let taken = ClosedPort::pick();
        let port = taken.url("").rsplit(':').next().map(str::to_owned);
        let port = port.expect("a port");

        let output = one_child()
            .run(&["serve", "--transport", spelling, "--port", &port])
            .await;

        assert!(!output.status.success(), "{spelling}: the port is taken");
        let named = format!("127.0.0.1:{port}");
        assert!(output.stderr.contains(&named), "{}", output.stderr);
    }
}

#[tokio::test]
async fn serve_is_what_is_meant_where_no_command_stands() {
    let output = one_child().run(&[]).await;

    assert!(output.status.success(), "stdin ended: {}", output.stderr);
    assert_eq!(output.stdout, "", "protocol only, and nobody asked");
}

#[tokio::test]
async fn a_session_that_was_ended_is_unknown_from_then_on() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    let http = Http::default();
    assert_eq!(http.send(ping.clone()).await.status, 200);
    let mut delete = ping.clone();
    *delete.method_mut() = Method::DELETE;
    *delete.body_mut() = Bytes::new();

    let ended = http.send(delete.clone()).await;

    assert!(ended.status.is_success(), "{}", ended.status);
    assert_eq!(http.send(ping.clone()).await.status, 404);
    assert_eq!(
        http.send(delete).await.status,
        404,
        "there is nothing left to end"
    );
    let mut stream = ping.with("accept", "text/event-stream");
    *stream.method_mut() = Method::GET;
    assert_eq!(http.send(stream).await.status, 404);
}

#[tokio::test]
async fn the_stream_of_a_session_ends_with_it() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    let http = Http::default();
    let mut open = ping.clone().with("accept", "text/event-stream");
    *open.method_mut() = Method::GET;
    let mut stream = http.send(open).await.events();
    let mut delete = ping;
    *delete.method_mut() = Method::DELETE;

    assert!(http.send(delete).await.status.is_success());

    while stream.next().await.is_some() {}
}

#[tokio::test]
async fn a_legacy_request_without_its_session_is_refused() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await.without("mcp-session-id");
    let http = Http::default();

    let without = http.send(ping.clone()).await;
    assert_eq!(without.status, 400);
    let answer = without.answer().await;
    assert!(answer.error_code() < 0, "{}", answer.frame);
    let invented = http.send(ping.with("mcp-session-id", "invented")).await;
    assert_eq!(invented.status, 404);
}

#[tokio::test]
async fn what_needs_no_answer_is_accepted() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    for frame in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
    ] {
        let mut told = ping.clone();
        *told.body_mut() = frame.into();

        let reply = Http::default().send(told).await;

        assert_eq!(reply.status, 202, "{frame}");
        assert_eq!(reply.text().await, "", "{frame}");
    }
}

#[tokio::test]
async fn methods_and_media_types_that_are_not_spoken_are_refused() {
    let mut mux = serving().await;
    let ping = ping(&mut mux).await;
    let http = Http::default();
    for method in [Method::PUT, Method::PATCH] {
        let mut other = ping.clone();
        *other.method_mut() = method.clone();
        let refused = http.send(other).await;
        assert_eq!(refused.status, 405, "{method}");
        let allowed = refused.header("allow");
        assert!(allowed.contains("POST"), "{allowed}");
    }
    for accept in ["application/json", "text/event-stream", "text/html"] {
        let refused = http.send(ping.clone().with("accept", accept)).await;
        assert_eq!(refused.status, 406, "{accept}");
    }
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let refused = http.send(ping.clone().with("content-type", content_type));
        assert_eq!(refused.await.status, 415, "{content_type}");
    }
    let without = http.send(ping.clone().without("content-type")).await;
    assert_eq!(without.status, 415);
    let mut stream = ping.clone().with("accept", "application/json");
    *stream.method_mut() = Method::GET;
    assert_eq!(
        http.send(stream).await.status,
        406,
        "a stream is an event stream"
    );
    let charset = "application/json; charset=utf-8";
    let welcome = http.send(ping.with("content-type", charset).with("accept", "*/*"));
    assert_eq!(welcome.await.status, 200);
}

/// The modern era has no stream of its own: there is `subscriptions/listen`.
#[tokio::test]
async fn a_modern_client_cannot_open_a_stream_or_end_a_session() {
    let mux = serving().await;
    for method in [Method::GET, Method::DELETE] {
        let modern = request(method.clone(), &mux.url(), "")
            .with("accept", "text/event-stream")
            .with("mcp-protocol-version", "2026-07-28");

        let refused = Http::default().send(modern).await;

        assert_eq!(refused.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_child_that_comes_later_is_announced_on_the_sessions_stream() {
    let mut mux = Fleet::new()
        .stdio("early", Child::legacy().bare().named("tool"))
        .stdio("late", Child::legacy().bare().named("tool").gated())
        .over(Door::Http)
        .await;
    mux.until_ready("early").await;
    let mut client = mux.client(Era::Legacy).await;
    client.subscribe().await;
    // The list waits for the first round, but not for ever.
    assert_eq!(client.tool_names().await, ["early__tool"]);

    mux.open_gate("late");

    let both = ["early__tool", "late__tool"];
    loop {
        client.news("notifications/tools/list_changed").await;
        if client.tool_names().await == both {
            break;
        }
    }
}

#[tokio::test]
async fn an_unknown_tool_is_answered_with_the_names_that_come_closest() {
    let fleet = Fleet::new()
        .stdio(
            "github",
            Child::legacy()
                .bare()
                .named("search_code")
                .named("get_issue"),
        )
        .stdio("clock", Child::legacy().bare().named("now"));
    let mut mux = fleet.over_http_when_ready().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        for (typed, meant) in [
            ("github__serch_code", "github__search_code"),
            ("githb__get_issue", "github__get_issue"),
            ("github_search_code", "github__search_code"),
        ] {
            let answer = client.call(typed, "{}").await;

            assert_eq!(answer.error_code(), -32602, "{typed}");
            let message = answer.error()["message"].to_string();
            assert!(message.contains(typed), "{message}");
            assert!(message.contains(meant), "{message}");
            assert!(!message.contains("clock__now"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_call_to_a_name_like_no_other_says_nothing_it_does_not_know() {
    let mut mux = serving().await;
    let mut client = mux.client(Era::Legacy).await;

    let answer = client.call("Zq9", "{}").await;

    assert_eq!(answer.error_code(), -32602);
    let message = answer.error()["message"].to_string();
    assert!(
        message.contains("Zq9") && !message.contains("child__"),
        "{message}"
    );
}

#[tokio::test]
async fn without_a_config_the_error_lists_every_place_it_looked_at() {
    let fleet = Fleet::new().without_config();
    let home = fleet.path(".config/mcp-multiplexer/mcp_config.json");

    let output = fleet.run(&["serve"]).await;

    assert!(!output.status.success());
    let places = ["./mcp_config.json", home.to_str().expect("a path")];
    for part in places.iter().chain(&["--config", "MCP_CONFIG"]) {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }

    let elsewhere = Fleet::new().without_config();
    let xdg = elsewhere.path("xdg");
    let elsewhere = elsewhere.env("XDG_CONFIG_HOME", xdg.to_str().expect("a path"));
    let output = elsewhere.run(&["serve"]).await;
    let place = xdg.join("mcp-multiplexer/mcp_config.json");
    let place = place.to_str().expect("a path");
    assert!(output.stderr.contains(place), "{}", output.stderr);
}

/// A file that was named is the only one looked for.
#[tokio::test]
async fn a_named_config_that_is_missing_is_not_replaced_by_another() {
    for by_flag in [true, false] {
        let fleet = one_child().config_found_at("mcp_config.json");
        let missing = fleet.path("missing.json").display().to_string();
        let fleet = if by_flag {
            fleet.flags(&["--config", &missing])
        } else {
            fleet.env("MCP_CONFIG", &missing)
        };

        let output = fleet.run(&["serve"]).await;

        assert!(!output.status.success(), "by flag: {by_flag}");
        assert!(output.stderr.contains(&missing), "{}", output.stderr);
    }
}

#[tokio::test]
async fn the_config_is_found_in_each_of_its_places() {
    for (place, variable) in [
        ("mcp_config.json", None),
        (".config/mcp-multiplexer/mcp_config.json", None),
        (
            "xdg/mcp-multiplexer/mcp_config.json",
            Some(("XDG_CONFIG_HOME", "xdg")),
        ),
        (
            "anywhere/at-all.json",
            Some(("MCP_CONFIG", "anywhere/at-all.json")),
        ),
    ] {
        let mut fleet = one_child().config_found_at(place);
        if let Some((variable, path)) = variable {
            let path = fleet.path(path).display().to_string();
            fleet = fleet.env(variable, &path);
        }

        let mux = fleet.over_http_when_ready().await;

        let path = mux.status().await["config"]["path"].clone();
        let path = path.as_str().unwrap_or_default();
        assert!(path.ends_with(place), "{place}: {path}");
    }
}

/// In stdio mode stdout belongs to the protocol, so operators have another door.
#[tokio::test]
async fn the_admin_address_serves_operators_beside_a_stdio_client() {
    let mut mux = one_child().over(Door::Stdio).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("child__echo", "{}").await.result();
    let http = Http::default();

    assert_eq!(
        http.get(&mux.at("/health")).await.json().await["status"],
        "ok"
    );
    assert_eq!(http.get(&mux.at("/ready")).await.status, 200);
    assert_eq!(mux.status().await["transport"], "stdio");
    let calls = [("child", "child"), ("tool", "echo"), ("outcome", "ok")];
    let metrics = mux.metrics().await;
    assert_eq!(metrics.value("tool_calls_total", &calls), Some(1.0));
    let mcp = http.post(&mux.at("/mcp"), PING).await;
    assert_eq!(mcp.status, 404, "clients do not come in by this door");
}

/// One predicate, asked by all: nobody is told that a child is there before it is.
#[tokio::test]
async fn a_child_that_status_calls_ready_is_listed_callable_and_counted_as_ready() {
    for door in [Door::Stdio, Door::Http, Door::Stdio, Door::Http] {
        let child = Child::legacy().bare().named("tool").gated();
        let mut mux = Fleet::new()
            .with(door, "child", child)
            .over(Door::Http)
            .await;
        let mut client = mux.client(Era::Legacy).await;
        mux.open_gate("child");
        mux.until_ready("child").await;

        let called = client.call("child__tool", "{}").await;
        let ready = Http::default().get(&mux.at("/ready")).await;

        assert_eq!(called.content()["calls"], 1, "{}", called.frame);
        assert_eq!(ready.status, 200);
        assert_eq!(client.tool_names().await, ["child__tool"]);
    }
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_whatever_host_they_name() {
    let mux = serving().await;
    for path in ["/health", "/ready", "/metrics"] {
        for host in ["10.0.0.7:8000", "mux.internal", "evil.example"] {
            let probe = request(Method::GET, &mux.at(path), "").with("host", host);

            let reply = Http::default().send(probe).await;

            assert_ne!(reply.status, 403, "{path} as {host}");
        }
    }
}

#[tokio::test]
async fn status_shows_the_process_and_every_child() {
    let fleet = Fleet::new()
        .stdio("local", Child::legacy().bare().named("a").named("b"))
        .http("remote", Child::modern())
        .stdio("off", Child::legacy().key("disabled", true));
    let mux = fleet.over(Door::Http).await;
    mux.until_ready("local").await;
    mux.until_ready("remote").await;

    let status = mux.status().await;

    assert_eq!(status["version"], VERSION);
    assert!(status["uptimeSeconds"].is_u64(), "{status:#}");
    assert_eq!(status["transport"], "http");
    assert_eq!(status["mode"], "eager");
    assert_eq!(status["config"]["generation"], 1);
    assert!(status["config"].get("lastReload").is_some(), "{status:#}");
    assert_eq!(status["identity"]["mode"], "none");
    let children = status["children"].as_array().expect("children");
    let names: Vec<&Value> = children.iter().map(|child| &child["name"]).collect();
    assert_eq!(names, ["local", "remote", "off"], "in the file's order");
    let [local, remote, off] = [0, 1, 2].map(|n| &children[n]);
    for child in children {
        for key in [
            "name",
            "prefix",
            "transport",
            "era",
            "state",
            "reason",
            "since",
            "attempt",
            "nextRetryMs",
            "breaker",
            "inFlight",
            "queued",
            "tools",
            "resources",
            "prompts",
            "toolsListBytes",
            "restarts",
            "pid",
        ] {
            assert!(child.get(key).is_some(), "{key} is missing: {child:#}");
        }
    }
    assert_eq!(local["transport"], "stdio");
    assert_eq!(local["era"], "legacy");
    assert_eq!(local["tools"], 2);
    assert_eq!(local["pid"], mux.journal("local").pids()[0]);
    assert_eq!(local["breaker"], "closed");
    assert_eq!(local["inFlight"], 0);
    assert!(local["toolsListBytes"].as_u64() > Some(20), "{local:#}");
    assert!(local["since"].as_u64() > Some(1_700_000_000), "{local:#}");
    assert_eq!(remote["transport"], "http");
    assert_eq!(remote["era"], "modern");
    assert!(remote["pid"].is_null(), "{remote:#}");
    assert_eq!(off["state"], "disabled");
    assert!(
        !off["reason"].as_str().unwrap_or_default().is_empty(),
        "{off:#}"
    );
}

#[tokio::test]
async fn metrics_have_every_series_that_operators_were_promised() {
    let fleet = Fleet::new()
        .stdio("local", Child::legacy().bare().named("tool"))
        .entry(
            "gone",
            serde_json::json!({"command": "no-such-program-anywhere"}),
        );
    let mut mux = fleet.over(Door::Http).await;
    mux.until_ready("local").await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("local__tool", "{}").await.result();
    client.call("local__fail", "{}").await;

    let reply = Http::default().get(&mux.at("/metrics")).await;

    assert!(reply.header("content-type").starts_with("text/plain"));
    let metrics = mux.metrics().await;
    let local: &[(&str, &str)] = &[("child", "local")];
    let gone: &[(&str, &str)] = &[("child", "gone")];
    let ok = |more: (&'static str, &'static str)| vec![local[0], more, ("outcome", "ok")];
    let value = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels);
    assert_eq!(
        value("requests_total", &ok(("method", "tools/call"))),
        Some(1.0)
    );
    assert_eq!(value("tool_calls_total", &ok(("tool", "tool"))), Some(1.0));
    assert_eq!(value("request_duration_seconds_count", local), Some(1.0));
    assert_eq!(value("tool_call_duration_seconds_count", local), Some(1.0));
    assert_eq!(
        value("overhead_seconds_count", &[("method", "tools/call")]),
        Some(1.0)
    );
    assert_eq!(
        value("child_up", &[local[0], ("transport", "stdio")]),
        Some(1.0)
    );
    assert_eq!(value("child_up", gone), Some(0.0));
    assert_eq!(value("child_breaker_state", local), Some(0.0));
    assert_eq!(value("child_in_flight", local), Some(0.0));
    assert_eq!(value("child_queued", local), Some(0.0));
    assert_eq!(value("child_tools", local), Some(1.0));
    assert!(value("child_tools_list_bytes", local) > Some(20.0));
    let attempts = value(
        "child_connect_attempts_total",
        &[local[0], ("outcome", "ok")],
    );
    assert_eq!(attempts, Some(1.0));
    assert!(metrics.sum("child_connect_attempts_total", gone) >= 1.0);
    let sessions = value("sessions", &[("transport", "http"), ("era", "legacy")]);
    assert_eq!(sessions, Some(1.0));
    assert_eq!(value("build_info", &[("version", VERSION)]), Some(1.0));
    assert_eq!(value("config_generation", &[]), Some(1.0));
    assert_eq!(value("config_last_reload_successful", &[]), Some(1.0));
}

/// Labels come from the config and the catalog: what clients send makes no series.
#[tokio::test]
async fn names_that_clients_invent_are_no_labels() {
    let mut mux = serving().await;
    let mut client = mux.client(Era::Modern).await;

    client.call("child__invented", "{}").await.error();
    client.call("invented__tool", "{}").await.error();
    client.request("invented/method", "{}").await.error();

    let Metrics { text } = Metrics::of(&mux).await;
    assert!(text.contains("child_up"), "{text}");
    assert!(!text.contains("invented"), "{text}");
}

struct Metrics {
    text: String,
}

impl Metrics {
    async fn of(mux: &Multiplexer) -> Self {
        let text = mux.metrics().await.0;
        Self { text }
    }
}

#[tokio::test]
async fn a_scrape_counts_what_is_going_on_just_now() {
    let fleet = one_child_with_one_slot();
    let mut mux = fleet.over_http_when_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let gate = mux.path("release");
    let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
    let first = client.begin_call("child__slow", &arguments).await;
    mux.journal("child").until_keyed("slow", "k").await;
    let second = client.begin_call("child__echo", "{}").await;

    let child: &[(&str, &str)] = &[("child", "child")];
    mux.until_metrics("one call in flight and one in the queue", |metrics| {
        metrics.value("child_in_flight", child) == Some(1.0)
            && metrics.value("child_queued", child) == Some(1.0)
    })
    .await;

    assert_eq!(mux.journal("child").calls("echo"), 0, "the slot is taken");
    std::fs::write(gate, "").expect("the gate opens");
    client.finish(first).await.result();
    client.finish(second).await.result();
    mux.until_metrics("nothing", |metrics| {
        metrics.value("child_in_flight", child) == Some(0.0)
            && metrics.value("child_queued", child) == Some(0.0)
    })
    .await;
}

fn one_child_with_one_slot() -> Fleet {
    Fleet::new().stdio("child", Child::legacy().key("maxConcurrency", 1))
}

#[tokio::test]
async fn a_call_that_finds_no_free_slot_in_time_is_told_that_the_child_is_busy() {
    let child = Child::legacy()
        .key("maxConcurrency", 1)
        .key("queueTimeout", "50ms");
    let mut mux = Fleet::new()
        .stdio("child", child)
        .over_http_when_ready()
        .await;
    let mut client = mux.client(Era::Legacy).await;
    let arguments = r#"{"until":"/nowhere","key":"k"}"#;
    let _first = client.begin_call("child__slow", arguments).await;
    mux.journal("child").until_keyed("slow", "k").await;

    let second = client.call("child__echo", "{}").await;

    assert_eq!(second.failure_kind(), "busy", "{}", second.frame);
    assert_eq!(mux.journal("child").calls("echo"), 0);
    assert_eq!(mux.child("child").await["breaker"], "closed");
}

#[tokio::test]
async fn the_log_is_text_or_json_as_asked() {
    let fleet = one_child().flags(&["--log-format", "json"]);
    let mux = fleet.over_http_when_ready().await;
    let line = mux
        .log
        .until("a ready line", |line| line.contains("ready"))
        .await;

    let text = mux.log.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(!lines.is_empty());
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(ready["child"], "child");
    assert_eq!(ready["state"], "ready");
}

#[tokio::test]
async fn a_filter_says_what_is_logged() {
    let quiet = one_child().env("RUST_LOG", "warn").run(&["serve"]).await;
    let loud = one_child().env("RUST_LOG", "debug").run(&["serve"]).await;

    assert_eq!(quiet.stderr, "", "a quiet day");
    assert!(!loud.stderr.is_empty());
}

/// A modern client on stdin needs no handshake, and neither needs the admin door.
#[tokio::test]
async fn stdout_carries_the_protocol_and_nothing_else() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy().option("--flood-stderr", 50))
        .entry(
            "gone",
            serde_json::json!({"command": "no-such-program-anywhere"}),
        )
        .env("RUST_LOG", "trace")
        .over(Door::Stdio)
        .await;
    mux.until_ready("child").await;
    let mut pipe = mux.pipe();
    let params = with_modern_meta("{}");
    for id in 0..3 {
        pipe.line(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{params}}}"#
        ))
        .await;
    }
    pipe.close();

    let mut answered = 0;
    while let Some(line) = pipe.next().await {
        let frame: Value = serde_json::from_str(&line).expect("a frame");
        assert_eq!(frame["jsonrpc"], "2.0", "{line}");
        answered += 1;
    }

    assert_eq!(answered, 3);
    assert!(mux.ended().await.success());
    eventually("the log", async || {
        mux.log.find(|line| line.contains("flood"))
    })
    .await;
}

/// Clients send a head and its body one after the other, and go on using the connection.
#[tokio::test]
async fn a_refusal_does_not_cost_the_next_request_on_the_connection() {
    let mux = serving().await;
    let address = mux.url().replace("http://", "").replace("/mcp", "");
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    stream.set_nodelay(true).expect("small pieces");
    let mut answers = String::new();
    for answered in 1..=3 {
        let length = PING.len();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: evil.example\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        for part in [head.as_str(), PING] {
            stream.write_all(part.as_bytes()).await.expect("it reads");
            stream.flush().await.expect("it reads");
        }
        // The last words of each.
        while answers.matches("MCP_ALLOWED_HOSTS").count() < answered {
            let mut some = [0; 4096];
            let read = soon("a refusal", stream.read(&mut some)).await;
            let read = read.expect("it answers");
            assert!(read > 0, "it has closed: {answers}");
            answers.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    }
    assert!(!answers.contains("connection: close"), "{answers}");

    let head = "POST /mcp HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 9\r\n\r\n";
    let half = format!("{head}{{");
    stream.write_all(half.as_bytes()).await.expect("it reads");
    let mut rest = String::new();
    let read = soon("the end", stream.read_to_string(&mut rest)).await;
    read.expect("it ends");
    assert!(rest.contains("connection: close"), "{rest}");
}
