//! A call that a child is working on: it can change hands between two requests of its
//! client.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{deadline::Deadline, places::Room};
use crate::{
    outbound::{Connection, Exchange, Failure, Part, Question, taken_back},
    protocol::{Abilities, Frame, json::quote},
};

/// How many questions of one call may be open.
pub(super) const MOST_QUESTIONS: usize = 32;
/// What a child asks in one breath is asked of the client in one go.
const BREATH: Duration = Duration::from_millis(20);
/// Notifications that are kept for a client that is not there to take them.
const BACKLOG: usize = 64;
/// How long they may be together, in bytes.
const BACKLOG_BYTES: usize = 1 << 20;

/// A call that has been sent.
pub(super) struct Running {
    pub(super) exchange: Exchange,
    pub(super) connection: Arc<Connection>,
    pub(super) deadline: Deadline,
    /// What a modern client has to be asked, by the key under which it is.
    questions: Vec<(String, Question)>,
    /// When what is open now is asked of the client, whatever else the child says.
    breath_ends: Option<Instant>,
    /// How many there have been.
    asked: usize,
    /// Held from the first of them on.
    room: Option<Room>,
    /// What came while the client was not there.
    backlog: VecDeque<Result<Part, Failure>>,
}

impl Running {
    pub(super) fn new(exchange: Exchange, connection: Arc<Connection>, deadline: Deadline) -> Self {
        Self {
            exchange,
            connection,
            deadline,
            questions: Vec::new(),
            breath_ends: None,
            asked: 0,
            room: None,
            backlog: VecDeque::new(),
        }
    }

    /// The next part; `None` when the client has to be asked before there will be one.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, Failure> {
        if let Some(part) = self.backlog.pop_front() {
            return part.map(Some);
        }
        if self.questions.is_empty() {
            return self.exchange.next().await.map(Some);
        }
        let ends = *self
            .breath_ends
            .get_or_insert_with(|| Instant::now() + BREATH);
        // First: a child that says one thing after the other has always something to say.
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(ends) => Ok(None),
            part = self.exchange.next() => part.map(Some),
        }
    }

    /// Takes a question for a modern client. `room` gives the place in which the call is
    /// to wait for the answer.
    pub(super) fn ask(
        &mut self,
        question: Question,
        abilities: Abilities,
        room: impl FnOnce() -> Option<Room>,
    ) {
        if !abilities.allow(question.frame()) {
            return question.refuse_undeclared();
        }
        if self.room.is_none() {
            self.room = room();
        }
        if self.room.is_none() || self.questions.len() >= MOST_QUESTIONS {
            return question.refuse(&super::asking::too_many());
        }
        self.asked += 1;
        self.questions
            .push((format!("ask-{}", self.asked), question));
        self.deadline.pause();
    }

    /// Gives the child the client's answers to those questions that it has answered.
    pub(super) fn answer(&mut self, answers: &crate::protocol::json::Object<'_>) {
        self.breath_ends = None;
        for (key, question) in std::mem::take(&mut self.questions) {
            match answers.get(&key) {
                Some(result) => question.result(result),
                None => self.questions.push((key, question)),
            }
        }
        self.goes_on_if_answered();
    }

    /// The child takes a question back, if that is what the message says.
    pub(super) fn withdraw(&mut self, message: &Frame) {
        let Some(id) = taken_back(message) else {
            return;
        };
        for (key, question) in std::mem::take(&mut self.questions) {
            if question.id() == id {
                question.withdrawn();
            } else {
                self.questions.push((key, question));
            }
        }
        self.goes_on_if_answered();
    }

    fn goes_on_if_answered(&mut self) {
        if self.questions.is_empty() {
            self.breath_ends = None;
            self.deadline.go_on();
        }
    }

    /// What the client is asked, as the modern era says it (JSON text, an object).
    pub(super) fn input_requests(&self) -> String {
        let requests = self.questions.iter().map(|(key, question)| {
            let frame = question.frame();
            let method = quote(&frame.method().unwrap_or_default());
            let params = frame.body().map(|body| format!(r#","params":{body}"#));
            let params = params.unwrap_or_default();
            format!(r#"{}:{{"method":{method}{params}}}"#, quote(key))
        });
        format!("{{{}}}", requests.collect::<Vec<_>>().join(","))
    }

    /// Listens to the child while the client is not there; `abilities` are what it may
    /// be asked when it comes back. Never returns.
    pub(super) async fn keep(&mut self, abilities: Abilities) {
        let mut ended = self.backlog.iter().any(is_last);
        let mut bytes = self.backlog.iter().map(bytes_of_aside).sum::<usize>();
        while !ended {
            let part = self.exchange.next().await;
            ended = is_last(&part);
            match part {
                Ok(Part::Request(question)) => self.ask(question, abilities, || None),
                Ok(Part::Aside(aside)) => {
                    self.withdraw(&aside);
                    if aside.method().as_deref() == Some("notifications/progress") {
                        self.deadline.progressed();
                    }
                    let long = aside.bytes().len();
                    if self.backlog.len() < BACKLOG && bytes + long <= BACKLOG_BYTES {
                        bytes += long;
                        self.backlog.push_back(Ok(Part::Aside(aside)));
                    }
                }
                part => self.backlog.push_back(part),
            }
        }
        std::future::pending().await
    }
}

fn bytes_of_aside(part: &Result<Part, Failure>) -> usize {
    match part {
        Ok(Part::Aside(aside)) => aside.bytes().len(),
        _ => 0,
    }
}

fn is_last(part: &Result<Part, Failure>) -> bool {
    !matches!(part, Ok(Part::Aside(_) | Part::Request(_)))
}
