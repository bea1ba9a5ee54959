//! A client of either era over either transport, which shows the bytes it got.

use std::collections::{HashMap, VecDeque};

use ::http::Request;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{
    http::{Events, Http, Reply, With as _, post, request},
    pipe::Pipe,
    wait::soon,
    wire::{Answer, elements, member, method, quoted},
};

/// The version a legacy client asks for.
pub const LEGACY_VERSION: &str = "2025-11-25";
/// The version of the modern era.
pub const MODERN_VERSION: &str = "2026-07-28";
/// What every modern request carries in `_meta`.
pub const MODERN_META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"tests","version":"1"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}"#,
);

/// Which protocol a client or a child speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// `initialize`, and sessions over HTTP.
    Legacy,
    /// Stateless requests that carry their metadata.
    Modern,
}

impl Era {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Modern];

    /// The word for it in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// How one side reaches the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// Streamable HTTP.
    Http,
    /// Standard streams.
    Stdio,
}

impl Door {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdio, Self::Http];
}

/// One client.
pub struct Client {
    era: Era,
    last_id: u64,
    link: Link,
}

enum Link {
    Http(Box<HttpLink>),
    Stdio(StdioLink),
}

struct HttpLink {
    http: Http,
    url: String,
    session: Option<String>,
    news: Option<Events>,
}

struct StdioLink {
    pipe: Pipe,
    answers: HashMap<String, Answer>,
    /// Notifications that belong to the next answer.
    before: Vec<String>,
    /// Notifications that belong to none.
    news: VecDeque<String>,
}

/// A tool as it was listed.
#[derive(Debug)]
pub struct Listed {
    /// Its public name.
    pub name: String,
    /// Its entry, byte for byte.
    pub entry: String,
}

/// A request that has been sent and not yet been answered.
pub struct Pending {
    id: String,
    answer: Option<JoinHandle<Answer>>,
}

impl Client {
    /// A client with a session, where its era knows of them.
    pub async fn over_http(url: String, era: Era) -> Self {
        Self::over_shared_http(Http::default(), url, era).await
    }

    /// Like [`Client::over_http`], with the connections of another.
    pub async fn over_shared_http(http: Http, url: String, era: Era) -> Self {
        let link = HttpLink {
            http,
            url,
            session: None,
            news: None,
        };
        Self::introduced(era, Link::Http(Box::new(link))).await
    }

    /// A client on a process's standard streams.
    pub async fn over_stdio(pipe: Pipe, era: Era) -> Self {
        let link = StdioLink {
            pipe,
            answers: HashMap::new(),
            before: Vec::new(),
            news: VecDeque::new(),
        };
        Self::introduced(era, Link::Stdio(link)).await
    }

    async fn introduced(era: Era, link: Link) -> Self {
        let mut client = Self {
            era,
            last_id: 0,
            link,
        };
        if era == Era::Legacy {
            client.initialize().await;
        }
        client
    }

    async fn initialize(&mut self) {
        let params = format!(
            r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"tests","version":"1"}}}}"#
        );
        let frame = self.frame("initialize", &params);
        let answer = match &mut self.link {
            Link::Stdio(link) => {
                let id = id_of(&frame);
                link.pipe.line(frame).await;
                link.answer(&id).await
            }
            Link::Http(link) => {
                let reply = link.http.post(&link.url, frame).await;
                link.session = Some(reply.header("mcp-session-id").to_owned());
                reply.answer().await
            }
        };
        let version = member(answer.result(), "protocolVersion");
        assert_eq!(
            version,
            Some(quoted(LEGACY_VERSION).as_str()),
            "{}",
            answer.frame
        );
        self.notify("notifications/initialized", "{}").await;
    }

    /// The session's id, over HTTP in the legacy era.
    pub fn session(&self) -> Option<&str> {
        match &self.link {
            Link::Http(link) => link.session.as_deref(),
            Link::Stdio(_) => None,
        }
    }

    /// Sends a request, with the metadata of its era, and waits for the answer.
    pub async fn request(&mut self, method: &str, params: &str) -> Answer {
        let pending = self.begin(method, params).await;
        self.finish(pending).await
    }

    /// Calls a tool with these bytes as its arguments.
    pub async fn call(&mut self, tool: &str, arguments: &str) -> Answer {
        let params = call_params(tool, arguments);
        self.request("tools/call", &params).await
    }

    /// Calls a tool, with these members in `_meta`.
    pub async fn call_with_meta(&mut self, tool: &str, arguments: &str, meta: &str) -> Answer {
        let params = format!(
            r#"{{"name":{},"arguments":{arguments},"_meta":{{{meta}}}}}"#,
            quoted(tool)
        );
        self.request("tools/call", &params).await
    }

    /// Calls a tool and does not wait.
    pub async fn begin_call(&mut self, tool: &str, arguments: &str) -> Pending {
        let params = call_params(tool, arguments);
        self.begin("tools/call", &params).await
    }

    /// Every tool, page by page.
    pub async fn tools(&mut self) -> Vec<Listed> {
        let mut tools = Vec::new();
        let mut params = "{}".to_owned();
        loop {
            let answer = self.request("tools/list", &params).await;
            let page = member(answer.result(), "tools").expect("tools");
            tools.extend(elements(page).into_iter().map(|entry| {
                Listed {
                    name: member(entry, "name")
                        .and_then(|name| serde_json::from_str(name).ok())
                        .expect("a name"),
                    entry: entry.to_owned(),
                }
            }));
            match member(answer.result(), "nextCursor") {
                Some(cursor) => params = format!(r#"{{"cursor":{cursor}}}"#),
                None => return tools,
            }
        }
    }

    /// The names of all tools, in the order of the list.
    pub async fn tool_names(&mut self) -> Vec<String> {
        self.tools()
            .await
            .into_iter()
            .map(|tool| tool.name)
            .collect()
    }

    /// Sends a request and does not wait.
    pub async fn begin(&mut self, method: &str, params: &str) -> Pending {
        let params = match self.era {
            Era::Legacy => params.to_owned(),
            Era::Modern => with_modern_meta(params),
        };
        let frame = self.frame(method, &params);
        let id = id_of(&frame);
        let answer = match &mut self.link {
            Link::Stdio(link) => {
                link.pipe.line(frame).await;
                None
            }
            Link::Http(link) => {
                let http = link.http.clone();
                let request = link.request(self.era, frame);
                Some(tokio::spawn(async move {
                    http.send(request).await.answer().await
                }))
            }
        };
        Pending { id, answer }
    }

    /// The answer to a request that was begun.
    pub async fn finish(&mut self, pending: Pending) -> Answer {
        match (&mut self.link, pending.answer) {
            (_, Some(answer)) => answer.await.expect("an answer"),
            (Link::Stdio(link), None) => link.answer(&pending.id).await,
            (Link::Http(_), None) => unreachable!("begun over HTTP"),
        }
    }

    /// Takes a request back as its era and transport have it: a modern client over
    /// HTTP hangs up, all others say so.
    pub async fn cancel(&mut self, pending: Pending) {
        match (self.era, pending.answer) {
            (Era::Modern, Some(answer)) => answer.abort(),
            _ => {
                let params = format!(r#"{{"requestId":{}}}"#, pending.id);
                self.notify("notifications/cancelled", &params).await;
            }
        }
    }

    /// Sends a notification.
    pub async fn notify(&mut self, method: &str, params: &str) {
        let frame = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        match &mut self.link {
            Link::Stdio(link) => link.pipe.line(frame).await,
            Link::Http(link) => {
                let reply = link.http.send(link.request(self.era, frame)).await;
                assert_eq!(reply.status, 202, "{method}");
            }
        }
    }

    /// Asks to be told when the list of tools changes, as its era and transport have it.
    pub async fn subscribe(&mut self) {
        self.listen(r#"{"toolsListChanged":true}"#).await;
    }

    /// Asks to be told of what belongs to no request; a modern client, of this filter.
    /// Gives what it is acknowledged with, if it is.
    pub async fn listen(&mut self, filter: &str) -> Option<String> {
        if self.era == Era::Modern {
            let filter = format!(r#"{{"notifications":{filter}}}"#);
            let frame = self.frame("subscriptions/listen", &with_modern_meta(&filter));
            match &mut self.link {
                Link::Stdio(link) => link.pipe.line(frame).await,
                Link::Http(link) => {
                    let reply = link.http.send(link.request(Era::Modern, frame)).await;
                    link.news = Some(reply.events());
                }
            }
            return Some(self.news("notifications/subscriptions/acknowledged").await);
        } else if let Link::Http(link) = &mut self.link {
            let open = request(::http::Method::GET, &link.url, Bytes::new())
                .with("accept", "text/event-stream")
                .with(
                    "mcp-session-id",
                    link.session.as_deref().unwrap_or_default(),
                )
                .with("mcp-protocol-version", LEGACY_VERSION);
            link.news = Some(link.http.send(open).await.events());
        }
        None
    }

    /// Hears no more of what belongs to no request, over HTTP.
    pub fn stop_listening(&mut self) {
        if let Link::Http(link) = &mut self.link {
            link.news = None;
        }
    }

    /// The next notification of this method that belongs to no request.
    pub async fn news(&mut self, wanted: &str) -> String {
        loop {
            let frame = match &mut self.link {
                Link::Http(link) => {
                    let news = link.news.as_mut().expect("subscribed");
                    news.next().await.expect("the stream stays open")
                }
                Link::Stdio(link) => link.next_news().await,
            };
            if method(&frame).as_deref() == Some(wanted) {
                return frame;
            }
        }
    }

    /// How many notifications of this method have come, and come until the multiplexer
    /// has ended, that nobody has asked for with [`Client::news`].
    pub async fn unread_news(mut self, wanted: &str) -> usize {
        let mut found = 0;
        loop {
            let frame = match &mut self.link {
                Link::Http(link) => link.news.as_mut().expect("subscribed").next().await,
                Link::Stdio(link) => match link.news.pop_front() {
                    Some(news) => Some(news),
                    None => link.pipe.next().await,
                },
            };
            let Some(frame) = frame else { return found };
            found += usize::from(method(&frame).as_deref() == Some(wanted));
        }
    }

    /// Goes away: ends stdin, or drops every connection.
    pub fn leave(self) {
        drop(self);
    }

    fn frame(&mut self, method: &str, params: &str) -> String {
        self.last_id += 1;
        let id = self.last_id;
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    }
}

impl HttpLink {
    fn request(&self, era: Era, frame: String) -> Request<Bytes> {
        match era {
            Era::Modern => modern_post(&self.url, frame),
            Era::Legacy => {
                let session = self.session.as_deref().unwrap_or_default();
                post(&self.url, frame)
                    .with("mcp-session-id", session)
                    .with("mcp-protocol-version", LEGACY_VERSION)
            }
        }
    }
}

impl StdioLink {
    /// Reads until the request of this id is answered.
    async fn answer(&mut self, id: &str) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(id) {
                return answer;
            }
            self.read().await;
        }
    }

    async fn next_news(&mut self) -> String {
        loop {
            if let Some(news) = self.news.pop_front() {
                return news;
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let frame = self.pipe.next().await.expect("stdout stays open");
        match method(&frame).as_deref() {
            Some("notifications/progress" | "notifications/message") => self.before.push(frame),
            Some(_) => self.news.push_back(frame),
            None => {
                let before = std::mem::take(&mut self.before);
                let id = id_of(&frame);
                self.answers.insert(id, Answer { frame, before });
            }
        }
    }
}

/// The params of a `tools/call` with these bytes as its arguments.
pub fn call_params(tool: &str, arguments: &str) -> String {
    format!(r#"{{"name":{},"arguments":{arguments}}}"#, quoted(tool))
}

/// `params` with what every modern request carries in `_meta`.
pub fn with_modern_meta(params: &str) -> String {
    let (before, inside) = match member(params, "_meta") {
        // The member is a slice of the params, so its place is known.
        Some(meta) => params.split_at(meta.as_ptr().addr() - params.as_ptr().addr() + 1),
        None => (r#"{"_meta":{"#, ""),
    };
    let after = match inside {
        "" => format!(
            "}}{}",
            after_comma(params.strip_prefix('{').expect("params are an object"))
        ),
        inside => after_comma(inside),
    };
    format!("{before}{MODERN_META}{after}")
}

/// The rest of an object after a member, from its comma on.
fn after_comma(rest: &str) -> String {
    let comma = if rest.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    format!("{comma}{rest}")
}

/// A POST of a modern frame, with the headers that say what its body says.
pub fn modern_post(url: &str, frame: String) -> Request<Bytes> {
    let called = method(&frame).unwrap_or_default();
    let key = match called.as_str() {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    let name = member(&frame, "params")
        .zip(key)
        .and_then(|(params, key)| member(params, key))
        .and_then(|name| serde_json::from_str::<String>(name).ok());
    let request = post(url, frame)
        .with("mcp-protocol-version", MODERN_VERSION)
        .with("mcp-method", &called);
    match name {
        Some(name) => request.with("mcp-name", &name),
        None => request,
    }
}

fn id_of(frame: &str) -> String {
    member(frame, "id").unwrap_or_default().to_owned()
}
