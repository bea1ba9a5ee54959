//! What clients are told of how to use the children, and of who we are.

mod support;

use serde_json::{Value, json};
use support::{Child, Door, Era, Fleet, Multiplexer, client::LEGACY_VERSION, http::Http};

/// What a legacy client is told in its handshake, and a modern one when it asks.
async fn introductions(mux: &mut Multiplexer) -> [Value; 2] {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": LEGACY_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    }});
    let reply = Http::default().post(&mux.url(), hello.to_string()).await;
    let initialized: Value = reply.json().await;
    let mut client = mux.client(Era::Modern).await;
    let discovered = client.request("server/discover", "{}").await;
    let discovered: Value = serde_json::from_str(discovered.result()).expect("JSON");
    [initialized["result"].clone(), discovered]
}

fn says(text: &str) -> Child {
    Child::default().option("--instructions", text)
}

const EXPECTED: &str = "\
These tools, prompts and resources come from 3 MCP servers. The names of tools and prompts \
begin with the server's prefix:
- loud-mcp: loud__
- plain: no prefix
- dead: dead__

## loud-mcp

Speak \u{201e}up\u{201c}.

## plain

Be plain.
";

#[tokio::test]
async fn the_children_are_named_and_speak_for_themselves() {
    let fleet = Fleet::new()
        .stdio(
            "loud-mcp",
            says("Speak \u{201e}up\u{201c}.").option("--era", "modern"),
        )
        .http(
            "plain",
            says("Be plain.")
                .option("--era", "legacy")
                .key("prefix", ""),
        )
        .entry("dead", json!({"command": "/does/not/exist"}))
        .entry(
            "off",
            json!({"command": "/does/not/exist", "disabled": true}),
        );
    let mut mux = fleet.over(Door::Http).await;
    for name in ["loud-mcp", "plain"] {
        mux.until_ready(name).await;
    }
    for introduction in introductions(&mut mux).await {
        assert_eq!(introduction["instructions"], EXPECTED, "{introduction:#}");
    }
}

#[tokio::test]
async fn a_fleet_of_nobody_says_nothing() {
    let mut mux = Fleet::new().over(Door::Http).await;
    for introduction in introductions(&mut mux).await {
        assert!(introduction["instructions"].is_null());
    }
}

/// Its instructions are kept with its list.
#[tokio::test]
async fn a_lazy_child_speaks_although_it_does_not_run() {
    let lazy = says("Wake me.")
        .key("lazy", true)
        .key("idleTimeout", "100ms");
    let mut mux = Fleet::new().stdio("one", lazy).over(Door::Http).await;
    mux.until_child("one", "is idle", |child| child["state"] == "idle")
        .await;
    for introduction in introductions(&mut mux).await {
        assert!(
            introduction["instructions"]
                .to_string()
                .contains("Wake me.")
        );
    }
    assert_eq!(mux.child("one").await["state"], "idle");
}

#[tokio::test]
async fn subscriptions_are_promised_where_they_can_be_kept() {
    let subscribes = Child::modern()
        .flag("--subscribe")
        .option("--resource", "test://a");
    let silent = Child::modern().option("--resource", "test://a");
    for (child, offered) in [(subscribes, json!(true)), (silent, Value::Null)] {
        let mut mux = Fleet::new().stdio("one", child).over(Door::Http).await;
        mux.all_ready().await;
        let [initialized, discovered] = introductions(&mut mux).await;
        assert_eq!(initialized["capabilities"]["resources"]["subscribe"], true);
        assert_eq!(
            discovered["capabilities"]["resources"]["subscribe"],
            offered
        );
        assert_eq!(initialized["serverInfo"]["title"], "MCP Multiplexer");
    }
}
