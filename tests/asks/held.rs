//! A call that waits for its modern client to come back.

use serde_json::{Value, json};

use crate::{
    asking, form,
    issuer::{AUDIENCE, Issuer, Key},
    one,
    support::{
        Door, Era, Multiplexer,
        wire::{member, method},
    },
    talker::{ACCEPTED, ALL, Call, Talker, Unfinished, error, structured},
    until_quiet, until_told,
};

/// A call that is held, with what its client was told.
async fn held(client: &mut Talker, arguments: &str) -> Unfinished {
    let mut call = client.call("child__ask", arguments).await;
    let answer = client.answered(&mut call).await;
    Unfinished::read(&answer).unwrap_or_else(|| panic!("not held: {answer}"))
}

async fn retried(client: &mut Talker, arguments: &str, members: &str) -> String {
    let mut call: Call = client.call_with("child__ask", arguments, members).await;
    client.answered(&mut call).await
}

async fn settled(mux: &Multiplexer, outcome: &str) -> f64 {
    let labels = [("method", "tools/call"), ("outcome", outcome)];
    mux.metrics().await.sum("requests_total", &labels)
}

#[tokio::test]
async fn a_held_call_is_resumed_once() {
    for door in Door::ALL {
        let mut mux = one(door, asking(Era::Legacy)).await;
        let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
        let arguments = form("k", "");
        let unfinished = held(&mut client, &arguments).await;
        assert_eq!(mux.child("child").await["inFlight"], 1);
        let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));

        let first = retried(&mut client, &arguments, &members).await;
        let second = retried(&mut client, &arguments, &members).await;

        assert_eq!(
            member(structured(&first), "answers"),
            Some(&*format!("[{ACCEPTED}]"))
        );
        let (code, sentence) = error(&second);
        assert_eq!(code, -32602);
        assert!(sentence.contains("no longer held"), "{sentence}");
        until_quiet(&mux).await;
        assert_eq!(settled(&mux, "ok").await, 1.0);
        assert_eq!(mux.journal("child").calls("ask"), 1);
    }
}

#[tokio::test]
async fn where_all_places_are_taken_who_has_the_most_gives_one_up() {
    const PLACES: usize = 1000;
    let child = asking(Era::Legacy).key("maxConcurrency", 2 * PLACES);
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let auth = json!({"issuer": issuer.name(), "audiences": [AUDIENCE], "mode": "optional"});
    let fleet = crate::Fleet::new().with(Door::Http, "child", child);
    let mut mux = fleet.top("auth", auth).over(Door::Http).await;
    mux.until_ready("child").await;
    let mut greedy = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let other = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let mut other = other.bearing(&issuer.token(&key));
    let arguments = form("k", "");
    let mut taken = Vec::new();
    while taken.len() < PLACES {
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(greedy.call("child__ask", &arguments).await);
        }
        for call in &mut calls {
            let answer = greedy.answered(call).await;
            let unfinished = Unfinished::read(&answer);
            taken.push(unfinished.unwrap_or_else(|| panic!("not held: {answer}")));
        }
    }
    let refused = greedy.call("child__ask", &arguments).await;
    let refused = greedy.answered(&mut { refused }).await;
    assert!(refused.contains("too many requests"), "{refused}");

    let unfinished = held(&mut other, &arguments).await;

    let mut given_up = 0;
    for call in taken.iter().take(50).chain(taken.last()) {
        let members = call.retry(|_| Some(ACCEPTED.to_owned()));
        let answer = retried(&mut greedy, &arguments, &members).await;
        given_up += usize::from(answer.contains("no longer held"));
    }
    assert_eq!(given_up, 1, "one of the first");
    let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
    let answer = retried(&mut other, &arguments, &members).await;
    assert!(answer.contains("Ann"), "{answer}");
}

#[tokio::test]
async fn what_is_not_answered_is_asked_again() {
    let mut mux = one(Door::Http, asking(Era::Legacy)).await;
    let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let arguments = form("k", r#","more":1"#);
    let mut unfinished = held(&mut client, &arguments).await;
    // What is asked in one breath is mostly heard in one, and what comes later is there
    // when it is asked again.
    for _ in 0..100 {
        if unfinished.keys().len() == 2 {
            break;
        }
        let members = unfinished.retry(|_| None);
        let again = retried(&mut client, &arguments, &members).await;
        unfinished = Unfinished::read(&again).expect("asked again");
    }
    let keys = unfinished.keys();
    assert_eq!(keys.len(), 2);

    let members = unfinished.retry(|key| (key == keys[0]).then(|| r#"{"first":1}"#.to_owned()));
    let again = retried(&mut client, &arguments, &members).await;
    let unfinished = Unfinished::read(&again).expect("asked again");
    assert_eq!(unfinished.keys(), [keys[1].clone()]);

    let members = unfinished.retry(|_| Some(r#""of no shape""#.to_owned()));
    let answer = retried(&mut client, &arguments, &members).await;
    assert_eq!(
        member(structured(&answer), "answers"),
        Some(r#"[{"first":1},"of no shape"]"#),
        "as the client gave it"
    );
    assert_eq!(settled(&mux, "ok").await, 1.0);
}

#[tokio::test]
async fn a_state_that_was_altered_or_is_anothers_resumes_nothing() {
    let mut mux = one(Door::Stdio, asking(Era::Legacy)).await;
    let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let arguments = form("k", "");
    let unfinished = held(&mut client, &arguments).await;
    let answers = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
    let state = unfinished.state().trim_matches('"');
    let middle = state.len() / 2;
    let other = if state.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    let bent = format!("{}{other}{}", &state[..middle], &state[middle + 1..]);

    for (members, expected) in [
        (answers.replace(state, &bent), "was not given here"),
        (answers.replace(state, ""), "was not given here"),
        (r#","inputResponses":{}"#.to_owned(), "was not given here"),
        (
            answers.replace(r#""inputResponses":{"#, r#""inputResponses":7,"x":{"#),
            "must be an object",
        ),
    ] {
        let refused = retried(&mut client, &arguments, &members).await;
        let (code, sentence) = error(&refused);
        assert_eq!(code, -32602, "{members}");
        assert!(sentence.contains(expected), "{sentence}");
    }
    let mut call = client.call_with("child__echo", "{}", &answers).await;
    let (code, sentence) = error(&client.answered(&mut call).await);
    assert_eq!(code, -32602);
    assert!(sentence.contains("another request"), "{sentence}");
    assert_eq!(
        mux.journal("child").calls("ask"),
        1,
        "nothing is done twice"
    );

    let answer = retried(&mut client, &arguments, &answers).await;
    assert!(answer.contains("Ann"), "it is there all the same: {answer}");
}

/// One of several, whose key is this letter, often enough.
async fn replica(key: Option<&str>) -> Multiplexer {
    let mut fleet = crate::Fleet::new().stdio("child", asking(Era::Legacy));
    if let Some(letter) = key {
        fleet = fleet.env("MCP_SESSION_KEY", &letter.repeat(40));
    }
    let mux = fleet.over(Door::Http).await;
    mux.until_ready("child").await;
    mux
}

#[tokio::test]
async fn a_call_held_elsewhere_is_not_resumed_here() {
    for (keys, expected) in [
        ([None, None], "was not given here"),
        ([Some("a"), Some("b")], "was not given here"),
        ([Some("a"), Some("a")], "another replica"),
    ] {
        let [mut mux, mut other] = [replica(keys[0]).await, replica(keys[1]).await];
        let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
        let mut elsewhere = Talker::over_http(&mut other, Era::Modern, ALL).await;
        let arguments = form("k", "");
        let unfinished = held(&mut client, &arguments).await;
        let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
        let (code, sentence) = error(&retried(&mut elsewhere, &arguments, &members).await);
        assert_eq!(code, -32602);
        assert!(sentence.contains(expected), "{keys:?}: {sentence}");
        assert_eq!(other.journal("child").calls("ask"), 0);
        let answer = retried(&mut client, &arguments, &members).await;
        assert!(answer.contains("Ann"), "it is where it was: {answer}");
    }
}

#[tokio::test]
async fn a_child_that_dies_while_its_call_is_held_fails_it() {
    let mut mux = one(Door::Stdio, asking(Era::Legacy)).await;
    let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let arguments = form("k", "");
    let unfinished = held(&mut client, &arguments).await;
    let mut exit = client.call("child__exit", "{}").await;
    client.answered(&mut exit).await;

    let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
    let answer = retried(&mut client, &arguments, &members).await;

    let result: Value = serde_json::from_str(&answer).expect("JSON");
    let failure = &result["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(failure["kind"], "transport", "{answer}");
    mux.until_ready("child").await;
    until_quiet(&mux).await;
    assert_eq!(settled(&mux, "transport").await, 2.0);
}

#[tokio::test]
async fn a_client_that_never_comes_back_is_waited_for_until_the_deadline() {
    for door in Door::ALL {
        let child = asking(Era::Legacy)
            .key("callTimeout", 0)
            .key("maxCallTimeout", "6s");
        let mut mux = one(door, child).await;
        let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
        let unfinished = held(&mut client, &form("k", "")).await;

        until_told(&mux).await;
        until_quiet(&mux).await;
        mux.until_metrics("the call is settled", |metrics| {
            let labels = [("method", "tools/call"), ("outcome", "cancelled")];
            metrics.sum("requests_total", &labels) == 1.0
        })
        .await;
        let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
        let (code, sentence) = error(&retried(&mut client, &form("k", ""), &members).await);
        assert_eq!(code, -32602);
        assert!(sentence.contains("no longer held"), "{sentence}");
    }
}

/// What it says while it waits is no reason to go on waiting for more questions.
#[tokio::test]
async fn a_child_that_never_stops_talking_is_held_all_the_same() {
    for door in Door::ALL {
        let mut mux = one(door, asking(Era::Legacy)).await;
        let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
        let arguments = form("k", r#","chatter":true"#);
        let unfinished = held(&mut client, &arguments).await;
        let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
        let answer = retried(&mut client, &arguments, &members).await;
        assert!(answer.contains("Ann"), "{answer}");
    }
}

#[tokio::test]
async fn of_what_a_child_says_while_its_client_is_away_only_so_much_is_kept() {
    let mut mux = one(Door::Http, asking(Era::Legacy)).await;
    let mut client = Talker::over_http(&mut mux, Era::Modern, ALL).await;
    let file = mux.path("withdraw");
    let more = format!(r#","notes":30,"withdraw":{}"#, serde_json::json!(file));
    let arguments = form("k", &more);
    let unfinished = held(&mut client, &arguments).await;
    std::fs::write(&file, "").expect("a file");
    // All has been heard by then.
    until_quiet(&mux).await;

    let members = unfinished.retry(|_| Some(ACCEPTED.to_owned()));
    let mut call = client.call_with("child__ask", &arguments, &members).await;
    let mut notes = 0;
    let answer = loop {
        let frame = client.next(&mut call).await;
        match method(&frame).as_deref() {
            Some("notifications/vendor/note") => notes += 1,
            None => break frame,
            Some(_) => {}
        }
    };
    assert_eq!(notes, 10, "of 100 kB each");
    assert!(answer.contains("withdrawn"), "{answer}");
}

#[tokio::test]
async fn a_stdio_client_that_leaves_takes_its_held_calls_along() {
    let fleet = crate::Fleet::new().stdio("child", asking(Era::Legacy));
    let mut mux = fleet.over(Door::Stdio).await;
    mux.until_ready("child").await;
    let mut client = Talker::new(&mut mux, Door::Stdio, Era::Modern, ALL).await;
    held(&mut client, &form("k", "")).await;
    drop(client);
    assert!(mux.ended().await.success());
}
