//! The scenarios for clients: the multiplexer as the client of the suite's servers, with
//! a client around it that uses all it lists.

use crate::peers::conformance::Suite;

/// Runs the scenario, in which so many checks are to pass, and none to fail.
async fn conforms(suite: Suite, scenario: &str, version: Option<&str>, least: u32) {
    let words: Vec<&str> = version
        .iter()
        .flat_map(|version| ["--spec-version", version])
        .collect();
    let checks = suite.client(scenario, &words).await;
    println!("{suite:?} {scenario} {}\n{checks}", words.join(" "));
    assert_eq!(checks.failed(), 0, "{suite:?} {scenario}\n{checks}");
    assert!(checks.passed() >= least, "{suite:?} {scenario}\n{checks}");
}

#[tokio::test]
async fn a_tool_is_called_in_either_era() {
    conforms(Suite::Stable, "tools_call", None, 1).await;
    conforms(Suite::Next, "tools_call", Some("2025-11-25"), 2).await;
    conforms(Suite::Next, "tools_call", Some("2026-07-28"), 2).await;
}

#[tokio::test]
async fn every_request_says_what_the_modern_era_wants_to_know() {
    conforms(Suite::Next, "request-metadata", Some("2026-07-28"), 5).await;
}

#[tokio::test]
async fn headers_say_what_the_body_says() {
    for (scenario, least) in [
        ("http-standard-headers", 9),
        ("http-custom-headers", 18),
        ("http-invalid-tool-headers", 12),
    ] {
        conforms(Suite::Next, scenario, Some("2026-07-28"), least).await;
    }
}

#[tokio::test]
async fn schemas_pass_as_they_are() {
    let scenario = "json-schema-2020-12-preservation";
    conforms(Suite::Next, scenario, Some("2025-11-25"), 5).await;
    conforms(Suite::Next, scenario, Some("2026-07-28"), 8).await;
}

#[tokio::test]
async fn what_a_server_asks_for_comes_back_to_it() {
    let scenario = "sep-2322-client-request-state";
    conforms(Suite::Next, scenario, Some("2026-07-28"), 5).await;
}

#[tokio::test]
async fn a_stream_that_a_server_lets_go_of_is_come_back_to_when_it_says() {
    conforms(Suite::Stable, "sse-retry", None, 3).await;
    conforms(Suite::Next, "sse-retry", Some("2025-11-25"), 3).await;
}
