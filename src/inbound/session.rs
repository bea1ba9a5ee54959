//! What a legacy client has told of itself, for as long as it is here.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::{sync::watch, time::Instant};
use tracing::debug;

use super::{
    in_flight::InFlight,
    meta::Loaded,
    part::{Part, Parts},
    resume::Streams,
    session_id::{Begun, SessionIds},
    share::{Share, Shares},
    subscribed::Subscribed,
};
use crate::{
    catalog::{Family, Primitive},
    config::SessionKeys,
    fleet::Generations,
    protocol::{Caller, Era, LogLevel, SessionKey, Subject, SubjectKey, View},
    telemetry::set_sessions,
};

/// A session nobody has used for this long is forgotten.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Sessions that may be open: about a kilobyte each.
const MOST: usize = 100_000;
/// How often forgotten sessions are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// One client's session.
#[derive(Debug)]
pub struct Session {
    /// Its requests that are being worked on.
    pub(super) in_flight: InFlight,
    /// Its streams that it can come back to.
    pub(super) resumable: Streams,
    /// The resources it has subscribed to.
    pub(super) subscribed: Subscribed,
    /// The tools it has loaded.
    pub(super) loaded: Loaded,
    /// What it was last shown of the lists of which it does not see all.
    pub(super) parts: Parts,
    /// What the rest of the program knows it by.
    key: SessionKey,
    /// Where it was begun, and is used.
    view: View,
    /// Who began it: nobody else may use it.
    owner: Option<SubjectKey>,
    log_level: Mutex<Option<LogLevel>>,
    last_used: Mutex<Instant>,
    /// Streams open now: a session with one is in use.
    streams: AtomicUsize,
    /// The newest stream for messages outside of any request: each is sent on one
    /// stream only, so the older ones end.
    newest_stream: watch::Sender<u64>,
    /// The generation of each family of lists that it has seen, or been told of.
    seen: [AtomicU64; Family::ALL.len()],
    /// Whether it may hold lists that another process has given it.
    goes_on: AtomicBool,
    /// Its place among its owner's.
    _share: Option<Share>,
}

/// No list has been seen yet.
const NEVER: u64 = u64::MAX;

impl Session {
    pub(super) fn new(view: View, owner: Option<SubjectKey>) -> Self {
        Self {
            view,
            in_flight: InFlight::default(),
            resumable: Streams::default(),
            subscribed: Subscribed::default(),
            loaded: Loaded::default(),
            parts: Parts::default(),
            key: SessionKey::begin(),
            owner,
            log_level: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            streams: AtomicUsize::new(0),
            newest_stream: watch::Sender::new(0),
            seen: Family::ALL.map(|_| AtomicU64::new(NEVER)),
            goes_on: AtomicBool::new(false),
            _share: None,
        }
    }

    /// Whether it was begun by the same somebody, or by nobody in particular as well.
    fn is_of(&self, subject: Option<&Subject>) -> bool {
        self.owner == subject.map(Subject::key)
    }

    /// The client's wish for log messages.
    pub(super) fn set_log_level(&self, level: LogLevel) {
        *lock(&self.log_level) = Some(level);
    }

    /// The caller of a request in this session, but for the token that it shows.
    pub(super) fn caller(&self) -> Caller {
        Caller {
            log_level: *lock(&self.log_level),
            session: Some(self.key.clone()),
            abilities: self.key.asked().abilities(),
            ..Caller::nobody(Era::Legacy, self.view.clone())
        }
    }

    /// The part of the fleet it sees.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// What the rest of the program knows it by.
    pub(super) fn key(&self) -> &SessionKey {
        &self.key
    }

    /// The client has been given a list of this generation, or told that it is there.
    pub(super) fn has_seen(&self, family: Family, generation: u64) {
        self.seen[family as usize].store(generation, Ordering::Relaxed);
    }

    /// The client begins to listen at these generations, when it sees these parts of
    /// lists. One that has seen no list yet has missed nothing.
    pub(super) fn listens_from(
        &self,
        generations: Generations,
        parts: impl Fn(Primitive) -> Option<Part>,
    ) {
        if !self.goes_on.load(Ordering::Relaxed) {
            self.parts.begin(parts);
        }
        for family in Family::ALL {
            let _ = self.seen[family as usize].compare_exchange(
                NEVER,
                generations.of(family),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// The families of which the client may hold a list that is older than this; from now
    /// on it has been told of them.
    pub(super) fn catches_up(&self, generations: Generations) -> Vec<Family> {
        let goes_on = self.goes_on.swap(false, Ordering::Relaxed);
        let behind = |family: &Family| {
            let generation = generations.of(*family);
            let seen = self.seen[*family as usize].fetch_max(generation, Ordering::Relaxed);
            seen < generation || goes_on
        };
        Family::ALL.into_iter().filter(behind).collect()
    }

    /// Opens the session's stream; the one before it ends.
    pub(super) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.newest_stream.send_modify(|newest| *newest += 1);
        OpenStream {
            newest: self.newest_stream.subscribe(),
            session: Arc::clone(self),
        }
    }

    fn touch(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    fn is_idle(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
            && self.in_flight.is_empty()
            && lock(&self.last_used).elapsed() >= IDLE
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.key.end();
    }
}

/// The stream of a session, while it is open.
#[derive(Debug)]
pub(super) struct OpenStream {
    session: Arc<Session>,
    newest: watch::Receiver<u64>,
}

impl OpenStream {
    /// Whose it is.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Resolves when a newer stream has taken its place.
    pub(super) async fn superseded(&mut self) {
        // The session, and with it the sender, is held here.
        let _ = self.newest.changed().await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.session.streams.fetch_sub(1, Ordering::Relaxed);
        self.session.touch();
    }
}

/// The sessions of all HTTP clients; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: DashMap<String, Arc<Session>>,
    ids: SessionIds,
    /// How many each owner has.
    shares: Shares,
}

impl Sessions {
    /// No sessions yet. With keys, those that another process with one of them has begun
    /// are gone on with here.
    pub fn new(keys: Option<&SessionKeys>) -> Self {
        Self(Arc::new(Inner {
            open: DashMap::new(),
            ids: SessionIds::new(keys),
            shares: Shares::default(),
        }))
    }

    /// The id of a new session. `None` when too many are open.
    pub(super) fn begin(&self, begun: Begun) -> Option<String> {
        let id = self.0.ids.make(&begun);
        self.enter(&id, begun, false)?;
        Some(id)
    }

    /// The session of this id, if it was begun on this view by the same somebody. To say
    /// that it is somebody else's would be to say that it is there.
    pub(super) fn get(
        &self,
        id: &str,
        view: &View,
        subject: Option<&Subject>,
    ) -> Option<Arc<Session>> {
        let known = self.0.open.get(id).map(|session| Arc::clone(&session));
        let session = match known {
            Some(session) => session,
            None => {
                let begun = self.0.ids.open(id)?;
                if begun.view != *view || begun.owner != subject.map(Subject::key) {
                    return None;
                }
                let session = self.enter(id, begun, true)?;
                debug!("a session goes on here");
                session
            }
        };
        if session.view != *view || !session.is_of(subject) {
            return None;
        }
        session.touch();
        Some(session)
    }

    fn enter(&self, id: &str, begun: Begun, goes_on: bool) -> Option<Arc<Session>> {
        if self.0.open.len() >= MOST {
            return None;
        }
        let owner = begun.owner.as_ref();
        let share = owner.map(|owner| self.0.shares.take(owner));
        let share = match share {
            Some(None) => return None,
            Some(share) => share,
            None => None,
        };
        let begin = || {
            let mut session = Session::new(begun.view, begun.owner);
            session._share = share;
            session.key().asked().introduce(begun.abilities);
            session.goes_on.store(goes_on, Ordering::Relaxed);
            Arc::new(session)
        };
        // Two requests may meet here.
        let session = Arc::clone(&self.0.open.entry(id.to_owned()).or_insert_with(begin));
        self.count();
        Some(session)
    }

    /// Ends a session; whether there was one.
    pub(super) fn end(&self, id: &str) -> bool {
        self.0.ids.end(id);
        let ended = self.0.open.remove(id);
        if let Some((_, session)) = &ended {
            session.in_flight.cancel_all();
            session.resumable.end();
            session.key.end();
            session.subscribed.end_all();
            session.newest_stream.send_modify(|newest| *newest += 1);
        }
        self.count();
        ended.is_some()
    }

    /// Forgets idle sessions, for ever.
    pub async fn sweep(self) {
        let mut every = tokio::time::interval(SWEEP);
        loop {
            every.tick().await;
            self.0.ids.sweep();
            let before = self.0.open.len();
            self.0.open.retain(|_, session| !session.is_idle());
            let forgotten = before.saturating_sub(self.0.open.len());
            if forgotten > 0 {
                debug!(forgotten, "idle sessions");
                self.count();
            }
        }
    }

    fn count(&self) {
        set_sessions("http", Era::Legacy.as_str(), self.0.open.len());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_session_is_forgotten_and_one_with_a_stream_is_not() {
        let sessions = Sessions::default();
        let idle = sessions.begin(Begun::default()).unwrap();
        let streaming = sessions.begin(Begun::default()).unwrap();
        let stream = sessions
            .get(&streaming, &View::All, None)
            .unwrap()
            .open_stream();
        tokio::spawn(sessions.clone().sweep());
        tokio::time::sleep(IDLE + SWEEP).await;
        let get = |id| sessions.get(id, &View::All, None);
        assert!(get(&idle).is_none());
        assert!(get(&streaming).is_some());
        drop(stream);
        tokio::time::sleep(IDLE + SWEEP).await;
        assert!(get(&streaming).is_none());
    }

    #[test]
    fn a_session_is_known_where_it_was_begun() {
        let sessions = Sessions::default();
        let child = View::Child("a".into());
        let begun = Begun {
            view: child.clone(),
            ..Begun::default()
        };
        let id = sessions.begin(begun).unwrap();
        assert!(sessions.get(&id, &child, None).is_some());
        for other in [View::All, View::Child("b".into()), View::Group("a".into())] {
            assert!(sessions.get(&id, &other, None).is_none(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_newer_stream_takes_the_place_of_an_older() {
        let session = Arc::new(Session::new(View::All, None));
        let mut first = session.open_stream();
        let mut second = session.open_stream();
        first.superseded().await;
        let still = tokio::time::timeout(Duration::from_millis(1), second.superseded());
        assert!(still.await.is_err());
    }
}
