//! What is a user's own stands in all that this user is told, and in nothing of another's.

use serde_json::{Value, json};

use crate::{
    house::House,
    passthrough::{Person, entry},
    service::Service,
    support::{Door, Era, Fleet, client::LEGACY_VERSION},
};

/// What a client is told when it comes.
async fn introduction(person: &Person, era: Era) -> Value {
    let reply = match era {
        Era::Legacy => {
            let params = format!(
                r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}"#
            );
            person.ask("initialize", &params).await
        }
        Era::Modern => person.ask("server/discover", "{}").await,
    };
    let answer = reply.answer().await;
    serde_json::from_str(answer.result()).expect("JSON")
}

#[tokio::test]
async fn a_user_is_told_how_to_use_what_was_listed_to_it_and_nobody_else_is() {
    for era in Era::ALL {
        let users = [("alice-canary", "alice"), ("bob-canary", "bob")];
        let service = Service::knowing(era, &users).await;
        let mux = Fleet::new().entry("service", entry(&service));
        let mux = mux.over(Door::Http).await;
        let view = mux.at("/mcp/service");
        for client in Era::ALL {
            let alice = Person::with(&mux, Some("alice-canary"), client).await;
            let bob = Person::with(&mux, Some("bob-canary"), client).await;
            let before = introduction(&bob, client).await;
            assert!(!before.to_string().contains("Greet"), "nobody was asked");
            alice.tools().await;

            let told = introduction(&alice, client).await;
            let to_bob = introduction(&bob, client).await;
            let alone = Person::at(&view, Some("alice-canary"), client).await;
            let alone = introduction(&alone, client).await;

            let said = told["instructions"].as_str().unwrap_or_default();
            assert!(said.contains("Greet alice."), "{era:?} {client:?} {told}");
            assert!(!to_bob.to_string().contains("alice"), "{to_bob}");
            assert_eq!(alone["instructions"], "Greet alice.", "{alone}");
        }
    }
}

#[tokio::test]
async fn a_user_finds_what_is_listed_to_it_and_nobody_else_does() {
    for era in Era::ALL {
        let users = [("alice-canary", "alice"), ("bob-canary", "bob")];
        let service = Service::knowing(era, &users).await;
        let fleet = Fleet::new().entry("service", entry(&service));
        let mux = fleet.top("mode", "dynamic").over(Door::Http).await;
        let alice = Person::with(&mux, Some("alice-canary"), Era::Modern).await;
        let bob = Person::with(&mux, Some("bob-canary"), Era::Modern).await;
        let nobody = Person::with(&mux, None, Era::Modern).await;
        let found = async |person: &Person| {
            let query = json!({"query": "of alice or of bob"}).to_string();
            let found = person.call_with("find_tools", &query).await;
            let tools = found["result"]["structuredContent"]["tools"].clone();
            let tools = tools.as_array().expect("a list").clone();
            let names = tools.iter().map(|tool| tool["name"].clone());
            let named = |name: &Value| name.to_string().contains("__of_");
            names.filter(named).collect::<Vec<Value>>()
        };

        // The first thing that they do.
        let (to_alice, to_bob) = tokio::join!(found(&alice), found(&bob));

        assert_eq!(to_alice, ["service__of_alice"], "{era:?}");
        assert_eq!(to_bob, ["service__of_bob"], "{era:?}");
        assert_eq!(found(&nobody).await, [Value::Null; 0]);
        let load = json!({"names": ["service__of_bob"]}).to_string();
        let refused = alice.call_with("load_tools", &load).await;
        assert_eq!(refused["result"]["isError"], true, "{refused}");
    }
}

#[tokio::test]
async fn what_policies_permit_by_name_alone_is_listed_before_any_call() {
    let service = Service::knowing(Era::Modern, &[]).await;
    let fleet = Fleet::new();
    let policies = fleet.path("policies.cedar");
    let permits = r#"
        permit(principal, action == Action::"call", resource == Tool::"named/of_alice");
        permit(principal, action == Action::"call", resource is Tool)
        when { resource.child == "named" && resource.name like "who*" };
        permit(principal, action, resource == Tool::"forbidden/whoami");
        forbid(principal, action, resource in Child::"forbidden");
    "#;
    std::fs::write(&policies, permits).expect("a file");
    let fleet = ["named", "forbidden", "other"]
        .into_iter()
        .fold(fleet, |fleet, name| fleet.entry(name, entry(&service)));
    let house = House::open_with(fleet, json!({"policy": policies})).await;
    let alice = house.token("alice", 1);
    service.knows(&alice, "alice");
    let token = Some(alice.as_str());

    for client in Era::ALL {
        let all = Person::with(&house.mux, token, client).await;
        assert_eq!(all.tools().await, ["named__whoami", "named__of_alice"]);
        let alone = Person::at(&house.mux.at("/mcp/named"), token, client).await;
        assert_eq!(alone.tools().await, ["whoami", "of_alice"], "{client:?}");
    }

    // Her token has gone nowhere else.
    let handshakes = service.tokens("server/discover");
    assert_eq!(handshakes, [format!("Bearer {alice}")]);
}
