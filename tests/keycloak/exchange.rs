//! Tokens of users, exchanged by Keycloak for others in a child's audience.

use serde_json::json;

use super::{
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::{
    peers::{Server, jwt_server},
    support::{
        Answer, Door, Fleet, Multiplexer,
        client::{call_params, modern_post, with_modern_meta},
        http::{Http, With as _},
    },
};

/// The child's audience, and the scope that it is had with.
const BILLING: &str = "billing";
const PASSWORD: &str = "a-password-of-a-user";

struct House {
    realm: Realm,
    _child: Server,
    mux: Multiplexer,
}

impl House {
    /// A locked door, and a child that takes tokens in its own audience only.
    async fn open(scope: &str) -> Self {
        let realm = Realm::with_life(Keycloak::shared().await, 300).await;
        realm.works_for_users().await;
        realm.add_audience(BILLING).await;
        let verifier = json!({
            "jwks_uri": realm.keys_url(), "issuer": realm.issuer(), "audience": BILLING,
        });
        let child = Server::start(&mut jwt_server(&verifier)).await;
        let auth = json!({"tokenExchange": {"audience": BILLING, "scope": scope}});
        let fleet = Fleet::new()
            .top(
                "auth",
                json!({"issuer": realm.issuer(), "audiences": ["agent-services"]}),
            )
            .env("OIDC_ISSUER", &realm.issuer())
            .env("OIDC_CLIENT_ID", CLIENT)
            .env("OIDC_CLIENT_SECRET", SECRET)
            .entry("billing", json!({"url": child.mcp(), "auth": auth}))
            .entry(
                "as-it-is",
                json!({"url": child.mcp(), "auth": "passthrough", "prefix": "as_it_is"}),
            )
            .flags(&["--log-level", "debug"]);
        let mux = fleet.over(Door::Http).await;
        mux.log
            .until("the keys", |line| {
                line.contains("the keys of an issuer are there")
            })
            .await;
        Self {
            realm,
            _child: child,
            mux,
        }
    }

    /// A token of this user's, for the door.
    async fn token(&self, user: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("client_secret", SECRET),
            ("username", user),
            ("password", PASSWORD),
        ];
        self.realm.mint(&form).await.expect("a token")
    }

    async fn whoami(&self, token: &str, child: &str) -> Answer {
        let params = call_params(&format!("{child}__whoami"), "{}");
        let params = with_modern_meta(&params);
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let request = modern_post(&self.mux.url(), frame);
        let request = request.with("authorization", &format!("Bearer {token}"));
        Http::default().send(request).await.answer().await
    }
}

#[tokio::test]
async fn each_users_token_is_exchanged_for_one_that_the_child_takes() {
    let house = House::open(BILLING).await;
    let (its_alice, its_bob) = (
        house.realm.add_user("alice", PASSWORD).await,
        house.realm.add_user("bob", PASSWORD).await,
    );
    let (alice, bob) = (house.token("alice").await, house.token("bob").await);

    for _ in 0..3 {
        for (token, user) in [(&alice, &its_alice), (&bob, &its_bob)] {
            let answer = house.whoami(token, "billing").await;
            let told = answer.content();
            assert_eq!(
                (&told["sub"], &told["aud"]),
                (&json!(user), &json!(BILLING))
            );
            assert_eq!(told["azp"], CLIENT);
        }
    }

    let exchanges = [("identity", "billing"), ("outcome", "ok")];
    let metrics = house.mux.metrics().await;
    assert_eq!(metrics.value("token_mints_total", &exchanges), Some(2.0));
    let child = house.mux.child("billing").await;
    assert_eq!(child["dedicatedSessions"], 2);
    let as_it_is = house.whoami(&alice, "as_it_is").await;
    assert_eq!(
        as_it_is.failure_kind(),
        "unauthorized",
        "its own is not for the child"
    );
}

#[tokio::test]
async fn what_keycloak_refuses_to_exchange_is_told() {
    let house = House::open("").await;
    house.realm.add_user("alice", PASSWORD).await;
    let alice = house.token("alice").await;

    let answer = house.whoami(&alice, "billing").await;

    assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
    assert!(answer.content_text().contains("gave no token in exchange"));
    house
        .mux
        .log
        .until("its reason", |line| {
            line.contains("token not exchanged") && line.contains("audience")
        })
        .await;
}
