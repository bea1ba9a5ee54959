//! The multiplexer's own tools show and call what their caller may see and call.

use super::*;

/// What one of our tools says, as structured content or as the text of its error.
async fn say(mux: &Multiplexer, token: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments}).to_string();
    let answer = asked(mux, Some(token), "tools/call", &params).await;
    let result = &answer["result"];
    match result["isError"] == true {
        true => result["content"][0]["text"].clone(),
        false => result["structuredContent"].clone(),
    }
}

fn names(of: &Value) -> Vec<&str> {
    let all = of.as_array().unwrap_or_else(|| panic!("no list: {of}"));
    let names = all.iter().map(|it| it["name"].as_str().expect("a name"));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn tools_are_found_told_of_loaded_and_called_as_policies_let() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let hidden = Child::legacy().bare().listing("writer", WRITER);
    let fleet = fleet(&issuer, POLICIES, json!({}))
        .top("mode", "dynamic")
        .stdio("hidden", hidden);
    let mux = begun(fleet).await;
    let anybody = issuer.token(&key);
    let looking = issuer.token_with(&key, json!({"scope": "look"}));
    let admin = issuer.token_with(&key, json!({"roles": ["admin"]}));

    for (token, readers, writers, children) in [
        (&anybody, 2, 0, &["one", "two"][..]),
        (&looking, 2, 3, &["hidden", "one", "two"]),
        (&admin, 2, 3, &["hidden", "one", "two"]),
    ] {
        let find = async |query: &str| {
            let found = say(&mux, token, "find_tools", json!({"query": query})).await;
            names(&found["tools"])
                .iter()
                .filter(|name| name.ends_with(query))
                .count()
        };
        assert_eq!(
            (find("reader").await, find("writer").await),
            (readers, writers)
        );
        let catalog = say(&mux, token, "list_catalog", json!({})).await;
        assert_eq!(names(&catalog["children"]), children);
        let status = say(&mux, token, "multiplexer_status", json!({})).await;
        assert_eq!(names(&status["children"]), children);
        assert_eq!(status["tools"], readers + writers, "{status}");
    }

    let of_one = say(&mux, &anybody, "list_catalog", json!({"child": "one"})).await;
    assert_eq!(names(&of_one["tools"]), ["one__reader"]);
    for tool in ["list_catalog", "find_tools"] {
        let about = json!({"child": "hidden", "query": "x"});
        let about = match tool {
            "find_tools" => about,
            _ => json!({"child": "hidden"}),
        };
        let told = say(&mux, &anybody, tool, about).await;
        assert_eq!(told, r#"There is no child "hidden". There are one, two."#);
    }

    let load = async |token: &str, name: &str| {
        say(&mux, token, "load_tools", json!({"names": [name]})).await
    };
    let wrong = load(&anybody, "one__writer").await;
    let wrong = wrong.as_str().expect("a refusal");
    assert!(
        wrong.contains("no tool") && wrong.contains("one__reader"),
        "{wrong}"
    );
    assert_eq!(wrong.matches("writer").count(), 1, "{wrong}");
    assert_eq!(
        names(&load(&looking, "one__writer").await["tools"]),
        ["one__writer"]
    );

    let called = async |token: &str, name: &str| {
        let params = json!({"name": "call_tool", "arguments": {"name": name, "arguments": {}}});
        asked(&mux, Some(token), "tools/call", &params.to_string()).await
    };
    assert!(is_answered(&called(&anybody, "one__reader").await));
    assert!(is_answered(&called(&admin, "one__writer").await));
    let unknown = called(&anybody, "one__writer").await;
    let text = unknown["result"]["content"][0]["text"]
        .as_str()
        .expect("a text");
    assert!(text.starts_with("Unknown tool: one__writer."), "{text}");
    assert_eq!(text.matches("writer").count(), 1, "{text}");
    let denied = called(&looking, "two__writer").await;
    let denied = &denied["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(denied["kind"], "denied", "{denied}");
    assert_eq!(mux.journal("two").calls("writer"), 0);
    let metrics = mux.metrics().await;
    let of_calls = [("method", "tools/call")];
    assert_eq!(metrics.sum("policy_denied_total", &of_calls), 2.0);
}

#[tokio::test]
async fn what_was_loaded_goes_when_policies_hide_it() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let all = "permit(principal, action, resource);";
    let fleet = fleet(&issuer, all, json!({})).top("mode", "dynamic");
    let path = fleet.path("policies.cedar");
    let mux = begun(fleet).await;
    let person = Person::come(&mux, &issuer.token(&key)).await;
    let ours = person.count("tools/list", "tools").await;
    let params =
        json!({"name": "load_tools", "arguments": {"names": ["one__writer", "two__reader"]}});
    person.ask("tools/call", params).await;
    assert_eq!(person.count("tools/list", "tools").await, ours + 2);
    let mut told = person.listen().await;
    // Of what is not in its list it is not told.
    rewrite(
        &path,
        &format!(r#"{all} forbid(principal, action, resource == Tool::"two/writer");"#),
    );
    mux.until_metrics("the second policies", |metrics| {
        metrics.value("policy_generation", &[]) == Some(2.0)
    })
    .await;
    rewrite(
        &path,
        &format!(
            r#"{all} forbid(principal, action, resource) when {{ resource.name == "writer" }};"#
        ),
    );
    assert_eq!(next(&mut told).await.0, LIST_CHANGED);
    assert_eq!(person.count("tools/list", "tools").await, ours + 1);
    rewrite(
        &path,
        r#"permit(principal, action, resource is Tool);
        forbid(principal, action, resource) when { resource.name == "writer" };"#,
    );
    assert_eq!(
        next(&mut told).await.0,
        "notifications/resources/list_changed"
    );
}
