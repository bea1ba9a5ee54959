//! A locked door, and people who come in by it.

use ::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer, Key},
    passthrough::Person,
    support::{
        Door, Era, Fleet, Multiplexer,
        http::{Events, Http, request},
    },
};

/// A multiplexer that knows its callers.
pub struct House {
    key: Key,
    issuer: Issuer,
    pub mux: Multiplexer,
}

impl House {
    /// Opens it; callers who show nothing come in, too.
    pub async fn open(fleet: Fleet) -> Self {
        Self::open_with(fleet, json!({})).await
    }

    /// The same, with more about its door.
    pub async fn open_with(fleet: Fleet, more: Value) -> Self {
        let key = Key::ec("one");
        let issuer = Issuer::with([&key]).await;
        let mut auth = json!({
            "issuer": issuer.name(), "audiences": [AUDIENCE], "mode": "optional",
        });
        for (name, value) in more.as_object().expect("keys") {
            auth[name] = value.clone();
        }
        let fleet = fleet.top("auth", auth).flags(&["--log-level", "debug"]);
        let mux = fleet.over(Door::Http).await;
        mux.log
            .until("the keys", |line| {
                line.contains("the keys of an issuer are there")
            })
            .await;
        Self { key, issuer, mux }
    }

    /// Another token of this somebody's.
    pub fn token(&self, sub: &str, number: u32) -> String {
        self.issuer
            .token_with(&self.key, json!({"sub": sub, "jti": number.to_string()}))
    }

    /// Somebody.
    pub async fn person(&self, sub: &str, era: Era) -> Person {
        Person::with(&self.mux, Some(&self.token(sub, 1)), era).await
    }

    /// Somebody in a session who hears all that is said outside of requests.
    pub async fn listener(&self, sub: &str) -> (Person, Events) {
        let person = self.person(sub, Era::Legacy).await;
        person.ask("logging/setLevel", r#"{"level":"debug"}"#).await;
        let events = person.listen().await.events();
        (person, events)
    }
}

/// Ends somebody's session, and gives what it has heard and not read.
pub async fn rest(person: &Person, mut events: Events) -> Vec<Value> {
    let end = request(Method::DELETE, &person.url, Bytes::new());
    assert_eq!(Http::default().send(person.dressed(end)).await.status, 204);
    let mut heard = Vec::new();
    while let Some(event) = events.next().await {
        heard.push(serde_json::from_str(&event).expect("JSON"));
    }
    heard
}

/// The next message of this method.
pub async fn next(events: &mut Events, method: &str) -> Value {
    loop {
        let event = events.next().await.expect("the stream stays open");
        let event: Value = serde_json::from_str(&event).expect("JSON");
        if event["method"] == method {
            return event;
        }
    }
}
