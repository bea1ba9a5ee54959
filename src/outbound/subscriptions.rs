//! Which resources of a child clients have subscribed to, and who is told when one of
//! them changes.
//!
//! The set belongs to the entry, or to a session's own connection to it, and outlives
//! every connection: whoever keeps a connection makes the child's subscriptions those of
//! the set. An update waits for its client as one of a set, so that a slow client misses
//! none and keeps nobody waiting.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{Failure, owner::OwnerKey};
use crate::protocol::{ChildName, Frame, OwnName, answer, error::notification, json::quote};

/// Resources of one child that may be subscribed to at a time: each costs the child
/// something, too.
const MOST: usize = 10_000;
/// Updates that may wait for one client. Only parts of a resource can be more than its
/// subscriptions are: beyond this the whole is told to have changed.
const WAITING: usize = 2_000;
/// A notification that is longer is told without what the child has added to it, in bytes.
const LONGEST: usize = 64 << 10;
/// And so is each once as much as this waits for one client, in bytes.
const WAITING_BYTES: usize = 1 << 20;

/// The subscriptions to every child; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct AllSubscriptions(Arc<Mutex<HashMap<Owner, Weak<Subscriptions>>>>);

/// An entry, and whose own connection to it that is.
type Owner = (ChildName, Option<OwnerKey>);

/// The subscriptions to one child.
#[derive(Debug, Default)]
pub struct Subscriptions {
    wanted: Mutex<HashMap<OwnName, Wanted>>,
    /// Moves when a resource has been added, or taken out.
    changes: watch::Sender<()>,
    /// Moves when the child has said something of a resource.
    verdicts: watch::Sender<()>,
}

/// A resource somebody has subscribed to.
#[derive(Debug, Default)]
struct Wanted {
    /// By their numbers; each once for every subscription it has.
    listeners: Vec<(Arc<str>, Listener)>,
    /// What the child last said of it; nothing yet, or nothing that counts any more.
    verdict: Option<Verdict>,
    /// The number of the wish that the child is to be asked for: another one is to be
    /// asked for anew.
    wish: u64,
    /// The child told, and does no more: what has changed since, nobody knows.
    missed: bool,
}

/// What a child makes of a subscription.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It will tell.
    Held,
    /// It will not: its error, as JSON text.
    Refused(Arc<str>),
    /// It gave no answer.
    Failed(Failure),
}

/// One client that is told of updates; clones are the same one.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    number: u64,
    updates: Mutex<Updates>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Updates {
    order: VecDeque<Arc<str>>,
    /// With what was subscribed to.
    frames: HashMap<Arc<str>, (Arc<str>, Frame)>,
    /// What the frames are long in all.
    bytes: usize,
}

/// A resource has changed.
#[derive(Debug)]
pub struct Update {
    /// Its URI as the client knows it.
    pub uri: Arc<str>,
    /// The URI that the client has subscribed to: the same, or that of the whole.
    pub whole: Arc<str>,
    /// The child's `notifications/resources/updated`.
    pub frame: Frame,
}

/// One client's subscription to one resource. Its drop ends it.
#[derive(Debug)]
pub struct Subscription {
    subscriptions: Arc<Subscriptions>,
    own: OwnName,
    public: Arc<str>,
    listener: u64,
}

impl AllSubscriptions {
    /// Those to one child: the same for as long as somebody holds them.
    pub(super) fn of(&self, child: &ChildName, owner: Option<OwnerKey>) -> Arc<Subscriptions> {
        let mut all = lock(&self.0);
        all.retain(|_, subscriptions| subscriptions.strong_count() > 0);
        let owner = (child.clone(), owner);
        if let Some(known) = all.get(&owner).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::default();
        all.insert(owner, Arc::downgrade(&new));
        new
    }
}

impl Subscriptions {
    /// Subscribes a client to a resource, which it knows as `public`.
    ///
    /// # Errors
    ///
    /// `busy`, when too many are subscribed to.
    pub fn subscribe(
        self: &Arc<Self>,
        own: &OwnName,
        public: &str,
        listener: &Listener,
    ) -> Result<Subscription, Failure> {
        let public: Arc<str> = public.into();
        let mut all = lock(&self.wanted);
        if all.len() >= MOST && !all.contains_key(own) {
            return Err(Failure::busy(format!(
                "has {MOST} resources subscribed to already"
            )));
        }
        let wanted = all.entry(own.clone()).or_default();
        let asks = match wanted.verdict {
            Some(Verdict::Held) => false,
            None => wanted.listeners.is_empty(),
            // Others have found that out, and are not heard again.
            Some(_) => true,
        };
        if asks {
            wanted.verdict = None;
            wanted.wish = next_number();
        }
        wanted
            .listeners
            .push((Arc::clone(&public), listener.clone()));
        drop(all);
        if asks {
            self.changes.send_replace(());
        }
        Ok(Subscription {
            subscriptions: Arc::clone(self),
            own: own.clone(),
            public,
            listener: listener.0.number,
        })
    }

    /// Tells those who have subscribed to the resource of this notification, or to what
    /// it is a part of (MCP, "Subscriptions": the URI may be that of a sub-resource).
    /// Whether there is anybody.
    pub(super) fn updated(&self, notification: &Frame) -> bool {
        let Some(uri) = answer::updated_uri(notification) else {
            return false;
        };
        let all = lock(&self.wanted);
        let mut told = false;
        let concerns = |own: &OwnName| own.as_str() == uri || is_part(&uri, own.as_str());
        for (own, wanted) in all.iter().filter(|(own, _)| concerns(own)) {
            for (public, listener) in &wanted.listeners {
                listener.hears(public, own.as_str(), &uri, notification);
                told = true;
            }
        }
        told
    }

    /// Whether nobody has subscribed to anything.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.wanted).is_empty()
    }

    /// Told whenever the set has changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Every resource that somebody has subscribed to, with the number of the wish.
    pub(super) fn all(&self) -> Vec<(OwnName, u64)> {
        let all = lock(&self.wanted);
        all.iter()
            .map(|(own, wanted)| (own.clone(), wanted.wish))
            .collect()
    }

    /// The child tells nothing until it is asked again.
    pub(super) fn interrupted(&self) {
        for wanted in lock(&self.wanted).values_mut() {
            wanted.missed |= matches!(wanted.verdict, Some(Verdict::Held));
        }
    }

    /// What the child has told since lately was not heard.
    pub(super) fn unheard(&self) {
        let all = lock(&self.wanted);
        let held = |it: &&Wanted| matches!(it.verdict, Some(Verdict::Held));
        for (own, wanted) in all.iter().filter(|(_, wanted)| held(wanted)) {
            wanted.may_have_changed(own);
        }
    }

    /// The child has said this of a resource, asked for this wish. When it tells again,
    /// whoever listens is told that it may have changed.
    pub(super) fn decided(&self, own: &OwnName, wish: u64, verdict: Verdict) {
        if let Some(wanted) = lock(&self.wanted).get_mut(own).filter(|it| it.wish == wish) {
            if matches!(verdict, Verdict::Held) && std::mem::take(&mut wanted.missed) {
                wanted.may_have_changed(own);
            }
            wanted.verdict = Some(verdict);
        }
        self.verdicts.send_replace(());
    }

    fn verdict(&self, own: &OwnName) -> Option<Verdict> {
        lock(&self.wanted).get(own)?.verdict.clone()
    }

    fn ends(&self, subscription: &Subscription) {
        let mut all = lock(&self.wanted);
        let Some(wanted) = all.get_mut(&subscription.own) else {
            return;
        };
        // The same client may know it by two names.
        let is_it = |(public, listener): &(Arc<str>, Listener)| {
            listener.0.number == subscription.listener && **public == *subscription.public
        };
        if let Some(at) = wanted.listeners.iter().position(is_it) {
            wanted.listeners.swap_remove(at);
        }
        if wanted.listeners.is_empty() {
            all.remove(&subscription.own);
            drop(all);
            self.changes.send_replace(());
        }
    }
}

impl Wanted {
    fn may_have_changed(&self, own: &OwnName) {
        let (own, changed) = (own.as_str(), bare(own.as_str()));
        for (public, listener) in &self.listeners {
            listener.hears(public, own, own, &changed);
        }
    }
}

impl Subscription {
    /// Waits until the child has said what it makes of it.
    pub async fn settled(&self) -> Verdict {
        let mut verdicts = self.subscriptions.verdicts.subscribe();
        loop {
            if let Some(verdict) = self.subscriptions.verdict(&self.own) {
                return verdict;
            }
            // The sender is held here: it cannot be gone.
            let _ = verdicts.changed().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let subscriptions = Arc::clone(&self.subscriptions);
        subscriptions.ends(self);
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self(Arc::new(Waiting {
            number: next_number(),
            updates: Mutex::default(),
            more: Notify::new(),
        }))
    }
}

impl Listener {
    /// Waits until there is an update to be taken.
    pub async fn ready(&self) {
        loop {
            let more = self.0.more.notified();
            if !lock(&self.0.updates).order.is_empty() {
                return;
            }
            more.await;
        }
    }

    /// The update that has waited longest.
    pub fn take(&self) -> Option<Update> {
        let mut updates = lock(&self.0.updates);
        let uri = updates.order.pop_front()?;
        let (whole, frame) = updates.frames.remove(&uri)?;
        updates.bytes -= frame.bytes().len();
        Some(Update { uri, whole, frame })
    }

    /// `uri` has changed: `own`, which the client knows as `public`, or a part of it.
    fn hears(&self, public: &Arc<str>, own: &str, uri: &str, notification: &Frame) {
        let mut updates = lock(&self.0.updates);
        let room = WAITING_BYTES.saturating_sub(updates.bytes);
        let part = uri != own && updates.order.len() < WAITING && uri.len() < room;
        // A public URI is the child's own, or that behind an alias.
        let uri: Arc<str> = match public.strip_suffix(own) {
            Some(alias) if part => format!("{alias}{uri}").into(),
            _ => Arc::clone(public),
        };
        let frame = match notification.bytes().len() > LONGEST.min(room) {
            true => bare(&uri),
            false => notification.clone(),
        };
        updates.bytes += frame.bytes().len();
        let heard = (Arc::clone(public), frame);
        match updates.frames.insert(Arc::clone(&uri), heard) {
            Some((_, before)) => updates.bytes -= before.bytes().len(),
            None => updates.order.push_back(uri),
        }
        drop(updates);
        self.0.more.notify_one();
    }
}

fn bare(uri: &str) -> Frame {
    let params = format!(r#"{{"uri":{}}}"#, quote(uri));
    notification("notifications/resources/updated", Some(&params))
}

/// Whether `uri` is that of something within `whole`.
fn is_part(uri: &str, whole: &str) -> bool {
    uri.strip_prefix(whole)
        .is_some_and(|rest| whole.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{outbound::owner::Owner, protocol::SessionKey};

    fn updated(uri: &str, more: &str) -> Frame {
        let params = format!(r#"{{"uri":"{uri}"{more}}}"#);
        notification("notifications/resources/updated", Some(&params))
    }

    fn heard(listener: &Listener) -> Vec<String> {
        std::iter::from_fn(|| listener.take())
            .map(|update| update.uri.to_string())
            .collect()
    }

    #[tokio::test]
    async fn a_resource_that_changes_and_changes_is_told_once_as_it_last_was() {
        let (all, listener) = (Arc::<Subscriptions>::default(), Listener::default());
        let _a = all.subscribe(&"x:a".into(), "p:a", &listener).unwrap();
        let _b = all.subscribe(&"x:b".into(), "x:b", &listener).unwrap();
        for n in 0..10_000 {
            assert!(all.updated(&updated("x:a", &format!(",\"n\":{n}"))));
        }
        assert!(all.updated(&updated("x:b", "")));
        assert!(!all.updated(&updated("x:c", "")), "nobody wants it");

        listener.ready().await;
        let first = listener.take().unwrap();
        assert_eq!(&*first.uri, "p:a");
        assert!(first.frame.body().unwrap().contains("9999"));
        assert_eq!(heard(&listener), ["x:b"]);
    }

    #[test]
    fn parts_of_a_resource_are_told_and_are_not_without_end() {
        let (all, listener) = (Arc::<Subscriptions>::default(), Listener::default());
        let _a = all
            .subscribe(&"x:a".into(), "mux+y://x:a", &listener)
            .unwrap();
        assert!(all.updated(&updated("x:a/1", "")));
        assert!(all.updated(&updated("x:a#top", "")));
        assert!(!all.updated(&updated("x:ab", "")));
        assert_eq!(heard(&listener), ["mux+y://x:a/1", "mux+y://x:a#top"]);
        for n in 0..2 * WAITING {
            all.updated(&updated(&format!("x:a/{n}"), ""));
        }
        let heard = heard(&listener);
        assert_eq!(heard.len(), WAITING + 1);
        assert_eq!(heard[WAITING], "mux+y://x:a", "the whole, for the rest");
    }

    #[test]
    fn what_a_child_adds_without_end_is_left_out() {
        let (all, listener) = (Arc::<Subscriptions>::default(), Listener::default());
        let _a = all.subscribe(&"x:a".into(), "x:a", &listener).unwrap();
        let more = format!(",\"more\":\"{}\"", "x".repeat(LONGEST));
        all.updated(&updated("x:a", &more));
        let update = listener.take().unwrap();
        assert_eq!(update.frame.body(), Some(r#"{"uri":"x:a"}"#));
    }

    #[test]
    fn what_waits_for_a_slow_client_is_bounded_in_bytes_and_no_resource_is_missed() {
        let (all, listener) = (Arc::<Subscriptions>::default(), Listener::default());
        let names = (0..200).map(|n| format!("x:{n}")).collect::<Vec<_>>();
        let subscribe = |own: &String| all.subscribe(&own.as_str().into(), own, &listener);
        let _held: Vec<_> = names.iter().map(|own| subscribe(own).unwrap()).collect();
        let more = format!(",\"more\":\"{}\"", "x".repeat(LONGEST / 2));
        for _ in 0..2 {
            for own in &names {
                all.updated(&updated(own, &more));
            }
            all.updated(&updated(&format!("x:0/{}", "y".repeat(WAITING_BYTES)), ""));
            assert!(lock(&listener.0.updates).bytes < WAITING_BYTES + 200 * 200);
        }
        assert_eq!(heard(&listener), names);
        assert_eq!(lock(&listener.0.updates).bytes, 0);
    }

    #[test]
    fn whoever_listens_for_the_whole_hears_of_a_part_that_another_listens_for() {
        let all = Arc::<Subscriptions>::default();
        let (whole, part) = (Listener::default(), Listener::default());
        let _whole = all.subscribe(&"x:dir/".into(), "x:dir/", &whole).unwrap();
        let _part = all.subscribe(&"x:dir/f".into(), "x:dir/f", &part).unwrap();
        let _both = all.subscribe(&"x:dir/f".into(), "x:dir/f", &whole).unwrap();
        assert!(all.updated(&updated("x:dir/f", "")));
        assert_eq!(heard(&part), ["x:dir/f"]);
        assert_eq!(heard(&whole), ["x:dir/f"], "once");
    }

    #[test]
    fn the_set_holds_what_somebody_wants_and_its_drop_is_the_end() {
        let all = Arc::<Subscriptions>::default();
        let (one, two) = (Listener::default(), Listener::default());
        let mut changes = all.changes();
        let first = all.subscribe(&"x:a".into(), "x:a", &one).unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let twice = all.subscribe(&"x:a".into(), "x:a", &one).unwrap();
        let second = all.subscribe(&"x:a".into(), "x:a", &two).unwrap();
        drop((first, twice));
        assert!(
            !changes.has_changed().unwrap(),
            "the child is not asked again"
        );
        all.updated(&updated("x:a", ""));
        assert!(one.take().is_none());
        assert_eq!(heard(&two), ["x:a"]);
        drop(second);
        assert!(all.is_empty() && changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_refusal_is_that_of_its_own_wish() {
        let (all, listener) = (Arc::<Subscriptions>::default(), Listener::default());
        let own: OwnName = "x:a".into();
        let first = all.subscribe(&own, "x:a", &listener).unwrap();
        let wish = all.all()[0].1;
        all.decided(&own, wish, Verdict::Refused("{}".into()));
        assert!(matches!(first.settled().await, Verdict::Refused(_)));
        let second = all.subscribe(&own, "x:a", &listener).unwrap();
        let again = all.all()[0].1;
        assert_ne!(again, wish);
        all.decided(&own, wish, Verdict::Refused("{}".into()));
        all.decided(&own, again, Verdict::Held);
        assert!(matches!(second.settled().await, Verdict::Held));
    }

    #[test]
    fn a_successor_has_the_subscriptions_of_its_predecessor_and_a_session_its_own() {
        let all = AllSubscriptions::default();
        let child: ChildName = "child".into();
        let before = all.of(&child, None);
        let listener = Listener::default();
        let held = before.subscribe(&"x:a".into(), "x:a", &listener).unwrap();
        drop(before);
        assert!(!all.of(&child, None).is_empty());
        let owner = Owner {
            session: Some(SessionKey::begin()),
            user: None,
            subject: None,
        };
        assert!(all.of(&child, Some(owner.key())).is_empty());
        drop(held);
        assert!(all.of(&child, None).is_empty());
    }
}
