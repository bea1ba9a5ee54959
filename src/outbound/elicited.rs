//! Which clients a child has sent to a URL: whoever was is told when what is done there
//! is done (MCP 2025-11-25, "URL Mode Elicitation").

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc::{Sender, WeakSender};

use crate::protocol::{
    Frame, SessionKey, answer,
    error::code,
    json::{self, Object},
};

/// How many of one child are remembered. Most are never told of, and the oldest are
/// forgotten.
const MOST: usize = 1_000;
/// How long the id of one may be, in bytes.
const LONGEST: usize = 1_000;

/// The elicitations by URL of one child, over all its connections; clones are the same
/// ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Elicited(Arc<Mutex<VecDeque<Sent>>>);

/// A client that was sent to a URL.
#[derive(Debug)]
struct Sent {
    id: Box<str>,
    session: SessionKey,
    /// The stream of the call that it was for; open while that lasts.
    call: WeakSender<Bytes>,
}

impl Elicited {
    /// The child says this to a client, by this way: a request, or an answer. Whatever it
    /// elicits by URL is remembered.
    pub(super) fn note(&self, message: &Frame, session: &SessionKey, way: &Sender<Bytes>) {
        let ids = match message.method() {
            Some(_) => message
                .body_object()
                .as_ref()
                .and_then(id)
                .into_iter()
                .collect(),
            None => required(message).unwrap_or_default(),
        };
        if ids.is_empty() {
            return;
        }
        let mut all = self.lock();
        all.retain(|sent| !sent.session.is_over() && !ids.contains(&sent.id));
        for id in ids {
            if all.len() >= MOST {
                all.pop_front();
            }
            all.push_back(Sent {
                id,
                session: session.clone(),
                call: way.downgrade(),
            });
        }
    }

    /// The child says that one is complete, on a connection that may be one session's
    /// own. Whether its client has been told. Never waits.
    pub(super) fn complete(&self, notification: &Frame, session: Option<&SessionKey>) -> bool {
        let id = notification.body_object().as_ref().and_then(id);
        let sent = {
            let mut all = self.lock();
            let at = id.and_then(|id| all.iter().position(|sent| sent.id == id));
            at.and_then(|at| all.remove(at))
        };
        let (session, call) = match (&sent, session) {
            (Some(sent), _) => (&sent.session, sent.call.upgrade()),
            (None, Some(session)) => (session, None),
            (None, None) => return false,
        };
        let ways = call.into_iter().chain(session.asked().stream());
        let bytes = notification.bytes();
        ways.into_iter()
            .any(|way| way.try_send(bytes.clone()).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of an elicitation by URL: no other one has any.
fn id(elicitation: &Object<'_>) -> Option<Box<str>> {
    let raw = elicitation.get("elicitationId")?;
    (json::is_string(raw) && raw.len() <= LONGEST).then(|| json::unquote(raw).into())
}

/// The elicitations that must be complete before the request is sent again.
fn required(answer: &Frame) -> Option<Vec<Box<str>>> {
    if answer::error_code(answer) != Some(code::URL_ELICITATION_REQUIRED) {
        return None;
    }
    let error = answer.body_object()?;
    let data = Object::read(error.get("data")?).ok()?;
    let all: Vec<&RawValue> = serde_json::from_str(data.get("elicitations")?).ok()?;
    let objects = all
        .into_iter()
        .take(MOST)
        .flat_map(|raw| Object::read(raw.get()));
    Some(objects.filter_map(|elicitation| id(&elicitation)).collect())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn asks(id: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{{"elicitationId":"{id}"}}}}"#
        ))
    }

    fn complete(id: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{{"elicitationId":"{id}"}}}}"#
        ))
    }

    #[test]
    fn the_one_that_was_sent_there_is_told_once() {
        let elicited = Elicited::default();
        let [(one, mut one_hears), (two, mut two_hears)] = [mpsc::channel(4), mpsc::channel(4)];
        let session = SessionKey::begin();
        elicited.note(&asks("1"), &session, &one);
        let required = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"elicitationId":"2"},{"elicitationId":"3"}]}}}"#;
        elicited.note(&Frame::made(required.to_owned()), &session, &two);

        assert!(elicited.complete(&complete("1"), None));
        assert!(!elicited.complete(&complete("1"), None));
        assert!(elicited.complete(&complete("3"), None));
        assert_eq!(one_hears.try_recv().unwrap(), complete("1").bytes());
        assert_eq!(two_hears.try_recv().unwrap(), complete("3").bytes());
        assert!(one_hears.try_recv().is_err() && two_hears.try_recv().is_err());
    }

    #[test]
    fn after_its_call_the_session_is_told() {
        let elicited = Elicited::default();
        let session = SessionKey::begin();
        let (stream, mut hears) = mpsc::channel(4);
        let listening = session.asked().listens(stream);
        elicited.note(&asks("1"), &session, &mpsc::channel(1).0);
        elicited.note(&asks("2"), &session, &mpsc::channel(1).0);
        assert!(elicited.complete(&complete("1"), None));
        assert_eq!(hears.try_recv().unwrap(), complete("1").bytes());
        // One that nobody knows, on the session's own connection.
        assert!(!elicited.complete(&complete("x"), None));
        assert!(elicited.complete(&complete("x"), Some(&session)));
        drop(listening);
        assert!(!elicited.complete(&complete("2"), None));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let elicited = Elicited::default();
        let (way, _hears) = mpsc::channel(2 * MOST);
        let (ended, session) = (SessionKey::begin(), SessionKey::begin());
        elicited.note(&asks("ended"), &ended, &way);
        ended.end();
        for n in 0..=MOST {
            elicited.note(&asks(&n.to_string()), &session, &way);
        }
        elicited.note(&asks(&"x".repeat(LONGEST)), &session, &way);
        assert_eq!(elicited.lock().len(), MOST);
        assert!(!elicited.complete(&complete("0"), None));
        assert!(elicited.complete(&complete("1"), None));
    }
}
