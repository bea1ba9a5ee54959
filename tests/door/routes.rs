//! What is open where the door is locked: the whole list, and nothing else.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, locked, open, page},
    support::{
        Child, Door,
        http::{Http, With as _, request},
        wait::eventually,
    },
};

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Where a realm would be found, if there were one.
const REALM: &str = "/.well-known/oauth-authorization-server";

fn methods() -> [Method; 9] {
    let odd = Method::from_bytes(b"PROPFIND").expect("a method");
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        odd,
    ]
}

#[tokio::test]
async fn with_the_door_locked_probes_metrics_and_metadata_are_open_and_nothing_else() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let fleet = locked(&issuer, json!({}))
        .stdio("clock", Child::modern())
        .top("groups", json!({"all": ["clock"]}));
    let mux = open(fleet).await;
    mux.all_ready().await;
    let http = Http::default();
    let asked = async |method: &Method, path: &str| {
        let asks = page(method.clone(), &mux.at(path))
            .with("accept", "application/json, text/event-stream")
            .with("content-type", "application/json")
            .with("mcp-session-id", "0123456789abcdef0123456789abcdef");
        Knock::with(&http, asks, &[]).await
    };
    let pages = ["/health", "/ready", "/metrics", "/status"];
    let documents = ["", "/mcp", "/mcp/clock", "/mcp/group/all"];
    for method in methods() {
        let reads = method == Method::GET || method == Method::HEAD;
        for path in pages {
            let status = asked(&method, path).await.status;
            assert_eq!(status, if reads { 200 } else { 405 }, "{method} {path}");
        }
        for document in documents {
            let path = format!("{METADATA}{document}");
            let wanted = match method {
                Method::OPTIONS => 204,
                _ if reads => 200,
                _ => 405,
            };
            assert_eq!(
                asked(&method, &path).await.status,
                wanted,
                "{method} {path}"
            );
        }
        for path in [
            "/mcp",
            "/mcp?x=1",
            "/mcp/clock",
            "/mcp/CLOCK",
            "/mcp/nobody",
            "/mcp/%2e%2e%2fstatus",
            "/mcp/group/all",
            "/mcp/group/nobody",
            "/mcp/group",
        ] {
            let knock = asked(&method, path).await;
            // A browser asks before it sends a token, and is told nothing but that it may.
            let preflight = method == Method::OPTIONS && knock.body == Value::Null;
            assert!(
                knock.status == 401 || (preflight && knock.status == 204),
                "{method} {path}: {} {}",
                knock.status,
                knock.body
            );
        }
        for path in [
            "/mcp/",
            "/MCP",
            "//mcp",
            "/mcp/a/b",
            "/mcp/group/a/b",
            "/mcpx",
            "/sse",
            "/message",
            "/messages",
            "/health/",
            "/health/x",
            "/metrics/x",
            "/status/x",
            "/debug/pprof",
            "/admin",
            "/config",
            "/mcp_config.json",
            "/.env",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/.well-known/",
            "/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-protected-resource/other",
            "/.well-known/oauth-protected-resource/mcp/a/b",
            "/register",
            "/authorize",
            "/token",
        ] {
            let status = asked(&method, path).await.status;
            let has_route = [METADATA, REALM]
                .iter()
                .any(|start| path.starts_with(start));
            let closed = match has_route {
                // There is such a route, and no such document.
                true => [404, 405, 204].contains(&status),
                false => status == 404,
            };
            assert!(closed, "{method} {path}: {status}");
        }
    }
}

/// What stands beside `/mcp` where operators have an address of their own, and there.
#[tokio::test]
async fn an_address_for_operators_has_their_pages_and_no_way_in() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let fleet = locked(&issuer, json!({}))
        .stdio("clock", Child::modern())
        .flags(&["--admin-addr", "127.0.0.1:0"]);
    let mux = open(fleet).await;
    let line = mux
        .log
        .until("its address", |line| line.contains("admin listening"))
        .await;
    let admin = line.split("url=").nth(1).expect("a URL");
    let admin = admin.trim().trim_matches('"').trim_end_matches('/');
    let http = Http::default();
    let get = async |url: String| {
        let knock = Knock::with(&http, page(Method::GET, &url), &[]);
        knock.await.status
    };
    eventually("it is ready", async || {
        (get(mux.at("/ready")).await == 200).then_some(())
    })
    .await;
    for (path, beside, there) in [
        ("/health", 200, 200),
        ("/ready", 200, 200),
        ("/status", 404, 200),
        ("/metrics", 404, 200),
        (METADATA, 200, 404),
        ("/.well-known/oauth-protected-resource/mcp", 200, 404),
        ("/mcp", 401, 404),
        ("/mcp/clock", 401, 404),
    ] {
        assert_eq!(get(mux.at(path)).await, beside, "{path}");
        assert_eq!(get(format!("{admin}{path}")).await, there, "{path} there");
    }
}

/// Its pages tell everything, and nobody is asked there.
#[tokio::test]
async fn an_address_for_operators_beyond_loopback_tells_strangers_no_reasons() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let flags = ["--admin-addr", "0.0.0.0:0"];
    let words = ["serve", "--transport", "http", "--port", "0"];
    let open = locked(&issuer, json!({"mode": "optional"})).flags(&flags);
    let output = open.run(&words).await;
    assert!(!output.status.success());
    let said = output.stderr;
    assert!(said.contains("--insecure-no-auth"), "{said}");

    let fleet = locked(&issuer, json!({})).flags(&flags);
    let mux = fleet
        .entry("gone", json!({"command": "/no/such/program"}))
        .over(Door::Http)
        .await;
    let line = mux.log.find(|line| line.contains("admin listening"));
    let line = line.expect("an address");
    let port = line.trim_end().rsplit(':').next().expect("a port");
    let url = format!("http://127.0.0.1:{port}/status");
    let bearer = format!("Bearer {}", issuer.token(&key));
    for (authorization, is_told) in [("Basic eDp5", false), (&*bearer, true)] {
        let asked = request(Method::GET, &url, "").with("authorization", authorization);
        let reason = eventually("it is down", async || {
            let status: Value = Http::default().send(asked.clone()).await.json().await;
            let child = status["children"]
                .as_array()
                .and_then(|all| all.iter().find(|child| child["name"] == "gone"))
                .cloned()
                .expect("the child");
            (child["state"] == "down").then(|| child["reason"].clone())
        })
        .await;
        assert_eq!(reason.is_string(), is_told, "{reason}");
    }
}

#[tokio::test]
async fn the_status_says_how_the_door_is_locked_and_what_is_wrong_with_that() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    for (mode, flags, warned) in [
        ("strict", &["--host", "0.0.0.0"][..], &[][..]),
        ("optional", &[], &[]),
        ("permissive", &[], &["everybody"]),
        (
            "permissive",
            &["--host", "0.0.0.0", "--insecure-no-auth"],
            &["everybody", "not authenticated"],
        ),
    ] {
        let fleet = locked(&issuer, json!({"mode": mode})).flags(flags);
        let mux = fleet.flags(&["--allowed-host", "*"]).over(Door::Http).await;
        let door = mux.status().await["door"].clone();
        assert_eq!(door["lock"], mode);
        let warnings = door["warnings"].as_array().expect("a list");
        assert_eq!(warnings.len(), warned.len(), "{door}");
        for (warning, word) in warnings.iter().zip(warned) {
            assert!(
                warning.as_str().is_some_and(|text| text.contains(word)),
                "{door}"
            );
        }
    }
}
