//! Every combination of eras and transports.

use serde_json::{Value, json};

use crate::{
    support::{Door, Era, Fleet, Multiplexer, wire::member},
    talker::{ACCEPTED, ALL, Talker, Unfinished, structured},
};

const CHILDREN: [(&str, Door, Era); 4] = [
    ("pipe_old", Door::Stdio, Era::Legacy),
    ("pipe_new", Door::Stdio, Era::Modern),
    ("web_old", Door::Http, Era::Legacy),
    ("web_new", Door::Http, Era::Modern),
];

async fn fleet(door: Door) -> Multiplexer {
    let mut fleet = Fleet::new();
    for (name, door, era) in CHILDREN {
        fleet = fleet.with(door, name, crate::asking(era));
    }
    let mux = fleet.over(door).await;
    mux.all_ready().await;
    mux
}

/// Each kind of question: what is asked, and what is answered.
fn questions() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "elicitation/create",
            json!({"message": "name?", "requestedSchema": {"type": "object", "properties": {}}}),
            ACCEPTED,
        ),
        (
            "elicitation/create",
            json!({"mode": "url", "message": "go", "url": "https://x.test", "elicitationId": "7"}),
            r#"{"action":"decline"}"#,
        ),
        (
            "sampling/createMessage",
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 9}),
            r#"{"role":"assistant","content":{"type":"text","text":"ho"},"model":"m","x-big":12345678901234567890123}"#,
        ),
        (
            "roots/list",
            json!({"_meta": {"x": 1}}),
            r#"{"roots":[{"uri":"file:///home"}]}"#,
        ),
    ]
}

async fn asks_everything(mux: &mut Multiplexer, door: Door, era: Era) {
    let mut client = Talker::new(mux, door, era, ALL).await;
    for (child, _, child_era) in CHILDREN {
        for (method, params, result) in questions() {
            let arguments = json!({"method": method, "params": params, "more": 1, "again": 1});
            let tool = format!("{child}__ask");

            let (answer, asked) = client.converse(&tool, &arguments.to_string(), result).await;

            let what = format!("{era:?} over {door:?}, {method} of {child}: {answer}");
            assert_eq!(asked, vec![(method.to_owned(), params); 4], "{what}");
            let answers = member(structured(&answer), "answers");
            let expected = match child_era {
                // Of the last round.
                Era::Modern => format!("[{result},{result}]"),
                Era::Legacy => format!("[{result},{result},{result},{result}]"),
            };
            assert_eq!(answers, Some(&*expected), "{what}");
            if era == Era::Modern {
                let kind = member(member(&answer, "result").expect("a result"), "resultType");
                assert_eq!(kind, Some("\"complete\""), "{what}");
            }
        }
    }
    mux.until_metrics("nobody works any more", |metrics| {
        metrics.sum("child_in_flight", &[]) == 0.0
    })
    .await;
    let calls = [("method", "tools/call"), ("outcome", "ok")];
    let (conversations, retries) = match era {
        Era::Legacy => (16.0, 0.0),
        // Passed on, each is a request.
        Era::Modern => (16.0, 16.0),
    };
    let counted = mux.metrics().await.sum("requests_total", &calls);
    assert_eq!(counted, conversations + retries, "each is settled once");
}

#[tokio::test]
async fn a_legacy_client_over_http_is_asked_by_every_child() {
    let mut mux = fleet(Door::Http).await;
    asks_everything(&mut mux, Door::Http, Era::Legacy).await;
}

#[tokio::test]
async fn a_modern_client_over_http_is_asked_by_every_child() {
    let mut mux = fleet(Door::Http).await;
    asks_everything(&mut mux, Door::Http, Era::Modern).await;
}

#[tokio::test]
async fn a_legacy_client_over_stdio_is_asked_by_every_child() {
    let mut mux = fleet(Door::Stdio).await;
    asks_everything(&mut mux, Door::Stdio, Era::Legacy).await;
}

#[tokio::test]
async fn a_modern_client_over_stdio_is_asked_by_every_child() {
    let mut mux = fleet(Door::Stdio).await;
    asks_everything(&mut mux, Door::Stdio, Era::Modern).await;
}

/// What a modern child asks a modern client, and what it is given back, is theirs alone.
#[tokio::test]
async fn between_modern_peers_nothing_is_touched() {
    let mut mux = fleet(Door::Http).await;
    let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    for child in ["pipe_new", "web_new"] {
        let tool = format!("{child}__ask");
        let arguments = crate::form("k", "");
        let mut call = client.call(&tool, &arguments).await;
        let first = client.answered(&mut call).await;
        let unfinished = Unfinished::read(&first).expect("it asks");
        assert_eq!(unfinished.state(), r#""round\u00201 \/ \u00e9é""#);
        assert_eq!(unfinished.keys(), ["key 0"]);

        let responses =
            r#"{ "key 0" : {"x":1e400, "\u0061":1.10}, "other":[12345678901234567890123] }"#;
        let members = format!(
            r#", "inputResponses":{responses}, "requestState" : {}"#,
            unfinished.state()
        );
        let mut call = client.call_with(&tool, &arguments, &members).await;
        let answer = client.answered(&mut call).await;
        assert_eq!(member(structured(&answer), "responses"), Some(responses));
        assert_eq!(member(structured(&answer), "capabilities"), Some(ALL));
    }
}

/// A modern child is told what the legacy client it works for can be asked.
#[tokio::test]
async fn a_modern_child_is_told_what_a_legacy_client_has_declared() {
    let mut mux = fleet(Door::Http).await;
    for (declared, told) in [
        ("{}", json!({})),
        (
            r#"{"elicitation":{}}"#,
            json!({"elicitation": {"form": {}}}),
        ),
        (
            r#"{"sampling":{"tools":{}},"roots":{"listChanged":true},"experimental":{"a":1}}"#,
            json!({"sampling": {"tools": {}}, "roots": {}}),
        ),
    ] {
        let mut client = Talker::over_http(&mut mux, Era::Legacy, declared).await;
        for child in ["pipe_new", "web_new"] {
            let mut call = client.call(&format!("{child}__received"), "{}").await;
            let answer = client.answered(&mut call).await;
            let content: Value = serde_json::from_str(structured(&answer)).expect("JSON");
            let params = content["params"].as_str().expect("params");
            let params: Value = serde_json::from_str(params).expect("JSON");
            let mut capabilities =
                params["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();
            // What clients only show is declared for all.
            capabilities
                .as_object_mut()
                .expect("an object")
                .remove("extensions");
            assert_eq!(capabilities, told, "{declared} to {child}");
        }
    }
}
