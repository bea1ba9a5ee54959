//! Clients and children of different eras understand each other, over every pair
//! of transports: lists, calls, progress, log messages, news of lists, cancelling.

mod support;

use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    client::{MODERN_VERSION, with_modern_meta},
    http::{Http, With as _},
    wire::{member, quoted},
};

/// One client and one child, each of an era and behind a door.
#[derive(Debug, Clone, Copy)]
struct Pairing {
    client: (Era, Door),
    child: (Era, Door),
}

impl Pairing {
    fn all() -> Vec<Self> {
        let sides = || {
            Era::ALL
                .into_iter()
                .flat_map(|era| Door::ALL.map(|door| (era, door)))
        };
        sides()
            .flat_map(|client| sides().map(move |child| Self { client, child }))
            .collect()
    }

    /// The multiplexer between the two, with its child ready and the client introduced.
    async fn meet(self) -> (Multiplexer, Client) {
        let (era, door) = self.child;
        let mut mux = Fleet::new()
            .with(door, "child", Child::of(era))
            .over(self.client.1)
            .await;
        mux.all_ready().await;
        let client = mux.client(self.client.0).await;
        (mux, client)
    }
}

#[tokio::test]
async fn the_multiplexer_speaks_to_each_child_in_its_own_era() {
    for pairing in Pairing::all() {
        let (mux, _client) = pairing.meet().await;

        let era = mux.child("child").await["era"].clone();

        let expected = if pairing.child.0 == Era::Legacy {
            "legacy"
        } else {
            "modern"
        };
        assert_eq!(era, expected, "{pairing:?}");
    }
}

#[tokio::test]
async fn a_client_gets_the_result_keys_of_its_own_era_and_no_others() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        let list = client.request("tools/list", "{}").await;
        let call = client.call("child__echo", r#"{"a":1.10}"#).await;

        let modern = pairing.client.0 == Era::Modern;
        for result in [list.result(), call.result()] {
            let complete = member(result, "resultType") == Some(r#""complete""#);
            assert_eq!(complete, modern, "{pairing:?}: {result}");
            assert_eq!(
                member(result, "resultType").is_some(),
                modern,
                "{pairing:?}: {result}"
            );
        }
        for key in ["ttlMs", "cacheScope"] {
            assert_eq!(
                member(list.result(), key).is_some(),
                modern,
                "{pairing:?}: {key}"
            );
        }
    }
}

#[tokio::test]
async fn tools_are_listed_and_called() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        let names = client.tool_names().await;
        let answer = client.call("child__echo", r#"{"a":1.10}"#).await;

        assert!(
            names.contains(&"child__echo".to_owned()),
            "{pairing:?}: {names:?}"
        );
        assert_eq!(
            answer.structured(),
            r#"{"calls":1,"arguments":{"a":1.10}}"#,
            "{pairing:?}"
        );
    }
}

#[tokio::test]
async fn a_tools_own_failure_and_a_childs_own_error_pass_through() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        let failed = client.call("child__fail", "{}").await;
        let refused = client.call("child__rpc_error", "{}").await;

        assert!(failed.is_tool_error(), "{pairing:?}: {}", failed.frame);
        assert!(
            failed.frame.contains("told to fail"),
            "{pairing:?}: {}",
            failed.frame
        );
        assert!(
            !failed.frame.contains("io.mcp-multiplexer"),
            "{pairing:?}: {}",
            failed.frame
        );
        let error = member(&refused.frame, "error").unwrap_or_default();
        let data = member(error, "data");
        assert_eq!(
            data,
            Some(r#"{"exact":1.10,"big":12345678901234567890123}"#),
            "{pairing:?}"
        );
    }
}

#[tokio::test]
async fn progress_reaches_the_client_under_its_own_token() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        for token in [r#""mine \u00e9""#, "7"] {
            let meta = format!(r#""progressToken":{token}"#);
            let answer = client
                .call_with_meta("child__progress", r#"{"n":2}"#, &meta)
                .await;

            let expected = [1, 2].map(|step| {
                format!(r#"{{"progressToken":{token},"progress":{step},"total":2,"x-exact":1.10}}"#)
            });
            let params: Vec<&str> = answer
                .before
                .iter()
                .filter_map(|frame| member(frame, "params"))
                .collect();
            assert_eq!(params, expected, "{pairing:?}");
            assert_eq!(answer.content()["steps"], 2, "{pairing:?}");
        }
    }
}

#[tokio::test]
async fn no_progress_comes_unless_the_client_asked_for_it() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        let answer = client.call("child__progress", r#"{"n":3}"#).await;

        assert!(answer.before.is_empty(), "{pairing:?}: {:?}", answer.before);
        assert_eq!(answer.content()["steps"], 3, "{pairing:?}");
    }
}

#[tokio::test]
async fn a_log_message_reaches_the_client_that_asked_for_its_level() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;
        let mut level = r#""io.modelcontextprotocol/logLevel":"debug""#;
        if pairing.client.0 == Era::Legacy {
            client
                .request("logging/setLevel", r#"{"level":"debug"}"#)
                .await
                .result();
            level = "";
        }

        let answer = client
            .call_with_meta("child__log", r#"{"data":{"n":1.10}}"#, level)
            .await;

        assert_eq!(answer.before.len(), 1, "{pairing:?}: {:?}", answer.before);
        let params = member(&answer.before[0], "params").unwrap_or_default();
        assert_eq!(member(params, "data"), Some(r#"{"n":1.10}"#), "{pairing:?}");
    }
}

#[tokio::test]
async fn a_modern_client_that_asked_for_no_level_gets_no_log_message() {
    for pairing in Pairing::all()
        .into_iter()
        .filter(|pairing| pairing.client.0 == Era::Modern)
    {
        let (_mux, mut client) = pairing.meet().await;

        let answer = client.call("child__log", r#"{"data":1}"#).await;

        assert!(answer.before.is_empty(), "{pairing:?}: {:?}", answer.before);
    }
}

#[tokio::test]
async fn a_tool_that_comes_later_is_announced_and_listed() {
    for pairing in Pairing::all() {
        let (mux, mut client) = pairing.meet().await;
        if pairing.child != (Era::Legacy, Door::Stdio) {
            // Everyone else is told only once he listens.
            mux.journal("child").until("listening", |_| true).await;
        }
        client.subscribe().await;

        client
            .call("child__add_tool", r#"{"name":"later"}"#)
            .await
            .result();

        // The first news may still be of the child's arrival.
        let later = "child__later".to_owned();
        loop {
            client.news("notifications/tools/list_changed").await;
            if client.tool_names().await.contains(&later) {
                break;
            }
        }
        assert_eq!(
            client.call("child__later", "{}").await.content()["calls"],
            1,
            "{pairing:?}"
        );
    }
}

#[tokio::test]
async fn a_call_the_client_takes_back_ends_in_the_child() {
    for pairing in Pairing::all() {
        let (mux, mut client) = pairing.meet().await;
        let journal = mux.journal("child");
        let pending = client
            .begin_call("child__slow", r#"{"until":"/nowhere","key":"back"}"#)
            .await;
        journal.until_keyed("slow", "back").await;

        client.cancel(pending).await;

        journal.until_keyed("cancelled", "back").await;
        let after = client.call("child__echo", "{}").await;
        assert_eq!(
            after.content()["calls"],
            1,
            "{pairing:?}: the child works on"
        );
    }
}

#[tokio::test]
async fn an_unknown_tool_is_refused_with_the_closest_names() {
    for pairing in Pairing::all() {
        let (_mux, mut client) = pairing.meet().await;

        let answer = client.call("child__ecko", "{}").await;

        assert_eq!(answer.error_code(), -32602, "{pairing:?}");
        let message = answer.error()["message"].to_string();
        assert!(message.contains("child__echo"), "{pairing:?}: {message}");
    }
}

#[tokio::test]
async fn a_modern_client_discovers_what_there_is() {
    for door in Door::ALL {
        let mut mux = Fleet::new()
            .stdio("child", Child::legacy())
            .over(door)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Modern).await;

        let answer = client.request("server/discover", "{}").await;

        let of = |key| member(answer.result(), key).unwrap_or_default();
        assert!(
            of("supportedVersions").contains(&quoted(MODERN_VERSION)),
            "{}",
            answer.frame
        );
        assert!(
            member(of("capabilities"), "tools").is_some(),
            "{}",
            answer.frame
        );
        assert_eq!(of("resultType"), r#""complete""#, "{}", answer.frame);
        assert!(
            member(answer.result(), "ttlMs").is_some(),
            "{}",
            answer.frame
        );
        assert!(
            member(answer.result(), "cacheScope").is_some(),
            "{}",
            answer.frame
        );
    }
}

#[tokio::test]
async fn clients_of_both_eras_are_served_at_the_same_time() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut legacy = mux.client(Era::Legacy).await;
    let mut modern = mux.client(Era::Modern).await;

    let first = legacy.call("child__echo", "{}").await;
    let second = modern.call("child__echo", "{}").await;

    assert_eq!(first.content()["calls"], 1);
    assert_eq!(second.content()["calls"], 2);
    assert!(legacy.session().is_some_and(|session| !session.is_empty()));
    let mut other = mux.client(Era::Legacy).await;
    assert_ne!(other.session(), legacy.session(), "a session each");
    other.call("child__echo", "{}").await.result();
}

/// What the headers say decides where a request goes before anyone reads its body,
/// so a request whose body says something else is refused.
#[tokio::test]
async fn a_modern_request_whose_headers_contradict_its_body_is_refused() {
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let params = with_modern_meta(r#"{"name":"child__echo","arguments":{}}"#);
    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let good = || support::client::modern_post(&mux.url(), call.clone());
    let http = Http::default();
    assert_eq!(http.send(good()).await.status, 200);

    for (header, wrong) in [
        ("mcp-method", "tools/list"),
        ("mcp-name", "echo"),
        ("mcp-name", "child__exit"),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let refused = http.send(good().with(header, wrong)).await;

        assert_eq!(refused.status, 400, "{header}: {wrong}");
        assert_eq!(
            refused.answer().await.error_code(),
            -32020,
            "{header}: {wrong}"
        );
    }
    let calls = mux.journal("child").calls("echo");
    assert_eq!(calls, 1, "no refused call reached the child");
}

#[tokio::test]
async fn a_version_nobody_speaks_is_refused_with_those_that_are_spoken() {
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    let params = with_modern_meta("{}").replace(MODERN_VERSION, "2099-01-01");
    let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{params}}}"#);
    let post = support::client::modern_post(&mux.url(), list);

    let refused = Http::default()
        .send(post.with("mcp-protocol-version", "2099-01-01"))
        .await;

    assert_eq!(refused.status, 400);
    let answer = refused.answer().await;
    assert_eq!(answer.error_code(), -32022);
    let supported = answer.error()["data"]["supported"].to_string();
    assert!(supported.contains(MODERN_VERSION), "{supported}");
}
