//! A client that was sent to a URL is told when what is done there is done.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    asking,
    support::{Child, Door, Era, Fleet, Multiplexer, wire::member},
    talker::{ACCEPTED, ALL, Call, Talker, error},
};

const COMPLETE: &str = "notifications/elicitation/complete";

async fn fleet(door: Door, child: Child, clients: Door) -> Multiplexer {
    let mux = Fleet::new().with(door, "child", child).over(clients).await;
    mux.until_ready("child").await;
    if door == Door::Http {
        mux.journal("child").until("listening", |_| true).await;
    }
    mux
}

/// The arguments of `ask` for an elicitation of this id, and the file that completes it.
fn by_url(mux: &Multiplexer, id: &str, more: &str) -> (String, PathBuf) {
    let file = mux.path(id);
    let params =
        json!({"mode": "url", "message": "go", "url": "https://x.test", "elicitationId": id});
    let (params, complete) = (params.to_string(), json!(file));
    let arguments = format!(
        r#"{{"method":"elicitation/create","params":{params},"complete":{complete}{more}}}"#
    );
    (arguments, file)
}

fn done(file: &PathBuf) {
    std::fs::write(file, "").expect("a file");
}

/// The next frame says that this one is complete, as the child said it.
async fn hears(client: &mut Talker, stream: &mut Call, id: &str) {
    let told = client.asked(stream, COMPLETE).await;
    let expected = format!(r#"{{"elicitationId":"{id}","x-exact":1.10}}"#);
    assert_eq!(member(&told, "params"), Some(&*expected), "{told}");
}

#[tokio::test]
async fn after_the_call_it_is_told_on_the_sessions_stream() {
    for door in Door::ALL {
        let mut mux = fleet(door, asking(Era::Legacy), Door::Http).await;
        let mut one = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut two = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut streams = [one.listen().await, two.listen().await];
        let mut files = Vec::new();
        for (whose, id) in [(0, "first"), (1, "second"), (0, "third")] {
            let client = if whose == 0 { &mut one } else { &mut two };
            let (arguments, file) = by_url(&mux, id, "");
            client.converse("child__ask", &arguments, ACCEPTED).await;
            files.push(file);
        }
        for file in [&files[2], &files[1], &files[0]] {
            done(file);
        }
        hears(&mut two, &mut streams[1], "second").await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let told = one.asked(&mut streams[0], COMPLETE).await;
            ids.push(told.contains("first"));
            assert!(!told.contains("second"), "{told}");
        }
        assert_ne!(ids[0], ids[1], "each is told once");
    }
}

#[tokio::test]
async fn while_the_call_lasts_it_is_told_on_its_stream() {
    for door in Door::ALL {
        let mut mux = fleet(door, asking(Era::Legacy), Door::Http).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut other = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let (arguments, file) = by_url(&mux, "in time", r#","again":1"#);
        let mut call = client.call("child__ask", &arguments).await;
        let asked = client.asked(&mut call, "elicitation/create").await;
        client.answer(&asked, ACCEPTED).await;
        let asked = client.asked(&mut call, "elicitation/create").await;
        let mut another = other.call("child__echo", "{}").await;
        other.answered(&mut another).await;
        done(&file);
        hears(&mut client, &mut call, "in time").await;
        client.answer(&asked, ACCEPTED).await;
        client.answered(&mut call).await;
    }
}

#[tokio::test]
async fn a_call_that_was_refused_until_then_can_be_tried_again() {
    for clients in Door::ALL {
        let child = asking(Era::Legacy).key("session", "dedicated");
        for child in [child, asking(Era::Legacy)] {
            let mut mux = fleet(Door::Stdio, child, clients).await;
            let mut client = Talker::new(&mut mux, clients, Era::Legacy, ALL).await;
            let mut stream = client.listen().await;
            let (arguments, file) = by_url(&mux, "before", r#","required":true"#);
            let mut call = client.call("child__ask", &arguments).await;
            assert_eq!(error(&client.answered(&mut call).await).0, -32042);
            done(&file);
            hears(&mut client, &mut stream, "before").await;
        }
    }
}
