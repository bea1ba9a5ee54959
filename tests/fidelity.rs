//! What the multiplexer carries it does not alter: the bytes of `result`, of
//! `arguments` and of every list entry arrive as they were sent.

mod support;

use support::{
    Child, Door, Era, Fleet, Multiplexer, monster,
    wire::{elements, member, shortened},
};

/// What a result of the modern era must hold beside everything else.
const MODERN_END: &str = r#","resultType":"complete""#;

fn monster_of(era: Era) -> String {
    monster::result(if era == Era::Modern { MODERN_END } else { "" })
}

/// Says where two long texts part, instead of printing both.
#[track_caller]
fn assert_same_bytes(came: &str, sent: &str, way: &str) {
    if came == sent {
        return;
    }
    let pairs = came.bytes().zip(sent.bytes());
    let at = pairs.take_while(|(came, sent)| came == sent).count();
    let around = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(40)..text.len().min(at + 40)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    let (came, sent) = (around(came), around(sent));
    panic!("{way}: altered at byte {at}:\n came …{came}…\n sent …{sent}…");
}

/// Every way through: both transports on both sides, and event streams as well.
async fn every_way(era: Era, child: impl Fn() -> Child) -> Vec<(String, Multiplexer)> {
    let mut ways = Vec::new();
    for inbound in Door::ALL {
        for (outbound, sse) in [
            (Door::Stdio, false),
            (Door::Http, false),
            (Door::Http, true),
        ] {
            let child = if sse { child().sse() } else { child() };
            let mux = Fleet::new()
                .with(outbound, "child", child)
                .over(inbound)
                .await;
            mux.all_ready().await;
            ways.push((
                format!("{era:?} {inbound:?} to {outbound:?}, sse {sse}"),
                mux,
            ));
        }
    }
    ways
}

#[tokio::test]
async fn a_result_of_a_mebibyte_arrives_as_it_was_sent() {
    for era in Era::ALL {
        let sent = monster_of(era);
        for (way, mut mux) in every_way(era, || Child::of(era).returning(&sent)).await {
            let mut client = mux.client(era).await;

            let answer = client.call("child__raw", "{}").await;

            assert_same_bytes(answer.result(), &sent, &way);
        }
    }
}

#[tokio::test]
async fn arguments_of_a_mebibyte_arrive_as_they_were_sent() {
    let sent = monster::object();
    for era in Era::ALL {
        for (way, mut mux) in every_way(era, || Child::of(era)).await {
            let mut client = mux.client(era).await;

            let answer = client.call("child__received", &sent).await;

            assert_same_bytes(&answer.arguments_received(), &sent, &way);
        }
    }
}

#[tokio::test]
async fn unknown_params_and_metadata_reach_the_child() {
    let params = r#"{"x-before":1.10,"name":"child__received","_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","x-vendor":1e400},"arguments":{},"x-after":[12345678901234567890123]}"#;
    for era in Era::ALL {
        for (way, mut mux) in every_way(era, || Child::of(era)).await {
            let mut client = mux.client(era).await;

            let answer = client.request("tools/call", params).await;

            let received = answer.params_received();
            let of = |name| member(&received, name);
            assert_eq!(of("x-before"), Some("1.10"), "{way}");
            assert_eq!(of("x-after"), Some("[12345678901234567890123]"), "{way}");
            assert_eq!(of("name"), Some(r#""received""#), "{way}");
            let meta = of("_meta").unwrap_or_else(|| panic!("{way}: {received}"));
            assert_eq!(member(meta, "x-vendor"), Some("1e400"), "{way}");
            let trace = member(meta, "traceparent").unwrap_or_default();
            assert!(
                trace.contains("0af7651916cd43dd8448eb211c80319c"),
                "{way}: {received}"
            );
        }
    }
}

#[tokio::test]
async fn a_childs_own_error_arrives_as_it_was_sent() {
    for era in Era::ALL {
        for (way, mut mux) in every_way(era, || Child::of(era)).await {
            let mut client = mux.client(era).await;

            let answer = client.call("child__rpc_error", "{}").await;

            let error = member(&answer.frame, "error").unwrap_or_default();
            assert_eq!(
                error,
                r#"{"code":4711,"message":"told to fail with an error","data":{"exact":1.10,"big":12345678901234567890123}}"#,
                "{way}"
            );
        }
    }
}

#[tokio::test]
async fn a_list_entry_is_altered_in_its_name_only() {
    let before = r#"{ "x-nested":{"name":"not me","n":1.10},"title":"Odd \u00e9é","name" : "#;
    let after = format!(
        r#","inputSchema":{{"type":"object","properties":{{"name":{{"const":1e400}}}}}},"outputSchema":{{"type":"object","x":[{{"name":"nor me"}}]}},"annotations":{{"readOnlyHint":true,"x-hint":1.0}},"icons":[{{"src":"data:,x","sizes":["1x1"]}}],"_meta":{{"x":9007199254740993}},{}}}"#,
        monster::ODDITIES
    );
    let entry = |name: &str| format!(r#"{before}"{name}"{after}"#);
    for era in Era::ALL {
        for (way, mut mux) in every_way(era, || {
            Child::of(era)
                .bare()
                .named("plain")
                .listing("odd", &entry("odd"))
        })
        .await
        {
            let mut client = mux.client(era).await;

            let tools = client.tools().await;

            let odd = tools.iter().find(|tool| tool.name == "child__odd");
            let odd = odd.unwrap_or_else(|| panic!("{way}: {tools:?}"));
            assert_same_bytes(&odd.entry, &entry("child__odd"), &way);
        }
    }
}

/// Nothing is put on one line that need not be: where both hops are plain HTTP, a
/// newline stays one; where a hop is framed by lines, it becomes a space.
#[tokio::test]
async fn newlines_between_tokens_survive_where_they_can_travel() {
    let sent = "{\n  \"content\": [],\r\n  \"structuredContent\": {\n\t\"a\": 1.10\n  }\n}";
    let on_one_line = sent.replace(['\n', '\r'], " ");
    for (inbound, expected) in [(Door::Http, sent), (Door::Stdio, on_one_line.as_str())] {
        let fleet = Fleet::new().http("child", Child::legacy().returning(sent));
        let mut mux = fleet.over(inbound).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        let answer = client.call("child__raw", "{}").await;

        assert_eq!(answer.result(), expected, "{inbound:?}");
    }
}

/// A long answer is passed on while it arrives, under the client's own id: read whole first
/// where the id stands behind it.
#[tokio::test]
async fn a_long_answer_bears_its_clients_id_wherever_the_child_puts_it() {
    let sent = monster_of(Era::Legacy);
    for flags in [&[][..], &["--id-last"], &["--id-last", "--sse"]] {
        let child = flags
            .iter()
            .fold(Child::legacy(), |child, flag| child.flag(flag));
        let fleet = Fleet::new().http("child", child.returning(&sent));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        for _ in 0..2 {
            let answer = client.call("child__raw", "{}").await;
            assert_same_bytes(answer.result(), &sent, &format!("{flags:?}"));
        }
    }
}

#[tokio::test]
async fn every_page_of_a_childs_list_is_followed() {
    for outbound in Door::ALL {
        let child = Child::legacy()
            .bare()
            .option("--tools", 1000)
            .option("--page-size", 7);
        let mut mux = Fleet::new()
            .with(outbound, "child", child)
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        let names = client.tool_names().await;

        let expected: Vec<String> = (0..1000).map(|n| format!("child__filler_{n:04}")).collect();
        assert_eq!(names, expected, "{outbound:?}: in the child's own order");
    }
}

#[test]
fn the_monster_is_what_it_claims_to_be() {
    let result = monster_of(Era::Modern);

    assert!(result.len() > 1 << 20);
    assert!(!result.contains('\n'), "or it could not travel by line");
    assert_eq!(member(&result, "resultType"), Some(r#""complete""#));
    let content = elements(member(&result, "content").unwrap_or_default());
    assert_eq!(content.len(), 2, "{}", shortened(&result));
}
