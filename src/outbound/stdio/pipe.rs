//! The pipe to a child: one reader and one writer own it.
//!
//! The reader sorts what the child says and never waits for anybody; answers and
//! progress find their request by the number in our id or token.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter},
    sync::mpsc::{self, error::TrySendError},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::mailbox::{Mailbox, Post, Said, mailbox};
use crate::{
    outbound::{
        Failure, MESSAGE_LIMIT, Outgoing, Part, Question, call_id, call_number,
        link::Link,
        slots::{CANCEL_GRACE, Slot},
        unasked::Unasked,
    },
    protocol::{
        Frame, Kind, answer,
        ends::{Answers, Ends},
        error::{RpcError, code, notification},
        lines::{Line, LineReader},
        splice::on_one_line,
    },
};

/// How many messages may wait for a child to read them. Requests are fewer, by its
/// slots; the rest is for a child that asks and asks and does not read our refusals.
const OUTGOING: usize = 4096;

/// The pipe to one running child; clones are the same one.
#[derive(Clone, Debug)]
pub(in crate::outbound) struct Pipe {
    out: mpsc::Sender<Bytes>,
    pending: Arc<DashMap<u64, Pending>>,
    /// Cancelled when the child has closed its end, or we have closed ours.
    closed: CancellationToken,
    /// Whether lines came that are no messages.
    junk: Arc<AtomicBool>,
    unasked: Arc<Unasked>,
}

/// A request the child has not answered yet.
#[derive(Debug)]
struct Pending {
    /// `None` once nobody waits for the answer any more.
    waiter: Option<Post>,
    /// Free again when the child is done. A client's request has one.
    slot: Option<Slot>,
}

impl Pipe {
    /// Starts reader and writer.
    pub(in crate::outbound) fn new(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        unasked: Unasked,
    ) -> Self {
        let (pipe, outgoing) = Self::open(unasked);
        let reader = Reader {
            pipe: pipe.clone(),
            way: Link::Pipe(pipe.clone()),
        };
        tokio::spawn(write(stdin, outgoing, pipe.closed.clone()));
        tokio::spawn(reader.run(stdout));
        pipe
    }

    /// A pipe whose ends are elsewhere, and what is to be carried to the child.
    pub(in crate::outbound) fn open(unasked: Unasked) -> (Self, mpsc::Receiver<Bytes>) {
        let (out, outgoing) = mpsc::channel(OUTGOING);
        let pipe = Self {
            out,
            pending: Arc::default(),
            closed: CancellationToken::new(),
            junk: Arc::default(),
            unasked: Arc::new(unasked),
        };
        (pipe, outgoing)
    }

    /// Sends a request. `slot` is held until the child is done with it.
    ///
    /// # Errors
    ///
    /// When the pipe is closed already.
    pub(in crate::outbound) fn call(
        &self,
        request: &Outgoing<'_>,
        slot: Option<Slot>,
    ) -> Result<PipeExchange, Failure> {
        let exchange = self.expect(request.number, slot, Link::Pipe(self.clone()));
        // After that: the closing reader empties the table once.
        let refused = match self.out.try_send(on_one_line(request.frame.clone())) {
            Ok(()) if !self.closed.is_cancelled() => return Ok(exchange),
            // It was taken, and may have been written before the end.
            Ok(()) => Failure::transport("has closed its connection"),
            Err(TrySendError::Full(_)) => Failure::busy("does not read what it is sent"),
            _ => Failure::not_sent("has closed its connection"),
        };
        exchange.forget();
        Err(refused)
    }

    /// Expects the answer to a request that is to be sent. `slot` is held until the
    /// child is done with it; `way` is the one by which the child is answered.
    pub(in crate::outbound) fn expect(
        &self,
        number: u64,
        slot: Option<Slot>,
        way: Link,
    ) -> PipeExchange {
        let (waiter, heard) = mailbox();
        let pending = Pending {
            waiter: Some(waiter),
            slot,
        };
        self.pending.insert(number, pending);
        PipeExchange {
            pipe: self.clone(),
            way,
            number,
            heard,
            done: false,
        }
    }

    /// Queues a message, without waiting; whether the pipe still takes any.
    pub(in crate::outbound) fn send(&self, message: Bytes) -> bool {
        self.out.try_send(on_one_line(message)).is_ok()
    }

    /// Gives the child an answer to a request of its own.
    pub(in crate::outbound) fn reply(&self, answer: Frame) {
        if !self.send(answer.into_bytes()) {
            self.unasked.unanswered("it does not read what it is sent");
        }
    }

    /// Where messages outside of any request go.
    pub(in crate::outbound) fn unasked(&self) -> &Unasked {
        &self.unasked
    }

    /// Whether the child has printed lines that are no messages.
    pub(in crate::outbound) fn has_heard_junk(&self) -> bool {
        self.junk.load(Ordering::Relaxed)
    }

    /// Cancelled when the pipe is closed, from either end.
    pub(in crate::outbound) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Nobody waits for this request any more: tell the child.
    fn abandon(&self, number: u64) {
        let Some(mut pending) = self.pending.get_mut(&number) else {
            return;
        };
        pending.waiter = None;
        drop(pending);
        let id = call_id(number);
        self.send(
            notification(
                "notifications/cancelled",
                Some(&format!(r#"{{"requestId":{id}}}"#)),
            )
            .into_bytes(),
        );
        let pipe = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = pipe.closed.cancelled() => {}
                () = tokio::time::sleep(CANCEL_GRACE) => {}
            }
            pipe.pending.remove(&number);
        });
    }
}

/// A request sent down a pipe. Its drop, before the answer, cancels it.
#[derive(Debug)]
pub struct PipeExchange {
    pipe: Pipe,
    way: Link,
    number: u64,
    heard: Mailbox,
    /// The answer has come, or can come no more.
    done: bool,
}

impl PipeExchange {
    /// The child has not taken the request: there is nothing to wait for, or to cancel.
    pub(in crate::outbound) fn forget(&self) {
        self.pipe.pending.remove(&self.number);
    }

    /// The next part; asides before the answer they preceded.
    pub(in crate::outbound) async fn next(&mut self) -> Result<Part, Failure> {
        let said = self.heard.next().await;
        if let Some(Said::Aside(aside)) = said {
            return Ok(self.said(aside));
        }
        self.done = true;
        match said {
            Some(Said::Answer(answer)) => answer.map(Part::Answer),
            _ => Err(Failure::transport(
                "closed its connection before it answered",
            )),
        }
    }

    fn said(&self, aside: Frame) -> Part {
        match aside.kind() {
            Kind::Request => Part::Request(Question::new(aside, self.way.clone())),
            _ => Part::Aside(aside),
        }
    }
}

impl Drop for PipeExchange {
    fn drop(&mut self) {
        // Its requests are answered even where nobody has come to read them.
        for aside in self.heard.close() {
            drop(self.said(aside));
        }
        if !self.done {
            self.pipe.abandon(self.number);
        }
    }
}

/// What sorts the messages of a child.
pub(in crate::outbound) struct Reader {
    /// The pipe by which they come.
    pub(in crate::outbound) pipe: Pipe,
    /// The way by which the child is answered.
    pub(in crate::outbound) way: Link,
}

impl Reader {
    async fn run(self, stdout: impl AsyncRead + Unpin) {
        let mut lines = LineReader::new(stdout, MESSAGE_LIMIT);
        let sorted = async {
            while let Ok(Some(line)) = lines.next().await {
                match line {
                    Line::Whole(line) => self.take(line),
                    Line::TooLong(ends) => self.too_long(&ends),
                }
            }
        };
        self.pipe.closed.run_until_cancelled(sorted).await;
        self.end();
    }

    /// Nothing more comes by this pipe.
    pub(in crate::outbound) fn end(&self) {
        self.pipe.closed.cancel();
        // Dropping the waiters tells every request that waits.
        self.pipe.pending.clear();
    }

    fn take(&self, line: Bytes) {
        match Frame::read(line) {
            Ok(frame) => self.sort(frame),
            Err(error) => {
                // Servers that print to stdout are common: not worth a warning each.
                debug!(%error, "a line that is no message was ignored");
                self.pipe.junk.store(true, Ordering::Relaxed);
                self.pipe.unasked.dropped();
            }
        }
    }

    /// Sorts one message. Never waits.
    pub(in crate::outbound) fn sort(&self, frame: Frame) {
        match frame.kind() {
            Kind::Result | Kind::Error => self.answered(frame),
            Kind::Notification => match frame.method().as_deref() {
                Some("notifications/progress") => self.progressed(frame),
                Some("notifications/message") => self.logged(frame),
                Some("notifications/cancelled") => self.taken_back(frame),
                _ => self.unasked_message(frame),
            },
            Kind::Request => self.asked(frame),
        }
    }

    fn answered(&self, frame: Frame) {
        match frame.id().and_then(call_number) {
            Some(number) => match self.pipe.pending.remove(&number) {
                Some((_, Pending { waiter, .. })) => {
                    if let Some(waiter) = waiter {
                        waiter.answer(Ok(frame));
                    }
                }
                None => self.pipe.unasked.dropped(),
            },
            None => self.pipe.unasked.to_control(frame),
        }
    }

    /// A message that was not kept. If it was an answer, whoever waits for it is told so.
    fn too_long(&self, ends: &Ends) {
        self.pipe.unasked.too_long(MESSAGE_LIMIT);
        match ends.answers() {
            Answers::Nothing => {}
            Answers::One(id) => match call_number(&id) {
                Some(number) => self.failed(number),
                None => {
                    let error = RpcError::new(code::INTERNAL, Failure::too_long().reason);
                    self.pipe.unasked.to_control(error.answer(Some(&id)));
                }
            },
            // It may be any of them, and for one there is nothing more to wait for.
            Answers::Unseen => {
                let numbers: Vec<u64> = self.pipe.pending.iter().map(|one| *one.key()).collect();
                for number in numbers {
                    let pending = self.pipe.pending.get_mut(&number);
                    let waiter = pending.and_then(|mut pending| pending.waiter.take());
                    if let Some(waiter) = waiter {
                        waiter.answer(Err(Failure::too_long()));
                    }
                    // The child is still at work on the others.
                    self.pipe.abandon(number);
                }
            }
        }
    }

    fn failed(&self, number: u64) {
        let pending = self.pipe.pending.remove(&number);
        if let Some(waiter) = pending.and_then(|(_, pending)| pending.waiter) {
            waiter.answer(Err(Failure::too_long()));
        }
    }

    fn progressed(&self, frame: Frame) {
        let number =
            answer::progress_token(&frame).and_then(|token| call_number(&format!("{token:?}")));
        match number {
            Some(number) => self.aside(number, frame),
            None => self.pipe.unasked.dropped(),
        }
    }

    /// A log message names no request: with one in flight it is that one's.
    fn logged(&self, frame: Frame) {
        match self.only_waiting() {
            Some(number) => self.aside(number, frame),
            None => self.unasked_message(frame),
        }
    }

    /// Nor does a request of the child's.
    fn asked(&self, frame: Frame) {
        let only = self
            .only_waiting()
            .and_then(|only| self.pipe.pending.get(&only));
        let waiter = only.as_ref().and_then(|pending| pending.waiter.as_ref());
        match waiter.filter(|_| frame.method().as_deref() != Some("ping")) {
            Some(waiter) => {
                if let Err(frame) = waiter.aside(frame) {
                    drop(Question::new(*frame, self.way.clone()));
                }
            }
            None => self.unasked_message(frame),
        }
    }

    /// Whoever has asked a client for the child knows whether it is meant.
    fn taken_back(&self, frame: Frame) {
        for pending in self.pipe.pending.iter() {
            if let Some(waiter) = &pending.waiter {
                // One that is so far behind finds out when it answers.
                let _ = waiter.aside(frame.clone());
            }
        }
        self.unasked_message(frame);
    }

    /// The only request of a client that the child works on, if anybody waits for it. One
    /// that is cancelled counts: the child may still speak of it.
    fn only_waiting(&self) -> Option<u64> {
        let mut calls = self.pipe.pending.iter().filter(|one| one.slot.is_some());
        let (number, waits) = calls.next().map(|one| (*one.key(), one.waiter.is_some()))?;
        (waits && calls.next().is_none()).then_some(number)
    }

    fn aside(&self, number: u64, frame: Frame) {
        let taken = self.pipe.pending.get(&number).is_some_and(|pending| {
            pending
                .waiter
                .as_ref()
                .is_some_and(|waiter| waiter.aside(frame).is_ok())
        });
        if !taken {
            self.pipe.unasked.dropped();
        }
    }

    fn unasked_message(&self, frame: Frame) {
        self.pipe.unasked.sort(frame, &self.way);
    }
}

async fn write(
    stdin: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Bytes>,
    closed: CancellationToken,
) {
    let mut stdin = BufWriter::new(stdin);
    let written = async {
        while let Some(message) = outgoing.recv().await {
            stdin.write_all(&message).await?;
            stdin.write_all(b"\n").await?;
            if outgoing.is_empty() {
                stdin.flush().await?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        _ = written => {}
        () = closed.cancelled() => {}
    }
    closed.cancel();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};

    use super::*;
    use crate::{
        outbound::{slots::Slots, unasked::ChildMessage},
        telemetry::ChildMetrics,
    };

    /// A pipe, and the child's end of it.
    fn pipe() -> (
        Pipe,
        BufReader<DuplexStream>,
        DuplexStream,
        tokio::sync::broadcast::Receiver<ChildMessage>,
    ) {
        let (stdin, child_in) = tokio::io::duplex(1 << 16);
        let (child_out, stdout) = tokio::io::duplex(1 << 16);
        let (messages, heard) = tokio::sync::broadcast::channel(16);
        let name: crate::protocol::ChildName = "child".into();
        let metrics = ChildMetrics::new(&name);
        let (unasked, _control) = Unasked::new(name, Arc::default(), messages, metrics);
        (
            Pipe::new(stdin, stdout, unasked),
            BufReader::new(child_in),
            child_out,
            heard,
        )
    }

    async fn call(pipe: &Pipe, number: u64) -> PipeExchange {
        let slots = Slots::new(1, 1, std::time::Duration::from_secs(1));
        let slot = slots.take().await.unwrap();
        let id = call_id(number);
        let request = Outgoing {
            shown: None,
            frame: format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#).into(),
            id: &id,
            number,
            method: "tools/call",
            name: None,
            headers: &[],
            passes_as: None,
        };
        pipe.call(&request, Some(slot)).unwrap()
    }

    async fn said(child: &mut BufReader<DuplexStream>) -> String {
        let mut line = String::new();
        child.read_line(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn answers_find_their_request_in_any_order() {
        let (pipe, _child_in, mut child_out, _heard) = pipe();
        let (mut one, mut two) = (call(&pipe, 1).await, call(&pipe, 2).await);
        for number in [2, 1] {
            let id = call_id(number);
            let line =
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"n\":{number}}}}}\n");
            child_out.write_all(line.as_bytes()).await.unwrap();
        }
        for (exchange, number) in [(&mut one, 1), (&mut two, 2)] {
            let Part::Answer(answer) = exchange.next().await.unwrap() else {
                panic!("no answer")
            };
            assert_eq!(answer.body(), Some(&*format!("{{\"n\":{number}}}")));
        }
        assert!(pipe.pending.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_request_is_cancelled_at_the_child() {
        let (pipe, mut child_in, _child_out, _heard) = pipe();
        let exchange = call(&pipe, 7).await;
        said(&mut child_in).await;
        drop(exchange);
        let cancelled = said(&mut child_in).await;
        assert!(cancelled.contains("notifications/cancelled"), "{cancelled}");
        assert!(cancelled.contains(&call_id(7)), "{cancelled}");
    }

    #[tokio::test]
    async fn every_waiting_request_learns_that_the_child_is_gone() {
        let (pipe, _child_in, child_out, _heard) = pipe();
        let (mut one, mut two) = (call(&pipe, 1).await, call(&pipe, 2).await);
        drop(child_out);
        assert!(one.next().await.is_err());
        assert!(two.next().await.is_err());
        assert!(pipe.closed().is_cancelled());
    }

    #[tokio::test]
    async fn a_log_message_is_the_only_calls_or_everybodys() {
        let (pipe, _child_in, mut child_out, mut heard) = pipe();
        let log = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\"}}\n";
        let mut one = call(&pipe, 1).await;
        child_out.write_all(log).await.unwrap();
        assert!(matches!(one.next().await.unwrap(), Part::Aside(_)));
        let _two = call(&pipe, 2).await;
        child_out.write_all(log).await.unwrap();
        assert_eq!(heard.recv().await.unwrap().child.as_str(), "child");
    }

    #[tokio::test]
    async fn a_request_of_the_child_is_the_only_calls_or_nobodys() {
        let (pipe, mut child_in, mut child_out, _heard) = pipe();
        let asks = b"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\"}\n";
        let mut one = call(&pipe, 1).await;
        said(&mut child_in).await;
        child_out.write_all(asks).await.unwrap();
        let Part::Request(question) = one.next().await.unwrap() else {
            panic!("no request")
        };
        question.result("[1.10]");
        let answer = said(&mut child_in).await;
        assert_eq!(answer, "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":[1.10]}\n");

        let _two = call(&pipe, 2).await;
        said(&mut child_in).await;
        child_out.write_all(asks).await.unwrap();
        let refused = said(&mut child_in).await;
        assert!(refused.contains("dedicated"), "{refused}");
    }

    #[tokio::test]
    async fn what_may_belong_to_a_cancelled_call_goes_to_no_other() {
        let (pipe, mut child_in, mut child_out, mut heard) = pipe();
        let one = call(&pipe, 1).await;
        let mut two = call(&pipe, 2).await;
        for _ in 0..2 {
            said(&mut child_in).await;
        }
        drop(one);
        assert!(said(&mut child_in).await.contains("cancelled"));

        let says = "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\"}\n\
            {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\"}}\n";
        child_out.write_all(says.as_bytes()).await.unwrap();

        let refused = tokio::select! {
            part = two.next() => panic!("{part:?}"),
            refused = said(&mut child_in) => refused,
        };
        assert!(refused.contains("\"id\":5,\"error\""), "{refused}");
        assert_eq!(heard.recv().await.unwrap().child.as_str(), "child");
        let id = call_id(2);
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
        child_out.write_all(answer.as_bytes()).await.unwrap();
        assert!(matches!(two.next().await.unwrap(), Part::Answer(_)));
    }

    #[tokio::test]
    async fn a_request_that_nobody_has_come_to_read_is_answered() {
        let (pipe, mut child_in, mut child_out, _heard) = pipe();
        let one = call(&pipe, 1).await;
        said(&mut child_in).await;
        let asks = "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\"}\n";
        child_out.write_all(asks.as_bytes()).await.unwrap();
        while one.heard.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(one);
        let mut told = said(&mut child_in).await;
        told += &said(&mut child_in).await;
        assert!(told.contains("\"id\":5,\"error\""), "{told}");
        assert!(told.contains("notifications/cancelled"), "{told}");
    }
}
