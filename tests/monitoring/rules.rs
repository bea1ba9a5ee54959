//! The alerts ring for what they are for and for nothing else: on the series that the
//! program emits while it happens.

use serde_json::json;

use super::promtool::{RULES, assert_ringing, promtool, ringing};
use crate::{
    scrape::Scrape,
    support::{
        Child, Door, Era, Fleet, Multiplexer, Provider, eventually, http::ClosedPort,
        provider::Mood,
    },
};

/// Longer than any test.
const NEVER: &str = "1h";

fn up(instance: &str, up: u8) -> (String, String) {
    let series = format!(r#"up{{instance="{instance}",job="mcp-multiplexer"}}"#);
    (series, format!("{up}+0x40"))
}

#[test]
fn promtool_has_nothing_to_say_of_rules_and_scrape_examples() {
    let prometheus = RULES.replace("rules.yml", "prometheus.yml");
    for words in [
        ["check", "rules", RULES],
        ["check", "config", prometheus.as_str()],
    ] {
        let (well, said) = promtool(&words, "");
        assert!(well && said.contains("SUCCESS"), "{said}");
    }
}

/// The children of a good day: one that is called, one that nobody needs, one that is
/// switched off.
fn good_day() -> Fleet {
    let idle = Child::legacy()
        .key("lazy", true)
        .key("idleTimeout", "200ms");
    Fleet::new()
        .http("well", Child::modern())
        .stdio("idle", idle)
        .entry(
            "off",
            json!({"url": "http://127.0.0.1:1/mcp", "disabled": true}),
        )
}

async fn until_good(mux: &Multiplexer) {
    mux.until_ready("well").await;
    mux.until_child("idle", "is idle", |child| child["state"] == "idle")
        .await;
}

#[tokio::test]
async fn nothing_rings_on_a_good_day_and_promtool_finds_no_fault_with_the_series() {
    let provider = Provider::start().await;
    let fleet = good_day().identity(&provider);
    let fleet = fleet.flags(&["--metrics-compat", "agent-utilities"]);
    let mut mux = fleet.over(Door::Http).await;
    until_good(&mux).await;
    let mut client = mux.client(Era::Modern).await;
    let before = Scrape::of(&mux).await;

    for _ in 0..5 {
        client.call("well__echo", "{}").await.content();
    }

    let after = Scrape::of(&mux).await;
    let mut series = after.going_on_since(&before);
    series.push(up("mux:8000", 1));
    assert_ringing(&series, &[]);
    let (well, said) = promtool(&["check", "metrics"], &after.text);
    assert!(well && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn on_a_bad_day_each_alert_rings_for_the_child_it_is_about() {
    let closed = ClosedPort::pick();
    let dead = json!({
        "url": closed.url("/mcp"),
        "restart": {"backoff": "50ms", "maxBackoff": "200ms"},
    });
    // Nobody but a client asks it anything, however long that takes.
    let broken = Child::modern()
        .key("breaker", json!({"failures": 1, "cooldown": NEVER}))
        .key("keepAlive", NEVER);
    let mut mux = good_day()
        .entry("dead", dead)
        .entry("nonsense", json!({"args": ["of no command"]}))
        .http("failing", Child::modern())
        .http("slow", Child::modern())
        .http("broken", broken)
        .over(Door::Http)
        .await;
    until_good(&mux).await;
    for name in ["failing", "slow", "broken"] {
        mux.until_ready(name).await;
    }
    let open = [("child", "dead")];
    mux.until_metrics("an open breaker of who is dead", |metrics| {
        metrics.value("child_breaker_state", &open) == Some(2.0)
    })
    .await;
    let mut client = mux.client(Era::Modern).await;
    client.call("well__echo", "{}").await.content();
    let before = Scrape::of(&mux).await;

    // Over the five seconds that the alert allows.
    let slow = client.begin_call("slow__slow", r#"{"ms":5200}"#).await;
    mux.remote("broken").behave("server-error").await;
    for _ in 0..3 {
        assert!(client.call("failing__fail", "{}").await.is_tool_error());
        client.call("broken__echo", "{}").await.failure();
        client.call("well__echo", "{}").await.content();
    }
    client.finish(slow).await.content();
    let broken = mux.child("broken").await;
    assert_eq!(broken["state"], "ready", "{broken:#}");

    let mut series = Scrape::of(&mux).await.going_on_since(&before);
    series.extend([up("mux:8000", 1), up("gone:8000", 0)]);
    let of = |child| [("child", child)];
    assert_ringing(
        &series,
        &[
            ringing(
                "McpServiceDown",
                "critical",
                &[("child", "dead"), ("transport", "http")],
            ),
            ringing(
                "McpServiceDown",
                "critical",
                &[("child", "nonsense"), ("transport", "none")],
            ),
            ringing("McpProbeFailed", "critical", &[("instance", "gone:8000")]),
            ringing("McpHighToolErrorRate", "warning", &of("failing")),
            ringing("McpHighToolErrorRate", "warning", &of("broken")),
            ringing("McpHighToolLatencyP95", "warning", &of("slow")),
            ringing("McpChildBreakerOpen", "warning", &of("dead")),
            ringing("McpChildBreakerOpen", "warning", &of("broken")),
        ],
    );
}

#[tokio::test]
async fn a_token_that_is_not_refreshed_and_a_file_that_cannot_be_read_ring() {
    let provider = Provider::with("token", 2).await;
    let mux = Fleet::new()
        .http("child", Child::modern())
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    provider.be(Mood::Says(503, "{}"));
    eventually("a token that has expired", async || {
        let scrape = Scrape::of(&mux).await;
        let left = scrape.left_of_token();
        left.is_some_and(|left| left < 0.0).then_some(())
    })
    .await;
    mux.write_config("no configuration");
    mux.until_metrics("a file that cannot be read", |metrics| {
        metrics.value("config_last_reload_successful", &[]) == Some(0.0)
    })
    .await;

    let scrape = Scrape::of(&mux).await;
    let mut series = scrape.going_on_since(&scrape);
    series.push(up("mux:8000", 1));

    assert_ringing(
        &series,
        &[
            ringing("McpTokenExpiring", "critical", &[("identity", "service")]),
            ringing("McpConfigReloadFailed", "warning", &[]),
        ],
    );
}

#[tokio::test]
async fn an_identity_that_has_never_had_a_token_rings() {
    let provider = Provider::start().await;
    provider.be(Mood::Says(503, "{}"));
    let mux = Fleet::new()
        .http("child", Child::modern())
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    mux.until_metrics("a mint that failed", |metrics| {
        metrics.sum("token_mints_total", &[]) > 0.0
    })
    .await;

    let scrape = Scrape::of(&mux).await;
    let mut series = scrape.going_on_since(&scrape);
    series.push(up("mux:8000", 1));

    assert_ringing(
        &series,
        &[ringing(
            "McpTokenExpiring",
            "critical",
            &[("identity", "service")],
        )],
    );
}
