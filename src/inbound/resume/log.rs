//! The events of one stream, as many of them as are kept, and their ids.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{inbound::stream::EVENT_END, protocol::splice::on_one_line};

/// What a stream keeps of what it has told. What it has not told yet it takes no more
/// of beyond this: whoever says it waits.
pub(super) const KEPT_EVENTS: usize = 256;
pub(super) const KEPT_BYTES: usize = 1 << 20;
/// What all streams that are over keep together, in KiB.
static KEPT_OVER: Semaphore = Semaphore::const_new(64 << 10);
/// The least that one of them counts for, in KiB: the task itself is there too.
const LEAST_KEPT: usize = 4;
/// How long a client is to wait before it comes back, in milliseconds. Short beside
/// the time it may stay away, and not so short that a crowd of them is a flood.
const RETRY_MS: u32 = 1000;

/// What a stream is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::inbound) enum Purpose {
    /// One request, and its answer.
    #[default]
    Request,
    /// All that belongs to no request.
    Session,
}

/// Names an event in all of a session, and says what its stream is for.
pub(super) struct EventId {
    pub(super) purpose: Purpose,
    pub(super) stream: u64,
    pub(super) number: u64,
}

impl EventId {
    pub(super) fn read(text: &str) -> Option<Self> {
        let purpose = match text.as_bytes().first()? {
            b'r' => Purpose::Request,
            b's' => Purpose::Session,
            _ => return None,
        };
        let (stream, number) = text.get(1..)?.split_once('-')?;
        Some(Self {
            purpose,
            stream: u64::from_str_radix(stream, 16).ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.purpose {
            Purpose::Request => 'r',
            Purpose::Session => 's',
        };
        write!(f, "{letter}{:x}-{}", self.stream, self.number)
    }
}

/// The events of a stream, as many of them as are kept.
pub(super) struct Log {
    purpose: Purpose,
    pub(super) key: u64,
    events: VecDeque<Bytes>,
    /// The number of the first that is kept.
    pub(super) first: u64,
    bytes: usize,
}

impl Log {
    pub(super) fn new(purpose: Purpose, key: u64) -> Self {
        Self {
            purpose,
            key,
            events: VecDeque::new(),
            // Zero is before all of them.
            first: 1,
            bytes: 0,
        }
    }

    /// The number of the event that is to come.
    pub(super) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub(super) fn prime(&mut self) {
        let mut event = self.head("");
        let _ = write!(event, "retry: {RETRY_MS}\ndata: ");
        self.add(event);
    }

    pub(super) fn push(&mut self, message: Bytes) {
        let mut event = self.head("event: message\n");
        event.reserve(message.len() + 16);
        event.put_slice(b"data: ");
        event.put(on_one_line(message));
        self.add(event);
    }

    /// An event's lines up to its id.
    pub(super) fn head(&self, kind: &str) -> BytesMut {
        let mut event = BytesMut::new();
        let id = EventId {
            purpose: self.purpose,
            stream: self.key,
            number: self.next(),
        };
        let _ = writeln!(event, "{kind}id: {id}");
        event
    }

    fn add(&mut self, mut event: BytesMut) {
        event.put(EVENT_END);
        self.bytes += event.len();
        self.events.push_back(event.freeze());
    }

    /// Lets go of the oldest ones below this number, where there are too many.
    pub(super) fn trim(&mut self, below: u64) {
        while self.first < below && !self.has_room() {
            let Some(event) = self.events.pop_front() else {
                return;
            };
            self.first += 1;
            self.bytes -= event.len();
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.events.len() < KEPT_EVENTS && self.bytes < KEPT_BYTES
    }

    pub(super) fn get(&self, number: u64) -> Option<&Bytes> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(at)
    }

    /// A place among what is kept of streams that are over. `None` if there is none, or
    /// nothing to be kept: the answer was too long.
    pub(super) fn keep(&self) -> Option<SemaphorePermit<'static>> {
        self.events.back()?;
        let size = u32::try_from((self.bytes >> 10).max(LEAST_KEPT)).ok()?;
        KEPT_OVER.try_acquire_many(size).ok()
    }
}
