//! Streams that a legacy client can come back to (MCP 2025-11-25, "Resumability and
//! Redelivery").
//!
//! One task owns one stream: the work behind it, the events it keeps, and the
//! connection that takes them now. When the connection goes, the work goes on for
//! [`GRACE`], and whoever comes back is told what came after the event it names.

use std::{
    collections::{HashMap, VecDeque},
    fmt::{self, Write},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::stream::{self, COMMENT, EVENT_END, Gone, KEEP_ALIVE, Out};
use crate::{
    protocol::splice::on_one_line,
    relay::{LongReply, Reply},
};

/// How long a client may stay away, or leave unread what is there for it. As long, an
/// answer is kept that it has been given: it may have got lost on the way.
const GRACE: Duration = stream::STALL;
/// What a stream keeps of what it has told. What it has not told yet it takes no more
/// of beyond this: whoever says it waits.
const KEPT_EVENTS: usize = 256;
const KEPT_BYTES: usize = 1 << 20;
/// Streams of a session with work behind them. Further ones cannot be come back to.
const MOST_AT_WORK: usize = 64;
/// Streams of a session that are over and kept. The oldest goes first.
const MOST_OVER: usize = 8;
/// What all streams that are over keep together, in KiB.
static KEPT_OVER: Semaphore = Semaphore::const_new(64 << 10);
/// The least that one of them counts for, in KiB: the task itself is there too.
const LEAST_KEPT: usize = 4;
/// How long a client is to wait before it comes back, in milliseconds. Short beside
/// [`GRACE`], and not so short that a crowd of them is a flood.
const RETRY_MS: u32 = 1000;

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

/// What a stream is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One request, and its answer.
    #[default]
    Request,
    /// All that belongs to no request.
    Session,
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
        let stream = Stream {
            log,
            told: 0,
            out: Some(out),
            since: Instant::now(),
            tail: None,
        };
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

/// Names an event in all of a session, and says what its stream is for.
struct EventId {
    purpose: Purpose,
    stream: u64,
    number: u64,
}

impl EventId {
    fn read(text: &str) -> Option<Self> {
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
struct Log {
    purpose: Purpose,
    key: u64,
    events: VecDeque<Bytes>,
    /// The number of the first that is kept.
    first: u64,
    bytes: usize,
}

impl Log {
    fn new(purpose: Purpose, key: u64) -> Self {
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
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn prime(&mut self) {
        let mut event = self.head("");
        let _ = write!(event, "retry: {RETRY_MS}\ndata: ");
        self.add(event);
    }

    fn push(&mut self, message: Bytes) {
        let mut event = self.head("event: message\n");
        event.reserve(message.len() + 16);
        event.put_slice(b"data: ");
        event.put(on_one_line(message));
        self.add(event);
    }

    /// An event's lines up to its id.
    fn head(&self, kind: &str) -> BytesMut {
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
    fn trim(&mut self, below: u64) {
        while self.first < below && !self.has_room() {
            let Some(event) = self.events.pop_front() else {
                return;
            };
            self.first += 1;
            self.bytes -= event.len();
        }
    }

    fn has_room(&self) -> bool {
        self.events.len() < KEPT_EVENTS && self.bytes < KEPT_BYTES
    }

    fn get(&self, number: u64) -> Option<&Bytes> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(at)
    }
}

/// What a stream's task owns.
struct Stream {
    log: Log,
    /// The number of the last event that was handed to a connection.
    told: u64,
    /// The connection that takes the events now.
    out: Option<Out>,
    /// Since when the client is away, or leaves unread what is there for it.
    since: Instant,
    /// An answer that is too long to be kept: it can be told once.
    tail: Option<LongReply>,
}

/// What happens next.
enum Step {
    Back(Option<Back>),
    Gone,
    Room,
    Aside(Bytes),
    Reply(Option<Reply>),
    Quiet,
    GivenUp,
}

impl Stream {
    /// Tells what there is to tell, until the client has it, or is given up: the drop
    /// of the work takes the request back.
    async fn run<F>(
        mut self,
        streams: &Streams,
        work: Pin<Box<F>>,
        mut asides: mpsc::Receiver<Bytes>,
        mut returning: mpsc::Receiver<Back>,
    ) where
        F: Future<Output = Option<Reply>>,
    {
        let mut work = Some(work);
        let mut can_come_back = true;
        let mut kept: Option<SemaphorePermit<'static>> = None;
        let mut last_byte = Instant::now();
        loop {
            let all_told = self.all_told();
            if work.is_none() && all_told {
                if let Some(out) = &self.out
                    && let Some(tail) = self.tail.take()
                {
                    let passed = pass(out, self.log.head("event: message\n"), tail);
                    tokio::select! {
                        _ = passed => {}
                        () = out.gone() => {}
                    }
                    return;
                }
                if self.tail.is_none()
                    && let Some(out) = self.out.take()
                {
                    let _ = out.end().await;
                    if !can_come_back {
                        return;
                    }
                    self.since = Instant::now();
                    streams.over(self.log.key, self.log.next() - 1);
                    if kept.is_none() {
                        kept = self.log.keep();
                    }
                    if kept.is_none() {
                        return;
                    }
                }
            }
            let step = tokio::select! {
                biased;
                back = returning.recv(), if can_come_back => Step::Back(back),
                () = gone(self.out.as_ref()) => Step::Gone,
                () = ready(self.out.as_ref()), if !all_told => Step::Room,
                Some(aside) = asides.recv(), if work.is_some() && self.log.has_room() => {
                    Step::Aside(aside)
                }
                reply = done(&mut work) => Step::Reply(reply),
                () = sleep_until(last_byte + KEEP_ALIVE), if self.out.is_some() => Step::Quiet,
                () = sleep_until(self.since + GRACE), if self.waits() => Step::GivenUp,
            };
            match step {
                Step::Back(Some(Back { after, out })) => {
                    let last = self.log.next() - 1;
                    // What is no longer kept cannot be told again.
                    self.told = after.clamp(self.log.first - 1, last);
                    debug!(
                        missed = last - self.told,
                        "a client has come back to its stream"
                    );
                    self.out = Some(out);
                    self.since = Instant::now();
                    last_byte = self.since;
                }
                Step::Back(None) if self.out.is_none() => return,
                Step::Back(None) => can_come_back = false,
                Step::Gone if !can_come_back => return,
                Step::Gone => {
                    self.out = None;
                    self.since = Instant::now();
                }
                Step::Room => {
                    self.tell();
                    last_byte = Instant::now();
                }
                Step::Aside(aside) => self.push(aside),
                Step::Reply(reply) => {
                    work = None;
                    while let Ok(aside) = asides.try_recv() {
                        self.push(aside);
                    }
                    match reply {
                        // Taken back: there is nothing to come back for.
                        None => {
                            can_come_back = false;
                            if self.out.is_none() {
                                return;
                            }
                            streams.lock().remove(&self.log.key);
                        }
                        Some(Reply::Whole(answer)) => self.push(answer),
                        Some(Reply::Long(answer)) => {
                            self.waits_from_now();
                            self.tail = Some(answer);
                        }
                    }
                }
                Step::Quiet => {
                    if let Some(out) = &self.out {
                        let _ = out.send_now(COMMENT);
                    }
                    last_byte = Instant::now();
                }
                Step::GivenUp => return,
            }
        }
    }

    fn all_told(&self) -> bool {
        self.told + 1 >= self.log.next()
    }

    /// Whether there is something for the client that it does not take.
    fn waits(&self) -> bool {
        self.out.is_none() || !self.all_told()
    }

    fn waits_from_now(&mut self) {
        if !self.waits() {
            self.since = Instant::now();
        }
    }

    fn push(&mut self, message: Bytes) {
        self.waits_from_now();
        self.log.push(message);
        self.log.trim(self.told + 1);
    }

    /// Hands the next event to the connection, which has room for it.
    fn tell(&mut self) {
        let number = self.told + 1;
        if let (Some(out), Some(event)) = (&self.out, self.log.get(number))
            && let Ok(()) = out.send_now(event.clone())
        {
            self.told = number;
            self.since = Instant::now();
            self.log.trim(self.told + 1);
        }
    }
}

impl Log {
    /// A place among what is kept of streams that are over. `None` if there is none, or
    /// nothing to be kept: the answer was too long.
    fn keep(&self) -> Option<SemaphorePermit<'static>> {
        self.events.back()?;
        let size = u32::try_from((self.bytes >> 10).max(LEAST_KEPT)).ok()?;
        KEPT_OVER.try_acquire_many(size).ok()
    }
}

async fn gone(out: Option<&Out>) {
    match out {
        Some(out) => out.gone().await,
        None => std::future::pending().await,
    }
}

async fn ready(out: Option<&Out>) {
    match out {
        Some(out) => out.ready().await,
        None => std::future::pending().await,
    }
}

async fn done<F>(work: &mut Option<Pin<Box<F>>>) -> Option<Reply>
where
    F: Future<Output = Option<Reply>>,
{
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Passes a long answer on as one event.
async fn pass(out: &Out, mut head: BytesMut, mut answer: LongReply) -> Result<(), Gone> {
    head.put_slice(b"data: ");
    out.send(Ok(head.freeze())).await?;
    while let Some(piece) = answer.next().await {
        out.send(piece.map(on_one_line)).await?;
    }
    out.send(Ok(EVENT_END)).await?;
    out.end().await
}

#[cfg(test)]
mod tests;
