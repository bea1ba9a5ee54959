//! What a child asks when it works on no call.

use serde_json::{Value, json};

use crate::{
    asking, form,
    support::{Door, Era, Fleet, Multiplexer, wire::method},
    talker::{ACCEPTED, ALL, Talker},
};

async fn fleet(door: Door, dedicated: bool, clients: Door) -> Multiplexer {
    let mut child = asking(Era::Legacy);
    if dedicated {
        child = child.key("session", "dedicated");
    }
    let mux = Fleet::new().with(door, "child", child).over(clients).await;
    mux.until_ready("child").await;
    mux
}

/// A call after which the child asks, once the file is there.
async fn will_ask(mux: &Multiplexer, client: &mut Talker) -> std::path::PathBuf {
    let file = mux.path("outside");
    let more = format!(r#","outside":{}"#, json!(file));
    let mut call = client.call("child__ask", &form("k", &more)).await;
    client.answered(&mut call).await;
    file
}

async fn answered(mux: &Multiplexer) -> Value {
    let answered = mux.journal("child").until_keyed("answered", "k").await;
    let answer = answered["answer"].as_str().expect("a frame");
    serde_json::from_str(answer).expect("JSON")
}

#[tokio::test]
async fn a_dedicated_childs_client_is_asked_on_its_stream() {
    for clients in Door::ALL {
        for door in Door::ALL {
            let mut mux = fleet(door, true, clients).await;
            let mut client = Talker::new(&mut mux, clients, Era::Legacy, ALL).await;
            let mut stream = client.listen().await;
            let file = will_ask(&mux, &mut client).await;
            if door == Door::Http {
                // The entry's own connection listens, and this session's.
                let listening = || mux.journal("child").of("listening").len() >= 2;
                crate::support::eventually("the session's connection listens", async || {
                    listening().then_some(())
                })
                .await;
            }
            std::fs::write(&file, "").expect("a file");

            let asked = client.asked(&mut stream, "elicitation/create").await;
            client.answer(&asked, ACCEPTED).await;

            let expected: Value = serde_json::from_str(ACCEPTED).expect("JSON");
            assert_eq!(answered(&mux).await["result"], expected);
        }
    }
}

#[tokio::test]
async fn a_shared_child_is_told_what_to_configure() {
    for door in Door::ALL {
        let mut mux = fleet(door, false, Door::Http).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let _stream = client.listen().await;
        let file = will_ask(&mux, &mut client).await;
        std::fs::write(&file, "").expect("a file");
        let answer = answered(&mux).await;
        let sentence = answer["error"]["message"].as_str().expect("an error");
        assert!(sentence.contains(r#""session": "dedicated""#), "{sentence}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_listen_or_has_not_declared_it_is_not_asked() {
    for (capabilities, listens) in [(ALL, false), ("{}", true)] {
        let mut mux = fleet(Door::Stdio, true, Door::Http).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, capabilities).await;
        let _stream = match listens {
            true => Some(client.listen().await),
            false => None,
        };
        let file = will_ask(&mux, &mut client).await;
        std::fs::write(&file, "").expect("a file");
        let answer = answered(&mux).await;
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
}

#[tokio::test]
async fn a_session_that_ends_leaves_the_child_an_answer() {
    let mut mux = fleet(Door::Stdio, false, Door::Stdio).await;
    let mut client = Talker::new(&mut mux, Door::Stdio, Era::Legacy, ALL).await;
    let mut call = client.call("child__ask", &form("k", "")).await;
    let asked = client.next(&mut call).await;
    assert_eq!(method(&asked).as_deref(), Some("elicitation/create"));
    drop(client);
    assert!(mux.ended().await.success());
    let journal = mux.journal("child");
    let taken_back = |noted: &Value| noted["method"] == "notifications/cancelled";
    let told =
        !journal.of("answered").is_empty() || journal.of("notification").iter().any(taken_back);
    assert!(told, "{:?}", journal.events());
}

/// Only the session's own connection knows of its client's roots.
#[tokio::test]
async fn changed_roots_are_told_to_the_sessions_own_connection() {
    let told = |mux: &Multiplexer| {
        let notifications = mux.journal("child").of("notification");
        let roots = |note: &&Value| note["method"] == "notifications/roots/list_changed";
        notifications.iter().filter(roots).count()
    };
    for door in Door::ALL {
        let mut mux = fleet(door, true, Door::Http).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut other = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        for client in [&mut client, &mut other] {
            let mut call = client.call("child__echo", "{}").await;
            client.answered(&mut call).await;
        }
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        client.send(changed.to_owned()).await;
        crate::support::eventually("the child is told", async || (told(&mux) > 0).then_some(()))
            .await;
        client.send(changed.to_owned()).await;
        crate::support::eventually("the child is told again", async || {
            (told(&mux) > 1).then_some(())
        })
        .await;
        assert_eq!(told(&mux), 2);
    }
}
