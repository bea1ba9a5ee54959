//! `check`: an operator sees at once all that is wrong, and what it will come to.

use serde_json::{Value, json};

use crate::{
    ended, json_of,
    support::{Child, Fleet, Output, http::ClosedPort},
};

/// The one of these with this name.
fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|it| it[key] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

async fn checked(fleet: Fleet, words: &[&str]) -> (Output, Value) {
    let output = fleet
        .run(&[&["check", "--format", "json"], words].concat())
        .await;
    let report = json_of(&output);
    (output, report)
}

#[tokio::test]
async fn every_mistake_is_told_at_once_where_it_is_and_with_what_to_do() {
    let text = r#"{
  "mode": "lazy",
  "mcpServers": {
    "a": { "url": "http://127.0.0.1:1/mcp", "timeout": "soon",
           "headers": { "X-Key": "${NOT_SET}" } },
    "a-mcp": { "command": "x", "comand": "y" },
    "b": { "command": "x" },
    "b-mcp": { "command": "x" }
  }
}"#;
    let fleet = || Fleet::new().config_text(text);
    let output = fleet().run(&["check"]).await;
    ended(&output, 1);
    let place = |line: &str| format!("mcp_config.json:{line}: ");
    for part in [
        place("2:3").as_str(),
        &place("4:45"),
        &place("5:25"),
        &place("6:32"),
        &place("8:5"),
        r#"entry "a": "headers.X-Key": the variable NOT_SET is not set"#,
        "hint: set it, or write ${NOT_SET:-a default}",
        r#"hint: the nearest known one is "command""#,
        r#"hint: set "prefix" in one of them"#,
    ] {
        assert!(output.stdout.contains(part), "{part}\n{}", output.stdout);
    }
    assert!(output.stderr.contains("4 problems"), "{}", output.stderr);
    assert!(!output.stdout.contains('\u{1b}'), "no colour in a pipe");

    let (_, report) = checked(fleet(), &[]).await;
    let problem = &report["problems"][1];
    assert_eq!(problem["entry"], "a");
    assert_eq!(problem["line"], 4);
    assert_eq!(report["warnings"][0]["entry"], "a-mcp");
}

#[tokio::test]
async fn a_sound_configuration_shows_the_names_that_will_result() {
    let fleet = Fleet::new()
        .entry("github-mcp", json!({"command": "npx"}))
        .entry(
            "remote",
            json!({"url": "https://me:hunter2@h.example/mcp?key=hunter2", "prefix": ""}),
        )
        .entry("off", json!({"command": "x", "disabled": true}))
        .entry(
            "long",
            json!({"command": "x", "prefix": "a_very_long_prefix_for_tools"}),
        );
    let (output, report) = checked(fleet, &[]).await;
    ended(&output, 0);
    assert_eq!(
        named(&report["children"], "name", "github-mcp")["prefix"],
        "github"
    );
    assert_eq!(named(&report["children"], "name", "off")["state"], "off");
    let remote = named(&report["children"], "name", "remote");
    assert_eq!(remote["auth"], "header");
    assert!(!output.stdout.contains("hunter2"), "{}", output.stdout);
    let warning = named(&report["warnings"], "entry", "long");
    assert!(warning["line"].is_u64(), "{warning}");
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn what_there_is_nothing_to_check_of_is_a_usage_error() {
    let output = Fleet::new().without_config().run(&["check"]).await;
    ended(&output, 2);
    assert!(
        output.stderr.contains("no configuration file found"),
        "{}",
        output.stderr
    );
    let output = Fleet::new().config_text("{ // no\n}").run(&["check"]).await;
    ended(&output, 1);
    assert!(
        output
            .stdout
            .contains("mcp_config.json:1:3: problem: not valid JSON"),
        "{}",
        output.stdout
    );
}

#[tokio::test]
async fn live_counts_what_each_child_offers_and_says_why_one_does_not() {
    let port = ClosedPort::pick();
    let fleet = Fleet::new()
        .top("maxNameLength", 24)
        .stdio(
            "one",
            Child::legacy()
                .flag("--contents")
                .option("--resource", "file:///one")
                .named("a_tool_whose_name_goes_on_and_on"),
        )
        .http(
            "two",
            Child::modern()
                .flag("--contents")
                .option("--resource", "file:///two")
                // The one attempt it is given must not be lost to a slow machine.
                .key("timeout", 60),
        )
        .stdio(
            "same",
            Child::legacy().key("prefix", "").bare().named("one__echo"),
        )
        .entry("gone", json!({"url": port.url("/mcp")}))
        .entry("missing", json!({"command": "/no/such/program"}));
    let (output, report) = checked(fleet, &["--live"]).await;
    ended(&output, 1);
    for (name, transport, era) in [("one", "stdio", "legacy"), ("two", "http", "modern")] {
        let child = named(&report["children"], "name", name);
        assert_eq!(child["state"], "ready", "{child}");
        assert_eq!(
            (child["transport"].as_str(), child["era"].as_str()),
            (Some(transport), Some(era))
        );
        for key in ["tools", "resources", "prompts", "tokens", "ms"] {
            assert!(
                child[key].as_u64().is_some_and(|count| count > 0),
                "{key} of {child}"
            );
        }
    }
    for name in ["gone", "missing"] {
        assert_eq!(named(&report["children"], "name", name)["state"], "down");
        let problem = named(&report["problems"], "entry", name);
        assert!(
            problem["line"].is_u64() && problem["hint"].is_string(),
            "{problem}"
        );
    }
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(2));
    let cut = named(
        &report["shortened"],
        "tool",
        "a_tool_whose_name_goes_on_and_on",
    );
    assert_eq!(cut["child"], "one");
    assert_eq!(cut["name"].as_str().map(str::len), Some(24));
    let taken = named(&report["collisions"], "name", "one__echo");
    assert_eq!(
        (&taken["kept"], &taken["leftOut"]),
        (&json!("one"), &json!("same"))
    );
}

#[tokio::test]
async fn live_a_child_that_wants_a_token_is_told_how_to_look_for_it() {
    let fleet = Fleet::new().http("locked", Child::broken("unauthorized").key("timeout", 60));
    let output = fleet.run(&["check", "--live"]).await;
    ended(&output, 1);
    assert!(
        output
            .stdout
            .contains(r#"mcp-multiplexer token --child "locked""#),
        "{}",
        output.stdout
    );
}
