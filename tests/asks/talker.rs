//! A client that can be asked: it says what it may be asked, shows every frame, and
//! answers what the test says.

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{
    Door, Era, Multiplexer,
    client::{LEGACY_VERSION, MODERN_VERSION, modern_post},
    http::{Events, Http, Reply, With as _, post, request},
    pipe::Pipe,
    wire::{member, method, quoted},
};

/// Everything a client can be asked.
pub const ALL: &str = r#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#;
/// The result of a form that was filled in.
pub const ACCEPTED: &str = r#"{"action":"accept","content":{"name":"Ann","exact":1.10}}"#;

/// The client.
pub struct Talker {
    era: Era,
    capabilities: String,
    last_id: u64,
    way: Way,
}

enum Way {
    Http {
        http: Box<Http>,
        url: String,
        session: String,
        /// The token it shows, if it shows one.
        token: Option<String>,
    },
    Stdio(Pipe),
}

/// A request that has been sent.
pub struct Call {
    pub id: u64,
    reply: Option<JoinHandle<Reply>>,
    events: Option<Events>,
}

impl Talker {
    /// One that has introduced itself with these capabilities.
    pub async fn new(mux: &mut Multiplexer, door: Door, era: Era, capabilities: &str) -> Self {
        let way = match door {
            Door::Http => Way::Http {
                http: Box::default(),
                url: mux.url(),
                session: String::new(),
                token: None,
            },
            Door::Stdio => Way::Stdio(mux.pipe()),
        };
        let mut talker = Self {
            era,
            capabilities: capabilities.to_owned(),
            last_id: 0,
            way,
        };
        if era == Era::Legacy {
            talker.initialize().await;
        }
        talker
    }

    /// The same over HTTP.
    pub async fn over_http(mux: &mut Multiplexer, era: Era, capabilities: &str) -> Self {
        Self::new(mux, Door::Http, era, capabilities).await
    }

    /// The same, as whoever bears this token.
    pub fn bearing(mut self, bears: &str) -> Self {
        if let Way::Http { token, .. } = &mut self.way {
            *token = Some(bears.to_owned());
        }
        self
    }

    async fn initialize(&mut self) {
        let params = format!(
            r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{},"clientInfo":{{"name":"talker","version":"1"}}}}"#,
            self.capabilities
        );
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
        match &mut self.way {
            Way::Stdio(pipe) => {
                pipe.line(frame).await;
                pipe.next().await.expect("an answer");
            }
            Way::Http {
                http, url, session, ..
            } => {
                let reply = http.post(url, frame).await;
                *session = reply.header("mcp-session-id").to_owned();
            }
        }
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned())
            .await;
    }

    /// Calls a tool.
    pub async fn call(&mut self, tool: &str, arguments: &str) -> Call {
        self.call_with(tool, arguments, "").await
    }

    /// Calls a tool, with further members in `params` (each with a comma before it).
    pub async fn call_with(&mut self, tool: &str, arguments: &str, members: &str) -> Call {
        self.last_id += 1;
        let (id, name) = (self.last_id, quoted(tool));
        let meta = match self.era {
            Era::Legacy => String::new(),
            Era::Modern => format!(
                r#","_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN_VERSION}","io.modelcontextprotocol/clientCapabilities":{}}}"#,
                self.capabilities
            ),
        };
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":{name},"arguments":{arguments}{members}{meta}}}}}"#
        );
        let reply = match &mut self.way {
            Way::Stdio(pipe) => {
                pipe.line(frame).await;
                None
            }
            Way::Http {
                http,
                url,
                session,
                token,
            } => {
                let request = match self.era {
                    Era::Modern => modern_post(url, frame),
                    Era::Legacy => post(url, frame)
                        .with("mcp-session-id", session)
                        .with("mcp-protocol-version", LEGACY_VERSION),
                };
                let request = match token {
                    Some(token) => request.with("authorization", &format!("Bearer {token}")),
                    None => request,
                };
                let http = http.clone();
                Some(tokio::spawn(async move { http.send(request).await }))
            }
        };
        Call {
            id,
            reply,
            events: None,
        }
    }

    /// The next frame for this call; over stdio the next frame at all.
    pub async fn next(&mut self, call: &mut Call) -> String {
        if let Way::Stdio(pipe) = &mut self.way {
            return pipe.next().await.expect("stdout stays open");
        }
        if let Some(reply) = call.reply.take() {
            let reply = reply.await.expect("a reply");
            if !reply
                .header("content-type")
                .starts_with("text/event-stream")
            {
                return reply.text().await;
            }
            call.events = Some(reply.events());
        }
        let events = call.events.as_mut().expect("an event stream");
        events.next().await.expect("the stream stays open")
    }

    /// The next frame for this call of this method.
    pub async fn asked(&mut self, call: &mut Call, wanted: &str) -> String {
        loop {
            let frame = self.next(call).await;
            match method(&frame).as_deref() {
                Some(found) if found == wanted => return frame,
                Some(found) if found.starts_with("notifications/") => {}
                _ => panic!("{frame} instead of {wanted}"),
            }
        }
    }

    /// The answer to this call.
    pub async fn answered(&mut self, call: &mut Call) -> String {
        loop {
            let frame = self.next(call).await;
            if method(&frame).is_none() {
                assert_eq!(member(&frame, "id"), Some(&*call.id.to_string()), "{frame}");
                return frame;
            }
            assert!(member(&frame, "id").is_none(), "nothing is asked: {frame}");
        }
    }

    /// Answers a request of the multiplexer with this result.
    pub async fn answer(&mut self, request: &str, result: &str) {
        let id = member(request, "id").expect("an id");
        self.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
        ))
        .await;
    }

    /// Sends a message that is no request.
    pub async fn send(&mut self, frame: String) {
        match &mut self.way {
            Way::Stdio(pipe) => pipe.line(frame).await,
            Way::Http {
                http, url, session, ..
            } => {
                let request = post(url, frame)
                    .with("mcp-session-id", session)
                    .with("mcp-protocol-version", LEGACY_VERSION);
                let reply = http.send(request).await;
                assert_eq!(reply.status, 202);
            }
        }
    }

    /// The stream of what belongs to no call; over stdio there is no other.
    pub async fn listen(&mut self) -> Call {
        let events = match &self.way {
            Way::Stdio(_) => None,
            Way::Http {
                http, url, session, ..
            } => {
                let open = request(::http::Method::GET, url, bytes::Bytes::new())
                    .with("accept", "text/event-stream")
                    .with("mcp-session-id", session)
                    .with("mcp-protocol-version", LEGACY_VERSION);
                Some(http.send(open).await.events())
            }
        };
        Call {
            id: 0,
            reply: None,
            events,
        }
    }

    /// Calls `ask` and answers all it is asked with `result`, as its era has it. Gives
    /// the last answer, and what was asked, each as method and params.
    pub async fn converse(
        &mut self,
        tool: &str,
        arguments: &str,
        result: &str,
    ) -> (String, Vec<(String, Value)>) {
        let mut asked = Vec::new();
        let mut call = self.call(tool, arguments).await;
        loop {
            let frame = self.next(&mut call).await;
            match method(&frame) {
                Some(found) if member(&frame, "id").is_some() => {
                    asked.push((found, params(&frame)));
                    self.answer(&frame, result).await;
                }
                Some(_) => {}
                None => match Unfinished::read(&frame) {
                    None => return (frame, asked),
                    Some(unfinished) => {
                        assert_eq!(self.era, Era::Modern, "{frame}");
                        asked.extend(unfinished.asked());
                        let members = unfinished.retry(|_| Some(result.to_owned()));
                        call = self.call_with(tool, arguments, &members).await;
                    }
                },
            }
        }
    }
}

impl Call {
    /// Hangs up.
    pub fn hang_up(self) {
        if let Some(reply) = self.reply {
            reply.abort();
        }
    }
}

/// A result that asks for more.
pub struct Unfinished {
    requests: String,
    state: String,
}

impl Unfinished {
    /// `None` for any other answer.
    pub fn read(frame: &str) -> Option<Self> {
        let result = member(frame, "result")?;
        if member(result, "resultType") != Some("\"input_required\"") {
            return None;
        }
        Some(Self {
            requests: member(result, "inputRequests")
                .expect("requests")
                .to_owned(),
            state: member(result, "requestState").expect("a state").to_owned(),
        })
    }

    /// The state as it stands.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The keys of what is asked.
    pub fn keys(&self) -> Vec<String> {
        let requests: Value = serde_json::from_str(&self.requests).expect("JSON");
        let requests = requests.as_object().expect("an object");
        requests.keys().cloned().collect()
    }

    /// What is asked: method and params.
    pub fn asked(&self) -> Vec<(String, Value)> {
        let requests: Value = serde_json::from_str(&self.requests).expect("JSON");
        let requests = requests.as_object().expect("an object");
        let asked = requests.values().map(|request| {
            let method = request["method"].as_str().expect("a method");
            (method.to_owned(), request["params"].clone())
        });
        asked.collect()
    }

    /// The members with which a request is to be sent again.
    pub fn retry(&self, answer: impl Fn(&str) -> Option<String>) -> String {
        let answers = self.keys().into_iter().filter_map(|key| {
            let answer = answer(&key)?;
            Some(format!("{}:{answer}", quoted(&key)))
        });
        let answers: Vec<_> = answers.collect();
        format!(
            r#","inputResponses":{{{}}},"requestState":{}"#,
            answers.join(","),
            self.state
        )
    }
}

fn params(frame: &str) -> Value {
    member(frame, "params").map_or(Value::Null, |raw| serde_json::from_str(raw).expect("JSON"))
}

/// The bytes of `result.structuredContent`.
pub fn structured(frame: &str) -> &str {
    let result = member(frame, "result").unwrap_or_else(|| panic!("no result: {frame}"));
    member(result, "structuredContent").unwrap_or_else(|| panic!("no content: {frame}"))
}

/// The JSON-RPC error of a frame: its code and its sentence.
pub fn error(frame: &str) -> (i64, String) {
    let error = member(frame, "error").unwrap_or_else(|| panic!("no error: {frame}"));
    let error: Value = serde_json::from_str(error).expect("JSON");
    let sentence = error["message"].as_str().expect("a sentence");
    (error["code"].as_i64().expect("a code"), sentence.to_owned())
}
