//! One handshake with a child, and what is done within it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use rmcp::{Peer, RoleClient, model::ServerPeerInfo};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Exchange, Failure, Outgoing, Part,
    control::{self, Control, Handshake},
    link::Link,
    listening::{self, Listening},
    slots::Slot,
    subscribing,
    subscriptions::Subscriptions,
};
use crate::{
    catalog::{Family, Listing, ListingError, Page, Primitive, Profile},
    config::RestartSettings,
    protocol::{
        Abilities, Caller, Era, Frame, LogLevel, SessionKey, request::meta_key, version::MODERN,
    },
};

/// Pages of one list. A child that never stops would otherwise be read for ever.
const MOST_PAGES: usize = 1000;

/// A connection to a child that is ready for requests: one value per handshake.
#[derive(Debug)]
pub struct Connection {
    /// Counts the handshakes with this child: a request that finds its session lost
    /// names the one it meant.
    pub(super) generation: u64,
    /// The era both speak.
    era: Era,
    info: ServerPeerInfo,
    link: Link,
    peer: Peer<RoleClient>,
    /// The least severe log messages the child has been asked for, once it has been.
    log_level: watch::Sender<Option<LogLevel>>,
    /// Ends the control plane with the connection.
    _control: Control,
}

/// What is followed on a connection.
pub(super) struct Follow<'a> {
    /// Told when a list may have changed.
    pub(super) changed: &'a Notify,
    /// The resources whose updates are wanted.
    pub(super) subscriptions: &'a Subscriptions,
    /// Whether anybody lists the child.
    pub(super) listed: bool,
    /// How long one request may take.
    pub(super) patience: Duration,
    /// The pauses before what failed is tried again.
    pub(super) clocks: &'a RestartSettings,
}

/// The next number for a request of ours, unique in this process.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Connection {
    /// Shakes hands over `link`.
    ///
    /// # Errors
    ///
    /// Why it failed.
    pub(super) async fn establish(
        link: Link,
        inbox: mpsc::Receiver<Frame>,
        how: Handshake,
        generation: u64,
    ) -> Result<Self, Failure> {
        let (control, info) = control::shake_hands(link.clone(), inbox, how).await?;
        Ok(Self {
            generation,
            era: Era::of(&info.protocol_version),
            info,
            peer: control.peer().clone(),
            link,
            log_level: watch::Sender::new(None),
            _control: control,
        })
    }

    /// The era both speak.
    pub fn era(&self) -> Era {
        self.era
    }

    /// Whether one id may be used by two clients at once: where each request is a
    /// world of its own. Then ids and progress tokens pass as they are.
    pub fn keeps_ids(&self) -> bool {
        self.reads_headers()
    }

    /// Whether the child reads in headers what stands in requests.
    pub fn reads_headers(&self) -> bool {
        self.era == Era::Modern && matches!(self.link, Link::Http(_))
    }

    /// Sends a request of a client. `slot` is held until the child is done.
    ///
    /// # Errors
    ///
    /// When the child did not accept it.
    pub async fn call(
        &self,
        request: &Outgoing<'_>,
        slot: Option<Slot>,
    ) -> Result<Exchange, Failure> {
        self.link.call(request, slot).await
    }

    /// This caller uses it: what the child says outside of requests may be about that.
    pub fn is_used_by(&self, caller: &Caller) {
        self.link.unasked().at_work().uses(caller);
    }

    /// Passes on a notification. Never waits: one too many is dropped. Whether it was
    /// taken.
    pub fn tell(&self, notification: Frame) -> bool {
        self.link.tell(notification)
    }

    /// This answer goes to the client of this session, by this way: what the child says
    /// of it later does, too.
    pub fn answers(&self, answer: &Frame, session: &SessionKey, way: &mpsc::Sender<Bytes>) {
        self.link.unasked().elicited().note(answer, session, way);
    }

    /// Fetches everything the child offers, page by page.
    ///
    /// # Errors
    ///
    /// When its tools, or any list, cannot be had. What a child does not offer is empty.
    pub(super) async fn list(&self, patience: Duration) -> Result<Listing, Failure> {
        let listed = async {
            let mut listing = Listing::default();
            listing.completes = self.info.capabilities.completions.is_some();
            listing.profile = profile(&self.info);
            for primitive in Primitive::ALL {
                if self.may_offer(primitive) {
                    self.pages(primitive, &mut listing).await?;
                }
            }
            Ok(match self.reads_headers() {
                true => listing.fit_for_headers(),
                false => listing,
            })
        };
        tokio::time::timeout(patience, listed)
            .await
            .unwrap_or_else(|_| Err(Failure::timeout(patience)))
    }

    /// Whether it is worth asking: everybody is asked for tools; for the rest those
    /// that declare it.
    fn may_offer(&self, primitive: Primitive) -> bool {
        let declared = &self.info.capabilities;
        match primitive.family() {
            Family::Tools => true,
            Family::Prompts => declared.prompts.is_some(),
            Family::Resources => declared.resources.is_some(),
        }
    }

    async fn pages(&self, primitive: Primitive, listing: &mut Listing) -> Result<(), Failure> {
        let what = primitive.list_key();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let answer = self.page(primitive, cursor.as_deref()).await?;
            let page = match Page::read(primitive, &answer) {
                Ok(page) => page,
                Err(ListingError::NotOffered) => return Ok(()),
                Err(error) if primitive != Primitive::Tool => {
                    // Its tools are worth having without the rest.
                    tracing::debug!(%error, list = what, "a child's list cannot be had");
                    return Ok(());
                }
                Err(ListingError::Refused(message)) => {
                    return Err(
                        Failure::protocol("refused to list its tools").with_detail(&message)
                    );
                }
                Err(error) => return Err(Failure::protocol(error.to_string())),
            };
            if page.unusable > 0 {
                tracing::warn!(
                    entries = page.unusable,
                    list = what,
                    "a list holds entries that are none"
                );
            }
            listing.extend(primitive, page.entries);
            if page.next_cursor.is_none() {
                return Ok(());
            }
            if page.next_cursor == cursor {
                return Err(Failure::protocol(format!(
                    "gives the same page of its {what} again and again"
                )));
            }
            cursor = page.next_cursor;
        }
        Err(Failure::protocol(format!(
            "has more than {MOST_PAGES} pages of {what}"
        )))
    }

    async fn page(&self, primitive: Primitive, cursor: Option<&str>) -> Result<Frame, Failure> {
        let cursor = cursor.map(|cursor| format!(r#""cursor":{cursor}"#));
        self.ask(primitive.list_method(), Vec::from_iter(cursor))
            .await
    }

    /// Sends a request of our own, with these members in its `params` (JSON text), and
    /// gives its answer.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) async fn ask(
        &self,
        method: &str,
        mut params: Vec<String>,
    ) -> Result<Frame, Failure> {
        let number = next_number();
        let id = super::call_id(number);
        if self.era == Era::Modern {
            params.push(format!(
                r#""_meta":{{{}}}"#,
                era_keys(None, Abilities::default())
            ));
        }
        let params = params.join(",");
        let request = Outgoing {
            frame: format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#
            )
            .into(),
            id: &id,
            number,
            method,
            name: None,
            shown: None,
            headers: &[],
            passes_as: None,
        };
        let mut exchange = self.call(&request, None).await?;
        loop {
            match exchange.next().await? {
                Part::Answer(answer) => return Ok(answer),
                Part::Request(question) => question.refuse_unclear(),
                Part::Aside(_) | Part::Long(_) => {}
            }
        }
    }

    /// Whether the child is there, and as it was: `false` if it answers with an error.
    ///
    /// # Errors
    ///
    /// When it does not answer within `patience`.
    pub(super) async fn ping(&self, patience: Duration) -> Result<bool, Failure> {
        control::probe(&self.peer, self.era, patience).await
    }

    /// Follows what the child says outside of any request, for as long as the
    /// connection lasts. Over one stream the reader does that already; a modern child
    /// has to be asked. Whenever following begins, or begins again, `changed` is
    /// told: what was announced before was not heard.
    ///
    /// # Errors
    ///
    /// `session_lost` when the connection has to be made anew.
    pub(super) async fn follow(&self, what: Follow<'_>) -> Result<(), Failure> {
        let Follow {
            changed,
            subscriptions,
            listed,
            patience,
            clocks,
        } = what;
        let subscriptions = self.tells_of_updates().then_some(subscriptions);
        match self.era {
            Era::Legacy => {
                let streamed = async {
                    match &self.link {
                        Link::Http(http) => {
                            super::http::follow(http.clone(), changed, subscriptions, clocks).await
                        }
                        Link::Pipe(_) | Link::Sse(_) => Ok(()),
                    }
                };
                let subscribed = async {
                    match subscriptions {
                        Some(all) => subscribing::keep(self, all, patience, clocks).await,
                        None => Ok(()),
                    }
                };
                tokio::try_join!(streamed, subscribed).map(|_| ())
            }
            Era::Modern => {
                let families = Family::ALL
                    .into_iter()
                    .filter(|family| listed && self.announces(*family));
                let families = families.collect();
                let listening = Listening {
                    families,
                    subscriptions,
                    changed,
                    patience,
                    clocks,
                };
                listening::follow(&self.peer, listening).await
            }
        }
    }

    /// Whether the child tells when a resource has changed that was subscribed to.
    pub fn tells_of_updates(&self) -> bool {
        let resources = self.info.capabilities.resources.as_ref();
        resources.is_some_and(|resources| resources.subscribe == Some(true))
    }

    /// Whether the child tells of changes of these lists.
    fn announces(&self, family: Family) -> bool {
        let declared = &self.info.capabilities;
        let told = match family {
            Family::Tools => declared.tools.as_ref().and_then(|it| it.list_changed),
            Family::Prompts => declared.prompts.as_ref().and_then(|it| it.list_changed),
            Family::Resources => declared.resources.as_ref().and_then(|it| it.list_changed),
        };
        told == Some(true)
    }

    /// Asks a legacy child for log messages of this level and above.
    pub(super) async fn set_log_level(&self, level: LogLevel, patience: Duration) {
        if self.has_log_level() {
            let set = control::set_log_level(&self.peer, level);
            if !matches!(tokio::time::timeout(patience, set).await, Ok(Ok(()))) {
                tracing::debug!("a child did not take a log level");
            }
        }
        self.log_level.send_replace(Some(level));
    }

    /// Waits until the child has been asked for log messages of this level, at most
    /// `patience`. A modern child is asked by the request itself.
    pub async fn logs_from(&self, level: LogLevel, patience: Duration) {
        if self.has_log_level() {
            let mut asked = self.log_level.subscribe();
            let low_enough = asked.wait_for(|asked| asked.is_some_and(|asked| asked <= level));
            // Messages that are missed are no reason to hold up the call.
            let _ = tokio::time::timeout(patience, low_enough).await;
        }
    }

    /// Whether the child keeps one level for all that it sends.
    fn has_log_level(&self) -> bool {
        self.era == Era::Legacy && self.info.capabilities.logging.is_some()
    }

    /// Resolves when the connection is gone, from either end.
    pub(super) async fn closed(&self) {
        self.link.closed().cancelled().await;
    }

    /// Why it is of no more use, once it is gone.
    pub(super) fn loss(&self) -> Failure {
        self.link.loss()
    }

    /// Ends the connection, and the child's session with it.
    pub(super) async fn close(&self) {
        self.link.end().await;
    }

    /// Ends the connection, and the child's session without waiting for it.
    pub(super) fn give_up(&self) {
        self.link.give_up();
    }

    /// Whether nothing more can be sent on it.
    pub fn is_closed(&self) -> bool {
        self.way().is_cancelled()
    }

    /// Cancelled when the way to the child is closed; to be cancelled to close it.
    pub(super) fn way(&self) -> &CancellationToken {
        self.link.closed()
    }
}

/// What the child has said of itself.
fn profile(info: &ServerPeerInfo) -> Profile {
    let json = |value| serde_json::to_value(value).ok();
    let capabilities = match serde_json::to_value(&info.capabilities) {
        Ok(Value::Object(capabilities)) => capabilities,
        _ => Map::new(),
    };
    Profile {
        server_info: info.server_info.as_ref().and_then(json),
        instructions: info.instructions.clone(),
        capabilities,
    }
}

/// The members of `_meta` that a modern child requires of a request that came
/// without them (JSON text without braces): what its client may be asked is what that
/// has declared; what clients only show is declared for all.
pub fn era_keys(log_level: Option<LogLevel>, abilities: Abilities) -> String {
    let mut capabilities = abilities.to_json();
    capabilities["extensions"] = json!(control::extensions());
    let mut keys = json!({
        meta_key::PROTOCOL_VERSION: MODERN.as_str(),
        meta_key::CLIENT_INFO: control::client_info(),
        meta_key::CLIENT_CAPABILITIES: capabilities,
    });
    if let Some(level) = log_level {
        keys[meta_key::LOG_LEVEL] = Value::from(level.as_str());
    }
    let text = keys.to_string();
    text[1..text.len() - 1].to_owned()
}
