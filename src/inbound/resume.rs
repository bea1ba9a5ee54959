//! Streams that a legacy client can come back to (MCP 2025-11-25, "Resumability and
//! Redelivery").
//!
//! One task owns one stream: the work behind it, the events it keeps, and the
//! connection that takes them now. When the connection goes, the work goes on for
//! half a minute, and whoever comes back is told what came after the event it names.

mod log;
mod task;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::body::Body;
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

pub(super) use self::log::Purpose;
use self::{
    log::{EventId, Log},
    task::Stream,
};
use super::stream::{self, COMMENT, Out};
use crate::relay::Reply;

/// Streams of a session with work behind them. Further ones cannot be come back to.
const MOST_AT_WORK: usize = 64;
/// Streams of a session that are over and kept. The oldest goes first.
const MOST_OVER: usize = 8;

/// The streams of one session; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<u64, Entry>>>);

/// What the session knows of a stream, whose task holds the rest.
#[derive(Debug)]
struct Entry {
    back: mpsc::Sender<Back>,
    /// Since when it has been over, and the number of its last event.
    over: Option<(Instant, u64)>,
}

/// A client that has come back.
#[derive(Debug)]
struct Back {
    /// The last event it has got.
    after: u64,
    out: Out,
}

/// What there is for a client that wants to go on after an event.
#[derive(Debug)]
pub(super) enum Resumed {
    /// What came after it, and goes on to come.
    Rest(Body),
    /// Nothing any more: its request has been answered, taken back or given up.
    Nothing,
    /// Whatever belongs to no request, from now on.
    Anew,
}

/// How a stream begins.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// What it is for.
    pub(super) purpose: Purpose,
    /// With an event that holds nothing but its id (SEP-1699): then it can be come
    /// back to before anything has been said. Older clients take it for a message.
    pub(super) primed: bool,
    /// What has been said already.
    pub(super) said: Option<Bytes>,
}

impl Streams {
    /// An event stream of what comes before the answer, and the answer, if there is one.
    pub(super) fn begin<F>(
        &self,
        beginning: Beginning,
        work: Pin<Box<F>>,
        asides: mpsc::Receiver<Bytes>,
    ) -> Body
    where
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        let key = rand::random();
        let (back, returning) = mpsc::channel(1);
        if !self.enter(key, back) {
            return stream::events(beginning.said, work, asides);
        }
        let (out, body) = Out::new();
        let mut log = Log::new(beginning.purpose, key);
        match &beginning {
            Beginning { primed: true, .. } => log.prime(),
            Beginning { said: None, .. } => {
                let _ = out.send_now(COMMENT);
            }
            _ => {}
        }
        if let Some(said) = beginning.said {
            log.push(said);
        }
        let stream = Stream::new(log, out);
        let streams = self.clone();
        tokio::spawn(async move {
            stream.run(&streams, work, asides, returning).await;
            streams.lock().remove(&key);
        });
        body
    }

    /// What there is for a client that has last got this event.
    pub(super) fn resume(&self, last_event: &str) -> Resumed {
        let Some(event) = EventId::read(last_event) else {
            return Resumed::Anew;
        };
        match (self.rest(&event), event.purpose) {
            (Some(body), _) => Resumed::Rest(body),
            (None, Purpose::Request) => Resumed::Nothing,
            (None, Purpose::Session) => Resumed::Anew,
        }
    }

    fn rest(&self, event: &EventId) -> Option<Body> {
        let streams = self.lock();
        let entry = streams.get(&event.stream)?;
        let after = event.number;
        if entry.over.is_some_and(|(_, last)| after >= last) {
            return None;
        }
        let (out, body) = Out::new();
        // Some proxies pass nothing on, not even the head, before the first byte.
        let _ = out.send_now(COMMENT);
        entry.back.try_send(Back { after, out }).ok()?;
        Some(body)
    }

    /// Nobody comes back any more.
    pub(super) fn end(&self) {
        self.lock().clear();
    }

    fn enter(&self, key: u64, back: mpsc::Sender<Back>) -> bool {
        let mut streams = self.lock();
        let at_work = streams.values().filter(|entry| entry.over.is_none());
        let free = at_work.count() < MOST_AT_WORK;
        if free {
            streams.insert(key, Entry { back, over: None });
        }
        free
    }

    /// All has been told on this stream.
    fn over(&self, key: u64, last: u64) {
        let mut streams = self.lock();
        if let Some(entry) = streams.get_mut(&key) {
            entry.over = Some((Instant::now(), last));
        }
        let over = |(key, entry): (&u64, &Entry)| Some((entry.over?.0, *key));
        if streams.iter().filter_map(over).count() > MOST_OVER
            && let Some((_, oldest)) = streams.iter().filter_map(over).min()
        {
            streams.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests;
