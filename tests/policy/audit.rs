//! The lines that say who called what.

use super::*;

#[tokio::test]
async fn a_line_says_who_called_what_and_never_with_what() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = fleet(&issuer, POLICIES, json!({"audit": true}))
        .top("metaTools", true)
        .flags(&["--log-format", "json"]);
    let mux = begun(fleet).await;
    let looking = issuer.token_with(&key, json!({"scope": "look"}));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let params = format!(
        r#"{{"name":"one__reader","arguments":{{"word":"s3same"}},"_meta":{{"traceparent":"00-{trace}-b7ad6b7169203331-01"}}}}"#
    );
    asked(&mux, Some(&looking), "tools/call", &params).await;
    let denied = call(&mux, Some(&looking), "two__writer").await;
    call(&mux, Some(&issuer.token(&key)), "one__writer").await;

    let hidden = json!({"name": "call_tool", "arguments": {"name": "two__reader", "arguments": {"word": "s3same"}}});
    asked(&mux, Some(&looking), "tools/call", &hidden.to_string()).await;
    let notes = r#"{"uri":"test://notes?key=s3same"}"#;
    asked(&mux, Some(&looking), "resources/read", notes).await;
    // What is ours has a line too; what call_tool carries has its own.
    for (tool, arguments) in [
        ("find_tools", json!({"query": "s3same"})),
        ("load_tools", json!({"names": ["one__nix"]})),
        (
            "call_tool",
            json!({"name": "find_tools", "arguments": {"query": "s3same"}}),
        ),
        (
            "call_tool",
            json!({"name": "one__nix", "arguments": {"word": "s3same"}}),
        ),
    ] {
        let params = json!({"name": tool, "arguments": arguments}).to_string();
        asked(&mux, Some(&looking), "tools/call", &params).await;
    }
    call(&mux, Some(&looking), "one__nothing").await;

    let lines: Vec<Value> = {
        let is_audit = |line: &&str| line.contains(r#""target":"audit""#);
        mux.log
            .until("the last line", |line| {
                line.contains(r#""target":"audit""#) && line.contains("one__nothing")
            })
            .await;
        let text = mux.log.text();
        let lines = text.lines().filter(is_audit);
        lines
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    };
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let name = ["tool", "prompt", "uri"].map(text).concat();
            (text("method"), name, text("child"), text("outcome"))
        })
        .collect();
    let expected = [
        ("tools/call", "one__reader", "one", "ok"),
        ("tools/call", "two__writer", "two", "denied"),
        ("tools/call", "one__writer", "one", "denied"),
        ("tools/call", "two__reader", "two", "ok"),
        ("resources/read", "test://notes", "", "rpc_error"),
        ("tools/call", "find_tools", "", "ok"),
        ("tools/call", "load_tools", "", "tool_error"),
        ("tools/call", "call_tool", "", "tool_error"),
        ("tools/call", "one__nix", "", "rpc_error"),
        ("tools/call", "one__nothing", "", "rpc_error"),
    ];
    let expected = expected.map(|(method, name, child, outcome)| {
        (
            method.to_owned(),
            name.to_owned(),
            child.to_owned(),
            outcome.to_owned(),
        )
    });
    assert_eq!(told, expected);
    for line in &lines {
        assert_eq!(line["sub"], "user");
        assert_eq!(line["client"], "client");
        assert_eq!(line["issuer"], issuer.name().as_str());
        assert_eq!(line["request"], "r-1");
        assert!(
            line["us"].is_number() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    let ids: std::collections::HashSet<_> = lines
        .iter()
        .map(|line| line["correlation_id"].as_str())
        .collect();
    assert_eq!(ids.len(), lines.len());
    let told = &denied["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(told["correlationId"], lines[1]["correlation_id"]);
    assert_eq!(lines[0]["trace_id"], trace);
    assert_eq!(lines[1].get("trace_id"), None);
    assert!(!mux.log.text().contains("s3same"));
}

#[tokio::test]
async fn what_the_door_refuses_is_written_down_and_a_flood_of_it_in_few_lines() {
    const KNOCKS: u64 = 40;
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let auth = json!({"audit": true, "requiredScopes": ["door"]});
    let fleet = fleet(&issuer, POLICIES, auth).flags(&["--log-format", "json"]);
    let mux = begun(fleet).await;
    let began = std::time::Instant::now();
    let mut told = Vec::new();
    for _ in 0..KNOCKS {
        told.push(asked(&mux, Some("s3same"), "tools/list", "{}").await);
    }
    let scopeless = asked(&mux, Some(&issuer.token(&key)), "tools/list", "{}").await;

    let elsewhere =
        modern_post(&mux.url(), "{}".to_owned()).with("origin", "https://s3same.example");
    assert_eq!(Http::default().send(elsewhere).await.status, 403);

    let written = |reason: &str| {
        let text = mux.log.text();
        let lines = text
            .lines()
            .filter(|line| line.contains(r#""target":"audit""#));
        let lines = lines.map(|line| serde_json::from_str(line).expect("a line of JSON"));
        lines
            .filter(|line: &Value| line["reason"] == reason)
            .collect::<Vec<Value>>()
    };
    mux.log
        .until("the last line", |line| {
            line.contains(r#""target":"audit""#) && line.contains(r#""reason":"elsewhere""#)
        })
        .await;
    let (scope, malformed) = (written("scope"), written("malformed"));
    assert_eq!((scope.len(), written("elsewhere").len()), (1, 1));
    assert_eq!(
        (&scope[0]["outcome"], &scope[0]["status"]),
        (&"refused".into(), &403.into())
    );
    assert_eq!(scope[0]["correlation_id"], scopeless["correlation_id"]);
    assert_eq!(malformed[0]["status"], 401);
    assert_eq!(malformed[0]["correlation_id"], told[0]["correlation_id"]);
    // One in a second at most, each with how many have had none.
    let seconds = began.elapsed().as_secs() + 2;
    assert!(
        malformed.len() as u64 <= seconds.min(KNOCKS),
        "{malformed:?}"
    );
    let untold = malformed
        .iter()
        .map(|line| line["untold"].as_u64().expect("a number"));
    assert!(untold.sum::<u64>() + malformed.len() as u64 <= KNOCKS);
    let audit = [scope, malformed, written("elsewhere")].concat();
    assert!(!format!("{audit:?}").contains("s3same"));
}

#[tokio::test]
async fn without_a_door_a_call_is_written_down_too_whatever_is_logged() {
    let fleet = Fleet::new()
        .env("MCP_AUDIT", "1")
        .flags(&[
            "--log-format",
            "json",
            "--log-level",
            "mcp_multiplexer::cli=info",
        ])
        .stdio("one", child());
    let mut mux = fleet.over(Door::Stdio).await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("one__reader", r#"{"word":"s3same"}"#).await;
    let line = mux.log.until("a line", |line| line.contains("audit")).await;
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["tool"], "one__reader");
    assert_eq!(line["outcome"], "ok");
    for unknown in ["sub", "client", "issuer"] {
        assert_eq!(line.get(unknown), None, "{line}");
    }
    assert!(!line.to_string().contains("s3same"));
}

#[tokio::test]
async fn without_being_asked_for_nothing_is_written_down() {
    let mut mux = Fleet::new().stdio("one", child()).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("one__reader", "{}").await;
    mux.terminate();
    mux.ended().await;
    assert_eq!(mux.log.find(|line| line.contains("audit")), None);
}
