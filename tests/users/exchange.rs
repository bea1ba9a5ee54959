//! `tokenExchange`: a token for the user, in the child's audience (RFC 8693).

use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer, Key},
    passthrough::{Person, user},
    service::Service,
    support::{Door, Era, Fleet, Multiplexer, Provider, client::call_params, provider::Mood},
};

struct House {
    key: Key,
    issuer: Issuer,
    provider: Provider,
    service: Service,
    mux: Multiplexer,
}

impl House {
    /// A locked door, and a child whose users' tokens are exchanged. The first token that is
    /// given is alice's.
    async fn open(era: Era, exchange: Value, life: u64) -> Self {
        let key = Key::ec("one");
        let issuer = Issuer::with([&key]).await;
        let provider = Provider::with("exchanged-canary", life).await;
        let service = Service::knowing(era, &[("exchanged-canary-1", "alice")]).await;
        let mut auth = json!({"audience": "service"});
        for (name, value) in exchange.as_object().expect("an object") {
            auth[name] = value.clone();
        }
        let fleet = Fleet::new()
            .top(
                "auth",
                json!({"issuer": issuer.name(), "audiences": [AUDIENCE]}),
            )
            .env("OIDC_TOKEN_URL", &provider.token_url())
            .env("OIDC_CLIENT_ID", "mux")
            .env("OIDC_CLIENT_SECRET", "client-canary")
            .env("RUST_LOG", "trace,mcp_multiplexer=trace")
            .entry(
                "service",
                json!({"url": service.url(), "auth": {"tokenExchange": auth}}),
            );
        let mux = fleet.over(Door::Http).await;
        mux.log
            .until("the keys", |line| {
                line.contains("the keys of an issuer are there")
            })
            .await;
        Self {
            key,
            issuer,
            provider,
            service,
            mux,
        }
    }

    fn token(&self, sub: &str) -> String {
        self.issuer.token_with(&self.key, json!({"sub": sub}))
    }

    async fn person(&self, sub: &str) -> Person {
        Person::with(&self.mux, Some(&self.token(sub)), Era::Modern).await
    }

    /// The forms the provider was sent, decoded.
    fn forms(&self) -> Vec<Vec<(String, String)>> {
        let asked = self.provider.asked().into_iter();
        asked
            .map(|asked| {
                let pairs = url::form_urlencoded::parse(asked.body.as_bytes());
                pairs.into_owned().collect()
            })
            .collect()
    }
}

fn value<'a>(form: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = form.iter().filter(|(key, _)| key == name);
    named.map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn the_child_gets_what_the_provider_gives_for_the_users_token() {
    for era in Era::ALL {
        let extra = json!({"scope": "read", "resource": "https://service.example/"});
        let house = House::open(era, extra, 3600).await;
        let alice = house.person("alice").await;

        let calls = (0..10).map(|_| alice.call("service__whoami"));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(user(&answer), "alice", "{answer}");
            let token = &answer["result"]["structuredContent"]["token"];
            assert_eq!(token, "Bearer exchanged-canary-1");
        }

        let forms = house.forms();
        assert_eq!(forms.len(), 1, "one exchange for all: {forms:?}");
        let access_token = "urn:ietf:params:oauth:token-type:access_token";
        for (name, wanted) in [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", alice.token.as_deref().expect("a token")),
            ("subject_token_type", access_token),
            ("requested_token_type", access_token),
            ("audience", "service"),
            ("scope", "read"),
            ("resource", "https://service.example/"),
        ] {
            assert_eq!(value(&forms[0], name), [wanted], "{name}");
        }
        let asked = house.provider.asked().remove(0);
        assert!(asked.authorization.starts_with("Basic "), "as the service");
    }
}

#[tokio::test]
async fn each_user_has_a_token_and_a_connection_of_its_own() {
    let house = House::open(Era::Legacy, json!({}), 3600).await;
    let alice = house.person("alice").await;
    assert_eq!(user(&alice.call("service__whoami").await), "alice");
    house.service.knows("exchanged-canary-2", "bob");
    let bob = house.person("bob").await;

    let calls = (0..10).map(|_| async {
        let (a, b) = tokio::join!(alice.call("service__whoami"), bob.call("service__whoami"));
        (user(&a).clone(), user(&b).clone())
    });
    for (a, b) in futures::future::join_all(calls).await {
        assert_eq!((a, b), ("alice".into(), "bob".into()));
    }

    assert_eq!(house.forms().len(), 2);
    assert_eq!(bob.tools().await[2], "service__of_bob");
    assert_eq!(alice.tools().await[2], "service__of_alice");
    assert_eq!(house.mux.child("service").await["dedicatedSessions"], 2);
}

#[tokio::test]
async fn a_token_that_the_child_refuses_is_exchanged_again_once() {
    for era in Era::ALL {
        let house = House::open(era, json!({}), 3600).await;
        let alice = house.person("alice").await;
        assert_eq!(user(&alice.call("service__whoami").await), "alice");

        house.service.forgets("exchanged-canary-1");
        house.service.knows("exchanged-canary-2", "alice");

        let answer = alice.call("service__whoami").await;
        assert_eq!(user(&answer), "alice", "{answer}");
        assert_eq!(house.forms().len(), 2);

        house.service.forgets("exchanged-canary-2");
        let reply = alice
            .ask("tools/call", &call_params("service__whoami", "{}"))
            .await;
        assert_eq!(
            reply.status, 200,
            "no matter between the client and the child"
        );
        let answer = reply.answer().await;
        assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
        let exchanges = house.forms().len();
        assert!((2..=3).contains(&exchanges), "one in 5 s: {exchanges}");
    }
}

#[tokio::test]
async fn an_exchange_that_fails_is_told_in_a_sentence() {
    let house = House::open(Era::Legacy, json!({}), 3600).await;
    house.provider.be(Mood::Indiscreet);
    let alice = house.person("alice").await;

    let answer = alice.call("service__whoami").await;

    let told = answer["result"]["content"][0]["text"].as_str();
    let told = told.unwrap_or_else(|| panic!("{answer}"));
    assert!(told.contains("gave no token in exchange"), "{told}");
    let kind = &answer["result"]["_meta"]["io.mcp-multiplexer/failure"]["kind"];
    assert_eq!(kind, "unauthorized");
    assert_eq!(house.service.seen().len(), 0, "it was never asked");
}

#[tokio::test]
async fn a_token_is_used_no_longer_than_it_is_good() {
    let house = House::open(Era::Modern, json!({}), 1).await;
    for n in 2..100 {
        house
            .service
            .knows(&format!("exchanged-canary-{n}"), "alice");
    }
    let alice = house.person("alice").await;
    crate::support::eventually("a second exchange", async || {
        assert_eq!(user(&alice.call("service__whoami").await), "alice");
        (house.forms().len() >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_lock_there_is_nobody_to_exchange_for() {
    let entry =
        json!({"url": "http://127.0.0.1:1/mcp", "auth": {"tokenExchange": {"audience": "x"}}});
    let fleet = Fleet::new()
        .entry("service", entry)
        .env("OIDC_TOKEN_URL", "http://127.0.0.1:1/token")
        .env("OIDC_CLIENT_ID", "mux")
        .env("OIDC_CLIENT_SECRET", "x");
    let mux = fleet.over(Door::Http).await;
    let child = mux.child("service").await;
    assert_eq!(child["state"], "disabled");
    let reason = child["reason"].as_str().expect("a reason");
    assert!(reason.contains("needs a locked door"), "{reason}");
}

#[tokio::test]
async fn neither_token_of_a_user_is_shown() {
    let mut house = House::open(Era::Legacy, json!({}), 3600).await;
    let mut said = String::new();
    for (sub, mood) in [("alice", Mood::Generous), ("bob", Mood::Indiscreet)] {
        house.provider.be(mood);
        let person = house.person(sub).await;
        let call = call_params("service__refused", "{}");
        said += &person.ask("tools/call", &call).await.answer().await.frame;
        let token = person.token.expect("a token");
        let (_, signature) = token.rsplit_once('.').expect("a JWT");
        house
            .mux
            .log
            .until("a call", |line| line.contains("outcome"))
            .await;
        assert!(!house.mux.log.text().contains(signature));
    }
    said += &house.mux.metrics().await.0;
    house.mux.terminate();
    assert!(house.mux.ended().await.success());
    said += &house.mux.log.text();
    let at = said
        .find("canary")
        .map(|at| &said[at.saturating_sub(300)..at + 10]);
    assert_eq!(at, None);
}
