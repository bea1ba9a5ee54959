//! What a tool is called, as clients see it: who gets which prefix, what becomes of
//! names that are too long, and who keeps a name that two would have.

mod support;

use serde_json::json;
use support::{Child, Client, Door, Era, Fleet, Multiplexer};

/// A child that lists these tools and no others, all of which do what `echo` does.
fn with_tools(tools: &[&str]) -> Child {
    let bare = Child::legacy().bare();
    tools.iter().fold(bare, |child, tool| child.named(tool))
}

fn with_prefix(prefix: &str, tools: &[&str]) -> Child {
    with_tools(tools).key("prefix", prefix)
}

/// The multiplexer with every usable child ready, and a client.
async fn served(fleet: Fleet) -> (Multiplexer, Client) {
    let mut mux = fleet.over(Door::Http).await;
    let status = mux.status().await;
    for child in status["children"].as_array().expect("children") {
        let name = child["name"].as_str().expect("a name");
        mux.until_child(name, "is ready or disabled", |child| {
            child["state"] == "ready" || child["state"] == "disabled"
        })
        .await;
    }
    let client = mux.client(Era::Legacy).await;
    (mux, client)
}

/// The call reached the tool of this own name, in this child.
async fn assert_reaches(mux: &Multiplexer, client: &mut Client, public: &str, own: (&str, &str)) {
    let (child, tool) = own;
    let before = mux.journal(child).calls(tool);

    let answer = client.call(public, r#"{"a":1}"#).await;

    assert!(answer.structured().contains(r#"{"a":1}"#), "{public}");
    assert_eq!(mux.journal(child).calls(tool), before + 1, "{public}");
}

#[tokio::test]
async fn a_prefix_is_the_entrys_name_without_its_noise() {
    let cases = [
        ("github-mcp", "github__tool"),
        ("container-manager-mcp", "container_manager__tool"),
        ("MCP Server for Jira", "for_jira__tool"),
        ("mcp-server-time", "time__tool"),
        ("UPPER", "upper__tool"),
        ("a..b--c", "a_b_c__tool"),
        ("mcpanel", "mcpanel__tool"),
        // Where nothing is left, the whole name stays.
        ("mcp", "mcp__tool"),
        ("MCP-server", "mcp_server__tool"),
    ];
    let fleet = cases.iter().fold(Fleet::new(), |fleet, (name, _)| {
        fleet.stdio(name, with_tools(&["tool"]))
    });
    let (mux, mut client) = served(fleet).await;

    let names = client.tool_names().await;

    assert_eq!(
        names,
        cases.map(|(_, public)| public),
        "in the file's order"
    );
    for (name, public) in cases {
        assert_reaches(&mux, &mut client, public, (name, "tool")).await;
    }
}

#[tokio::test]
async fn a_prefix_of_ones_own_wins_and_an_empty_one_leaves_names_alone() {
    let fleet = Fleet::new()
        .stdio("github-mcp", with_prefix("gh", &["search"]))
        .stdio("first", with_prefix("", &["plain"]))
        .stdio("second", with_prefix("", &["also.plain/but odd"]));
    let (mux, mut client) = served(fleet).await;

    let names = client.tool_names().await;

    assert_eq!(names, ["gh__search", "plain", "also.plain/but odd"]);
    assert_reaches(&mux, &mut client, "gh__search", ("github-mcp", "search")).await;
    assert_reaches(&mux, &mut client, "plain", ("first", "plain")).await;
    let odd = "also.plain/but odd";
    assert_reaches(&mux, &mut client, odd, ("second", odd)).await;
}

#[tokio::test]
async fn the_later_of_two_entries_with_one_prefix_is_disabled_and_says_what_to_do() {
    let fleet = Fleet::new()
        .stdio("github-mcp", with_tools(&["first"]))
        .stdio("github-server", with_tools(&["second"]))
        .stdio("other", with_tools(&["third"]));
    let (mux, mut client) = served(fleet).await;

    let later = mux.child("github-server").await;

    assert_eq!(later["state"], "disabled");
    let reason = later["reason"].as_str().unwrap_or_default();
    for part in ["github-server", "github-mcp", r#"set "prefix""#] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!(client.tool_names().await, ["github__first", "other__third"]);
    assert!(
        mux.journal("github-server").pids().is_empty(),
        "not started"
    );
}

#[tokio::test]
async fn the_first_in_the_file_keeps_a_name_that_two_tools_would_have() {
    // The second one arrives first, and gains nothing by it.
    let fleet = Fleet::new()
        .stdio("first", with_prefix("", &["same", "mine"]).gated())
        .stdio("second", with_prefix("", &["yours", "same"]));
    let mut mux = fleet.over(Door::Http).await;
    mux.until_ready("second").await;
    mux.open_gate("first");
    mux.until_ready("first").await;
    let mut client = mux.client(Era::Legacy).await;

    support::eventually("the merged list", async || {
        let names = client.tool_names().await;
        (names == ["same", "mine", "yours"]).then_some(())
    })
    .await;

    assert_reaches(&mux, &mut client, "same", ("first", "same")).await;
    assert_eq!(mux.journal("second").calls("same"), 0);
    let left_out = mux.child("second").await["toolsLeftOut"].clone();
    assert_eq!(left_out, 1, "shown in /status");
    let line = mux
        .log
        .until("a line about the tool left out", |line| {
            line.contains("same") && line.contains("first") && line.contains("second")
        })
        .await;
    assert!(line.contains("WARN"), "{line}");
}

/// `a__b__c` could be cut in two ways; what counts is who listed it.
#[tokio::test]
async fn names_are_looked_up_and_never_taken_apart() {
    let fleet = Fleet::new()
        .stdio("long", with_prefix("a__b", &["c"]))
        .stdio("short", with_prefix("a", &["b__d", "__e", "x"]));
    let (mux, mut client) = served(fleet).await;

    let names = client.tool_names().await;

    assert_eq!(names, ["a__b__c", "a__b__d", "a____e", "a__x"]);
    assert_reaches(&mux, &mut client, "a__b__c", ("long", "c")).await;
    assert_reaches(&mux, &mut client, "a__b__d", ("short", "b__d")).await;
    assert_reaches(&mux, &mut client, "a____e", ("short", "__e")).await;
}

#[tokio::test]
async fn a_name_that_is_too_long_is_cut_and_marked_with_a_hash_and_still_works() {
    let long = "a_tool_whose_name_goes_on_and_on_and_on";
    let longer = format!("{long}_and_on");
    let fleet = Fleet::new().stdio("container-manager", with_tools(&[long, &longer, "fits"]));
    let (mux, mut client) = served(fleet).await;

    let names = client.tool_names().await;

    assert_eq!(names.len(), 3);
    assert_eq!(names[2], "container_manager__fits");
    for name in &names[..2] {
        assert_eq!(name.len(), 42, "{name}");
        let (kept, hash) = name.rsplit_once('_').expect("an underscore");
        assert!(
            format!("container_manager__{longer}").starts_with(kept),
            "{name}"
        );
        assert!(
            hash.len() == 6 && hash.chars().all(|c| c.is_ascii_hexdigit()),
            "{name}"
        );
    }
    assert_ne!(names[0], names[1], "the hash is of the full name");
    let child = "container-manager";
    assert_reaches(&mux, &mut client, &names[0], (child, long)).await;
    assert_reaches(&mux, &mut client, &names[1], (child, &longer)).await;
}

#[tokio::test]
async fn how_long_a_name_may_be_is_a_setting() {
    let tool = "a_tool_whose_name_goes_on_and_on_and_on_and_on";
    for (length, expected) in [(24, 24), (100, "child__".len() + tool.len())] {
        let fleet = Fleet::new()
            .top("maxNameLength", length)
            .stdio("child", with_tools(&[tool]));
        let (mux, mut client) = served(fleet).await;

        let names = client.tool_names().await;

        assert_eq!(names[0].len(), expected, "{names:?}");
        assert_reaches(&mux, &mut client, &names[0], ("child", tool)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_added_renames_no_tool_of_another() {
    let tools: Vec<&str> = vec!["search", "a_tool_whose_name_goes_on_and_on_and_on"];
    let alone = Fleet::new().stdio("github-mcp", with_tools(&tools));
    let (_mux, mut client) = served(alone).await;
    let before = client.tool_names().await;

    let beside = Fleet::new()
        .stdio("github-enterprise-mcp", with_tools(&tools))
        .stdio("github", with_tools(&tools).key("disabled", true))
        .stdio("github-mcp", with_tools(&tools))
        .stdio("git", with_tools(&tools));
    let (_mux, mut client) = served(beside).await;
    let after = client.tool_names().await;

    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
}

#[tokio::test]
async fn filters_go_by_the_childs_own_names_and_hold_for_calls_too() {
    let tools = ["get_a", "get_b", "list_secret_c", "list_d", "drop_e"];
    let fleet = Fleet::new().stdio(
        "child",
        with_tools(&tools)
            .key("enabledTools", json!(["get_*", "list_*", "child__drop_e"]))
            .key("disabledTools", json!(["*_secret_*", "get_b"])),
    );
    let (mux, mut client) = served(fleet).await;

    let names = client.tool_names().await;

    assert_eq!(names, ["child__get_a", "child__list_d"]);
    for hidden in ["get_b", "list_secret_c", "drop_e"] {
        let answer = client.call(&format!("child__{hidden}"), "{}").await;
        assert_eq!(answer.error_code(), -32602, "{hidden}");
        assert_eq!(mux.journal("child").calls(hidden), 0);
    }
}
