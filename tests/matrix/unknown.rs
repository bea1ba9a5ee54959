//! What nobody knows is kept: members that are in no specification, in every kind of
//! message, are after the way through the multiplexer what they are without it.

use serde_json::{Value, json};

use crate::{
    Doing, Version,
    client::{Client, Heard},
    support::{Child, Door, Era, Fleet, child::Remote, journal::Journal, wire::member},
};

const URI: &str = "test://it";
const TOLD: &str = "notifications/vendor/told";

/// Members that nobody knows, among them names which have a meaning elsewhere.
const STRANGE: &str = r#""x-deep":{"id":1,"_meta":{"progressToken":7,"x":[null,{"y":1.10}]},"method":"ping"},"x-null":null"#;

/// The `_meta` that nobody knows.
const META: &str = r#""vendor/x":{"z":[1.10,{"_meta":{}}]},"traceparent":"00-a-b-01""#;

/// The flags of the child.
fn flags(version: Version) -> Vec<String> {
    let era = match version.era() {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    };
    let mut flags = vec!["--era", era, "--subscribe", "--contents", "--resource", URI];
    for tool in ["say", "ask", "update", "announce"] {
        flags.extend(["--named", tool]);
    }
    flags.extend(["--extension", "vendor/it"]);
    flags.into_iter().map(str::to_owned).collect()
}

/// A tool's entry.
fn entry() -> String {
    format!(
        r#"{{"name":"strange","inputSchema":{{"type":"object","x-schema":[1.10]}},"annotations":{{"x-hint":true}},"_meta":{{{META}}},{STRANGE}}}"#
    )
}

/// What one client sees of a child, thing by thing.
struct Seen {
    client: Client,
    journal: Journal,
    things: Things,
}

/// What each is, and what it is seen as.
type Things = Vec<(&'static str, Value)>;

/// Whether a notification that nobody knows is heard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Heard,
    /// A child over stdio does not say which request it tells of, and there is no stream
    /// on which a modern client would hear it.
    Unheard,
}

impl Seen {
    async fn by(client: Client, journal: Journal, vendor: Told) -> Things {
        let mut seen = Self {
            client,
            journal,
            things: Vec::new(),
        };
        let filter = json!({"resourceSubscriptions": [URI]}).to_string();
        seen.client.listen(&filter).await;
        seen.introduction();
        seen.lists().await;
        seen.requests().await;
        seen.answers().await;
        seen.notifications().await;
        if vendor == Told::Heard {
            seen.notification_of_a_vendor().await;
        }
        seen.notifications_of_the_client().await;
        seen.questions().await;
        seen.updates().await;
        seen.things
    }

    /// Notes a value, without what the eras differ in.
    fn note(&mut self, what: &'static str, value: &str) {
        let mut value = serde_json::from_str(value).expect("JSON");
        without_era(&mut value);
        self.things.push((what, value));
    }

    async fn call(&mut self, tool: &str, arguments: &str, meta: &str, given: &str) -> Heard {
        let params = format!(
            r#"{{"name":"{tool}","arguments":{arguments},"_meta":{{{META}{meta}}},{STRANGE}}}"#
        );
        self.client.converse("tools/call", &params, given).await
    }

    fn introduction(&mut self) {
        let introduction = self.client.introduction.clone();
        let capabilities = member(&introduction, "capabilities").expect("capabilities");
        for (what, key) in [
            ("extensions declared", "extensions"),
            ("experiments declared", "experimental"),
        ] {
            self.note(what, member(capabilities, key).unwrap_or("null"));
        }
    }

    async fn lists(&mut self) {
        for (method, key) in [
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ] {
            let params = format!(r#"{{"_meta":{{{META}}},{STRANGE}}}"#);
            let heard = self.client.request(method, &params).await;
            self.note(method, member(heard.result(), key).expect("a list"));
        }
    }

    async fn requests(&mut self) {
        let heard = self
            .call("received", &format!("{{{STRANGE}}}"), "", "{}")
            .await;
        let received: Value = serde_json::from_str(heard.structured()).expect("JSON");
        let received = received["params"].as_str().expect("params").to_owned();
        self.note("params of a call", &received);
        for (method, members) in [
            ("prompts/get", r#""name":"greet","arguments":{}"#),
            ("resources/read", r#""uri":"test://it""#),
            (
                "completion/complete",
                r#""ref":{"type":"ref/prompt","name":"greet","x":1.10},"argument":{"name":"whom","value":"w","x":1.10},"context":{"x":1.10}"#,
            ),
            ("vendor/do", r#""name":"whatever""#),
        ] {
            let params = format!(r#"{{{members},"_meta":{{{META}}},{STRANGE}}}"#);
            let heard = self.client.request(method, &params).await;
            self.note(method, heard.result());
        }
    }

    async fn answers(&mut self) {
        let result = format!(
            r#"{{"content":[{{"type":"text","text":"t","annotations":{{"x":1.10}},"_meta":{{{META}}},{STRANGE}}},{{"type":"hologram",{STRANGE}}}],"structuredContent":{{{STRANGE}}},"isError":false,"_meta":{{{META}}},{STRANGE}}}"#
        );
        let arguments = format!(r#"{{"result":{result}}}"#);
        let heard = self.call("say", &arguments, "", "{}").await;
        self.note("a result", heard.result());
        let error = format!(
            r#"{{"code":-1,"message":"no","data":{{"_meta":{{{META}}},{STRANGE}}},{STRANGE}}}"#
        );
        let arguments = format!(r#"{{"error":{error}}}"#);
        let heard = self.call("say", &arguments, "", "{}").await;
        self.note("an error", heard.error());
    }

    async fn notifications(&mut self) {
        let mut meta = r#","progressToken":"mine""#.to_owned();
        if self.client.version.era() == Era::Modern {
            meta.push_str(r#","io.modelcontextprotocol/logLevel":"info""#);
        } else {
            let level = r#"{"level":"info"}"#;
            self.client.request("logging/setLevel", level).await;
        }
        let before = [
            frame("progress", r#""progressToken":"$token","progress":0.5,"#),
            frame("message", r#""level":"error","data":{"x":1.10},"#),
        ];
        let arguments = format!(
            r#"{{"before":[{}],"result":{{"content":[]}}}}"#,
            before.join(",")
        );
        let heard = self.call("say", &arguments, &meta, "{}").await;
        let told: Vec<_> = heard.before.iter().map(|it| without_logger(it)).collect();
        self.note("notifications", &Value::from(told).to_string());
    }

    async fn notification_of_a_vendor(&mut self) {
        let arguments = format!(
            r#"{{"before":[{}],"result":{{"content":[]}}}}"#,
            frame("vendor/told", "")
        );
        let mut heard = self.call("say", &arguments, "", "{}").await;
        let told = match heard.before.pop() {
            Some(told) => told,
            None => self.client.news(TOLD).await,
        };
        self.note("a notification of a vendor", &told);
    }

    async fn notifications_of_the_client(&mut self) {
        let params = format!(r#"{{"_meta":{{{META}}},{STRANGE}}}"#);
        let already = self.told(TOLD).len();
        self.client.notify(TOLD, &params).await;
        let told = crate::support::eventually("the child is told", async || {
            self.told(TOLD).into_iter().nth(already)
        })
        .await;
        self.note("a notification of the client", &told);
    }

    /// The params with which the child was told this.
    fn told(&self, method: &str) -> Vec<String> {
        let told = self.journal.of("notification");
        let told = told.iter().filter(|noted| noted["method"] == method);
        told.map(|noted| noted["params"].as_str().expect("params").to_owned())
            .collect()
    }

    async fn questions(&mut self) {
        for (what, answered, method, params, given) in [
            (
                "an elicitation",
                "its answer",
                "elicitation/create",
                r#""message":"?","requestedSchema":{"type":"object","properties":{"n":{"x":1.10}}}"#,
                r#""action":"accept","content":{"n":1.10}"#,
            ),
            (
                "a sampling",
                "what it brought",
                "sampling/createMessage",
                r#""messages":[{"role":"user","content":{"type":"text","text":"","x":1.10}}],"maxTokens":9"#,
                r#""role":"assistant","content":{"type":"text","text":"","x":1.10},"model":"m""#,
            ),
        ] {
            let params = format!(r#"{{{params},"_meta":{{{META}}},{STRANGE}}}"#);
            let given = format!(r#"{{{given},"_meta":{{{META}}},{STRANGE}}}"#);
            let arguments = format!(r#"{{"method":"{method}","params":{params}}}"#);
            let heard = self.call("ask", &arguments, "", &given).await;
            let asked: Vec<_> = heard.asked.iter().map(|(_, params)| params).collect();
            assert_eq!(asked.len(), 1, "{}", heard.frame);
            self.note(what, asked[0]);
            let answers = member(heard.structured(), "answers").expect("answers");
            self.note(answered, answers);
        }
    }

    async fn updates(&mut self) {
        if self.client.version.era() == Era::Legacy {
            let params = json!({"uri": URI}).to_string();
            let heard = self.client.request("resources/subscribe", &params).await;
            assert_eq!(heard.result(), "{}");
        }
        crate::support::eventually("the child tells of it", async || {
            let listens = |noted: &Value| noted["resources"] == json!([URI]);
            let subscribed = !self.journal.of("resources/subscribe").is_empty();
            let listened = self.journal.of("listening");
            (subscribed || listened.iter().any(listens)).then_some(())
        })
        .await;
        self.call("update", &json!({"uri": URI}).to_string(), "", "{}")
            .await;
        let told = self.client.news("notifications/resources/updated").await;
        self.note("an update", member(&told, "params").expect("params"));
    }
}

/// A notification with these members among those that nobody knows.
fn frame(method: &str, members: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{members}"_meta":{{{META}}},{STRANGE}}}}}"#
    )
}

/// A notification without the logger: it names the child.
fn without_logger(frame: &str) -> Value {
    let mut frame: Value = serde_json::from_str(frame).expect("JSON");
    if let Some(params) = frame["params"].as_object_mut() {
        params.remove("logger");
    }
    frame
}

/// Takes out what the eras and the hops differ in: the specification's own keys of
/// results and of `_meta`.
fn without_era(value: &mut Value) {
    without_keys(value);
    if let Value::Object(object) = value {
        for key in ["x-params", "params"] {
            if let Some(inner) = object.get_mut(key) {
                without_keys(inner);
            }
        }
    }
}

fn without_keys(value: &mut Value) {
    let Value::Object(object) = value else {
        return;
    };
    for key in ["resultType", "ttlMs", "cacheScope"] {
        object.remove(key);
    }
    if let Some(Value::Object(meta)) = object.get_mut("_meta") {
        meta.retain(|key, _| {
            key != "progressToken" && !key.starts_with("io.modelcontextprotocol/")
        });
        if meta.is_empty() {
            object.remove("_meta");
        }
    }
}

/// What is seen of a child of this version without the multiplexer.
async fn directly(version: Version, folder: &std::path::Path) -> Things {
    let journal = folder.join("direct.journal");
    let tools = folder.join("direct.tools");
    std::fs::write(&tools, format!("strange\t{}", entry())).expect("a file");
    let mut flags = flags(version);
    for (flag, path) in [("--journal", &journal), ("--tools-file", &tools)] {
        flags.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
    }
    let remote = Remote::start(flags).await;
    let client = Client::at(&remote.url(), version).await;
    Seen::by(client, Journal::at(journal), Told::Heard).await
}

async fn is_kept(version: Version, door: Door) {
    let folder = tempfile::tempdir().expect("a folder");
    for child_version in [Version::November2025, Version::July2026] {
        let expected = directly(child_version, folder.path()).await;
        for child_door in Door::ALL {
            let doing = Doing::now(format_args!(
                "{version:?} over {door:?} with {child_version:?} over {child_door:?}"
            ));
            let child = flags(child_version)
                .iter()
                .fold(Child::default(), |it, flag| it.flag(flag));
            let child = child.listing("strange", &entry()).key("prefix", "");
            let mut mux = Fleet::new().with(child_door, "it", child).over(door).await;
            mux.all_ready().await;
            let client = Client::of(&mut mux, version, door).await;
            let vendor = match (version.era(), child_door) {
                (Era::Modern, Door::Stdio) => Told::Unheard,
                _ => Told::Heard,
            };
            let seen = Seen::by(client, mux.journal("it"), vendor).await;
            let missing = usize::from(vendor == Told::Unheard);
            assert_eq!(seen.len() + missing, expected.len());
            for (what, seen) in &seen {
                let same = expected.iter().find(|(other, _)| other == what);
                assert_eq!(Some(seen), same.map(|(_, value)| value), "{what}");
            }
            drop(doing);
        }
        std::fs::remove_file(folder.path().join("direct.journal")).expect("a journal");
    }
}

#[tokio::test]
async fn a_legacy_client_over_stdio_finds_what_nobody_knows() {
    is_kept(Version::November2025, Door::Stdio).await;
}

#[tokio::test]
async fn a_legacy_client_over_http_finds_what_nobody_knows() {
    is_kept(Version::November2025, Door::Http).await;
}

#[tokio::test]
async fn a_modern_client_over_stdio_finds_what_nobody_knows() {
    is_kept(Version::July2026, Door::Stdio).await;
}

#[tokio::test]
async fn a_modern_client_over_http_finds_what_nobody_knows() {
    is_kept(Version::July2026, Door::Http).await;
}
