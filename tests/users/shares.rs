//! How many connections of their own there are, and whose.

use serde_json::json;

use crate::{
    house::House,
    passthrough::{Person, user},
    service::Service,
    support::{Child, Door, Era, Fleet},
};

#[tokio::test]
async fn one_user_leaves_room_for_others_and_gives_up_what_is_more_than_its_share() {
    let child = Child::legacy()
        .key("session", "dedicated")
        .key("maxSessions", 4);
    let house = House::open(Fleet::new().stdio("child", child)).await;
    house.mux.all_ready().await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let person = house.person("greedy", Era::Legacy).await;
        let answer = person.call("child__identity").await;
        assert!(
            answer["result"]["structuredContent"].is_object(),
            "{answer}"
        );
        greedy.push(person);
    }
    let fourth = house.person("greedy", Era::Legacy).await;
    let refused = fourth.call("child__identity").await;
    let failure = &refused["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(failure["kind"], "busy", "{refused}");
    assert!(
        refused.to_string().contains("this user has 3 already"),
        "{refused}"
    );

    for sub in ["second", "third"] {
        let person = house.person(sub, Era::Legacy).await;
        let answer = person.call("child__identity").await;
        assert!(
            answer["result"]["structuredContent"].is_object(),
            "{answer}"
        );
    }

    let four = |child: &serde_json::Value| child["dedicatedSessions"] == 4;
    house.mux.until_child("child", "has four", four).await;
    // Three for three: nobody has more than another.
    let third = house.person("fourth", Era::Legacy).await;
    let answer = third.call("child__identity").await;
    assert!(
        !answer.to_string().contains("\"busy\""),
        "two are more than none and one: {answer}"
    );
    let fifth = house.person("fifth", Era::Legacy).await;
    let answer = fifth.call("child__identity").await;
    assert!(answer.to_string().contains("\"busy\""), "{answer}");
    drop(greedy);
}

#[tokio::test]
async fn a_user_whose_connection_is_not_needed_makes_room_for_the_next() {
    let users: Vec<(String, String)> = (0..6)
        .map(|n| (format!("token-{n}"), format!("user{n}")))
        .collect();
    let known: Vec<(&str, &str)> = users
        .iter()
        .map(|(t, u)| (t.as_str(), u.as_str()))
        .collect();
    let service = Service::knowing(Era::Legacy, &known).await;
    let entry = json!({"url": service.url(), "auth": "passthrough", "maxSessions": 2});
    let mux = Fleet::new().entry("service", entry).over(Door::Http).await;
    for round in 0..2 {
        for (token, name) in &known {
            let person = Person::with(&mux, Some(token), Era::Modern).await;
            let answer = person.call("service__whoami").await;
            assert_eq!(user(&answer), *name, "{round}: {answer}");
            let open = mux.child("service").await["dedicatedSessions"].as_u64();
            assert!(open.is_some_and(|open| open <= 2), "{open:?}");
        }
    }
}
