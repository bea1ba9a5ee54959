//! A client of one version, which can be asked everything that its version knows, and
//! shows every frame.

use std::collections::VecDeque;

use ::http::{Method, Request};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    Version,
    support::{
        Door, Era, Multiplexer,
        client::modern_post,
        http::{Events, Http, Reply, With as _, post, request},
        pipe::Pipe,
        wire::{member, method},
    },
};

/// The client.
pub struct Client {
    pub version: Version,
    pub door: Door,
    /// What its `initialize` or `server/discover` was answered with.
    pub introduction: String,
    last_id: u64,
    way: Way,
    /// What belongs to no request.
    news: VecDeque<String>,
}

enum Way {
    Http {
        http: Box<Http>,
        url: String,
        session: String,
        stream: Option<Box<Events>>,
    },
    Stdio(Pipe),
}

/// A request that has been sent.
pub struct Sent {
    pub id: u64,
    reply: Option<JoinHandle<Reply>>,
    events: Option<Events>,
}

/// What a request brought.
#[derive(Debug)]
pub struct Heard {
    /// The answer, byte for byte.
    pub frame: String,
    /// The notifications before it.
    pub before: Vec<String>,
    /// What was asked meanwhile: method and the bytes of the params.
    pub asked: Vec<(String, String)>,
}

impl Heard {
    /// The bytes of `result`.
    pub fn result(&self) -> &str {
        member(&self.frame, "result").unwrap_or_else(|| panic!("no result: {}", self.frame))
    }

    /// `result`, for what is no matter of bytes.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.result()).expect("JSON")
    }

    /// The bytes of `result.structuredContent`.
    pub fn structured(&self) -> &str {
        member(self.result(), "structuredContent")
            .unwrap_or_else(|| panic!("no content: {}", self.frame))
    }

    /// The bytes of `error`.
    pub fn error(&self) -> &str {
        member(&self.frame, "error").unwrap_or_else(|| panic!("no error: {}", self.frame))
    }
}

impl Client {
    /// A client of a multiplexer, which listens once this returns.
    pub async fn of(mux: &mut Multiplexer, version: Version, door: Door) -> Self {
        match door {
            Door::Http => Self::at(&mux.url(), version).await,
            Door::Stdio => Self::introduced(Way::Stdio(mux.pipe()), version, door).await,
        }
    }

    /// A client of whatever serves this URL.
    pub async fn at(url: &str, version: Version) -> Self {
        let way = Way::Http {
            http: Box::default(),
            url: url.to_owned(),
            session: String::new(),
            stream: None,
        };
        Self::introduced(way, version, Door::Http).await
    }

    async fn introduced(way: Way, version: Version, door: Door) -> Self {
        let mut client = Self {
            version,
            door,
            introduction: String::new(),
            last_id: 0,
            way,
            news: VecDeque::new(),
        };
        match version.era() {
            Era::Legacy => client.initialize().await,
            Era::Modern => {
                let heard = client.request("server/discover", "{}").await;
                client.introduction = heard.result().to_owned();
            }
        }
        client
    }

    async fn initialize(&mut self) {
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"matrix","version":"1"}}}}"#,
            self.version.as_str(),
            self.capabilities()
        );
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
        let answer = match &mut self.way {
            Way::Stdio(pipe) => {
                pipe.line(frame).await;
                pipe.next().await.expect("an answer")
            }
            Way::Http {
                http, url, session, ..
            } => {
                let reply = http.post(url, frame).await;
                *session = reply.header("mcp-session-id").to_owned();
                reply.answer().await.frame
            }
        };
        let result = member(&answer, "result").unwrap_or_else(|| panic!("{answer}"));
        let version = member(result, "protocolVersion").unwrap_or_default();
        assert_eq!(version.trim_matches('"'), self.version.as_str());
        self.introduction = result.to_owned();
        self.notify("notifications/initialized", "{}").await;
    }

    /// What this version lets a client be asked.
    fn capabilities(&self) -> &'static str {
        match self.version {
            Version::June2025 => r#"{"roots":{},"sampling":{},"elicitation":{}}"#,
            _ => r#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#,
        }
    }

    /// Sends a request and does not wait.
    pub async fn begin(&mut self, method: &str, params: &str) -> Sent {
        self.last_id += 1;
        let id = self.last_id;
        let params = self.params(params);
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let reply = match &mut self.way {
            Way::Stdio(pipe) => {
                pipe.line(frame).await;
                None
            }
            Way::Http { http, .. } => {
                let http = http.clone();
                let request = self.posted(frame);
                Some(tokio::spawn(async move { http.send(request).await }))
            }
        };
        Sent {
            id,
            reply,
            events: None,
        }
    }

    /// The params with what this version adds to each.
    fn params(&self, params: &str) -> String {
        if self.version.era() == Era::Legacy {
            return params.to_owned();
        }
        let meta = format!(
            r#""io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientInfo":{{"name":"matrix","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{}"#,
            self.version.as_str(),
            self.capabilities()
        );
        let (before, meta_begins, rest) = match member(params, "_meta") {
            // The member is a slice of the params, so its place is known.
            Some(own) => {
                let at = own.as_ptr().addr() - params.as_ptr().addr() + 1;
                (&params[..at], "", &params[at..])
            }
            None => ("{", r#""_meta":{"#, &params[1..]),
        };
        let meta_ends = if meta_begins.is_empty() { "" } else { "}" };
        let comma = if rest.starts_with('}') { "" } else { "," };
        format!("{before}{meta_begins}{meta}{meta_ends}{comma}{rest}")
    }

    fn posted(&self, frame: String) -> Request<Bytes> {
        let Way::Http { url, session, .. } = &self.way else {
            unreachable!("this client speaks stdio");
        };
        match self.version.era() {
            Era::Modern => modern_post(url, frame),
            Era::Legacy => post(url, frame)
                .with("mcp-session-id", session)
                .with("mcp-protocol-version", self.version.as_str()),
        }
    }

    /// Sends a request; what is asked meanwhile is answered with nothing of worth.
    pub async fn request(&mut self, method: &str, params: &str) -> Heard {
        self.converse(method, params, "{}").await
    }

    /// Sends a request, and answers with this result whatever is asked.
    pub async fn converse(&mut self, method: &str, params: &str, given: &str) -> Heard {
        let mut heard = Heard {
            frame: String::new(),
            before: Vec::new(),
            asked: Vec::new(),
        };
        let mut sent = self.begin(method, params).await;
        loop {
            let frame = self.next(&mut sent).await;
            let id = member(&frame, "id");
            match (crate::support::wire::method(&frame), id) {
                (Some(asked), Some(id)) => {
                    assert_eq!(self.version.era(), Era::Legacy, "asked by request: {frame}");
                    let params = member(&frame, "params").unwrap_or("{}");
                    heard.asked.push((asked, params.to_owned()));
                    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{given}}}"#);
                    self.send(answer).await;
                }
                (Some(told), None) if is_news(&told) => self.news.push_back(frame),
                (Some(_), None) => heard.before.push(frame),
                (None, _) => {
                    assert_eq!(id, Some(&*sent.id.to_string()), "{frame}");
                    let Some(more) = retry(&frame, given, &mut heard.asked) else {
                        heard.frame = frame;
                        return heard;
                    };
                    assert_eq!(self.version.era(), Era::Modern, "asked by answer: {frame}");
                    let rest = params.strip_prefix('{').expect("an object");
                    sent = self.begin(method, &format!("{{{more},{rest}")).await;
                }
            }
        }
    }

    /// Takes a request back as its version and transport have it.
    pub async fn cancel(&mut self, sent: Sent) {
        match (self.version.era(), sent.reply) {
            (Era::Modern, Some(reply)) => reply.abort(),
            _ => {
                let params = format!(r#"{{"requestId":{}}}"#, sent.id);
                self.notify("notifications/cancelled", &params).await;
            }
        }
    }

    /// The next frame for this request; over stdio the next frame at all.
    async fn next(&mut self, sent: &mut Sent) -> String {
        if let Way::Stdio(pipe) = &mut self.way {
            return pipe.next().await.expect("stdout stays open");
        }
        if let Some(reply) = sent.reply.take() {
            let reply = reply.await.expect("a reply");
            let kind = reply.header("content-type");
            if !kind.starts_with("text/event-stream") {
                return reply.text().await;
            }
            sent.events = Some(reply.events());
        }
        let events = sent.events.as_mut().expect("an event stream");
        events.next().await.expect("the stream stays open")
    }

    /// Hears from now on what belongs to no request; a modern client names it by a filter.
    pub async fn listen(&mut self, filter: &str) {
        if self.version.era() == Era::Modern {
            let params = format!(r#"{{"notifications":{filter}}}"#);
            let mut sent = self.begin("subscriptions/listen", &params).await;
            let first = self.next(&mut sent).await;
            let acknowledged = "notifications/subscriptions/acknowledged";
            assert_eq!(method(&first).as_deref(), Some(acknowledged), "{first}");
            if let Way::Http { stream, .. } = &mut self.way {
                *stream = sent.events.map(Box::new);
            }
            return;
        }
        let version = self.version.as_str();
        if let Way::Http {
            http,
            url,
            session,
            stream,
        } = &mut self.way
        {
            let open = request(Method::GET, url, Bytes::new())
                .with("accept", "text/event-stream")
                .with("mcp-session-id", session)
                .with("mcp-protocol-version", version);
            *stream = Some(Box::new(http.send(open).await.events()));
        }
    }

    /// The next news of this method.
    pub async fn news(&mut self, wanted: &str) -> String {
        loop {
            let frame = match (self.news.pop_front(), &mut self.way) {
                (Some(news), _) => news,
                (None, Way::Stdio(pipe)) => pipe.next().await.expect("stdout stays open"),
                (None, Way::Http { stream, .. }) => {
                    let stream = stream.as_mut().expect("it listens");
                    stream.next().await.expect("the stream stays open")
                }
            };
            if method(&frame).as_deref() == Some(wanted) {
                return frame;
            }
        }
    }

    /// Sends a notification.
    pub async fn notify(&mut self, method: &str, params: &str) {
        let params = match method {
            "notifications/initialized" | "notifications/cancelled" => params.to_owned(),
            _ => self.params(params),
        };
        self.send(format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#
        ))
        .await;
    }

    /// Sends a message that is no request.
    async fn send(&mut self, frame: String) {
        if let Way::Stdio(pipe) = &mut self.way {
            return pipe.line(frame).await;
        }
        let request = self.posted(frame);
        if let Way::Http { http, .. } = &self.way {
            assert_eq!(http.send(request).await.status, 202);
        }
    }
}

/// Whether a notification belongs to no request.
fn is_news(method: &str) -> bool {
    method.ends_with("/list_changed") || method == "notifications/resources/updated"
}

/// The members with which an unfinished request is to be sent again; `None` for any other
/// answer.
fn retry(frame: &str, given: &str, asked: &mut Vec<(String, String)>) -> Option<String> {
    let result = member(frame, "result")?;
    if member(result, "resultType") != Some(r#""input_required""#) {
        return None;
    }
    let requests = member(result, "inputRequests").expect("requests");
    let by_key: Value = serde_json::from_str(requests).expect("JSON");
    let mut answers = Vec::new();
    for key in by_key.as_object().expect("an object").keys() {
        let request = member(requests, key).expect("a request");
        let params = member(request, "params").unwrap_or("{}").to_owned();
        asked.push((method(request).expect("a method"), params));
        answers.push(format!("{}:{given}", Value::from(key.as_str())));
    }
    let state = member(result, "requestState").expect("a state");
    let answers = answers.join(",");
    Some(format!(
        r#""inputResponses":{{{answers}}},"requestState":{state}"#
    ))
}
