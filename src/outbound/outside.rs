//! What a child asks outside of any call: answered by the client whose own connection
//! it came by, or by nobody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{link::Link, question::Question};
use crate::protocol::{
    Frame, SessionKey,
    error::{RpcError, code},
};

/// How many such questions of one child may be open. There is no call whose end would
/// end them.
const MOST: usize = 16;
/// How long a client may take to answer one.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The questions that are open outside of calls; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside(Arc<Mutex<HashMap<Box<str>, CancellationToken>>>);

impl Outside {
    /// Takes a request that belongs to no call; `session` is the one whose connection
    /// it came by. Never waits.
    pub(super) fn take(&self, request: Frame, session: Option<&SessionKey>, link: &Link) {
        let question = Question::new(request, link.clone());
        let Some(session) = session else {
            return question.refuse_unclear();
        };
        let asked = session.asked().clone();
        if !asked.abilities().allow(question.frame()) {
            return question.refuse_undeclared();
        }
        let Some(stream) = asked.stream() else {
            let error = RpcError::new(
                code::INTERNAL,
                "the client does not listen for what belongs to none of its calls",
            );
            return question.refuse(&error);
        };
        let Some(open) = self.enter(question.id()) else {
            let error = RpcError::new(code::INTERNAL, "too many requests of this server are open");
            return question.refuse(&error);
        };
        let (session, link) = (session.clone(), link.clone());
        tokio::spawn(async move {
            let answer = tokio::select! {
                answer = asked.ask(question.frame(), &stream, |report| question.progressed(report)) => answer,
                () = open.withdrawn.cancelled() => return question.withdrawn(),
                () = link.closed().cancelled() => None,
                () = session.over() => None,
                () = tokio::time::sleep(PATIENCE) => None,
            };
            if let Some(answer) = answer {
                question.answer(&answer);
            }
        });
    }

    /// The child takes a question of this id back.
    pub(super) fn withdraw(&self, id: &str) {
        if let Some(withdrawn) = self.lock().get(id) {
            withdrawn.cancel();
        }
    }

    fn enter(&self, id: &str) -> Option<Entry> {
        let mut all = self.lock();
        if all.len() >= MOST || all.contains_key(id) {
            return None;
        }
        let withdrawn = CancellationToken::new();
        all.insert(id.into(), withdrawn.clone());
        Some(Entry {
            all: self.clone(),
            id: id.into(),
            withdrawn,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open question. Its drop takes it out.
struct Entry {
    all: Outside,
    id: Box<str>,
    withdrawn: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}
