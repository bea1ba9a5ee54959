//! What the config says is wrong or odd, as whoever wrote it gets to read it: what
//! stops the start, what disables one child, and what is only remarked on.

mod support;

use serde_json::{Value, json};
use support::{Child, Door, Era, Fleet, Multiplexer, Output, http::ClosedPort};

/// The line of the log that warns with all these parts in it.
fn warning<'a>(output: &'a Output, parts: &[&str]) -> &'a str {
    let mut lines = output.stderr.lines();
    let found =
        lines.find(|line| line.contains("WARN") && parts.iter().all(|part| line.contains(part)));
    found.unwrap_or_else(|| panic!("no warning with {parts:?} in:\n{}", output.stderr))
}

/// A run over stdio that ends at once, since nobody is on stdin.
async fn started(fleet: Fleet) -> Output {
    let output = fleet.run(&["serve"]).await;
    assert!(output.status.success(), "{}", output.stderr);
    output
}

async fn refused(fleet: Fleet) -> String {
    let output = fleet.run(&["serve"]).await;
    assert!(!output.status.success(), "{}", output.stderr);
    assert_eq!(output.stdout, "");
    output.stderr
}

fn reason(child: &Value) -> &str {
    child["reason"].as_str().unwrap_or_default()
}

/// A child of this entry, beside a good one that is not affected by it.
async fn beside_a_good_one(fleet: Fleet, name: &str, entry: Value) -> Multiplexer {
    let mut mux = fleet
        .entry(name, entry)
        .stdio("good", Child::legacy())
        .over(Door::Http)
        .await;
    mux.until_ready("good").await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("good__echo", "{}").await.result();
    mux
}

#[tokio::test]
async fn an_unknown_key_is_a_warning_that_names_it_and_the_nearest_known_one() {
    let fleet = Fleet::new().top("mcpServer", json!({})).stdio(
        "child",
        Child::legacy()
            .key("callTimout", 5)
            .key("enabled_tool", json!([])),
    );

    let output = started(fleet).await;

    warning(&output, &["child", "callTimout", "callTimeout"]);
    warning(&output, &["child", "enabled_tool", "enabledTools"]);
    warning(&output, &[r#""mcpServer""#, "mcpServers"]);
}

#[tokio::test]
async fn both_spellings_of_a_key_are_known() {
    let child = Child::legacy()
        .key("call_timeout", "1m")
        .key("max_concurrency", 3)
        .key("queue_timeout", 1)
        .key("breaker_threshold", 2)
        .key("breaker_cooldown", "1s")
        .key("inherit_env", false)
        .key("disabled_tools", json!(["echo"]));
    let fleet = Fleet::new().stdio("child", child);
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    let names = client.tool_names().await;

    assert!(!names.contains(&"child__echo".to_owned()), "{names:?}");
    assert!(
        mux.log.find(|line| line.contains("WARN")).is_none(),
        "{}",
        mux.log.text()
    );
}

#[tokio::test]
async fn keys_without_effect_and_odd_numbers_are_remarked_on() {
    let child = Child::legacy()
        .key("pool_size", 4)
        .key("max_restarts", 3)
        .key("timeout", 30_000);
    let output = started(Fleet::new().stdio("child", child)).await;

    warning(&output, &["child", "pool_size", "no effect"]);
    warning(&output, &["child", "max_restarts", "no effect"]);
    warning(&output, &["child", "timeout", "30000", "seconds"]);
}

#[tokio::test]
async fn an_unset_variable_disables_only_its_child_and_is_named_with_entry_and_key() {
    for (entry, key) in [
        (
            json!({"command": "x", "env": {"API_KEY": "${NOT_SET}"}}),
            "env.API_KEY",
        ),
        (
            json!({"command": "x", "args": ["a", "--key=${NOT_SET}"]}),
            "args",
        ),
        (json!({"url": "http://127.0.0.1:1/${NOT_SET}"}), "url"),
        (
            json!({"url": "http://127.0.0.1:1/", "headers": {"X-Key": "a ${NOT_SET}"}}),
            "headers.X-Key",
        ),
    ] {
        let mux = beside_a_good_one(Fleet::new(), "needy", entry).await;

        let child = mux.child("needy").await;

        assert_eq!(child["state"], "disabled", "{child:#}");
        for part in ["needy", key, "NOT_SET"] {
            assert!(reason(&child).contains(part), "{part}: {}", reason(&child));
        }
        mux.log
            .until("a line that says so", |line| {
                ["needy", key, "NOT_SET"]
                    .iter()
                    .all(|part| line.contains(part))
            })
            .await;
    }
}

/// Values are put in after the file was read: what they hold cannot change its shape.
#[tokio::test]
async fn variables_and_their_defaults_reach_the_child() {
    let entry = json!({
        "PLAIN": "${GIVEN}",
        "WITHIN": "<${GIVEN}>",
        "FALLBACK": "${NOT_SET:-fallback}",
        "NESTED": "${NOT_SET:-${GIVEN}}",
        "LITERAL": "$GIVEN ${1}",
    });
    let odd = r#"", "command": "evil" \ "#;
    // Told by the child's own exit: its command line says what it has to find.
    let script = r#"test "$PLAIN" = "$1" && test "$WITHIN" = "<$1>" && test "$FALLBACK" = fallback && test "$NESTED" = "$1" && test "$LITERAL" = '$GIVEN ${1}' && exit 42; exit 1"#;
    let fleet = Fleet::new().env("GIVEN", odd).entry(
        "child",
        json!({"command": "sh", "args": ["-c", script, "sh", "${GIVEN}"], "env": entry}),
    );
    let mux = fleet.over(Door::Http).await;

    let down = mux
        .until_child("child", "has ended", |child| child["state"] == "down")
        .await;

    assert!(reason(&down).contains("42"), "{}", reason(&down));
}

#[tokio::test]
async fn a_file_that_is_no_json_stops_the_start_with_line_and_column() {
    for (text, place) in [
        (
            "{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"x\",}\n  }\n}\n",
            ":3:26",
        ),
        ("{\n  \"mcpServers\": {\n", ":3:"),
        ("not json", ":1:"),
        ("", ":1:"),
    ] {
        let stderr = refused(Fleet::new().config_text(text)).await;

        assert!(
            stderr.contains(&format!("mcp_config.json{place}")),
            "{text:?}: {stderr}"
        );
        assert!(stderr.contains("JSON"), "{stderr}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_whole_stops_the_start() {
    for (text, part) in [
        ("[]", "object"),
        (r#"{"mcpServers": []}"#, "mcpServers"),
        (
            r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#,
            r#"two entries named "a""#,
        ),
        (
            r#"{"mcpServers": {}, "maxNameLength": "long"}"#,
            "maxNameLength",
        ),
    ] {
        let stderr = refused(Fleet::new().config_text(text)).await;

        assert!(stderr.contains(part), "{text}: {stderr}");
    }
}

#[tokio::test]
async fn a_fleet_without_children_is_served_with_a_warning() {
    let output = started(Fleet::new().config_text("{}")).await;
    warning(&output, &["mcpServers"]);

    let mut mux = Fleet::new().over(Door::Http).await;
    let mut client = mux.client(Era::Modern).await;
    assert!(client.tools().await.is_empty());
}

#[tokio::test]
async fn an_entry_that_contradicts_itself_is_disabled_and_says_why() {
    for (entry, parts) in [
        (
            json!({"command": "x", "url": "http://127.0.0.1:1/"}),
            ["command", "url"],
        ),
        (json!({}), ["command", "url"]),
        (json!({"command": "x", "type": "http"}), ["type", "url"]),
        (json!({"command": 5}), ["command", "string"]),
        (json!({"url": "ftp://127.0.0.1/"}), ["url", "http"]),
        (
            json!({"command": "x", "timeout": "soon"}),
            ["timeout", "soon"],
        ),
        (
            json!({"command": "x", "callTimeout": -1}),
            ["callTimeout", "-1"],
        ),
        (
            json!({"command": "x", "enabledTools": ["["]}),
            ["enabledTools", "glob"],
        ),
        (json!("x"), ["object", "odd"]),
    ] {
        let mux = beside_a_good_one(Fleet::new(), "odd", entry.clone()).await;

        let child = mux.child("odd").await;

        assert_eq!(child["state"], "disabled", "{entry}");
        for part in parts.iter().chain(&["odd"]) {
            assert!(reason(&child).contains(part), "{part}: {}", reason(&child));
        }
    }
}

/// Followed, such an entry would start processes without end.
#[tokio::test]
async fn an_entry_that_would_start_the_multiplexer_again_is_skipped_with_a_warning() {
    let program = env!("CARGO_BIN_EXE_mcp-multiplexer");
    for entry in [
        json!({"command": program}),
        json!({"command": program, "args": ["serve", "--config", "mcp_config.json"]}),
        json!({"command": "mcp-multiplexer", "args": ["--transport", "stdio"]}),
    ] {
        let mux = beside_a_good_one(Fleet::new(), "myself", entry).await;

        let child = mux.child("myself").await;

        assert_eq!(child["state"], "disabled", "{child:#}");
        assert!(reason(&child).contains("multiplexer"), "{}", reason(&child));
        mux.log
            .until("a warning", |line| {
                line.contains("WARN") && line.contains("myself")
            })
            .await;
    }
}

/// The port has to be known before the config is written: one that was just free.
#[tokio::test]
async fn an_entry_that_would_call_the_multiplexer_itself_is_skipped_with_a_warning() {
    let free = ClosedPort::pick().url("");
    let port = free.rsplit(':').next().expect("a port").to_owned();
    let mut fleet = Fleet::new();
    for (name, host) in [("by-name", "localhost"), ("by-address", "127.0.0.1")] {
        let url = format!("http://{host}:{port}/mcp");
        fleet = fleet.entry(name, json!({"url": url}));
    }
    let mux = fleet.flags(&["--port", &port]).over(Door::Http).await;

    for name in ["by-name", "by-address"] {
        let child = mux.child(name).await;
        assert_eq!(child["state"], "disabled", "{child:#}");
        mux.log
            .until("a warning", |line| {
                line.contains("WARN") && line.contains(name)
            })
            .await;
    }
}

#[tokio::test]
async fn defaults_hold_for_every_entry_that_does_not_say_otherwise() {
    let mut mux = Fleet::new()
        .top("defaults", json!({"disabledTools": ["echo"]}))
        .stdio("plain", Child::legacy())
        .stdio("own", Child::legacy().key("disabledTools", json!(["fail"])))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    let names = client.tool_names().await;

    let has = |name: &str| names.iter().any(|listed| listed == name);
    assert!(!has("plain__echo") && has("plain__fail"), "{names:?}");
    assert!(has("own__echo") && !has("own__fail"), "{names:?}");
}

/// What stands in the environment is the last to be asked.
#[tokio::test]
async fn variables_set_defaults_too_and_a_wrong_one_stops_the_start() {
    let mut mux = Fleet::new()
        .env("MCP_CHILD_MAX_CONCURRENCY", "1")
        .env("MCP_CHILD_QUEUE_TIMEOUT", "50ms")
        .stdio("narrow", Child::legacy())
        .stdio("wide", Child::legacy().key("maxConcurrency", 2))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    for (child, second_is_busy) in [("narrow", true), ("wide", false)] {
        let slow = format!("{child}__slow");
        let call = client
            .begin_call(&slow, r#"{"until":"/nowhere","key":"k"}"#)
            .await;
        mux.journal(child).until_keyed("slow", "k").await;

        let second = client.call(&format!("{child}__echo"), "{}").await;

        assert_eq!(second.is_tool_error(), second_is_busy, "{}", second.frame);
        client.cancel(call).await;
    }

    let wrong = Fleet::new().env("MCP_CHILD_TIMEOUT", "soon");
    let stderr = refused(wrong).await;
    assert!(stderr.contains("MCP_CHILD_TIMEOUT"), "{stderr}");
}

#[tokio::test]
async fn an_identity_that_lacks_something_stops_the_start_and_names_all_of_it() {
    let on = || Fleet::new().env("MCP_CLIENT_AUTH", "oidc-client-credentials");
    let stderr = refused(on()).await;
    for name in ["OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_TOKEN_URL"] {
        assert!(stderr.contains(name), "{name}: {stderr}");
    }
    let stderr = refused(Fleet::new().env("MCP_CLIENT_AUTH", "oidc")).await;
    assert!(stderr.contains("oidc-client-credentials"), "{stderr}");
}
