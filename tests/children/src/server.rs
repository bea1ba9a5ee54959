//! The protocol of both eras, the same for both transports.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    future::{Future, pending},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::ValueEnum as _;
use futures::{StreamExt as _, channel::mpsc};
use serde_json::json;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    asking::Asking,
    catalog::Catalog,
    contents, extension,
    journal::Journal,
    message::{Message, Params, Reply, RpcError, notification, quoted},
    options::{Behaviour, Eras, Options},
    resources::{self, Resources},
    tools,
};

/// The one version of the modern era.
pub const MODERN_VERSION: &str = "2026-07-28";
/// The versions with `initialize`, newest first.
const LEGACY_VERSIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// What a child of [`Behaviour::WrongVersion`] claims to speak.
const VERSION_OF_NOBODY: &str = "1999-01-01";
/// Result keys that every cacheable answer of the modern era carries.
const MODERN_LIST_KEYS: &str = r#","resultType":"complete","ttlMs":1000,"cacheScope":"public""#;

/// Which protocol a request speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// After `initialize`, within a session.
    Legacy,
    /// Stateless, with its metadata in `_meta`.
    Modern,
}

/// Who asks, as far as a tool can see it.
pub struct Asker {
    pub era: Era,
    /// Header names in lower case; empty on stdio.
    pub headers: BTreeMap<String, String>,
}

/// Where frames for the asker go, in order.
pub type Outbox = mpsc::UnboundedSender<Frame>;

/// One frame on its way to the asker.
pub enum Frame {
    /// Something that belongs to the request but does not end it.
    Before(String),
    /// The answer.
    Answer(String),
}

impl Frame {
    /// The frame's bytes, whatever it is.
    pub fn into_text(self) -> String {
        match self {
            Self::Before(text) | Self::Answer(text) => text,
        }
    }
}

/// This child.
pub struct Server {
    pub options: Options,
    pub journal: Journal,
    pub catalog: Mutex<Catalog>,
    pub asking: Asking,
    pub resources: Resources,
    echoes: AtomicU64,
    flood: AtomicU32,
    behaviour: Mutex<Behaviour>,
    list_generation: watch::Sender<u64>,
    stream_generation: watch::Sender<u64>,
}

impl Server {
    /// A child as the command line asks for it.
    pub fn new(mut options: Options) -> Self {
        if let Some(era) = options.era_file.as_deref().and_then(written) {
            options.era = era;
        }
        Self {
            journal: Journal::open(options.journal.as_deref()),
            catalog: Mutex::new(Catalog::new(&options)),
            asking: Asking::default(),
            resources: Resources::new(&options),
            echoes: AtomicU64::new(0),
            flood: AtomicU32::new(options.flood_notifications),
            behaviour: Mutex::new(options.behaviour),
            list_generation: watch::Sender::new(0),
            stream_generation: watch::Sender::new(0),
            options,
        }
    }

    /// How this child is broken just now.
    pub fn behaviour(&self) -> Behaviour {
        *lock(&self.behaviour)
    }

    /// Breaks or heals this child while it runs.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.behaviour) = behaviour;
    }

    /// Sends the answer to the request of this id (raw bytes), as this child answers. An
    /// asker who has gone away is no error.
    pub fn answer(&self, out: &Outbox, id: &str, reply: &Reply) {
        let send = |frame| {
            let _ = out.unbounded_send(Frame::Answer(frame));
        };
        let behaviour = self.behaviour();
        if behaviour == Behaviour::Stray {
            for stray in ["\"nobody's\"", "4711"] {
                send(reply.frame(stray));
            }
        }
        send(match self.options.id_last {
            true => reply.frame_with_id_last(id),
            false => reply.frame(id),
        });
        if behaviour == Behaviour::Twice {
            send(reply.frame(id));
        }
    }

    /// Waits until the file named by `--gate` exists.
    async fn gate(&self) {
        if let Some(gate) = &self.options.gate {
            tools::until_exists(gate).await;
        }
    }

    /// Adds a tool and tells everyone who listens.
    pub fn add_tool(&self, name: &str) {
        lock(&self.catalog).add(name);
        self.list_generation
            .send_modify(|generation| *generation += 1);
    }

    /// Told whenever the list has changed.
    pub fn list_changes(&self) -> watch::Receiver<u64> {
        self.list_generation.subscribe()
    }

    /// Ends every stream that tells what nobody asked for.
    pub fn end_streams(&self) {
        self.stream_generation
            .send_modify(|generation| *generation += 1);
    }

    /// Resolves when such a stream that begins now is to end.
    pub fn end_of_streams(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ends = self.stream_generation.subscribe();
        async move {
            // The server lives longer than its streams.
            let _ = ends.changed().await;
        }
    }

    /// The era of a request, or why this child refuses to speak it.
    pub fn era(&self, method: &str, params: &Params) -> Result<Era, RpcError> {
        let modern = method == "server/discover" || params.meta.protocol_version.is_some();
        match (self.options.era, modern) {
            (Eras::Legacy, true) if method == "server/discover" => Err(unknown_method(method)),
            (Eras::Legacy, true) => Err(RpcError::new(
                -32602,
                "_meta holds keys of an era this child does not know",
            )),
            (Eras::Modern, false) if method == "initialize" => Err(unknown_method(method)),
            (Eras::Modern, false) => Err(RpcError::new(
                -32602,
                "_meta lacks io.modelcontextprotocol/protocolVersion",
            )),
            (_, true) => modern_meta(params).map(|()| Era::Modern),
            (_, false) => Ok(Era::Legacy),
        }
    }

    /// Carries out one request. What precedes the answer goes to `out`.
    pub async fn request(&self, message: &Message, asker: &Asker, out: &Outbox) -> Reply {
        self.gate().await;
        let method = message.method.as_deref().unwrap_or_default();
        let params = message.params();
        match (method, asker.era) {
            ("initialize", Era::Legacy) => {
                self.journal
                    .note("initialize", json!({"params": message.raw_params()}));
                self.initialize(&params).await
            }
            ("server/discover", Era::Modern) => self.discover(),
            ("ping" | "logging/setLevel", Era::Legacy) => {
                self.journal
                    .note(method, json!({"params": message.raw_params()}));
                Reply::Result("{}".to_owned())
            }
            ("subscriptions/listen", Era::Modern) => self.listen(message, out).await,
            ("resources/list", era) => Reply::Result(format!(
                r#"{{"resources":[{}]{}}}"#,
                self.resources.entries(),
                resources::list_keys(era, MODERN_LIST_KEYS),
            )),
            ("resources/subscribe" | "resources/unsubscribe", Era::Legacy) => {
                resources::subscribe(self, message, asker)
            }
            ("tools/list", era) => self.list_tools(&params, era),
            ("tools/call", _) => tools::call(self, message, &params, asker, out).await,
            (_, era) => contents::answer(
                self,
                method,
                message,
                &params,
                era,
                resources::list_keys(era, MODERN_LIST_KEYS),
            )
            .or_else(|| extension::answer(self, method, message, era, out))
            .unwrap_or_else(|| unknown_method(method).into()),
        }
    }

    async fn initialize(&self, params: &Params) -> Reply {
        if self.behaviour() == Behaviour::NeverInitializes {
            return pending().await;
        }
        let asked = params.protocol_version.as_deref().unwrap_or_default();
        let only = self.options.version.as_deref();
        let version = match LEGACY_VERSIONS.iter().find(|known| **known == asked) {
            _ if self.behaviour() == Behaviour::WrongVersion => VERSION_OF_NOBODY,
            _ if only.is_some() => only.unwrap_or_default(),
            Some(known) => known,
            None => LEGACY_VERSIONS[0],
        };
        let (beside, declared) = extension::introduction(&self.options);
        Reply::Result(format!(
            r#"{{"protocolVersion":"{version}","capabilities":{},"serverInfo":{SERVER_INFO}{}{beside}}}"#,
            self.capabilities(&declared),
            self.instructions(),
        ))
    }

    fn discover(&self) -> Reply {
        match self.behaviour() {
            Behaviour::WrongVersion => unsupported_version("", VERSION_OF_NOBODY).into(),
            Behaviour::NeverInitializes => unknown_method("server/discover").into(),
            _ => {
                let (beside, declared) = extension::introduction(&self.options);
                Reply::Result(format!(
                    r#"{{"supportedVersions":["{MODERN_VERSION}"],"capabilities":{},"_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}{}{MODERN_LIST_KEYS}{beside}}}"#,
                    self.capabilities(&declared),
                    self.instructions(),
                ))
            }
        }
    }

    /// With these members besides, each with a comma before it.
    fn capabilities(&self, declared: &str) -> String {
        format!(
            "{{{CAPABILITIES}{}{}{declared}}}",
            self.resources.capability(),
            contents::capability(&self.options)
        )
    }

    fn instructions(&self) -> String {
        let said = self.options.instructions.as_deref();
        said.map_or_else(String::new, |it| {
            format!(r#","instructions":{}"#, quoted(it))
        })
    }

    fn list_tools(&self, params: &Params, era: Era) -> Reply {
        let Some((entries, next)) = lock(&self.catalog).page(params.cursor.as_deref()) else {
            return RpcError::new(-32602, "unknown cursor").into();
        };
        let next = next.map(|next| format!(r#","nextCursor":{}"#, quoted(&next)));
        let keys = if era == Era::Modern {
            MODERN_LIST_KEYS
        } else {
            ""
        };
        Reply::Result(format!(
            r#"{{"tools":[{entries}]{}{keys}}}"#,
            next.unwrap_or_default()
        ))
    }

    /// Runs until the subscriber goes away.
    async fn listen(&self, message: &Message, out: &Outbox) -> Reply {
        let id = message.id.as_deref().map_or("null", |id| id.get());
        let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
        let mut changes = self.list_changes();
        let honoured = self.resources.honoured(message);
        let mut news = self.resources.news();
        let mut accepted = json!({});
        if message.raw_params().contains("toolsListChanged") {
            accepted["toolsListChanged"] = true.into();
        }
        if !honoured.is_empty() {
            accepted["resourceSubscriptions"] = honoured.clone().into();
        }
        send(
            out,
            notification(
                "notifications/subscriptions/acknowledged",
                &format!(r#"{{"notifications":{accepted},{meta}}}"#),
            ),
        );
        self.journal
            .note("listening", json!({"resources": honoured}));
        let _gone = Gone(&self.journal, honoured.clone());
        let mut end = Box::pin(self.end_of_streams());
        loop {
            tokio::select! {
                Ok(()) = changes.changed() => send(
                    out,
                    notification("notifications/tools/list_changed", &format!("{{{meta}}}")),
                ),
                Some(news) = news.next() => {
                    if let Some(frame) = resources::told_to_listener(news, &honoured, &meta) {
                        send(out, frame);
                    }
                }
                () = &mut end => break,
            }
        }
        Reply::Result(format!(r#"{{"resultType":"complete",{meta}}}"#))
    }

    /// How many notifications are to be sent unasked; only the first to ask is told,
    /// since a flood that answers the fetches it causes would never end.
    pub fn take_flood(&self) -> u32 {
        self.flood.swap(0, Ordering::Relaxed)
    }

    /// Counts one run of `echo`.
    pub fn count_echo(&self) -> u64 {
        self.echoes.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Notes when a listener has gone.
struct Gone<'a>(&'a Journal, Vec<String>);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.note("listened", json!({"resources": self.1}));
    }
}

/// The era that a file names.
fn written(path: &Path) -> Option<Eras> {
    let name = fs::read_to_string(path).ok()?;
    Eras::from_str(name.trim(), true).ok()
}

/// Members of the capabilities.
const CAPABILITIES: &str = r#""tools":{"listChanged":true},"logging":{}"#;
const SERVER_INFO: &str = r#"{"name":"test-child","version":"0.1.0"}"#;

/// Sends a frame that precedes the answer. An asker who has gone away is no error.
pub fn send(out: &Outbox, frame: String) {
    let _ = out.unbounded_send(Frame::Before(frame));
}

/// The keys of `_meta` that every modern request carries.
fn modern_meta(params: &Params) -> Result<(), RpcError> {
    let version = params.meta.protocol_version.as_deref().unwrap_or_default();
    if version != MODERN_VERSION {
        return Err(unsupported_version(version, MODERN_VERSION));
    }
    if params.meta.client_capabilities.is_none() {
        return Err(RpcError::new(
            -32602,
            "_meta lacks io.modelcontextprotocol/clientCapabilities",
        ));
    }
    Ok(())
}

fn unsupported_version(requested: &str, supported: &str) -> RpcError {
    RpcError {
        code: -32022,
        message: "Unsupported protocol version".to_owned(),
        data: Some(json!({"requested": requested, "supported": [supported]}).to_string()),
    }
}

fn unknown_method(method: &str) -> RpcError {
    RpcError::new(-32601, format!("Method not found: {method}"))
}

/// What a pipe, or a legacy HTTP session, remembers of its requests.
#[derive(Default)]
pub struct Session {
    seen: Mutex<HashSet<String>>,
    running: Mutex<HashMap<String, AbortHandle>>,
}

impl Session {
    /// Takes note of a request's id: the protocol allows each only once in a session.
    pub fn claim(&self, id: &str) -> Result<(), RpcError> {
        if lock(&self.seen).insert(id.to_owned()) {
            Ok(())
        } else {
            Err(RpcError::new(
                -32600,
                format!("request id {id} was used before in this session"),
            ))
        }
    }

    /// Runs a request's work in the background, where [`Session::cancel`] finds it.
    pub fn run(&self, id: &str, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work);
        let mut running = lock(&self.running);
        running.retain(|_, task| !task.is_finished());
        running.insert(id.to_owned(), task.abort_handle());
    }

    /// Ends a request's work; it is never answered.
    pub fn cancel(&self, id: &str) {
        if let Some(task) = lock(&self.running).remove(id) {
            task.abort();
        }
    }
}

/// Locks, whatever became of an earlier holder: a test that panics a request must
/// not take the whole child with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a child looks whether a file it waits for has come.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);
