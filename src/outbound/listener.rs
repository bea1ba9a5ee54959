//! One client that is told of resources that have changed: what waits for it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::next_number;
use crate::protocol::{Frame, error::notification, json::quote};

/// Updates that may wait for one client. Only parts of a resource can be more than its
/// subscriptions are: beyond this the whole is told to have changed.
pub(super) const WAITING: usize = 2_000;
/// A notification that is longer is told without what the child has added to it, in bytes.
pub(super) const LONGEST: usize = 64 << 10;
/// And so is each once as much as this waits for one client, in bytes.
pub(super) const WAITING_BYTES: usize = 1 << 20;

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

impl Default for Listener {
    fn default() -> Self {
        Self(Arc::new(Waiting {
            number: next_number(),
            updates: Mutex::default(),
            more: Notify::new(),
        }))
    }
}

impl Waiting {
    fn updates(&self) -> MutexGuard<'_, Updates> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// By which it is known from others.
    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// How much waits for it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.updates().bytes
    }

    /// Waits until there is an update to be taken.
    pub async fn ready(&self) {
        loop {
            let more = self.0.more.notified();
            if !self.0.updates().order.is_empty() {
                return;
            }
            more.await;
        }
    }

    /// The update that has waited longest.
    pub fn take(&self) -> Option<Update> {
        let mut updates = self.0.updates();
        let uri = updates.order.pop_front()?;
        let (whole, frame) = updates.frames.remove(&uri)?;
        updates.bytes -= frame.bytes().len();
        Some(Update { uri, whole, frame })
    }

    /// `uri` has changed: `own`, which the client knows as `public`, or a part of it.
    pub(super) fn hears(&self, public: &Arc<str>, own: &str, uri: &str, notification: &Frame) {
        let mut guard = self.0.updates();
        let updates = &mut *guard;
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
        match updates.frames.entry(Arc::clone(&uri)) {
            Entry::Occupied(mut waiting) => {
                let (whole, before) = waiting.get_mut();
                // Of all that the client has subscribed to, that of which the others are
                // parts: who may read it hears of them too.
                if public.len() < whole.len() {
                    *whole = Arc::clone(public);
                }
                updates.bytes -= std::mem::replace(before, frame).bytes().len();
            }
            Entry::Vacant(free) => {
                free.insert((Arc::clone(public), frame));
                updates.order.push_back(uri);
            }
        }
        drop(guard);
        self.0.more.notify_one();
    }
}

/// That this has changed, and nothing else.
pub(super) fn bare(uri: &str) -> Frame {
    let params = format!(r#"{{"uri":{}}}"#, quote(uri));
    notification("notifications/resources/updated", Some(&params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_subscribed_to_by_itself_is_told_as_one_of_the_whole() {
        let uri = "x:a/part";
        let params = format!(r#"{{"uri":"{uri}"}}"#);
        let changed = notification("notifications/resources/updated", Some(&params));
        for order in [["x:a", uri], [uri, "x:a"]] {
            let listener = Listener::default();
            for own in order {
                listener.hears(&own.into(), own, uri, &changed);
            }
            let update = listener.take().unwrap();
            assert_eq!((&*update.uri, &*update.whole), (uri, "x:a"), "{order:?}");
            assert!(listener.take().is_none(), "once");
            assert_eq!(listener.bytes(), 0);
        }
    }
}
