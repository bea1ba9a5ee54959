//! A real Prometheus watches a real multiplexer.

use serde_json::json;

use super::server::Prometheus;
use crate::{
    dashboards, runbook,
    support::{Child, Door, Era, Fleet, Provider, http::ClosedPort, provider::Mood},
};

#[tokio::test]
async fn alerts_ring_when_a_child_is_gone_and_when_the_multiplexer_is() {
    let closed = ClosedPort::pick();
    let mux = Fleet::new()
        .http("well", Child::modern())
        .entry("dead", json!({"url": closed.url("/mcp")}))
        .over(Door::Http)
        .await;
    mux.until_ready("well").await;
    let origin = mux.at("");
    let target = origin.strip_prefix("http://").expect("an origin");
    let prometheus = Prometheus::watching(&origin).await;

    let down = prometheus
        .until_ringing("McpServiceDown", |alert| alert["labels"]["child"] == "dead")
        .await;

    let labels = &down["labels"];
    assert_eq!(labels["transport"], "http", "{down:#}");
    assert_eq!(labels["severity"], "critical", "{down:#}");
    let said = &down["annotations"];
    assert_eq!(said["summary"], format!("dead is down at {target}"));
    assert_eq!(
        said["runbook_url"], "docs/src/runbook.md#mcpservicedown",
        "{down:#}"
    );
    let others = prometheus
        .find(r#"ALERTS{alertstate="firing", child="well"}"#)
        .await;
    assert_eq!(others, [json!(null); 0]);

    mux.kill();

    let gone = prometheus.until_ringing("McpProbeFailed", |_| true).await;
    assert_eq!(gone["labels"]["instance"], target, "{gone:#}");
}

/// With a fleet in which everything happens that can be made to happen here.
#[tokio::test]
async fn every_query_of_the_dashboards_finds_data_with_the_labels_of_its_legend() {
    let closed = ClosedPort::pick();
    let provider = Provider::with("token", 3).await;
    let restart = json!({"backoff": "50ms", "maxBackoff": "10s"});
    let once = json!({"failures": 1, "cooldown": "50ms", "maxCooldown": "100ms"});
    let mut mux = Fleet::new()
        .http("child", Child::modern().key("breaker", once))
        .stdio("process", Child::legacy())
        .entry(
            "dead",
            json!({"url": closed.url("/mcp"), "restart": restart}),
        )
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.until_ready("child").await;
    mux.until_ready("process").await;
    let prometheus = Prometheus::watching(&mux.at("")).await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("unauthorized").await;
    client.call("child__echo", "{}").await.failure();
    mux.remote("child").behave("healthy").await;
    mux.until_child("child", "is well", |child| {
        child["state"] == "ready" && child["breaker"] == "closed"
    })
    .await;
    client.call("child__echo", "{}").await.content();
    client.call("process__fail", "{}").await;
    mux.until_metrics("tokens that were minted", |metrics| {
        metrics.sum("token_mints_total", &[]) >= 2.0
    })
    .await;
    provider.be(Mood::Says(503, "{}"));
    mux.until_metrics("a mint that failed", |metrics| {
        let mints = metrics.all("token_mints_total");
        mints.iter().any(|(labels, _)| labels["outcome"] != "ok")
    })
    .await;

    for query in dashboards::queries() {
        if query.needs_what_cannot_happen_here() {
            continue;
        }
        let found = prometheus.until_found(&query.with_variables()).await;
        for label in query.labels_of_legend() {
            for series in &found {
                let there = series["metric"].get(&label).is_some();
                assert!(there, "{label} of {query:?} in {series}");
            }
        }
    }
    let asked = runbook::queries();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for query in asked {
        prometheus
            .until_found(&query.replace("NAME", "process"))
            .await;
    }
}
