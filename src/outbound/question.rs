//! A request of a child, for a client to answer.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::link::Link;
use crate::protocol::{
    Frame, SessionKey,
    error::{RpcError, code, result_answer},
};

/// A request of a child. Whoever has it answers it; its drop answers that nobody does.
#[derive(Debug)]
pub struct Question {
    frame: Frame,
    link: Link,
    /// Or there is nothing to answer any more.
    answered: bool,
}

impl Question {
    pub(super) fn new(frame: Frame, link: Link) -> Self {
        Self {
            frame,
            link,
            answered: false,
        }
    }

    /// The request, as the child sent it.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its id as it stands.
    pub fn id(&self) -> &str {
        self.frame.id().unwrap_or("null")
    }

    /// It goes to the client of this session, by this way: what the child says of it when
    /// it has been answered does, too.
    pub fn goes_to(&self, session: &SessionKey, way: &mpsc::Sender<Bytes>) {
        self.link
            .unasked()
            .elicited()
            .note(&self.frame, session, way);
    }

    /// Tells the child how far a client is with its answer. Never waits: where the child
    /// does not read, it is not told.
    pub fn progressed(&self, report: Frame) {
        self.link.tell(report);
    }

    /// Gives the child a client's answer.
    pub fn answer(mut self, answer: &Frame) {
        let answer = answer.with_id(self.id()).finish();
        // Read before, and only its id is another one.
        if let Ok(answer) = Frame::read(answer) {
            self.tell(answer);
        }
    }

    /// Gives the child a result (JSON text).
    pub fn result(mut self, result: &str) {
        self.tell(result_answer(self.id(), result));
    }

    /// Tells the child why there is no result.
    pub fn refuse(mut self, error: &RpcError) {
        self.tell(error.answer(Some(self.id())));
    }

    /// The client has not declared that it can be asked this.
    pub fn refuse_undeclared(self) {
        let method = self.frame.method().unwrap_or_default();
        let error = RpcError::new(
            code::METHOD_NOT_FOUND,
            format!("{method} was not declared as a capability of this client"),
        );
        self.refuse(&error);
    }

    /// On a connection that several clients share, it does not say whose call it is for.
    pub(super) fn refuse_unclear(self) {
        let method = self.frame.method().unwrap_or_default();
        let error = RpcError::new(
            code::INTERNAL,
            format!(
                "nobody knows which client {method} is for: it belongs to no single call; \
                 with \"session\": \"dedicated\" in this server's entry each client has a \
                 connection of its own"
            ),
        );
        self.refuse(&error);
    }

    /// The child has taken it back.
    pub fn withdrawn(mut self) {
        self.answered = true;
    }

    fn tell(&mut self, answer: Frame) {
        self.answered = true;
        self.link.reply(answer);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.answered && !self.link.closed().is_cancelled() {
            let gone = RpcError::new(
                code::INTERNAL,
                "the client did not answer: it is gone, or has taken its call back",
            );
            let answer = gone.answer(Some(self.id()));
            self.tell(answer);
        }
    }
}

/// The id of the request that a child takes back, as it stands.
pub fn taken_back(message: &Frame) -> Option<&str> {
    if message.method().as_deref() != Some("notifications/cancelled") {
        return None;
    }
    let params = message.body_object()?;
    params.get("requestId")
}
