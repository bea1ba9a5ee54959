//! Policies about what a real Keycloak says of a caller.

use std::fs;

use serde_json::json;

use super::{
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::support::{
    Child, Door, Fleet,
    client::{modern_post, with_modern_meta},
    http::{Http, With as _},
};

#[tokio::test]
async fn a_service_account_is_its_client_and_has_the_roles_of_its_realm() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    realm.tell_roles().await;
    let (issuer, name) = (realm.issuer(), realm.name());
    let policies = format!(
        r#"permit(principal == Client::"{issuer}|{CLIENT}", action, resource == Tool::"one/first");
        permit(principal, action, resource == Tool::"one/second")
            when {{ principal.roles.contains("default-roles-{name}") }};
        permit(principal is User, action, resource);"#
    );
    let child = Child::legacy()
        .bare()
        .named("first")
        .named("second")
        .named("third");
    let fleet = Fleet::new().stdio("one", child);
    let path = fleet.path("policies.cedar");
    fs::write(&path, policies).expect("the policies can be written");
    let auth = json!({"issuer": issuer, "audiences": ["agent-services"], "policy": path});
    let mux = fleet.top("auth", auth).over(Door::Http).await;
    mux.log
        .until("the keys", |line| {
            line.contains("the keys of an issuer are there")
        })
        .await;
    mux.all_ready().await;

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ];
    let token = realm.mint(&form).await.expect("a token");
    let frame = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}}"#,
        with_modern_meta("{}")
    );
    let request = modern_post(&mux.url(), frame).with("authorization", &format!("Bearer {token}"));
    let listed = Http::default().send(request).await.json().await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, [Some("one__first"), Some("one__second")], "{listed}");
}
