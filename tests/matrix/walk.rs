//! The walk: one after the other, everything a client can do with a child.

use serde_json::{Value, json};

use crate::{
    Doing, Member, Version,
    client::{Client, Heard},
    support::{Door, Era, Multiplexer, wire::member},
};

const UPDATED: &str = "notifications/resources/updated";
const LIST_CHANGED: &str = "notifications/tools/list_changed";

/// Walks through every child.
pub async fn everywhere(mux: &Multiplexer, client: &mut Client) {
    let (version, door) = (client.version.as_str(), client.door);
    for it in Member::all().filter(|it| it.door == Door::Http || it.version.era() == Era::Modern) {
        // What it tells of itself is heard from here on.
        mux.journal(&it.name()).until("listening", |_| true).await;
    }
    let uris: Vec<_> = Member::all().map(Member::uri).collect();
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": uris});
    client.listen(&filter.to_string()).await;
    for it in Member::all() {
        let mut walk = Walk { mux, client, it };
        macro_rules! walk {
            ($($step:ident)*) => {$(
                let doing = Doing::now(format_args!(
                    "{}, {version} over {door:?} with {}",
                    stringify!($step),
                    it.name()
                ));
                walk.$step().await;
                drop(doing);
            )*};
        }
        walk! {
            list call progress log list_changed resource_read updated prompt completion
            elicitation elicitation_by_url sampling roots errors
            // Last: what a child on a pipe asks soon after may be of the cancelled call.
            cancel
        }
    }
    mux.until_metrics("nobody works any more", |metrics| {
        metrics.sum("child_in_flight", &[]) == 0.0
    })
    .await;
}

struct Walk<'a> {
    mux: &'a Multiplexer,
    client: &'a mut Client,
    it: Member,
}

impl Walk<'_> {
    fn era(&self) -> Era {
        self.client.version.era()
    }

    /// Calls a tool of the child.
    async fn tool(&mut self, tool: &str, arguments: &str) -> Heard {
        self.tool_given(tool, arguments, "", "{}").await
    }

    /// The same with members of `_meta`, and a result for whatever is asked.
    async fn tool_given(&mut self, tool: &str, arguments: &str, meta: &str, given: &str) -> Heard {
        let name = self.it.public(tool);
        let params = format!(r#"{{"name":"{name}","arguments":{arguments},"_meta":{{{meta}}}}}"#);
        self.client.converse("tools/call", &params, given).await
    }

    /// Every result says what it is to a modern client, and to no other.
    fn is_of_its_era(&self, heard: &Heard) {
        let kind = (self.era() == Era::Modern).then_some(r#""complete""#);
        assert_eq!(
            member(heard.result(), "resultType"),
            kind,
            "{}",
            heard.frame
        );
    }

    /// The entry of a list whose `key` is this.
    async fn listed(&mut self, method: &str, list: &str, key: &str, wanted: &str) -> Option<Value> {
        let heard = self.client.request(method, "{}").await;
        self.is_of_its_era(&heard);
        let result = heard.value();
        let modern = self.era() == Era::Modern;
        assert_eq!(result["ttlMs"].is_number(), modern, "{}", heard.frame);
        assert_eq!(result["cacheScope"].is_string(), modern, "{}", heard.frame);
        let entries = result[list].as_array().expect("a list");
        entries.iter().find(|entry| entry[key] == wanted).cloned()
    }

    async fn list(&mut self) {
        let name = self.it.public("echo");
        let echo = self.listed("tools/list", "tools", "name", &name).await;
        assert_eq!(echo.expect("it is listed")["inputSchema"]["type"], "object");
    }

    async fn call(&mut self) {
        let arguments = r#"{"b" : 1.10,"a":12345678901234567890123,"x":"\u00fc"}"#;
        let heard = self.tool("echo", arguments).await;
        assert_eq!(member(heard.structured(), "arguments"), Some(arguments));
        self.is_of_its_era(&heard);
        assert_eq!(heard.before, [""; 0]);
    }

    async fn progress(&mut self) {
        let meta = r#""progressToken":"mine / 1""#;
        let heard = self.tool_given("progress", r#"{"n":3}"#, meta, "{}").await;
        let steps: Vec<_> = heard.before.iter().map(|it| member(it, "params")).collect();
        let expected = [1, 2, 3].map(|n| {
            format!(r#"{{"progressToken":"mine / 1","progress":{n},"total":3,"x-exact":1.10}}"#)
        });
        assert_eq!(steps, expected.each_ref().map(|it| Some(it.as_str())));
    }

    async fn log(&mut self) {
        let meta = match self.era() {
            Era::Modern => r#""io.modelcontextprotocol/logLevel":"warning""#,
            Era::Legacy => {
                let level = r#"{"level":"warning"}"#;
                let heard = self.client.request("logging/setLevel", level).await;
                assert_eq!(heard.result(), "{}");
                ""
            }
        };
        let heard = self.tool_given("log", r#"{"data":1.10}"#, meta, "{}").await;
        let logger = format!("{}/test-child", self.it.name());
        let expected = format!(r#"{{"level":"error","logger":"{logger}","data":1.10}}"#);
        assert_eq!(heard.before.len(), 1, "{heard:?}");
        assert_eq!(member(&heard.before[0], "params"), Some(expected.as_str()));
    }

    async fn cancel(&mut self) {
        let params = json!({
            "name": self.it.public("slow"),
            "arguments": {"key": "walk", "until": self.mux.path("never")},
        });
        let sent = self.client.begin("tools/call", &params.to_string()).await;
        let journal = self.mux.journal(&self.it.name());
        journal.until_keyed("slow", "walk").await;
        self.client.cancel(sent).await;
        journal.until_keyed("cancelled", "walk").await;
    }

    async fn list_changed(&mut self) {
        let name = self.it.public("late");
        let before = self.listed("tools/list", "tools", "name", &name).await;
        assert_eq!(before, None);
        self.tool("add_tool", r#"{"name":"late"}"#).await;
        self.client.news(LIST_CHANGED).await;
        let listed = self.listed("tools/list", "tools", "name", &name).await;
        assert!(listed.is_some(), "it was said to be there");
    }

    async fn resource_read(&mut self) {
        let uri = self.it.uri();
        let listed = self
            .listed("resources/list", "resources", "uri", &uri)
            .await;
        assert_eq!(listed.expect("it is listed")["name"], "r");
        let template = format!("{uri}/{{part}}");
        let (method, list) = ("resources/templates/list", "resourceTemplates");
        let listed = self.listed(method, list, "uriTemplate", &template).await;
        assert_eq!(listed.expect("it is listed")["name"], "t");
        for uri in [uri.clone(), format!("{uri}/one")] {
            let params = json!({"uri": uri}).to_string();
            let heard = self.client.request("resources/read", &params).await;
            self.is_of_its_era(&heard);
            let text = &heard.value()["contents"][0];
            assert_eq!(
                (&text["uri"], &text["text"]),
                (&json!(uri), &json!("contents"))
            );
        }
    }

    async fn updated(&mut self) {
        let uri = self.it.uri();
        let params = json!({"uri": uri}).to_string();
        if self.era() == Era::Legacy {
            let heard = self.client.request("resources/subscribe", &params).await;
            assert_eq!(heard.result(), "{}");
        }
        let journal = self.mux.journal(&self.it.name());
        match self.it.version.era() {
            Era::Legacy => journal.until_keyed("resources/subscribe", &uri).await,
            Era::Modern => {
                let listens = |noted: &Value| noted["resources"] == json!([uri]);
                journal.until("listening", listens).await
            }
        };
        self.tool("update", &params).await;
        let told: Value = serde_json::from_str(&self.client.news(UPDATED).await).expect("JSON");
        assert_eq!(told["params"]["uri"], json!(uri));
        if self.era() == Era::Legacy {
            let heard = self.client.request("resources/unsubscribe", &params).await;
            assert_eq!(heard.result(), "{}");
        }
    }

    async fn prompt(&mut self) {
        let name = self.it.public("greet");
        let listed = self.listed("prompts/list", "prompts", "name", &name).await;
        assert_eq!(
            listed.expect("it is listed")["arguments"][0]["name"],
            "whom"
        );
        let params = json!({"name": name, "arguments": {"whom": "world"}}).to_string();
        let heard = self.client.request("prompts/get", &params).await;
        self.is_of_its_era(&heard);
        let result = heard.value();
        assert_eq!(result["messages"][0]["content"]["text"], "hello");
        assert_eq!(result["x-params"]["name"], "greet");
        assert_eq!(result["x-params"]["arguments"]["whom"], "world");
    }

    async fn completion(&mut self) {
        let argument = json!({"name": "whom", "value": "w"});
        let template = format!("{}/{{part}}", self.it.uri());
        for (reference, own) in [
            (
                json!({"type": "ref/prompt", "name": self.it.public("greet")}),
                json!({"type": "ref/prompt", "name": "greet"}),
            ),
            (
                json!({"type": "ref/resource", "uri": template}),
                json!({"type": "ref/resource", "uri": template}),
            ),
        ] {
            let params = json!({"ref": reference, "argument": argument}).to_string();
            let heard = self.client.request("completion/complete", &params).await;
            self.is_of_its_era(&heard);
            let result = heard.value();
            assert_eq!(result["completion"]["values"], json!(["world"]));
            assert_eq!(result["x-params"]["ref"], own);
            assert_eq!(result["x-params"]["argument"], argument);
        }
    }

    /// Has the child ask, and gives what it was answered with.
    async fn asks(&mut self, method: &str, params: &str, given: &str) {
        let arguments = format!(r#"{{"method":"{method}","params":{params}}}"#);
        let heard = self.tool_given("ask", &arguments, "", given).await;
        let asked = [(method.to_owned(), params.to_owned())];
        assert_eq!(heard.asked, asked);
        let expected = format!("[{given}]");
        assert_eq!(member(heard.structured(), "answers"), Some(&*expected));
        self.is_of_its_era(&heard);
    }

    async fn elicitation(&mut self) {
        self.asks(
            "elicitation/create",
            r#"{"message":"name?","requestedSchema":{"type":"object","properties":{"n":{"type":"number","minimum":1.10}}}}"#,
            r#"{"action":"accept","content":{"n":1.10}}"#,
        )
        .await;
    }

    /// The oldest of the versions has none: its client is not asked.
    async fn elicitation_by_url(&mut self) {
        let method = "elicitation/create";
        let params = r#"{"mode":"url","message":"go","url":"https://x.test","elicitationId":"7"}"#;
        if self.client.version > Version::June2025 {
            return self.asks(method, params, r#"{"action":"decline"}"#).await;
        }
        let arguments = format!(r#"{{"method":"{method}","params":{params}}}"#);
        let heard = self.tool("ask", &arguments).await;
        assert_eq!(heard.asked, []);
        let result = heard.value();
        match self.it.version.era() {
            Era::Legacy => {
                let error = &result["structuredContent"]["answers"][0]["error"];
                assert_eq!(error["code"], -32601, "{}", heard.frame);
            }
            Era::Modern => {
                let failure = &result["_meta"]["io.mcp-multiplexer/failure"];
                assert_eq!(failure["kind"], "protocol", "{}", heard.frame);
            }
        }
    }

    async fn sampling(&mut self) {
        self.asks(
            "sampling/createMessage",
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}],"maxTokens":9}"#,
            r#"{"role":"assistant","content":{"type":"text","text":"ho"},"model":"m","x":1.10}"#,
        )
        .await;
    }

    async fn roots(&mut self) {
        let given = r#"{"roots":[{"uri":"file:///home"}]}"#;
        self.asks("roots/list", "{}", given).await;
    }

    async fn errors(&mut self) {
        let heard = self.tool("rpc_error", "{}").await;
        let expected = r#"{"code":4711,"message":"told to fail with an error","data":{"exact":1.10,"big":12345678901234567890123}}"#;
        assert_eq!(heard.error(), expected);

        let heard = self.tool("fail", "{}").await;
        self.is_of_its_era(&heard);
        assert_eq!(member(heard.result(), "isError"), Some("true"));

        let code = |heard: &Heard| member(heard.error(), "code").map(str::to_owned);
        let heard = self.tool("no_such_tool", "{}").await;
        assert_eq!(code(&heard).as_deref(), Some("-32602"));

        let nobodys = r#"{"uri":"nobody://has/it"}"#;
        let heard = self.client.request("resources/read", nobodys).await;
        let expected = match self.era() {
            Era::Legacy => "-32002",
            Era::Modern => "-32602",
        };
        assert_eq!(code(&heard).as_deref(), Some(expected));

        let heard = self.client.request("no/such/method", "{}").await;
        assert_eq!(code(&heard).as_deref(), Some("-32601"));
    }
}
