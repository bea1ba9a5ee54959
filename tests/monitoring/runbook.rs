//! Who is woken by an alert is told what to do.

use std::fs;

use crate::support::{Child, Door, Fleet, Provider, eventually, provider::Mood};

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
