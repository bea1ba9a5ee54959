//! The task that owns one stream.

use std::{pin::Pin, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use tokio::{
    sync::{SemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{Back, Streams, log::Log};
use crate::{
    inbound::stream::{self, COMMENT, EVENT_END, Gone, KEEP_ALIVE, Out},
    protocol::splice::on_one_line,
    relay::{LongReply, Reply},
};

/// How long a client may stay away, or leave unread what is there for it. As long, an
/// answer is kept that it has been given: it may have got lost on the way.
pub(super) const GRACE: Duration = stream::STALL;

/// What a stream's task owns.
pub(super) struct Stream {
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
    /// A stream on which nothing has been told yet.
    pub(super) fn new(log: Log, out: Out) -> Self {
        Self {
            log,
            told: 0,
            out: Some(out),
            since: Instant::now(),
            tail: None,
        }
    }

    /// Tells what there is to tell, until the client has it, or is given up: the drop
    /// of the work takes the request back.
    pub(super) async fn run<F>(
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
                        Some(Reply::Whole(answer) | Reply::Challenged(_, answer)) => {
                            self.push(answer)
                        }
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
