//! Steady calls by many clients, each answer read to its last byte.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use ::http::Method;
use bytes::Bytes;

use rand::{Rng as _, rngs::StdRng};
use serde_json::json;

use crate::{
    ledger::Ledger,
    support::{
        Answer, Client, Era, Multiplexer,
        client::{LEGACY_VERSION, call_params, modern_post, with_modern_meta},
        http::{Http, Reply, With as _, post, request},
        wire::{member, method, shortened},
    },
};

/// One client that calls and keeps the books.
pub struct Caller<'a> {
    ledger: &'a Ledger,
    http: Http,
    url: String,
    era: Era,
    session: RefCell<Option<String>>,
    number: &'a Cell<u64>,
}

impl<'a> Caller<'a> {
    /// A client of this era. `number` counts the calls of all.
    pub async fn new(
        mux: &Multiplexer,
        era: Era,
        ledger: &'a Ledger,
        number: &'a Cell<u64>,
    ) -> Self {
        let caller = Self {
            ledger,
            http: Http::default(),
            url: mux.url(),
            era,
            session: RefCell::default(),
            number,
        };
        caller.arrive().await;
        caller
    }

    /// Begins a session, where its era has them.
    async fn arrive(&self) {
        if self.era == Era::Legacy {
            let client = Client::over_http(self.url.clone(), self.era).await;
            let session = client.session().expect("a session").to_owned();
            self.session.replace(Some(session));
        }
    }

    /// Ends its session, if it has one.
    pub async fn leave(&self) {
        let session = self.session.take();
        if let Some(session) = session {
            let ended = request(Method::DELETE, &self.url, Bytes::new());
            let reply = self.http.send(ended.with("mcp-session-id", &session)).await;
            assert_eq!(reply.status, 204);
        }
    }

    /// Ends its session and begins another.
    pub async fn come_again(&self) {
        self.leave().await;
        self.arrive().await;
    }

    /// Calls one of these children, to be answered at once or after a while; as often as
    /// not with no more than the first of these sizes, in bytes, and rarely with the last.
    pub async fn call_any(&self, children: &[String], sizes: &[usize], random: &mut StdRng) {
        let child = &children[random.random_range(0..children.len())];
        let number = self.number.get() + 1;
        if random.random_bool(0.2) {
            let ms = random.random_range(10..100);
            let arguments = json!({"ms": ms, "key": number.to_string()});
            self.call(child, "slow", &arguments.to_string()).await;
        } else {
            let next = |_: &&usize| random.random_bool(0.6);
            let size = sizes.iter().find(next).or(sizes.last()).copied();
            let filling = "x".repeat(size.unwrap_or_default());
            let arguments = format!(r#"{{"n":{number},"filling":"{filling}"}}"#);
            let answer = self.call(child, "echo", &arguments).await;
            if word(&answer) == "ok" && !answer.structured().contains(&arguments) {
                let (asked, told) = (shortened(&arguments), shortened(&answer.frame));
                self.ledger.complain(format!("{asked}: another's {told}"));
            }
        }
    }

    /// Calls a tool of a child.
    pub async fn call(&self, child: &str, tool: &str, arguments: &str) -> Answer {
        let id = self.number.get() + 1;
        self.number.set(id);
        let params = call_params(&format!("{}__{tool}", child.replace('-', "_")), arguments);
        let session = self.session.borrow().clone();
        let params = match session {
            Some(_) => params,
            None => with_modern_meta(&params),
        };
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        let request = match &session {
            None => modern_post(&self.url, frame),
            Some(session) => post(&self.url, frame)
                .with("mcp-session-id", session)
                .with("mcp-protocol-version", LEGACY_VERSION),
        };
        let began = Instant::now();
        let mut answers = answers(self.http.send(request).await, id).await;
        let answer = answers.pop().expect("an answer");
        let others = answers.len();
        if others > 0 || answer.id() != id.to_string() {
            let frame = &answer.frame;
            self.ledger
                .complain(format!("{id} and {others} more: {frame}"));
        }
        self.ledger
            .note(child, began, &word(&answer), &answer.frame);
        answer
    }
}

/// Every answer in a reply to this request, to the end of it.
async fn answers(reply: Reply, id: u64) -> Vec<Answer> {
    if reply.header("content-type") != "text/event-stream" {
        let frame = match reply.try_bytes().await {
            Some(body) => String::from_utf8(body.into()).expect("a body in UTF-8"),
            // A child that breaks off in a long answer cuts its client's body, too.
            None => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"isError":true,"_meta":{{"io.mcp-multiplexer/failure":{{"kind":"transport"}}}}}}}}"#
            ),
        };
        let before = Vec::new();
        return vec![Answer { frame, before }];
    }
    let mut events = reply.events();
    let mut answers = Vec::new();
    while let Some(frame) = events.next().await {
        if method(&frame).is_none() {
            let before = Vec::new();
            answers.push(Answer { frame, before });
        }
    }
    answers
}

/// What became of a call, in the words of the metrics.
pub fn word(answer: &Answer) -> String {
    let ours = |answer: &Answer| answer.failure()["kind"].as_str().map(str::to_owned);
    match (member(&answer.frame, "error"), answer.is_tool_error()) {
        (Some(_), _) => "rpc_error".to_owned(),
        (None, true) => ours(answer).unwrap_or("tool_error".to_owned()),
        (None, false) => "ok".to_owned(),
    }
}
