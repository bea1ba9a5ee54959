//! The stdio door: one client, one line per message, until its end of the pipe.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    ASIDES, BODY_LIMIT, answers,
    dispatch::{Dispatch, Requester},
    listen,
    session::Session,
    stream,
};
use crate::{
    protocol::{
        Era, Frame, Kind, View,
        error::{RpcError, code},
        lines::{Line, LineReader},
        request::Params,
        splice::on_one_line,
    },
    relay::Reply,
    telemetry::set_sessions,
};

/// How long requests may go on after the client has closed its end: a script that
/// pipes its requests in still wants the answers.
const AFTER_EOF: Duration = Duration::from_secs(5);

/// Serves the client at the other end of these pipes, until its end of input or
/// until the program is to end.
pub async fn serve(
    dispatch: Dispatch,
    stdin: impl AsyncRead + Unpin,
    stdout: impl AsyncWrite + Send + Unpin + 'static,
) {
    let (out, messages) = mpsc::channel(ASIDES);
    let gone = CancellationToken::new();
    let writer = tokio::spawn(write(stdout, messages, gone.clone()));
    set_sessions("stdio", Era::Legacy.as_str(), 1);
    let closing = dispatch.shutdown().child_token();
    let door = Door {
        dispatch: dispatch.until(closing.clone()),
        session: Session::new(View::All, None),
        out,
        listening: AtomicBool::new(false),
        closing,
    };
    // A client that no longer reads takes everything back.
    gone.run_until_cancelled(door.run(stdin)).await;
    drop(door);
    // What is written is written; a client that does not read holds up nothing.
    let _ = tokio::time::timeout(AFTER_EOF, writer).await;
}

struct Door {
    dispatch: Dispatch,
    session: Session,
    out: mpsc::Sender<Bytes>,
    /// Whether the client is being told of changes: it is told once.
    listening: AtomicBool,
    /// Ends what would go on for as long as the client is here.
    closing: CancellationToken,
}

impl Door {
    async fn run(&self, stdin: impl AsyncRead + Unpin) {
        let mut lines = LineReader::new(stdin, BODY_LIMIT);
        let mut work: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let taken = async {
            loop {
                tokio::select! {
                    line = lines.next() => match line {
                        Ok(Some(line)) => {
                            if let Some(request) = self.take(line).await {
                                work.push(request);
                            }
                        }
                        Ok(None) | Err(_) => break,
                    },
                    Some(()) = work.next() => {}
                }
            }
        };
        self.closing.run_until_cancelled(taken).await;
        self.closing.cancel();
        let rest = async { while work.next().await.is_some() {} };
        let _ = tokio::time::timeout(AFTER_EOF, rest).await;
    }

    /// Takes one line; gives the work that it means.
    async fn take(&self, line: Line) -> Option<BoxFuture<'_, ()>> {
        let Line::Whole(line) = line else {
            let error = RpcError::new(
                code::INVALID_REQUEST,
                format!("a message may have at most {} MiB", BODY_LIMIT >> 20),
            );
            self.say(error.answer(None).into_bytes()).await;
            return None;
        };
        let frame = match Frame::read(line) {
            Ok(frame) => frame,
            Err(error) => {
                self.say(error.answer().into_bytes()).await;
                return None;
            }
        };
        match (frame.kind(), frame.method().as_deref()) {
            (Kind::Request, Some("initialize")) => {
                // Never cancelled, and answered before anything that comes after it.
                let answer = self.dispatch.initialize(&frame, &self.session.caller());
                self.session
                    .key()
                    .asked()
                    .introduce(answers::abilities(&frame));
                self.say(answer.unwrap_or_else(|error| error.answer(frame.id()).into_bytes()))
                    .await;
                None
            }
            (Kind::Request, _) => Some(Box::pin(self.request(frame))),
            (Kind::Notification, Some("notifications/initialized"))
                if !self.listening.swap(true, Ordering::Relaxed) =>
            {
                Some(Box::pin(async {
                    let caller = self.session.caller();
                    let told = listen::session(&self.dispatch, &self.session, &caller, &self.out);
                    self.closing.run_until_cancelled(told).await.unwrap_or(())
                }))
            }
            (Kind::Notification, _) => {
                let caller = self.session.caller();
                self.dispatch
                    .notification(&frame, &caller, Some(&self.session));
                None
            }
            (Kind::Result | Kind::Error, _) => {
                self.session.key().asked().answered(frame);
                None
            }
        }
    }

    async fn request(&self, frame: Frame) {
        let id = frame.id().unwrap_or("null");
        let Some(entry) = self.session.in_flight.enter(id) else {
            let error = RpcError::new(code::INVALID_REQUEST, "a request with this id is in flight");
            return self.say(error.answer(Some(id)).into_bytes()).await;
        };
        if let Some(answer) = entry.unless_cancelled(pin!(self.answer(&frame))).await {
            self.say(answer).await;
        }
    }

    async fn answer(&self, frame: &Frame) -> Bytes {
        let method = frame.method().unwrap_or_default();
        let refused = |error: RpcError| error.answer(frame.id()).into_bytes();
        let params = match Params::read(frame, &method) {
            Ok(params) => params,
            Err(error) => return refused(error),
        };
        let requester = match params.era() {
            Era::Legacy => Requester {
                caller: self.session.caller(),
                session: Some(&self.session),
            },
            Era::Modern => match Requester::modern(&params, View::All) {
                Ok(mut requester) => {
                    // One client for as long as the pipe lasts, whatever it speaks.
                    requester.caller.session = Some(self.session.key().clone());
                    requester
                }
                Err(error) => return refused(error),
            },
        };
        let reply = self.dispatch.request(frame, &params, &requester, &self.out);
        match reply.await {
            Reply::Whole(answer) | Reply::Challenged(_, answer) => answer,
            Reply::Long(answer) => stream::gather(answer, frame.id()).await,
        }
    }

    async fn say(&self, message: Bytes) {
        // A writer that has ended takes everything else down with it.
        let _ = self.out.send(message).await;
    }
}

async fn write(
    stdout: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Bytes>,
    gone: CancellationToken,
) {
    let mut stdout = BufWriter::new(stdout);
    let written = async {
        while let Some(message) = messages.recv().await {
            stdout.write_all(&on_one_line(message)).await?;
            stdout.write_all(b"\n").await?;
            if messages.is_empty() {
                stdout.flush().await?;
            }
        }
        stdout.flush().await
    };
    if written.await.is_err() {
        gone.cancel();
    }
}
