//! Resources that can be subscribed to, and what is told outside of any request.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::sync::broadcast;

use crate::{
    message::{Message, Reply, RpcError, notification, quoted},
    options::Options,
    server::{Asker, Era, Outbox, Server, lock, send},
};

/// How many news a slow listener may be behind.
const NEWS: usize = 100_000;

/// What this child lists, and who has subscribed to what.
pub struct Resources {
    listed: Vec<String>,
    declares: bool,
    /// By session; on stdio there is one without a name.
    subscribed: Mutex<HashMap<String, HashSet<String>>>,
    news: broadcast::Sender<News>,
}

/// What a child tells although nobody has asked in this moment.
#[derive(Clone)]
pub enum News {
    /// A resource has changed: its URI, and the bytes of its notification's params.
    Updated(String, String),
    /// A log message: the bytes of its params.
    Message(String),
}

impl Resources {
    /// Those the command line asks for.
    pub fn new(options: &Options) -> Self {
        Self {
            listed: options.resources.clone(),
            declares: options.subscribe,
            subscribed: Mutex::default(),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// The member of the capabilities, with a comma before it.
    pub fn capability(&self) -> String {
        match (self.listed.is_empty(), self.declares) {
            (true, _) => String::new(),
            (false, true) => r#","resources":{"subscribe":true}"#.to_owned(),
            (false, false) => r#","resources":{}"#.to_owned(),
        }
    }

    /// What `resources/list` shows.
    pub fn entries(&self) -> String {
        let entry =
            |uri: &String| format!(r#"{{"uri":{},"name":"r","x-exact":1.10}}"#, quoted(uri));
        let entries: Vec<String> = self.listed.iter().map(entry).collect();
        entries.join(",")
    }

    fn tell(&self, news: News) {
        // Without a listener nobody is told.
        let _ = self.news.send(news);
    }

    /// The frames for those who listen in this session, of these news.
    pub fn for_session(&self, session: &str, news: News) -> Option<String> {
        match news {
            News::Updated(uri, params) => {
                let subscribed = lock(&self.subscribed);
                let own = subscribed.get(session)?;
                own.contains(&uri)
                    .then(|| notification("notifications/resources/updated", &params))
            }
            News::Message(params) => Some(notification("notifications/message", &params)),
        }
    }

    /// All news, from now on.
    pub fn news(&self) -> impl Stream<Item = News> + Send + use<> {
        let news = self.news.subscribe();
        Box::pin(stream::unfold(news, |mut news| async {
            let told = news.recv().await.ok()?;
            Some((told, news))
        }))
    }

    /// Which of the URIs that a `subscriptions/listen` asks for are honoured.
    pub fn honoured(&self, message: &Message) -> Vec<String> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Filter {
            resource_subscriptions: Vec<String>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Listen {
            notifications: Filter,
        }
        let Listen { notifications } = parsed(message.raw_params());
        let mut uris = notifications.resource_subscriptions;
        uris.retain(|uri| self.declares && self.listed.contains(uri));
        uris
    }
}

/// `resources/subscribe` and `resources/unsubscribe` of a legacy session.
pub fn subscribe(server: &Server, message: &Message, asker: &Asker) -> Reply {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct About {
        uri: String,
    }
    let method = message.method.as_deref().unwrap_or_default();
    let About { uri } = parsed(message.raw_params());
    let resources = &server.resources;
    server.journal.note(method, json!({"key": uri}));
    if !resources.listed.contains(&uri) {
        return Reply::Error(RpcError {
            code: -32002,
            message: "Resource not found".to_owned(),
            data: Some(format!(r#"{{"uri":{},"exact":1.10}}"#, quoted(&uri))),
        });
    }
    let mut subscribed = lock(&resources.subscribed);
    let own = subscribed.entry(session_of(asker)).or_default();
    match method {
        "resources/subscribe" => own.insert(uri),
        _ => own.remove(&uri),
    };
    Reply::Result("{}".to_owned())
}

/// The session a request belongs to.
pub fn session_of(asker: &Asker) -> String {
    let named = asker.headers.get("mcp-session-id");
    named.cloned().unwrap_or_default()
}

/// The tool `update`: {uri} has changed. Told to whoever has subscribed to {of}, or to
/// that; with {inCall} on the stream of the call itself.
pub fn update(server: &Server, arguments: &str, out: &Outbox) {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Update {
        uri: String,
        of: Option<String>,
        in_call: bool,
        times: Option<u32>,
    }
    let update: Update = parsed(arguments);
    let params = format!(r#"{{"uri" : {},"x-exact":1.10}}"#, quoted(&update.uri));
    for _ in 0..update.times.unwrap_or(1) {
        if update.in_call {
            let frame = notification("notifications/resources/updated", &params);
            send(out, frame);
        } else {
            let of = update.of.clone().unwrap_or_else(|| update.uri.clone());
            server.resources.tell(News::Updated(of, params.clone()));
        }
    }
}

/// The tool `announce`: a log message with {params}, outside of any request.
pub fn announce(server: &Server, arguments: &str) {
    #[derive(Deserialize)]
    struct Announce {
        params: Box<RawValue>,
    }
    if let Ok(Announce { params }) = serde_json::from_str(arguments) {
        server
            .resources
            .tell(News::Message(params.get().to_owned()));
    }
}

/// Sends a listener of the modern era what it has asked for.
pub fn told_to_listener(news: News, honoured: &[String], meta: &str) -> Option<String> {
    match news {
        News::Updated(of, params) if honoured.contains(&of) => {
            let rest = params.strip_prefix('{').unwrap_or_default();
            let params = format!("{{{meta},{rest}");
            Some(notification("notifications/resources/updated", &params))
        }
        _ => None,
    }
}

/// The keys of a list in this era.
pub fn list_keys(era: Era, modern: &'static str) -> &'static str {
    match era {
        Era::Legacy => "",
        Era::Modern => modern,
    }
}

fn parsed<'a, T: Deserialize<'a> + Default>(text: &'a str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}
