//! The tool `ask`: it asks whoever calls it, as its era has it.
//!
//! In the legacy era by requests of its own, and waits for the answers; in the modern
//! one by an unfinished answer, and by what comes back with the retry.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    sync::{broadcast, oneshot},
    time::sleep,
};

use crate::{
    message::{Message, Params, Reply, RpcError, notification, quoted},
    server::{Asker, Era, LOOK_AGAIN, Outbox, Server, lock, send},
    tools::{Unfinished, structured, until_exists},
};

/// What this child has asked and not been told.
pub struct Asking {
    next: AtomicU64,
    open: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// What is asked on the stream of a session and not on a call's: the session, and
    /// the frame.
    outside: broadcast::Sender<(String, String)>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            next: AtomicU64::default(),
            open: Mutex::default(),
            outside: broadcast::Sender::new(16),
        }
    }
}

impl Asking {
    /// Takes an answer, byte for byte.
    pub fn answered(&self, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame).into_owned();
        let id = members(&text).remove("id").map(|id| id.get().to_owned());
        if let Some(asker) = id.and_then(|id| lock(&self.open).remove(&id)) {
            let _ = asker.send(text);
        }
    }

    /// What is asked outside of calls from now on.
    pub fn outside(&self) -> broadcast::Receiver<(String, String)> {
        self.outside.subscribe()
    }

    /// A request, its id, and where its answer comes.
    fn request(&self, ask: &Ask) -> (String, String, oneshot::Receiver<String>) {
        let id = quoted(&format!(
            "ask {}",
            self.next.fetch_add(1, Ordering::Relaxed)
        ));
        let (answers, answer) = oneshot::channel();
        lock(&self.open).insert(id.clone(), answers);
        let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},{}}}"#, ask.members());
        (id, frame, answer)
    }
}

/// What is to be asked.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Ask {
    method: String,
    params: Option<Box<RawValue>>,
    /// How many at once, beyond the first.
    more: usize,
    /// How many times, beyond the first.
    again: usize,
    /// The word under which the journal tells of it.
    key: String,
    /// The question is taken back when this file exists.
    withdraw: Option<PathBuf>,
    /// So many notifications of 100 kB come before that.
    notes: usize,
    /// One notification comes after the other until there is an answer.
    chatter: bool,
    /// When this file exists, what is done at the URL of the params is done.
    complete: Option<PathBuf>,
    /// It is asked by refusing the call.
    required: bool,
    /// That is said on the stream of the session, and the call ends when this file exists.
    elsewhere: Option<PathBuf>,
    /// It is asked when this file exists, and the call has been answered before.
    outside: Option<PathBuf>,
}

impl Ask {
    /// Method and params, as the members of an object.
    fn members(&self) -> String {
        let params = self.params.as_deref().map_or("{}", RawValue::get);
        format!(r#""method":{},"params":{params}"#, quoted(&self.method))
    }
}

/// Carries out a call of `ask`.
pub async fn ask(
    server: &Server,
    message: &Message,
    params: &Params,
    asker: &Asker,
    out: &Outbox,
) -> Reply {
    let arguments = params.arguments.as_deref().map_or("{}", RawValue::get);
    let ask: Ask = match serde_json::from_str(arguments) {
        Ok(ask) => ask,
        Err(error) => return RpcError::new(-32602, error.to_string()).into(),
    };
    complete(server, &ask, asker, out);
    match asker.era {
        _ if ask.required => required(&ask),
        Era::Legacy if ask.outside.is_some() => outside(server, ask, asker, out),
        Era::Legacy => directly(server, ask, asker, out).await,
        Era::Modern => by_answer(&ask, message, params),
    }
}

async fn directly(server: &Server, ask: Ask, asker: &Asker, out: &Outbox) -> Reply {
    let key = &ask.key;
    let mut unfinished = Unfinished::of(server, key);
    let mut answers = Vec::new();
    for _ in 0..=ask.again {
        let requests: Vec<_> = (0..=ask.more)
            .map(|_| server.asking.request(&ask))
            .collect();
        let mut waits = Vec::new();
        for (id, frame, answer) in requests {
            send(out, frame);
            server.journal.note("asked", json!({"key": key, "id": id}));
            waits.push(answer);
            if let Some(file) = &ask.withdraw {
                until_exists(file).await;
                for _ in 0..ask.notes {
                    let params = format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000));
                    send(out, notification("notifications/vendor/note", &params));
                }
                let taken_back = format!(r#"{{"requestId":{id},"reason":"told to"}}"#);
                let taken_back = notification("notifications/cancelled", &taken_back);
                match (&ask.elsewhere, asker.headers.get("mcp-session-id")) {
                    (Some(file), Some(session)) => {
                        let _ = server.asking.outside.send((session.clone(), taken_back));
                        until_exists(file).await;
                    }
                    _ => send(out, taken_back),
                }
                unfinished.finish();
                return structured(Era::Legacy, r#"{"withdrawn":true}"#);
            }
        }
        let heard = tokio::select! {
            heard = join_all(waits) => heard,
            never = chatter(out), if ask.chatter => match never {},
        };
        for answer in heard.into_iter().flatten() {
            server
                .journal
                .note("answered", json!({"key": key, "answer": answer}));
            answers.push(outcome(&answer));
        }
    }
    unfinished.finish();
    structured(
        Era::Legacy,
        &format!(r#"{{"answers":[{}]}}"#, answers.join(",")),
    )
}

async fn chatter(out: &Outbox) -> Infallible {
    loop {
        let params = r#"{"level":"debug","data":"chatter"}"#;
        send(out, notification("notifications/message", params));
        sleep(LOOK_AGAIN).await;
    }
}

/// The result, or the error as a member of that name.
fn outcome(answer: &str) -> String {
    let answer = members(answer);
    match (answer.get("result"), answer.get("error")) {
        (Some(result), _) => result.get().to_owned(),
        (None, Some(error)) => format!(r#"{{"error":{}}}"#, error.get()),
        (None, None) => "null".to_owned(),
    }
}

fn outside(server: &Server, ask: Ask, asker: &Asker, out: &Outbox) -> Reply {
    let Some(file) = ask.outside.clone() else {
        return RpcError::new(-32603, "told to ask inside").into();
    };
    let (id, frame, answer) = server.asking.request(&ask);
    let journal = server.journal.clone();
    let say = sayer(server, asker, out);
    tokio::spawn(async move {
        until_exists(&file).await;
        say(frame);
        journal.note("asked", json!({"key": ask.key, "id": id}));
        if let Ok(answer) = answer.await {
            journal.note("answered", json!({"key": ask.key, "answer": answer}));
        }
    });
    structured(Era::Legacy, "{}")
}

/// Says things outside of the call.
fn sayer(server: &Server, asker: &Asker, out: &Outbox) -> impl FnOnce(String) + Send + 'static {
    let session = asker.headers.get("mcp-session-id").cloned();
    let (stream, out) = (server.asking.outside.clone(), out.clone());
    move |frame| match session {
        Some(session) => drop(stream.send((session, frame))),
        None => send(&out, frame),
    }
}

fn complete(server: &Server, ask: &Ask, asker: &Asker, out: &Outbox) {
    let Some(file) = ask.complete.clone() else {
        return;
    };
    let params = ask.params.as_deref().map_or("{}", RawValue::get);
    let id = members(params).remove("elicitationId");
    let id = id.as_deref().map_or("null", RawValue::get);
    let params = format!(r#"{{"elicitationId":{id},"x-exact":1.10}}"#);
    let say = sayer(server, asker, out);
    tokio::spawn(async move {
        until_exists(&file).await;
        say(notification("notifications/elicitation/complete", &params));
    });
}

fn required(ask: &Ask) -> Reply {
    let params = ask.params.as_deref().map_or("{}", RawValue::get);
    Reply::Error(RpcError {
        code: -32042,
        message: "go there first".to_owned(),
        data: Some(format!(r#"{{"elicitations":[{params}]}}"#)),
    })
}

/// The state says how often the client has answered; with escapes in it, which nobody
/// may undo.
fn by_answer(ask: &Ask, message: &Message, params: &Params) -> Reply {
    let state = |round: usize| format!(r#""round\u0020{round} \/ \u00e9é""#);
    let given = members(message.raw_params());
    let round = match given.get("requestState") {
        None => 0,
        Some(back) => match (0..=ask.again + 1).find(|round| state(*round) == back.get()) {
            Some(round) => round,
            None => return RpcError::new(-32602, "the state was altered").into(),
        },
    };
    if round > ask.again {
        let responses = given.get("inputResponses").map_or("null", |raw| raw.get());
        let by_key = members(responses);
        let answers: Vec<_> = by_key.values().map(|raw| raw.get()).collect();
        let capabilities = params.meta.client_capabilities.as_deref();
        return structured(
            Era::Modern,
            &format!(
                r#"{{"answers":[{}],"responses":{responses},"capabilities":{}}}"#,
                answers.join(","),
                capabilities.map_or("null", RawValue::get)
            ),
        );
    }
    let requests = (0..=ask.more).map(|n| format!(r#""key {n}":{{{}}}"#, ask.members()));
    let requests: Vec<_> = requests.collect();
    Reply::Result(format!(
        r#"{{"resultType":"input_required","inputRequests":{{{}}},"requestState":{}}}"#,
        requests.join(","),
        state(round + 1)
    ))
}

fn members(object: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(object).unwrap_or_default()
}
