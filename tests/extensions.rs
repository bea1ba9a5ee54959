//! What the specification does not know: declared to clients as children declare it,
//! and carried to the one child that can mean it, and back, as it stands.

mod support;

use serde_json::{Value, json};
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer, client::LEGACY_VERSION, http::Http,
    wire::member,
};

const TOLD: &str = "notifications/vendor/told";

fn extended(era: Era, id: &str) -> Child {
    Child::of(era).option("--extension", id)
}

fn result(answer: &Answer) -> Value {
    serde_json::from_str(answer.result()).expect("JSON")
}

fn message(answer: &Answer) -> String {
    let frame: Value = serde_json::from_str(&answer.frame).expect("JSON");
    frame["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no error: {frame}"))
        .to_owned()
}

async fn at(mux: &Multiplexer, path: &str, era: Era) -> Client {
    Client::over_http(mux.at(path), era).await
}

async fn initialized(mux: &Multiplexer, path: &str) -> Value {
    let params = json!({
        "protocolVersion": LEGACY_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    });
    let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let reply = Http::default().post(&mux.at(path), frame.to_string()).await;
    result(&reply.answer().await)
}

#[tokio::test]
async fn what_children_declare_is_declared() {
    let fleet = Fleet::new()
        .stdio("plain", Child::legacy())
        .stdio("one", extended(Era::Legacy, "vendor/one"))
        .http("two", extended(Era::Modern, "vendor/two"))
        .top("groups", json!({"some": ["plain", "two"]}));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let settings = || json!({"exact": 1.10});
    let mut client = mux.client(Era::Modern).await;
    let discovered = result(&client.request("server/discover", "{}").await);
    for told in [initialized(&mux, "/mcp").await, discovered] {
        let capabilities = &told["capabilities"];
        assert_eq!(
            capabilities["extensions"],
            json!({"vendor/one": settings(), "vendor/two": settings()})
        );
        assert_eq!(capabilities["experimental"], json!({"trial": {}}));
    }
    let some = initialized(&mux, "/mcp/group/some").await;
    let declared = json!({"vendor/two": settings()});
    assert_eq!(some["capabilities"]["extensions"], declared);
}

#[tokio::test]
async fn an_unknown_method_goes_to_the_one_child_that_can_mean_it_and_back_as_it_stands() {
    for door in Door::ALL {
        for child in Era::ALL {
            let fleet = Fleet::new().stdio("plain", Child::legacy()).with(
                door,
                "one",
                extended(child, "vendor/one"),
            );
            let mut mux = fleet.over(Door::Http).await;
            mux.all_ready().await;
            for era in Era::ALL {
                let mut client = mux.client(era).await;
                let params = r#"{"uri":"odd:1", "x":{"n":1e400,"m": 1.10}}"#;

                let answer = client.request("vendor/do", params).await;

                let at = format!("{era:?} {child:?} {door:?}: {}", answer.frame);
                assert_eq!(member(answer.result(), "method"), Some(r#""vendor/do""#));
                assert_eq!(member(answer.result(), "x-exact"), Some("1.10"), "{at}");
                let came = member(answer.result(), "params").expect("params");
                let x = member(came, "x");
                assert_eq!(x, Some(r#"{"n":1e400,"m": 1.10}"#), "{at}");
                let has_era_keys = came.contains("io.modelcontextprotocol/protocolVersion");
                assert_eq!(has_era_keys, child == Era::Modern, "{at}");
                let has_type = member(answer.result(), "resultType").is_some();
                assert!(has_type || era == Era::Legacy, "{at}");
            }
            // Its name is the client's: there is no end of those.
            let labels = [("child", "one"), ("method", "other"), ("outcome", "ok")];
            let counted = mux.metrics().await.value("requests_total", &labels);
            assert_eq!(counted, Some(2.0), "{door:?} {child:?}");
            assert_eq!(mux.journal("plain").of("extension").len(), 0);
        }
    }
}

#[tokio::test]
async fn a_method_that_nobody_or_several_may_know_is_refused() {
    let fleet = Fleet::new()
        .stdio("plain", Child::legacy())
        .stdio("skilled", extended(Era::Legacy, "vendor/skills"))
        .stdio("other", extended(Era::Legacy, "vendor/other"))
        .top("groups", json!({"plain": ["plain"]}));
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    for era in Era::ALL {
        let mut client = at(&mux, "/mcp", era).await;
        let refused = client.request("vendor/do", "{}").await;
        assert_eq!(refused.error_code(), -32601);
        let told = message(&refused);
        assert!(
            told.contains("vendor/do") && told.contains("/mcp/{"),
            "{told}"
        );
        // Named like the extension of one of them.
        let answered = client.request("skills/list", "{}").await;
        assert_eq!(result(&answered)["method"], "skills/list");
        // And not of the child that has what it names.
        let named = r#"{"name":"other__echo"}"#;
        let answered = result(&client.request("skills/get", named).await);
        assert_eq!(answered["params"]["name"], "other__echo", "{answered}");
        assert_eq!(answered["method"], "skills/get");
        let named = r#"{"name":"skilled__echo"}"#;
        let answered = result(&client.request("skills/get", named).await);
        assert_eq!(answered["params"]["name"], "echo", "{answered}");
        // What names a tool is of the tool's child, which has its own name for it.
        let named = r#"{"name":"other__echo"}"#;
        let answered = result(&client.request("vendor/describe", named).await);
        assert_eq!(answered["params"]["name"], "echo", "{answered}");
        // The specification knows these: a child is not asked.
        for known in ["roots/list", "sampling/createMessage"] {
            let refused = client.request(known, "{}").await;
            assert_eq!(refused.error_code(), -32601, "{known}");
            assert!(!message(&refused).contains("/mcp/{"), "{known}");
        }
        let mut plain = at(&mux, "/mcp/group/plain", era).await;
        let refused = plain.request("vendor/do", "{}").await;
        assert_eq!(refused.error_code(), -32601);
        // A child that is seen alone says so itself.
        let mut alone = at(&mux, "/mcp/plain", era).await;
        let refused = alone.request("vendor/do", "{}").await;
        assert_eq!(message(&refused), "Method not found: vendor/do");
        let mut alone = at(&mux, "/mcp/other", era).await;
        let answered = result(&alone.request("vendor/do", "{}").await);
        assert_eq!(answered["method"], "vendor/do");
    }
    let asked = mux.journal("plain").of("request");
    let asked = asked.iter().filter(|it| it["method"] == "vendor/do");
    assert_eq!(asked.count(), 2, "only by those who see it alone");
}

#[tokio::test]
async fn an_unknown_notification_of_a_client_reaches_the_same_child() {
    for door in Door::ALL {
        for child in Era::ALL {
            let fleet = Fleet::new().stdio("plain", Child::legacy()).with(
                door,
                "one",
                extended(child, "vendor/one"),
            );
            let mut mux = fleet.over(Door::Http).await;
            mux.all_ready().await;
            for era in Era::ALL {
                let mut client = mux.client(era).await;
                let method = format!("notifications/vendor/{era:?}");
                client.notify(&method, r#"{"x":1}"#).await;
                let is_it = |noted: &Value| noted["method"] == method;
                mux.journal("one").until("notification", is_it).await;
                // What the specification knows is between the client and us.
                client.notify("notifications/initialized", "{}").await;
            }
            let plain = mux.journal("plain").of("notification");
            let strange = |it: &&Value| {
                it["method"]
                    .as_str()
                    .is_some_and(|it| it.contains("vendor"))
            };
            assert_eq!(plain.iter().filter(strange).count(), 0);
        }
    }
}

#[tokio::test]
async fn what_a_child_tells_in_nobodys_name_reaches_those_who_see_it() {
    let fleet = Fleet::new()
        .stdio("plain", Child::legacy())
        .stdio("one", extended(Era::Legacy, "vendor/one"));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut listening = Vec::new();
    for path in ["/mcp", "/mcp/one", "/mcp/plain"] {
        let mut client = at(&mux, path, Era::Legacy).await;
        client.subscribe().await;
        listening.push(client);
    }
    let [mut all, mut one, plain] = listening.try_into().ok().expect("three clients");
    let mut asking = mux.client(Era::Legacy).await;

    asking.request("vendor/tell", r#"{"x": 1.10}"#).await;

    for client in [&mut all, &mut one] {
        let told = client.news(TOLD).await;
        assert_eq!(member(&told, "params"), Some(r#"{"x": 1.10}"#));
    }
    mux.terminate();
    assert_eq!(plain.unread_news(TOLD).await, 0);
}

#[tokio::test]
async fn what_a_child_tells_within_a_request_reaches_who_asked() {
    let fleet = Fleet::new().http("one", extended(Era::Modern, "vendor/one"));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let answer = client.request("vendor/tell", r#"{"x": 1.10}"#).await;
        let told: Vec<_> = answer
            .before
            .iter()
            .filter(|it| it.contains(TOLD))
            .collect();
        assert_eq!(told.len(), 1, "{:?}", answer.before);
        assert!(told[0].contains(r#""x": 1.10"#), "{told:?}");
    }
}

/// Servers offer their apps to those only who say that they can show them.
#[tokio::test]
async fn children_are_told_that_apps_can_be_shown() {
    let expected = json!({"mimeTypes": ["text/html;profile=mcp-app"]});
    let fleet = Fleet::new()
        .stdio("legacy", Child::legacy())
        .http("modern", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let noted = mux.journal("legacy").of("initialize");
    let params = noted[0]["params"].as_str().expect("params");
    let params: Value = serde_json::from_str(params).expect("JSON");
    let declared = &params["capabilities"]["extensions"]["io.modelcontextprotocol/ui"];
    assert_eq!(*declared, expected, "{params}");

    let mut client = mux.client(Era::Legacy).await;
    let answer = client.call("modern__received", "{}").await;
    let params: Value = serde_json::from_str(&answer.params_received()).expect("JSON");
    let capabilities = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    let declared = &capabilities["extensions"]["io.modelcontextprotocol/ui"];
    assert_eq!(*declared, expected, "{params}");

    // A modern client speaks for itself.
    let mut client = mux.client(Era::Modern).await;
    let answer = client.call("modern__received", "{}").await;
    let params: Value = serde_json::from_str(&answer.params_received()).expect("JSON");
    let capabilities = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*capabilities, json!({}), "{params}");
}
