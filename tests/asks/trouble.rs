//! What goes wrong between a child that asks and its client.

use serde_json::{Value, json};

use crate::{
    asking, form, one,
    support::{
        Door, Era, eventually,
        wire::{member, method},
    },
    talker::{ACCEPTED, ALL, Talker, structured},
    until_quiet,
};

/// The error that the child was answered with.
fn told(answer: &str) -> (i64, String) {
    let content: Value = serde_json::from_str(structured(answer)).expect("JSON");
    let error = &content["answers"][0]["error"];
    let sentence = error["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    (error["code"].as_i64().expect("a code"), sentence.to_owned())
}

#[tokio::test]
async fn a_client_is_not_asked_what_it_has_not_declared() {
    for door in Door::ALL {
        let mut mux = one(door, asking(Era::Legacy)).await;
        for era in Era::ALL {
            for (capabilities, params) in [
                ("{}", "{}"),
                (r#"{"sampling":{},"roots":{}}"#, "{}"),
                (r#"{"elicitation":{}}"#, r#"{"mode":"url"}"#),
            ] {
                let mut client = Talker::over_http(&mut mux, era, capabilities).await;
                let arguments = format!(r#"{{"method":"elicitation/create","params":{params}}}"#);
                let mut call = client.call("child__ask", &arguments).await;
                let (code, sentence) = told(&client.answered(&mut call).await);
                assert_eq!(code, -32601, "{era:?} {capabilities}");
                assert!(sentence.contains("not declared"), "{sentence}");
            }
            let mut client = Talker::over_http(&mut mux, era, ALL).await;
            let mut call = client.call("child__ask", r#"{"method":"of/nobody"}"#).await;
            assert_eq!(told(&client.answered(&mut call).await).0, -32601);
        }
    }
}

#[tokio::test]
async fn a_modern_child_that_asks_what_was_not_declared_fails_the_call() {
    let mut mux = one(Door::Http, asking(Era::Modern)).await;
    let mut client = Talker::over_http(&mut mux, Era::Legacy, "{}").await;
    let mut call = client.call("child__ask", &form("k", "")).await;
    let answer: Value = serde_json::from_str(&client.answered(&mut call).await).expect("JSON");
    let failure = &answer["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(failure["kind"], "protocol", "{answer}");
}

#[tokio::test]
async fn a_clients_error_reaches_the_child_or_ends_the_call() {
    for era in Era::ALL {
        let mut mux = one(Door::Http, asking(era)).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut call = client.call("child__ask", &form("k", "")).await;
        let asked = client.asked(&mut call, "elicitation/create").await;
        let id = member(&asked, "id").expect("an id");
        client
            .send(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no, thank you"}}}}"#
            ))
            .await;
        let answer = client.answered(&mut call).await;
        let (code, sentence) = match era {
            Era::Legacy => told(&answer),
            Era::Modern => crate::talker::error(&answer),
        };
        assert_eq!((code, &*sentence), (-1, "no, thank you"));
        until_quiet(&mux).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_waited_for_longer_than_the_child() {
    for era in Era::ALL {
        let child = asking(era)
            .key("callTimeout", 0)
            .key("maxCallTimeout", "6s");
        let mut mux = one(Door::Http, child).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut call = client.call("child__ask", &form("k", "")).await;
        let asked = client.asked(&mut call, "elicitation/create").await;

        let taken_back = client.asked(&mut call, "notifications/cancelled").await;
        assert_eq!(
            member(member(&taken_back, "params").expect("params"), "requestId"),
            member(&asked, "id")
        );
        let answer = client.answered(&mut call).await;
        assert!(answer.contains("was not answered within 6 s"), "{answer}");
        until_quiet(&mux).await;
        assert_eq!(mux.child("child").await["breaker"], "closed");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_child_an_answer() {
    for door in Door::ALL {
        let mut mux = one(door, asking(Era::Legacy).flag("--ignore-cancel")).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        // It asks again, on what is left of the call.
        let mut call = client.call("child__ask", &form("k", r#","again":1"#)).await;
        client.asked(&mut call, "elicitation/create").await;

        let id = call.id;
        client
            .send(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ))
            .await;

        let journal = mux.journal("child");
        eventually("both are answered", async || {
            (journal.of("answered").len() == 2).then_some(())
        })
        .await;
        let answered = journal.until_keyed("answered", "k").await;
        let answer = answered["answer"].as_str().expect("a frame");
        assert!(answer.contains("is gone"), "{answer}");
        call.hang_up();
        until_quiet(&mux).await;
    }
}

#[tokio::test]
async fn a_child_that_takes_its_question_back_takes_it_back_from_the_client() {
    for (door, elsewhere) in [
        (Door::Stdio, false),
        (Door::Http, false),
        (Door::Http, true),
    ] {
        let mut mux = one(door, asking(Era::Legacy)).await;
        let (file, end) = (mux.path("withdraw"), mux.path("end"));
        let mut more = format!(r#","withdraw":{}"#, json!(file));
        if elsewhere {
            // On the stream that is no call's.
            more += &format!(r#","elsewhere":{}"#, json!(end));
            let journal = mux.journal("child");
            eventually("the child is listened to", async || {
                (!journal.of("listening").is_empty()).then_some(())
            })
            .await;
        }
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut call = client.call("child__ask", &form("k", &more)).await;
        let asked = client.asked(&mut call, "elicitation/create").await;

        std::fs::write(&file, "").expect("a file");

        let taken_back = client.next(&mut call).await;
        assert_eq!(
            method(&taken_back).as_deref(),
            Some("notifications/cancelled")
        );
        assert_eq!(
            member(member(&taken_back, "params").expect("params"), "requestId"),
            member(&asked, "id")
        );
        std::fs::write(&end, "").expect("a file");
        // An answer that comes too late is nothing.
        client.answer(&asked, ACCEPTED).await;
        let answer = client.answered(&mut call).await;
        assert!(answer.contains("withdrawn"), "{answer}");
        assert!(mux.journal("child").of("answered").is_empty());
    }
}

#[tokio::test]
async fn two_clients_of_one_shared_child_are_each_asked_their_own() {
    let mut mux = one(Door::Http, asking(Era::Legacy)).await;
    let mut one = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
    let mut two = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
    let mut three = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let of = |name: &str| {
        format!(
            r#"{{"method":"elicitation/create","params":{{"message":"{name}"}},"key":"{name}"}}"#
        )
    };
    let mut first = one.call("child__ask", &of("one")).await;
    let mut second = two.call("child__ask", &of("two")).await;
    let mut third = three.call("child__ask", &of("three")).await;
    let asked_one = one.asked(&mut first, "elicitation/create").await;
    let asked_two = two.asked(&mut second, "elicitation/create").await;
    let held = three.answered(&mut third).await;
    assert!(asked_one.contains(r#""message":"one""#), "{asked_one}");
    assert!(asked_two.contains(r#""message":"two""#), "{asked_two}");
    assert!(held.contains(r#""message":"three""#), "{held}");

    // The other's question is nothing that a client can answer.
    two.answer(&asked_one, r#"{"action":"accept","content":{"who":"two"}}"#)
        .await;
    two.answer(&asked_two, r#"{"action":"decline"}"#).await;
    one.answer(&asked_one, ACCEPTED).await;

    let first = one.answered(&mut first).await;
    let second = two.answered(&mut second).await;
    assert_eq!(structured(&first), format!(r#"{{"answers":[{ACCEPTED}]}}"#));
    assert_eq!(structured(&second), r#"{"answers":[{"action":"decline"}]}"#);
}

#[tokio::test]
async fn a_shared_child_over_stdio_that_works_for_two_is_told_what_to_configure() {
    let mut mux = one(Door::Stdio, asking(Era::Legacy)).await;
    let mut other = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
    let until = mux.path("until");
    let slow = serde_json::json!({"until": until, "key": "slow"}).to_string();
    let mut slow = other.call("child__slow", &slow).await;
    mux.journal("child").until_keyed("slow", "slow").await;
    for era in Era::ALL {
        let mut client = Talker::over_http(&mut mux, era, ALL).await;
        let mut call = client.call("child__ask", &form("k", "")).await;
        let (_, sentence) = told(&client.answered(&mut call).await);
        assert!(sentence.contains(r#""session": "dedicated""#), "{sentence}");
    }
    std::fs::write(&until, "").expect("a file");
    other.answered(&mut slow).await;
}
