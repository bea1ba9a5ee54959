//! What a caller sees, and what it may call.

use super::*;

#[tokio::test]
async fn lists_hold_what_a_caller_may_use_or_know_of() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = begun(fleet(&issuer, POLICIES, json!({}))).await;
    let all = ["one__reader", "one__writer", "two__reader", "two__writer"];
    for (claims, seen, resources) in [
        (json!({}), &["one__reader", "two__reader"][..], 0),
        (json!({"roles": ["admin"]}), &all, 2),
        (json!({"scope": "all"}), &all, 2),
        (json!({"groups": ["/staff"]}), &all, 2),
        (json!({"scope": "look"}), &all, 0),
    ] {
        let token = issuer.token_with(&key, claims.clone());
        assert_eq!(tools(&mux, Some(&token)).await, seen, "{claims}");
        let read = listed(&mux, Some(&token), "resources/list", "resources").await;
        assert_eq!(read.len(), resources, "{claims}");
        // Who may know of no child is told of none.
        let told = asked(&mux, Some(&token), "server/discover", "{}").await;
        let told = told["result"]["instructions"].as_str().unwrap_or_default();
        assert_eq!(told.contains("Say please."), resources > 0, "{told}");
    }
}

#[tokio::test]
async fn a_call_is_let_through_denied_with_the_policy_or_of_nothing() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = begun(fleet(&issuer, POLICIES, json!({}))).await;
    let anybody = issuer.token(&key);
    let looking = issuer.token_with(&key, json!({"scope": "look"}));
    let admin = issuer.token_with(&key, json!({"roles": ["admin"]}));

    assert!(is_answered(
        &call(&mux, Some(&anybody), "one__reader").await
    ));
    assert!(is_answered(&call(&mux, Some(&admin), "one__writer").await));
    for (token, tool, why) in [
        (&looking, "one__writer", "no policy permits it"),
        (
            &looking,
            "two__writer",
            "the policy \"never-on-two\" forbids it",
        ),
        (
            &admin,
            "two__writer",
            "the policy \"never-on-two\" forbids it",
        ),
    ] {
        let answer = call(&mux, Some(token), tool).await;
        let result = &answer["result"];
        assert_eq!(result["isError"], true, "{answer}");
        let failure = &result["_meta"]["io.mcp-multiplexer/failure"];
        assert_eq!(failure["kind"], "denied", "{answer}");
        let text = result["content"][0]["text"].as_str().expect("a text");
        assert!(text.contains(why), "{text}");
    }
    // What is not seen answers as what is not there, and is nobody's hint.
    let hidden = unknown(&call(&mux, Some(&anybody), "one__writer").await);
    let nothing = unknown(&call(&mux, Some(&anybody), "one__writez").await);
    for (answer, asked) in [(hidden, "writer"), (nothing, "writez")] {
        let hint = answer.strip_prefix(&format!("Unknown tool: one__{asked}."));
        let hint = hint.unwrap_or_else(|| panic!("{answer}"));
        assert!(
            hint.contains("one__reader") && !hint.contains("writer"),
            "{hint}"
        );
    }
    let hint = unknown(&call(&mux, Some(&looking), "one__writez").await);
    assert!(hint.contains("one__writer"), "{hint}");

    assert_eq!(mux.journal("one").calls("writer"), 1);
    assert_eq!(mux.journal("two").calls("writer"), 0);
    let metrics = mux.metrics().await;
    let denied = [("method", "tools/call")];
    assert_eq!(metrics.sum("policy_denied_total", &denied), 4.0);
    let of_two = [("child", "two"), ("outcome", "denied")];
    assert_eq!(metrics.sum("requests_total", &of_two), 2.0);
}

#[tokio::test]
async fn what_belongs_to_a_resource_or_a_child_follows_it() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = r#"
        permit(principal, action, resource) when { principal.roles.contains("admin") };
        permit(principal, action == Action::"list", resource is Resource);
    "#;
    let mut fleet = fleet(&issuer, policies, json!({}));
    fleet = fleet.stdio(
        "three",
        Child::modern().option("--extension", "vendor/things"),
    );
    let made = r#"{"task":{"taskId":"7","status":"working"}}"#;
    let four = Child::legacy().option("--extension", "vendor/any");
    let mux = begun(fleet.stdio("four", four.returning(made))).await;
    let admin = issuer.token_with(&key, json!({"roles": ["admin"]}));
    let anybody = issuer.token(&key);
    let notes = r#"{"uri":"test://notes"}"#;
    let reference = r#"{"ref":{"type":"ref/resource","uri":"test://notes"},"argument":{"name":"a","value":"b"}}"#;
    for (method, params) in [
        ("resources/read", notes),
        ("completion/complete", reference),
    ] {
        let answer = asked(&mux, Some(&anybody), method, params).await;
        assert_eq!(answer["error"]["data"]["kind"], "denied", "{answer}");
        let answer = asked(&mux, Some(&admin), method, params).await;
        assert_ne!(answer["error"]["data"]["kind"], "denied", "{answer}");
    }
    let answer = asked(&mux, Some(&admin), "things/do", "{}").await;
    assert!(answer["result"].is_object(), "{answer}");
    let answer = asked(&mux, Some(&anybody), "things/do", "{}").await;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");

    // A task names no tool. Both are the same person, who is an admin no more.
    let person = Person::come(&mux, &admin).await;
    let call = json!({"name": "four__raw", "arguments": {}, "task": {}});
    let begun = person.ask("tools/call", call).await;
    let id = begun["result"]["task"]["taskId"].as_str().expect("an id");
    let task = json!({"taskId": id});
    let answer = person.ask("tasks/get", task.clone()).await;
    assert!(answer["result"].is_object(), "{answer}");
    let person = Person::come(&mux, &anybody).await;
    let answer = person.ask("tasks/get", task).await;
    assert_eq!(unknown(&answer), format!("Unknown task: {id}"));

    for (token, outcome) in [(&anybody, json!("denied")), (&admin, Value::Null)] {
        let person = Person::come(&mux, token).await;
        let notes = json!({"uri": "test://notes"});
        let answer = person.ask("resources/subscribe", notes).await;
        assert_eq!(answer["error"]["data"]["kind"], outcome, "{answer}");
    }
}

#[tokio::test]
async fn a_caller_without_a_token_is_one_that_policies_know() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = r#"
        permit(principal is Anonymous, action == Action::"call", resource is Tool in Child::"one");
        permit(principal is User, action, resource);
    "#;
    let mux = begun(fleet(&issuer, policies, json!({"mode": "optional"}))).await;
    assert_eq!(tools(&mux, None).await, ["one__reader", "one__writer"]);
    assert!(is_answered(&call(&mux, None, "one__writer").await));
    unknown(&call(&mux, None, "two__reader").await);
    let token = issuer.token(&key);
    assert_eq!(tools(&mux, Some(&token)).await.len(), 4);
}

#[tokio::test]
async fn roles_are_found_where_keycloak_puts_them_and_a_service_is_no_user() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = format!(
        r#"
        permit(principal is User, action, resource in Child::"one")
            when {{ principal.roles.contains("reader") }};
        permit(principal is User, action, resource in Child::"two")
            when {{ principal.roles.contains("deploy/operator") }};
        permit(principal == Client::"{}|robot", action, resource is Tool)
            when {{ resource.readOnly }};
        "#,
        issuer.name()
    );
    let mux = begun(fleet(&issuer, &policies, json!({}))).await;
    let robot = json!({
        "azp": "robot", "client_id": "robot", "preferred_username": "service-account-robot",
        "realm_access": {"roles": ["reader"]},
    });
    for (claims, seen) in [
        (json!({}), &[][..]),
        (
            json!({"realm_access": {"roles": ["reader"]}}),
            &["one__reader", "one__writer"],
        ),
        (
            json!({"resource_access": {"deploy": {"roles": ["operator", "reader"]}}}),
            &["two__reader", "two__writer"],
        ),
        (robot, &["one__reader", "two__reader"]),
    ] {
        let token = issuer.token_with(&key, claims.clone());
        assert_eq!(tools(&mux, Some(&token)).await, seen, "{claims}");
    }
}

#[tokio::test]
async fn prompts_and_resources_are_hidden_and_denied_as_tools_are() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = r#"
        permit(principal, action, resource) when { principal.roles.contains("admin") };
        permit(principal, action == Action::"list", resource is Prompt)
            when { principal.roles.contains("curious") };
        permit(principal, action == Action::"read", resource is Resource)
            when { resource.name like "test://notes*" && principal.roles.contains("curious") };
    "#;
    let mux = begun(fleet(&issuer, policies, json!({})).stdio("three", told())).await;
    let as_role = |role: &str| issuer.token_with(&key, json!({"roles": [role]}));
    let (admin, curious, nobody) = (as_role("admin"), as_role("curious"), issuer.token(&key));
    for (token, prompts, resources, templates) in
        [(&admin, 1, 3, 1), (&curious, 1, 3, 1), (&nobody, 0, 0, 0)]
    {
        for (method, key, count) in [
            ("prompts/list", "prompts", prompts),
            ("resources/list", "resources", resources),
            ("resources/templates/list", "resourceTemplates", templates),
        ] {
            assert_eq!(
                listed(&mux, Some(token), method, key).await.len(),
                count,
                "{method}"
            );
        }
    }
    let greet = r#"{"name":"three__greet"}"#;
    let complete = r#"{"ref":{"type":"ref/prompt","name":"three__greet"},"argument":{"name":"whom","value":"w"}}"#;
    for (method, params) in [("prompts/get", greet), ("completion/complete", complete)] {
        let answer = asked(&mux, Some(&admin), method, params).await;
        assert!(answer["result"].is_object(), "{answer}");
        let answer = asked(&mux, Some(&curious), method, params).await;
        assert_eq!(answer["error"]["data"]["kind"], "denied", "{answer}");
        let answer = asked(&mux, Some(&nobody), method, params).await;
        unknown(&answer);
        assert!(!answer.to_string().contains("Did you mean"), "{answer}");
    }
    // A hint at prompts is one at those that are seen.
    let near = r#"{"name":"three__greed"}"#;
    let hinted = asked(&mux, Some(&curious), "prompts/get", near).await;
    assert!(unknown(&hinted).contains("three__greet"), "{hinted}");
    // What nobody lists is compared by its URI.
    let part = r#"{"uri":"test://notes/part"}"#;
    let other = r#"{"uri":"test://secret"}"#;
    for (token, params, known) in [
        (&admin, part, true),
        (&curious, part, true),
        (&nobody, part, false),
        (&curious, other, false),
    ] {
        let answer = asked(&mux, Some(token), "resources/read", params).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(
            !message.starts_with("Unknown resource"),
            known,
            "{params} {answer}"
        );
    }
}

#[tokio::test]
async fn a_view_of_what_a_caller_may_not_know_is_not_there() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = r#"
        permit(principal, action, resource) when { principal.roles.contains("admin") };
        permit(principal, action, resource is Tool in Child::"one") when { resource.readOnly };
    "#;
    let fleet = fleet(&issuer, policies, json!({}))
        .top("groups", json!({"both": ["one", "two"], "rest": ["two"]}))
        .stdio("off", child().key("disabled", true));
    let mux = open(fleet).await;
    mux.until_ready("one").await;
    mux.until_ready("two").await;
    let admin = issuer.token_with(&key, json!({"roles": ["admin"]}));
    let anybody = issuer.token(&key);
    for (view, all, some) in [
        ("one", 2, Some(1)),
        ("two", 2, None),
        ("group/both", 4, Some(1)),
        ("group/rest", 2, None),
        ("nobody", 0, None),
        ("off", 0, None),
    ] {
        let url = mux.at(&format!("/mcp/{view}"));
        for (token, seen) in [(&admin, (all > 0).then_some(all)), (&anybody, some)] {
            let frame = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}}"#,
                with_modern_meta("{}")
            );
            let http = Http::default();
            let knock = Knock::bearing(&http, modern_post(&url, frame), token).await;
            let tools = knock.body["result"]["tools"].as_array().map(Vec::len);
            assert_eq!(
                (knock.status == 200, tools),
                (seen.is_some(), seen),
                "{view}"
            );
        }
    }
    // A child alone speaks only to who may know of it as a whole.
    let said = async |token: &str| {
        let url = mux.at("/mcp/one");
        Knock::bearing(&Http::default(), initialize(&url), token)
            .await
            .body["result"]
            .clone()
    };
    assert_eq!(said(&admin).await["instructions"], "Say please.");
    let to_anybody = said(&anybody).await;
    assert_eq!(to_anybody["instructions"], Value::Null, "{to_anybody}");
    assert_eq!(to_anybody["serverInfo"]["name"], "mcp-multiplexer");
}

#[tokio::test]
async fn a_child_that_was_never_listed_is_unknown_to_who_may_not_know_of_it() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let policies = r#"
        permit(principal, action == Action::"call", resource == Tool::"late/reader");
        permit(principal, action, resource in Child::"late")
            when { principal.roles.contains("admin") };
    "#;
    let late = child().gated().key("queueTimeout", "10ms");
    let mux = open(fleet(&issuer, policies, json!({})).stdio("late", late)).await;
    let admin = issuer.token_with(&key, json!({"roles": ["admin"]}));
    let anybody = issuer.token(&key);
    for (token, tool, may_be) in [
        (&admin, "late__writer", true),
        (&anybody, "late__reader", true),
        (&anybody, "late__writer", false),
    ] {
        let answer = call(&mux, Some(token), tool).await;
        let kind = &answer["result"]["_meta"]["io.mcp-multiplexer/failure"]["kind"];
        match may_be {
            true => assert_eq!(kind, "unavailable", "{answer}"),
            false => assert_eq!(unknown(&answer), "Unknown tool: late__writer.", "{answer}"),
        }
    }
}

#[test]
fn the_policies_in_the_docs_can_be_put_in_force() {
    let page = include_str!("../../docs/src/guides/policy.md");
    let blocks = page.split("\n```").skip(1).step_by(2);
    let policies: Vec<&str> = blocks.filter_map(|it| it.strip_prefix("cedar\n")).collect();
    assert!(policies.len() > 3, "{}", policies.len());
    let folder = tempfile::tempdir().expect("a folder");
    for (at, text) in policies.iter().enumerate() {
        let path = folder.path().join(format!("{at}.cedar"));
        fs::write(&path, text).expect("a file");
        if let Err(error) = mcp_multiplexer::policy::Policy::load(&path) {
            panic!("{error}: {text}");
        }
    }
    mcp_multiplexer::policy::Policy::load(folder.path()).expect("all of them together");
}
