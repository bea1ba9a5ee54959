//! What the tools do.

use std::{
    env, fs,
    future::pending,
    io::{self, Write as _},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use clap::ValueEnum as _;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::{
    asking,
    message::{Message, Params, Reply, RpcError, notification, quoted},
    options::Behaviour,
    resources,
    server::{Asker, Era, LOOK_AGAIN, Outbox, Server, lock, send},
};

/// Carries out one `tools/call`.
pub async fn call(
    server: &Server,
    message: &Message,
    params: &Params,
    asker: &Asker,
    out: &Outbox,
) -> Reply {
    let name = params.name.as_deref().unwrap_or_default();
    let arguments = params.arguments.as_deref().map_or("{}", RawValue::get);
    server.journal.note("call", json!({"tool": name}));
    let era = asker.era;
    match name {
        "received" => received(message, asker),
        "ask" => asking::ask(server, message, params, asker, out).await,
        "raw" => raw(server),
        "say" => crate::say::call(params, arguments, era, out),
        "pause" => crate::pause::call(server, arguments, asker, out).await,
        "slow" => slow(server, arguments, era).await,
        "progress" => progress(params, arguments, era, out),
        "log" => log(params, arguments, era, out),
        "add_tool" => add_tool(server, arguments, era),
        "update" => {
            resources::update(server, arguments, out);
            structured(era, "{}")
        }
        "announce" => {
            resources::announce(server, arguments);
            structured(era, "{}")
        }
        "fail" => Reply::Result(finished(
            era,
            r#""content":[{"type":"text","text":"told to fail"}],"isError":true"#,
        )),
        "rpc_error" => Reply::Error(RpcError {
            code: 4711,
            message: "told to fail with an error".to_owned(),
            data: Some(r#"{"exact":1.10,"big":12345678901234567890123}"#.to_owned()),
        }),
        "exit" => process::exit(7),
        "drip" => drip(server, params, arguments, era, out).await,
        "behave" => behave(server, arguments, era),
        "flood" => flood(arguments, era, out).await,
        "chatter" => chatter(arguments, era),
        "huge" => huge(arguments, era),
        "freeze" => {
            // As a process that is deadlocked: what it works on goes on, and nothing
            // new is answered.
            server.behave(Behaviour::BlackHole);
            pending().await
        }
        "identity" => structured(era, &identity(asker).to_string()),
        "env" => structured(era, &environment().to_string()),
        "echo" => echo(server, arguments, era),
        other if lock(&server.catalog).lists(other) => echo(server, arguments, era),
        other => RpcError::new(-32602, format!("Unknown tool: {other}")).into(),
    }
}

/// Polls until `path` exists.
pub async fn until_exists(path: &Path) {
    while !path.exists() {
        sleep(LOOK_AGAIN).await;
    }
}

/// The bytes of a result with these members, and what the era demands beside them.
fn finished(era: Era, members: &str) -> String {
    match era {
        Era::Legacy => format!("{{{members}}}"),
        Era::Modern => format!(r#"{{{members},"resultType":"complete"}}"#),
    }
}

/// A result whose `structuredContent` are these bytes.
pub fn structured(era: Era, content: &str) -> Reply {
    Reply::Result(finished(
        era,
        &format!(r#""content":[],"structuredContent":{content}"#),
    ))
}

fn echo(server: &Server, arguments: &str, era: Era) -> Reply {
    let calls = server.count_echo();
    structured(
        era,
        &format!(r#"{{"calls":{calls},"arguments":{arguments}}}"#),
    )
}

fn received(message: &Message, asker: &Asker) -> Reply {
    let headers: Value = asker
        .headers
        .iter()
        .filter(|(name, _)| *name != "authorization")
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let id = message.id.as_deref().map_or("", RawValue::get);
    let content = json!({"params": message.raw_params(), "id": id, "headers": headers});
    structured(asker.era, &content.to_string())
}

fn raw(server: &Server) -> Reply {
    let Some(path) = &server.options.result_file else {
        return RpcError::new(-32603, "started without --result-file").into();
    };
    match fs::read_to_string(path) {
        Ok(result) => Reply::Result(result),
        Err(error) => RpcError::new(-32603, error.to_string()).into(),
    }
}

/// How long `slow` takes, and the word under which the journal tells of it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Slow {
    ms: u64,
    until: Option<std::path::PathBuf>,
    key: String,
}

/// Tells the journal when the call is dropped before it has finished.
pub struct Unfinished<'a> {
    server: &'a Server,
    key: &'a str,
    pub finished: bool,
}

impl<'a> Unfinished<'a> {
    /// One that begins, and that the journal knows by this word.
    pub fn of(server: &'a Server, key: &'a str) -> Self {
        Self {
            server,
            key,
            finished: false,
        }
    }

    /// It was not dropped.
    pub fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.server
                .journal
                .note("cancelled", json!({"key": self.key}));
        }
    }
}

async fn slow(server: &Server, arguments: &str, era: Era) -> Reply {
    let slow: Slow = parsed(arguments);
    let mut unfinished = Unfinished::of(server, &slow.key);
    server.journal.note("slow", json!({"key": slow.key}));
    match &slow.until {
        Some(path) => until_exists(path).await,
        None => sleep(Duration::from_millis(slow.ms)).await,
    }
    unfinished.finished = true;
    structured(era, &json!({"key": slow.key}).to_string())
}

fn progress(params: &Params, arguments: &str, era: Era, out: &Outbox) -> Reply {
    #[derive(Deserialize, Default)]
    struct Progress {
        n: u32,
    }
    let steps = parsed::<Progress>(arguments).n;
    if let Some(token) = params.meta.progress_token.as_deref() {
        for step in 1..=steps {
            send(
                out,
                notification(
                    "notifications/progress",
                    &format!(
                        r#"{{"progressToken":{},"progress":{step},"total":{steps},"x-exact":1.10}}"#,
                        token.get()
                    ),
                ),
            );
        }
    }
    structured(era, &json!({"steps": steps}).to_string())
}

/// Progress every {ms}, {n} times, and then the answer.
async fn drip(server: &Server, params: &Params, arguments: &str, era: Era, out: &Outbox) -> Reply {
    #[derive(Deserialize, Default)]
    struct Drip {
        n: u32,
        ms: u64,
    }
    let Drip { n, ms } = parsed(arguments);
    let mut unfinished = Unfinished {
        server,
        key: "drip",
        finished: false,
    };
    for step in 1..=n {
        sleep(Duration::from_millis(ms)).await;
        if let Some(token) = params.meta.progress_token.as_deref() {
            let progress = format!(
                r#"{{"progressToken":{},"progress":{step},"total":{n}}}"#,
                token.get()
            );
            send(out, notification("notifications/progress", &progress));
        }
    }
    unfinished.finished = true;
    structured(era, &json!({"steps": n}).to_string())
}

/// A modern request gets log messages only if it asked for a level.
fn log(params: &Params, arguments: &str, era: Era, out: &Outbox) -> Reply {
    #[derive(Deserialize, Default)]
    struct Log {
        data: Option<Box<RawValue>>,
    }
    if era == Era::Legacy || params.meta.log_level.is_some() {
        let log: Log = parsed(arguments);
        let data = log.data.as_deref().map_or("null", RawValue::get);
        send(
            out,
            notification(
                "notifications/message",
                &format!(r#"{{"level":"error","logger":"test-child","data":{data}}}"#),
            ),
        );
    }
    structured(era, r#"{"logged":true}"#)
}

fn add_tool(server: &Server, arguments: &str, era: Era) -> Reply {
    #[derive(Deserialize, Default)]
    struct Add {
        name: String,
    }
    let name = parsed::<Add>(arguments).name;
    server.add_tool(&name);
    structured(era, &format!(r#"{{"added":{}}}"#, quoted(&name)))
}

/// Breaks this child from the next message on; the way in for a test without HTTP.
fn behave(server: &Server, arguments: &str, era: Era) -> Reply {
    #[derive(Deserialize, Default)]
    struct Behave {
        behaviour: String,
    }
    let name = parsed::<Behave>(arguments).behaviour;
    match Behaviour::from_str(&name, false) {
        Ok(behaviour) => {
            server.behave(behaviour);
            structured(era, "{}")
        }
        Err(error) => RpcError::new(-32602, error).into(),
    }
}

/// Sends notifications, this many a second, until a file exists; then says how many.
async fn flood(arguments: &str, era: Era, out: &Outbox) -> Reply {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Flood {
        per_second: u64,
        until: std::path::PathBuf,
    }
    let Flood { per_second, until } = parsed(arguments);
    let began = Instant::now();
    let mut sent = 0;
    while !until.exists() {
        let due = began.elapsed().as_millis() as u64 * per_second / 1000;
        for n in sent..due {
            let params = format!(r#"{{"level":"info","data":"flood {n}"}}"#);
            send(out, notification("notifications/message", &params));
        }
        sent = due;
        sleep(LOOK_AGAIN).await;
    }
    structured(era, &json!({"sent": sent}).to_string())
}

/// Writes to stderr from now on, without end, as fast as it is taken.
fn chatter(arguments: &str, era: Era) -> Reply {
    #[derive(Deserialize, Default)]
    struct Chatter {
        /// Where lines end; without it the one line never does.
        lines: bool,
    }
    let end = if parsed::<Chatter>(arguments).lines {
        "\n"
    } else {
        ""
    };
    let text = format!("chatter {}{end}", "x".repeat(200));
    thread::spawn(move || {
        let mut stderr = io::stderr();
        while stderr.write_all(text.as_bytes()).is_ok() {}
    });
    structured(era, "{}")
}

/// A result of this many bytes, on one line.
fn huge(arguments: &str, era: Era) -> Reply {
    #[derive(Deserialize, Default)]
    struct Huge {
        bytes: usize,
    }
    let Huge { bytes } = parsed(arguments);
    structured(era, &format!("\"{}\"", "x".repeat(bytes)))
}

/// Tests compare hashes, so that a token never stands in an answer.
fn identity(asker: &Asker) -> Value {
    json!({
        "pid": process::id(),
        "authorization": asker.headers.get("authorization").map(|value| fingerprint(value)),
    })
}

fn environment() -> Value {
    let mut names: Vec<String> = env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    json!({ "names": names })
}

/// The SHA-256 of a secret, in hex.
pub fn fingerprint(secret: &str) -> String {
    Sha256::digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Arguments this tool understands; those it does not count as none.
fn parsed<'a, T: Deserialize<'a> + Default>(arguments: &'a str) -> T {
    serde_json::from_str(arguments).unwrap_or_default()
}
