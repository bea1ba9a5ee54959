//! What a child offers beyond tools: prompts, resources, templates and completions of
//! a real server, listed and used through the multiplexer as they are without it.

mod peers;
mod support;

use peers::{Peers, server_everything};
use serde_json::{Value, json};
use support::{Answer, Client, Door, Era, Fleet, Multiplexer};

/// The server twice, so that every URI has two owners.
async fn two() -> (Multiplexer, Peers) {
    let peers = Peers::start().await;
    let fleet = peers.fleet();
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    (mux, peers)
}

async fn listed(client: &mut Client, method: &str, key: &str) -> Vec<Value> {
    let answer = client.request(method, "{}").await;
    let result: Value = serde_json::from_str(answer.result()).expect("JSON");
    result[key].as_array().expect("a list").clone()
}

fn named<'a>(entries: &'a [Value], key: &str, name: &str) -> &'a Value {
    let found = entries.iter().find(|entry| entry[key] == name);
    found.unwrap_or_else(|| panic!("no {name} in {entries:?}"))
}

fn result(answer: &Answer) -> Value {
    serde_json::from_str(answer.result()).expect("JSON")
}

/// What the server says to a client of its own.
async fn directly() -> (Multiplexer, Client) {
    let server = server_everything();
    let fleet = Fleet::new().entry(
        "direct",
        json!({"command": "node", "args": [server, "stdio"], "prefix": ""}),
    );
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let client = mux.client(Era::Legacy).await;
    (mux, client)
}

#[tokio::test]
async fn prompts_are_listed_under_their_prefix_and_got_by_it() {
    let (mut mux, _peers) = two().await;
    let (_direct, mut own) = directly().await;
    let params = |name: &str| format!(r#"{{"name":"{name}","arguments":{{"city":"Ulm"}}}}"#);
    let expected = result(&own.request("prompts/get", &params("args-prompt")).await);
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let prompts = listed(&mut client, "prompts/list", "prompts").await;
        for prefix in ["everything", "remote"] {
            let name = format!("{prefix}__args-prompt");
            let arguments = &named(&prompts, "name", &name)["arguments"];
            assert!(arguments.as_array().is_some_and(|it| !it.is_empty()));

            let got = client.request("prompts/get", &params(&name)).await;

            let mut got = result(&got);
            if let Some(kind) = got.as_object_mut().and_then(|it| it.remove("resultType")) {
                assert_eq!((kind, era), (json!("complete"), Era::Modern));
            }
            assert_eq!(got, expected, "{name}");
        }
        let unknown = client
            .request("prompts/get", &params("everything__args-promt"))
            .await;
        assert_eq!(unknown.error_code(), -32602);
        assert!(
            unknown.frame.contains("everything__args-prompt"),
            "{}",
            unknown.frame
        );
    }
}

#[tokio::test]
async fn a_resource_keeps_its_uri_and_the_second_owners_is_read_by_an_alias() {
    let (mut mux, _peers) = two().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let resources = listed(&mut client, "resources/list", "resources").await;
        let uris: Vec<_> = resources
            .iter()
            .filter_map(|it| it["uri"].as_str())
            .collect();
        let plain = uris.iter().find(|uri| !uri.starts_with("mux+"));
        let plain = *plain.expect("a resource under its own URI");
        let alias = format!("mux+remote://{plain}");
        assert!(uris.contains(&alias.as_str()), "{uris:?}");

        for uri in [plain, &alias] {
            let read = client
                .request("resources/read", &json!({"uri": uri}).to_string())
                .await;
            let read = result(&read);
            assert_eq!(read["contents"][0]["uri"], plain, "as the child says it");
            let modern = era == Era::Modern;
            assert_eq!(read["ttlMs"].is_number(), modern, "{read}");
            assert_eq!(read["cacheScope"].is_string(), modern, "{read}");
        }
        let unknown = client
            .request("resources/read", r#"{"uri":"nobody://has/it"}"#)
            .await;
        let code = if era == Era::Modern { -32602 } else { -32002 };
        assert_eq!(unknown.error_code(), code, "{}", unknown.frame);
    }
}

#[tokio::test]
async fn what_a_template_stands_for_is_read_from_its_owner() {
    let (mut mux, _peers) = two().await;
    let mut client = mux.client(Era::Modern).await;
    let method = "resources/templates/list";
    let templates = listed(&mut client, method, "resourceTemplates").await;
    let text = "demo://resource/dynamic/text/{resourceId}";
    named(&templates, "uriTemplate", text);
    named(&templates, "uriTemplate", &format!("mux+remote://{text}"));

    for prefix in ["", "mux+remote://"] {
        let uri = format!("{prefix}demo://resource/dynamic/text/7");
        let read = client
            .request("resources/read", &json!({"uri": uri}).to_string())
            .await;
        let contents = &result(&read)["contents"][0];
        assert_eq!(contents["uri"], "demo://resource/dynamic/text/7");
    }
}

#[tokio::test]
async fn arguments_are_completed_by_the_child_whose_prompt_or_template_it_is() {
    let (mut mux, _peers) = two().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        for reference in [
            json!({"type": "ref/prompt", "name": "remote__completable-prompt"}),
            json!({"type": "ref/prompt", "name": "everything__completable-prompt"}),
        ] {
            let params = json!({
                "ref": reference,
                "argument": {"name": "department", "value": "E"},
            });
            let answer = client
                .request("completion/complete", &params.to_string())
                .await;
            let values = result(&answer)["completion"]["values"].clone();
            assert_eq!(values, json!(["Engineering"]), "{}", answer.frame);
        }
        let nobody = r#"{"ref":{"type":"ref/tool","name":"x"},"argument":{"name":"a","value":""}}"#;
        let answer = client.request("completion/complete", nobody).await;
        assert_eq!(answer.error_code(), -32602);
    }
}

/// A legacy handshake cannot be amended, so it promises all that can be carried; a
/// modern client is told what there is.
#[tokio::test]
async fn what_is_advertised_is_what_there_is() {
    let (mut mux, _peers) = two().await;
    let mut client = mux.client(Era::Modern).await;
    let discovered = result(&client.request("server/discover", "{}").await);
    for capability in ["tools", "prompts", "resources", "completions"] {
        assert!(
            discovered["capabilities"][capability].is_object(),
            "{discovered:#}"
        );
    }
    let mut empty = Fleet::new().over(Door::Http).await;
    let mut client = empty.client(Era::Modern).await;
    let discovered = result(&client.request("server/discover", "{}").await);
    for capability in ["prompts", "resources", "completions"] {
        assert!(
            discovered["capabilities"][capability].is_null(),
            "{discovered:#}"
        );
    }
}
