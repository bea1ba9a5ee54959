//! With `--metrics-compat agent-utilities` the original's series stand beside ours, and
//! say the same of the same events.

use std::{collections::BTreeSet, fs};

use serde_json::json;

use crate::support::{Child, Door, Era, Fleet, http::ClosedPort};

/// The value of one of the original's series.
fn of(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[tokio::test]
async fn the_series_of_agent_utilities_tell_of_the_same_events() {
    let closed = ClosedPort::pick();
    let once = json!({"failures": 1, "cooldown": "1h"});
    let mut mux = Fleet::new()
        .http("child", Child::modern().key("breaker", once))
        .stdio("process", Child::legacy())
        .entry("dead", json!({"url": closed.url("/mcp")}))
        .env("MCP_METRICS_COMPAT", "agent-utilities")
        .over(Door::Http)
        .await;
    mux.until_ready("child").await;
    mux.until_ready("process").await;
    let mut client = mux.client(Era::Modern).await;

    client.call("child__echo", "{}").await.content();
    assert!(client.call("child__fail", "{}").await.is_tool_error());
    assert_eq!(
        client.call("child__rpc_error", "{}").await.error_code(),
        4711
    );
    client.call("process__exit", "{}").await.failure();
    mux.until_child("process", "is back", |child| {
        child["state"] == "ready" && child["restarts"] == 1
    })
    .await;
    mux.remote("child").behave("server-error").await;
    for kind in ["transport", "circuit_open"] {
        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.failure_kind(), kind, "{}", answer.frame);
    }

    let metrics = mux.metrics().await;
    let tools = metrics.value("child_tools", &[("child", "child")]);
    let text = metrics.0;
    let value = |series: &str| of(&text, &format!("agent_utilities_mcp_child_{series}"));
    for (series, expected) in [
        (r#"calls_total{server="child",outcome="ok"}"#, Some(2.0)),
        (r#"calls_total{server="child",outcome="error"}"#, Some(1.0)),
        (
            r#"calls_total{server="child",outcome="transport_error"}"#,
            Some(1.0),
        ),
        (
            r#"calls_total{server="child",outcome="short_circuited"}"#,
            Some(1.0),
        ),
        (
            r#"calls_total{server="process",outcome="transport_error"}"#,
            Some(1.0),
        ),
        (r#"breaker_state{server="child"}"#, Some(2.0)),
        (r#"breaker_state{server="process"}"#, Some(0.0)),
        (r#"restarts_total{server="child"}"#, Some(0.0)),
        (r#"restarts_total{server="process"}"#, Some(1.0)),
        (r#"queue_depth{server="child"}"#, Some(0.0)),
        (r#"process_running{server="process"}"#, Some(1.0)),
        (r#"process_running{server="dead"}"#, Some(0.0)),
        (r#"tools_mounted{server="child"}"#, tools),
        (r#"tools_dispatchable{server="child"}"#, Some(0.0)),
    ] {
        assert_eq!(value(series), expected, "{series}:\n{text}");
    }
    assert!(value(r#"tools_dispatchable{server="process"}"#) > Some(0.0));

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/reference/metrics.md");
    let page = fs::read_to_string(page).expect("the reference");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let (name, rest) = row.split_once("` | ")?;
        let kind = rest.split(' ').next()?;
        name.starts_with("agent_utilities_").then_some((name, kind))
    });
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        name.starts_with("agent_utilities_").then_some((name, kind))
    });
    assert_eq!(
        types.collect::<BTreeSet<_>>(),
        rows.collect::<BTreeSet<_>>(),
        "the reference has them all"
    );
}

#[tokio::test]
async fn without_the_flag_there_is_none_of_them() {
    let mut mux = Fleet::new()
        .http("child", Child::modern())
        .env("MCP_METRICS_COMPAT", "")
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    client.call("child__echo", "{}").await.content();

    assert!(!mux.metrics().await.0.contains("agent_utilities"));
}

#[tokio::test]
async fn another_program_is_not_known() {
    let fleet = Fleet::new().flags(&["--metrics-compat", "another"]);
    let output = fleet.run(&[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert!(
        output.stderr.contains("agent-utilities"),
        "{}",
        output.stderr
    );
}
