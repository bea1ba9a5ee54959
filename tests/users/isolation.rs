//! What several users share keeps them apart all the same.

use std::fs;

use ::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    house::{House, next, rest},
    passthrough::Person,
    support::{
        Child, Door, Era, Fleet,
        http::{Http, request},
    },
};

fn pid(answer: &Value) -> u64 {
    let pid = answer["result"]["structuredContent"]["pid"].as_u64();
    pid.unwrap_or_else(|| panic!("no process: {answer}"))
}

#[tokio::test]
async fn a_client_without_a_session_is_known_by_its_subject_where_children_are_dedicated() {
    let child = Child::legacy().key("session", "dedicated");
    let house = House::open(Fleet::new().stdio("child", child)).await;
    house.mux.all_ready().await;
    let mut alice = house.person("alice", Era::Modern).await;
    let bob = house.person("bob", Era::Modern).await;
    let nobody = Person::with(&house.mux, None, Era::Modern).await;

    let first = pid(&alice.call("child__identity").await);
    let other = pid(&bob.call("child__identity").await);

    assert_ne!(first, other);
    alice.token = Some(house.token("alice", 2));
    assert_eq!(pid(&alice.call("child__identity").await), first);
    let own = pid(&nobody.call("child__identity").await);
    assert!(![first, other].contains(&own), "the entry's own");
    let session = house.person("alice", Era::Legacy).await;
    let of_session = pid(&session.call("child__identity").await);
    assert!(
        ![first, other, own].contains(&of_session),
        "a session has its own"
    );
    assert_eq!(house.mux.child("child").await["dedicatedSessions"], 3);
}

#[tokio::test]
async fn what_a_shared_child_says_of_nobody_reaches_who_alone_has_used_it() {
    let fleet = Fleet::new()
        .stdio("shared", Child::legacy())
        .stdio("alone", Child::legacy());
    let house = House::open(fleet).await;
    house.mux.all_ready().await;
    let (alice, mut to_alice) = house.listener("alice").await;
    let (bob, to_bob) = house.listener("bob").await;
    let release = house.mux.path("release");
    // With two calls in flight what is said is of no call.
    let slow = |child: &str, key: &str| {
        let arguments = json!({"until": release, "key": key}).to_string();
        (format!("{child}__slow"), arguments)
    };
    let said = |word: &str| json!({"data": word}).to_string();
    let script = async {
        house.mux.journal("shared").until_keyed("slow", "a").await;
        house.mux.journal("alone").until_keyed("slow", "c").await;
        // Only alice has used either.
        alice.call_with("shared__log", &said("first")).await;
        let heard = next(&mut to_alice, "notifications/message").await;
        assert_eq!(heard["params"]["data"], "first");
        bob.call_with("shared__log", &said("second")).await;
        alice.call_with("shared__log", &said("third")).await;
        alice.call_with("alone__log", &said("last")).await;
        let heard = next(&mut to_alice, "notifications/message").await;
        assert_eq!(
            heard["params"]["data"], "last",
            "of the two before nobody knows"
        );
        fs::write(&release, "").expect("the calls are released");
    };

    let (shared, alone) = (slow("shared", "a"), slow("alone", "c"));
    tokio::join!(
        alice.call_with(&shared.0, &shared.1),
        alice.call_with(&alone.0, &alone.1),
        script
    );

    let dropped = house.mux.metrics().await;
    let dropped = dropped.value("child_messages_dropped_total", &[("child", "shared")]);
    assert_eq!(dropped, Some(2.0));
    let messages = |heard: Vec<Value>| {
        let of = |it: &Value| it["method"] == "notifications/message";
        heard.into_iter().filter(of).collect::<Vec<_>>()
    };
    assert_eq!(messages(rest(&bob, to_bob).await), [Value::Null; 0]);
    assert_eq!(messages(rest(&alice, to_alice).await), [Value::Null; 0]);
}

#[tokio::test]
async fn a_task_of_one_is_unknown_to_another() {
    let made = r#"{"task":{"taskId":"7","status":"working"}}"#;
    let child = || {
        let child = Child::legacy().option("--extension", "vendor/any");
        child.returning(made)
    };
    let fleet = Fleet::new()
        .with(Door::Http, "one", child())
        .with(Door::Stdio, "two", child());
    let house = House::open(fleet).await;
    house.mux.all_ready().await;
    let alice = house.person("alice", Era::Legacy).await;
    let bob = house.person("bob", Era::Legacy).await;
    let nobody = Person::with(&house.mux, None, Era::Legacy).await;
    let begin = async |person: &Person, tool: &str| {
        let params = format!(r#"{{"name":"{tool}","arguments":{{}},"task":{{}}}}"#);
        let answer = person.ask("tools/call", &params).await.answer().await;
        let result: Value = serde_json::from_str(answer.result()).expect("JSON");
        result["task"]["taskId"].as_str().expect("an id").to_owned()
    };
    let ask = async |person: &Person, method: &str, id: &str| {
        let params = json!({"taskId": id}).to_string();
        person.ask(method, &params).await.answer().await
    };
    for child in ["one", "two"] {
        let tool = format!("{child}__raw");
        let (of_alice, of_bob) = (begin(&alice, &tool).await, begin(&bob, &tool).await);
        assert!(of_alice.starts_with(&format!("{child}__7~")), "{of_alice}");
        assert_ne!(of_alice, of_bob);
        let elsewhere = of_alice.replace(child, if child == "one" { "two" } else { "one" });
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let mine = ask(&alice, method, &of_alice).await;
            // This child answers with what it was asked.
            assert!(mine.result().contains(r#""taskId":"7""#), "{}", mine.frame);
            let own = format!("{child}__7");
            for (person, id) in [
                (&bob, &of_alice),
                (&nobody, &of_alice),
                (&nobody, &own),
                (&alice, &own),
                (&alice, &of_bob),
                (&alice, &elsewhere),
            ] {
                let refused = ask(person, method, id).await;
                assert_eq!(refused.error_code(), -32602, "{method} {id}");
            }
        }
    }
    let alone = Person::at(
        &house.mux.at("/mcp/one"),
        alice.token.as_deref(),
        Era::Legacy,
    )
    .await;
    let id = begin(&alone, "raw").await;
    assert!(id.starts_with("7~"), "{id}");
    assert!(
        ask(&alone, "tasks/get", &id)
            .await
            .result()
            .contains("\"7\"")
    );
    assert_eq!(ask(&alone, "tasks/get", "7").await.error_code(), -32602);
}

#[tokio::test]
async fn each_user_is_told_when_what_the_child_lists_to_them_changes() {
    let fleet = Fleet::new();
    let token = fleet.path("any");
    fs::write(&token, "*").expect("the token's file");
    let child = Child::legacy()
        .option("--bearer-file", token.display())
        .key("auth", "passthrough");
    let house = House::open(fleet.http("child", child)).await;
    let (alice, mut to_alice) = house.listener("alice").await;
    let (bob, mut to_bob) = house.listener("bob").await;
    let (before, _) = tokio::join!(alice.tools(), bob.tools());
    assert!(!before.contains(&"child__fresh".to_owned()));

    alice
        .call_with("child__add_tool", r#"{"name":"fresh"}"#)
        .await;

    for (person, events) in [(&alice, &mut to_alice), (&bob, &mut to_bob)] {
        loop {
            next(events, "notifications/tools/list_changed").await;
            if person.tools().await.contains(&"child__fresh".to_owned()) {
                break;
            }
        }
    }
    let answer = bob.call("child__fresh").await;
    assert!(
        answer["result"]["structuredContent"].is_object(),
        "{answer}"
    );
    let status = request(Method::GET, &house.mux.at("/status"), Bytes::new());
    let status = Http::default().send(status).await.text().await;
    assert!(!status.contains("alice"), "{status}");
}
