//! Policies that change while they are in force, and wrong ones.

use super::*;

#[tokio::test]
async fn changed_policies_are_in_force_and_told_and_wrong_ones_are_neither() {
    let fleet = Fleet::new();
    let path = fleet.path("policies.cedar");
    let write = |text: &str| rewrite(&path, text);
    write("permit(principal, action, resource);");
    let fleet = fleet
        .env("MCP_AUTH_POLICY_FILE", &path.to_string_lossy())
        .stdio("one", child());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(client.tool_names().await.len(), 2);
    client.subscribe().await;

    write(r#"permit(principal, action, resource is Tool) when { resource.name == "reader" };"#);
    client.news(LIST_CHANGED).await;
    assert_eq!(client.tool_names().await, ["one__reader"]);

    write("permit(principal, action, resource;");
    mux.log
        .until("a refusal", |line| {
            line.contains("the policies cannot be used")
        })
        .await;
    let status = mux.status().await;
    assert_eq!(status["policy"]["generation"], 2, "{status}");
    let last = &status["policy"]["lastReload"];
    assert_eq!(last["ok"], false, "{status}");
    assert!(
        last["error"]
            .as_str()
            .expect("why")
            .contains("policies.cedar:1:")
    );
    let metrics = mux.metrics().await;
    assert_eq!(
        metrics.value("policy_last_reload_successful", &[]),
        Some(0.0)
    );
    assert_eq!(client.tool_names().await, ["one__reader"]);
    assert!(client.call("one__writer", "{}").await.error_code() < 0);

    write("// Changed back.\npermit(principal, action, resource);");
    client.news(LIST_CHANGED).await;
    assert_eq!(client.tool_names().await.len(), 2);
    let metrics = mux.metrics().await;
    assert_eq!(
        metrics.value("policy_last_reload_successful", &[]),
        Some(1.0)
    );
    assert_eq!(metrics.value("policy_generation", &[]), Some(3.0));
}

#[tokio::test]
async fn the_configuration_can_name_other_policies_and_not_lift_them() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = begun(fleet(&issuer, POLICIES, json!({}))).await;
    let token = issuer.token(&key);
    assert_eq!(tools(&mux, Some(&token)).await.len(), 2);
    let entries = [mux.process("one", child()), mux.process("two", child())];
    let configure = |policy: Option<&str>| {
        let mut auth = locked_auth(&issuer);
        if let Some(policy) = policy {
            auth["policy"] = mux.path(policy).to_string_lossy().into_owned().into();
        }
        let top = [("auth".to_owned(), auth)].into_iter().collect();
        mux.configure_with(&entries, &top);
    };

    configure(Some("missing"));
    mux.log
        .until("a refusal", |line| line.contains("missing cannot be read"))
        .await;
    assert_eq!(tools(&mux, Some(&token)).await.len(), 2);

    let folder = mux.path("policies");
    fs::create_dir(&folder).expect("a folder");
    fs::write(
        folder.join("all.cedar"),
        "permit(principal, action, resource);",
    )
    .expect("a file");
    configure(Some("policies"));
    mux.until_generation(2).await;
    assert_eq!(tools(&mux, Some(&token)).await.len(), 4);

    let forbidding = "forbid(principal, action, resource in Child::\"two\");";
    fs::write(folder.join("two.cedar"), forbidding).expect("a file");
    mux.until_metrics("other policies", |metrics| {
        metrics.value("policy_generation", &[]) == Some(3.0)
    })
    .await;
    assert_eq!(
        tools(&mux, Some(&token)).await,
        ["one__reader", "one__writer"]
    );

    configure(None);
    mux.until_generation(3).await;
    assert!(
        mux.log
            .find(|line| line.contains("restart to lift them"))
            .is_some()
    );
    assert_eq!(tools(&mux, Some(&token)).await.len(), 2);
}

#[tokio::test]
async fn policies_that_are_wrong_stop_the_start_with_their_place() {
    for (text, place) in [
        (
            "permit(principal, action, resource);\npermit(nobody);",
            ":2:8: ",
        ),
        (
            "permit(principal, action, resource)\n  when { resource.owner == \"me\" };",
            ":2:",
        ),
    ] {
        let fleet = Fleet::new();
        let path = fleet.path("policies.cedar");
        fs::write(&path, text).expect("the policies can be written");
        let path = path.to_string_lossy().into_owned();
        let fleet = fleet.env("MCP_AUTH_POLICY_FILE", &path);
        let output = fleet
            .run(&["serve", "--transport", "http", "--port", "0"])
            .await;
        assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("{path}{place}")),
            "{}",
            output.stderr
        );
    }
}

/// Two policies for Ada, one for Bob, of whom each sees something of its own.
fn both(ada: &str, bob: &str) -> String {
    format!(
        r#"permit(principal, action, resource) when {{ principal.sub == "ada" && ({ada}) }};
        permit(principal, action, resource) when {{ principal.sub == "bob" && ({bob}) }};"#
    )
}

#[tokio::test]
async fn only_who_sees_another_list_is_told_of_it() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let (tool, prompt) = ("resource is Tool", "resource is Prompt");
    let first = both(&format!("{tool} || {prompt}"), tool);
    let fleet = fleet(&issuer, &first, json!({})).stdio("three", told());
    let path = fleet.path("policies.cedar");
    let mux = begun(fleet).await;
    let token = |sub: &str| issuer.token_with(&key, json!({"sub": sub}));
    let (ada, bob) = (Person::come(&mux, &token("ada")).await, token("bob"));
    assert_eq!(ada.count("tools/list", "tools").await, 4);
    assert_eq!(ada.count("prompts/list", "prompts").await, 1);
    let mut to_ada = ada.listen().await;
    let wanted = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}}"#;
    let frame = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}}"#,
        with_modern_meta(wanted)
    );
    let request = modern_post(&mux.url(), frame).with("authorization", &format!("Bearer {bob}"));
    let mut to_bob = Http::default().send(request).await.events();
    let (acknowledged, _) = next(&mut to_bob).await;
    assert_eq!(acknowledged, "notifications/subscriptions/acknowledged");

    // What is another list for one is none for the other: each is told of its own, in turn.
    let changed = |family: &str| format!("notifications/{family}/list_changed");
    rewrite(
        &path,
        &both(&format!("{tool} && resource.readOnly || {prompt}"), tool),
    );
    assert_eq!(next(&mut to_ada).await.0, changed("tools"));
    assert_eq!(ada.count("tools/list", "tools").await, 2);
    rewrite(
        &path,
        &both(
            &format!("{tool} && resource.readOnly || {prompt}"),
            &format!("{tool} || {prompt}"),
        ),
    );
    assert_eq!(next(&mut to_bob).await.0, changed("prompts"));
    assert_eq!(
        listed(&mux, Some(&bob), "prompts/list", "prompts")
            .await
            .len(),
        1
    );
    rewrite(
        &path,
        &both(
            &format!("{tool} && resource.readOnly"),
            "resource is Resource || resource is Prompt",
        ),
    );
    assert_eq!(next(&mut to_ada).await.0, changed("prompts"));
    assert_eq!(next(&mut to_bob).await.0, changed("tools"));
    assert_eq!(next(&mut to_bob).await.0, changed("resources"));
    assert_eq!(ada.count("prompts/list", "prompts").await, 0);
}

/// A child with two resources, whose updates are told when its tool is called.
fn telling() -> Child {
    Child::modern()
        .flag("--subscribe")
        .named("update")
        .option("--resource", "test://a")
        .option("--resource", "test://b")
}

/// What this person, who has subscribed to both, is told.
async fn subscribed(person: &Person) -> Events {
    let told = person.listen().await;
    for uri in ["test://a", "test://b"] {
        let answer = person.ask("resources/subscribe", json!({"uri": uri})).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    told
}

/// Has the child tell of an update.
async fn update(person: &Person, arguments: Value) {
    let params = json!({"name": "three__update", "arguments": arguments});
    let answer = person.ask("tools/call", params).await;
    assert_eq!(answer["result"]["structuredContent"], json!({}), "{answer}");
}

fn updated(uri: &str) -> (String, String) {
    ("notifications/resources/updated".to_owned(), uri.to_owned())
}

#[tokio::test]
async fn who_may_not_read_a_resource_any_more_is_not_told_of_it_either() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let all = "permit(principal, action, resource);";
    let fleet = fleet(&issuer, all, json!({})).stdio("three", telling());
    let path = fleet.path("policies.cedar");
    let mux = begun(fleet).await;
    let token = issuer.token(&key);
    let person = Person::come(&mux, &token).await;
    let mut told = subscribed(&person).await;
    let update = async |uri: &str| update(&person, json!({"uri": uri})).await;
    update("test://a").await;
    assert_eq!(next(&mut told).await, updated("test://a"));
    let forbidden =
        r#"@id("a") forbid(principal, action, resource == Resource::"three/test://a");"#;
    rewrite(&path, &format!("{all} {forbidden}"));
    assert_eq!(
        next(&mut told).await.0,
        "notifications/resources/list_changed"
    );
    update("test://a").await;
    update("test://b").await;
    assert_eq!(next(&mut told).await, updated("test://b"));
}

#[tokio::test]
async fn who_may_read_a_resource_is_told_of_its_parts_unless_they_are_forbidden() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let named = r#"
        permit(principal, action == Action::"call", resource is Tool);
        permit(principal, action == Action::"read", resource == Resource::"three/test://a");
        permit(principal, action == Action::"read", resource == Resource::"three/test://b");
        forbid(principal, action, resource is Resource) when { resource.name like "*secret*" };
    "#;
    let fleet = fleet(&issuer, named, json!({})).stdio("three", telling());
    let mux = begun(fleet).await;
    let token = issuer.token(&key);
    let person = Person::come(&mux, &token).await;
    let mut told = subscribed(&person).await;
    let update = async |uri: &str, of: &str| update(&person, json!({"uri": uri, "of": of})).await;

    update("test://a/secret", "test://a").await;
    update("test://a/part", "test://a").await;
    update("test://b#top", "test://b").await;

    assert_eq!(next(&mut told).await, updated("test://a/part"));
    assert_eq!(next(&mut told).await, updated("test://b#top"));
    // To be told is not to read.
    let read = person
        .ask("resources/read", json!({"uri": "test://a/part"}))
        .await;
    assert!(unknown(&read).contains("test://a/part"), "{read}");
}

#[tokio::test]
async fn a_folder_without_policies_and_one_with_a_wrong_file_stop_the_start() {
    for (file, told) in [
        ("notes.txt", "whose name ends in .cedar"),
        ("b.cedar", "b.cedar:1:"),
    ] {
        let fleet = Fleet::new();
        let folder = fleet.path("policies");
        fs::create_dir(&folder).expect("a folder");
        if file == "b.cedar" {
            let good = "permit(principal, action, resource);";
            fs::write(folder.join("a.cedar"), good).expect("a file");
        }
        fs::write(folder.join(file), "permit(principal)").expect("a file");
        let fleet = fleet.env("MCP_AUTH_POLICY_FILE", &folder.to_string_lossy());
        let output = fleet
            .run(&["serve", "--transport", "http", "--port", "0"])
            .await;
        assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
}
