//! `tools`, `call` and `search`: through a multiplexer that runs, and straight from a
//! configuration.

mod support;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Child, Door, Fleet, Multiplexer, Output, http::ClosedPort, process::until_gone};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const MOON: &str = r#"{"name":"moon_phase","description":"Tells how much of the moon is lit.\nIn percent.","inputSchema":{"type":"object","properties":{"day":{"type":"integer"}},"required":["day"]},"odd":1.10,"annotations":{"readOnlyHint":true}}"#;

fn sky() -> Child {
    Child::legacy().listing("moon_phase", MOON)
}

/// Asks the one that runs.
async fn through(mux: &Multiplexer, words: &[&str]) -> Output {
    let url = mux.url();
    let fleet = Fleet::new().without_config();
    fleet.env("MCP_MULTIPLEXER_URL", &url).run(words).await
}

fn json_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["tools"].as_array().expect("tools").iter();
    tools
        .map(|it| it["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn tools_are_listed_and_found_alike_whoever_is_asked() {
    let fleet = || {
        Fleet::new()
            .stdio("sky", sky())
            .stdio("sea", Child::modern())
    };
    let straight = json_of(&fleet().run(&["tools", "--format", "json"]).await);
    assert_eq!(straight["tools"].as_array().map(Vec::len), Some(25));
    for mode in ["eager", "dynamic"] {
        let mux = fleet().top("mode", mode).over(Door::Http).await;
        mux.all_ready().await;
        let listed = json_of(&through(&mux, &["tools", "--format", "json"]).await);
        assert_eq!(listed, straight, "{mode}");
        let of_one = json_of(&through(&mux, &["tools", "sky", "--format", "json"]).await);
        assert_eq!(names(&of_one).len(), 13, "{mode}");
        let moon = &of_one["tools"][12];
        let described = json!({
            "name": "sky__moon_phase", "child": "sky",
            "description": "Tells how much of the moon is lit.",
        });
        assert_eq!(*moon, described, "{mode}");

        let words = [
            "search", "how", "full", "is", "the", "moon", "--format", "json",
        ];
        let found = json_of(&through(&mux, &words).await);
        assert_eq!(names(&found)[0], "sky__moon_phase", "{mode}");
        assert_eq!(found["tools"][0]["child"], "sky");
        assert_eq!(found["tools"][0]["ready"], true, "{mode}");
        let elsewhere = through(&mux, &["search", "moon", "--child", "sea"]).await;
        assert_eq!(elsewhere.status.code(), Some(1), "{}", elsewhere.stdout);
        let words = ["tools", "--format", "json", "--url", &mux.at("")];
        let by_its_origin = Fleet::new().without_config().run(&words).await;
        assert_eq!(json_of(&by_its_origin), straight, "{mode}");
    }
    let found = fleet().run(&["search", "moon", "--read-only"]).await;
    let expected = "sky__moon_phase\n    Tells how much of the moon is lit.\n    day: integer\n";
    assert_eq!(found.stdout, expected, "{}", found.stderr);
}

#[tokio::test]
async fn a_call_shows_what_the_tool_gives_as_it_gives_it() {
    let result = r#"{"content":[{"type":"text","text":"one\ntwo"}],"x":1.10,"big":1e400}"#;
    let fleet = || Fleet::new().stdio("sky", sky().returning(result));
    let mux = fleet().top("mode", "dynamic").over(Door::Http).await;
    mux.all_ready().await;
    let json = through(&mux, &["call", "sky__raw", "--format", "json"]).await;
    assert!(
        json.stdout.contains(r#""x":1.10,"big":1e400"#),
        "{}",
        json.stdout
    );
    let text = fleet().run(&["call", "sky__raw"]).await;
    assert_eq!(
        (text.stdout.as_str(), text.stderr.as_str()),
        ("one\ntwo\n", "")
    );

    let typed = through(&mux, &["call", "sky__moon_phase", "day=7"]).await;
    assert!(
        typed.stdout.contains(r#""arguments":{"day":7}"#),
        "{}",
        typed.stdout
    );
    let args = r#"{"exact":1.10,"list":[1]}"#;
    let whole = through(&mux, &["call", "sky__echo", "--args", args]).await;
    assert!(whole.stdout.contains(args), "{}", whole.stdout);
}

#[tokio::test]
async fn what_goes_wrong_is_told_by_the_status_and_on_stderr() {
    let mux = Fleet::new().stdio("sky", sky()).over(Door::Http).await;
    mux.all_ready().await;
    for (words, status, told) in [
        (&["call", "sky__fail"][..], 1, "sky__fail has failed"),
        (&["call", "sky__rpc_error"], 1, "told to fail with an error"),
        (&["call", "sky__moon_phas"], 1, "sky__moon_phase"),
        (
            &["call", "sky__moon_phase", "day=soon"],
            2,
            "expected a whole number",
        ),
        (&["call", "sky__moon_phase", "day"], 2, "expected key=value"),
        (
            &["call", "sky__moon_phase", "--args", "[]"],
            2,
            "a JSON object",
        ),
        (
            &["call", "sky__echo", "a=1", "--args", "{}"],
            2,
            "cannot be used with",
        ),
        (&["call"], 2, "TOOL"),
        (&["tools", "skie"], 2, r#"the nearest is "sky""#),
        (&["search", "xylophone"], 1, "nothing fits"),
        (&["search"], 2, "WORDS"),
    ] {
        let output = through(&mux, words).await;
        assert_eq!(
            output.status.code(),
            Some(status),
            "{words:?} {}",
            output.stderr
        );
        assert!(output.stderr.contains(told), "{words:?}: {}", output.stderr);
    }
    let failed = through(&mux, &["call", "sky__fail"]).await;
    assert_eq!(failed.stdout, "told to fail\n");
    assert_eq!(mux.journal("sky").calls("moon_phase"), 0);

    let nobody = ClosedPort::pick().url("/mcp");
    let fleet = || Fleet::new().without_config();
    let output = fleet().run(&["tools", "--url", &nobody]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("refused"), "{}", output.stderr);
    assert!(output.stderr.contains("--config"), "{}", output.stderr);
    let output = fleet().config_text("{").config_found_at("c.json");
    let output = output.run(&["tools", "--config", "c.json"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
}

#[tokio::test]
async fn a_call_straight_from_the_configuration_leaves_no_child_behind() {
    let fleet = Fleet::new()
        .stdio("sky", sky())
        .entry("gone", json!({"command": "/no/such/program"}));
    let output = fleet.run(&["call", "sky__identity"]).await;
    // A child that is not asked is not told of.
    assert_eq!(
        (output.status.code(), output.stderr.as_str()),
        (Some(0), "")
    );
    let identity: Value = serde_json::from_str(&output.stdout).expect("who it is");
    let pid = identity["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    until_gone(&[pid.expect("a process id")]).await;

    let fleet = Fleet::new()
        .stdio("sky", sky())
        .entry("gone", json!({"command": "/no/such/program"}));
    let output = fleet.run(&["tools", "sky"]).await;
    assert!(
        output.stderr.contains("without gone: "),
        "{}",
        output.stderr
    );
    assert!(output.stdout.contains("sky__moon_phase  Tells how much"));
}

#[tokio::test]
async fn the_cost_of_the_list_is_told_by_child_and_by_tool() {
    let fleet = || {
        Fleet::new()
            .stdio("sky", sky())
            .stdio("sea", Child::legacy().bare().named("wave"))
            .top("alwaysLoad", json!(["sea__*"]))
    };
    let mux = fleet().over(Door::Http).await;
    mux.all_ready().await;
    let running = json_of(&through(&mux, &["tools", "--cost", "--format", "json"]).await);
    let straight = fleet().run(&["tools", "--cost", "--format", "json"]).await;
    assert_eq!(json_of(&straight), running);
    let count = |value: &Value| value.as_u64().expect("a count");
    let children = running["children"].as_array().expect("children");
    assert_eq!(children[0]["name"], "sky", "the dearest first");
    let tokens: u64 = children.iter().map(|it| count(&it["tokens"])).sum();
    assert_eq!(tokens, count(&running["cost"]["eager"]["tokens"]));
    let status = mux.status().await;
    assert_eq!(status["cost"], running["cost"]);
    assert_eq!(
        mux.child("sky").await["toolsListTokens"],
        children[0]["tokens"]
    );
    assert!(count(&running["cost"]["dynamic"]["tokens"]) > count(&children[1]["tokens"]));

    let by_tool = json_of(&through(&mux, &["tools", "--cost", "sky", "--format", "json"]).await);
    assert_eq!(by_tool["cost"]["bytes"], children[0]["bytes"]);
    assert_eq!(by_tool["cost"]["tokens"], children[0]["tokens"]);
    let text = through(&mux, &["tools", "--cost"]).await.stdout;
    for part in ["child", "sky", "eager mode", "dynamic mode"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_token_is_sent_to_a_door_that_is_locked() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let url = locked(Arc::clone(&asked)).await;
    let fleet = || Fleet::new().without_config();
    let refused = fleet().run(&["call", "a", "--url", &url]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("pass --token-file"),
        "{}",
        refused.stderr
    );

    let by_variable = fleet().env("MCP_MULTIPLEXER_TOKEN", "s3cret");
    let output = by_variable.run(&["call", "a", "--url", &url]).await;
    assert_eq!(output.stdout, "in\n", "{}", output.stderr);
    let fleet = fleet();
    let file = fleet.path("token");
    std::fs::write(&file, "s3cret\n").expect("a token");
    let words = ["call", "a", "--url", &url, "--token-file", "token"];
    let output = fleet.run(&words).await;
    assert_eq!(output.stdout, "in\n", "{}", output.stderr);
    let asked = asked.lock().expect("what was asked").clone();
    let with_token = asked.iter().filter(|head| head.contains("bearer s3cret"));
    assert_eq!((asked.len(), with_token.count()), (3, 2));
}

/// A door that lets in who bears `s3cret`; keeps what it was asked, in small letters.
async fn locked(asked: Arc<Mutex<Vec<String>>>) -> String {
    const IN: &str =
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"in"}]}}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut text, mut part) = (String::new(), [0; 4096]);
            // The body ends the request, and the request the braces.
            while !text.ends_with("}}") {
                let read = stream.read(&mut part).await.expect("a request");
                assert!(read > 0, "the request is cut: {text}");
                text.push_str(&String::from_utf8_lossy(&part[..read]).to_lowercase());
            }
            let (status, body) = match text.contains("authorization: bearer s3cret") {
                true => ("200 OK", IN),
                false => ("401 Unauthorized", "who is it?"),
            };
            asked.lock().expect("what was asked").push(text);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("an answer");
        }
    });
    format!("http://{address}/mcp")
}
