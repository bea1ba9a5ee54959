//! What a client has been asked and has not answered yet.
//!
//! A legacy client is asked by requests of ours, in its session; its answers come back
//! through whichever door they like, and find their question by its id.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Abilities, Frame, Kind, error::notification, json::quote};

/// One session's questions; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    abilities: OnceLock<Abilities>,
    open: Mutex<HashMap<String, oneshot::Sender<Frame>>>,
    /// Where the client hears of what belongs to none of its requests.
    stream: Mutex<Option<(u64, mpsc::Sender<Bytes>)>>,
}

impl Asked {
    /// The client has said what it may be asked. Once: a handshake cannot be amended.
    pub fn introduce(&self, abilities: Abilities) {
        let _ = self.0.abilities.set(abilities);
    }

    /// What it may be asked.
    pub fn abilities(&self) -> Abilities {
        self.0.abilities.get().copied().unwrap_or_default()
    }

    /// Puts a request of a child to the client, by `way`. `None` if the client is gone,
    /// or has ended its session. Its drop, before the answer, takes the question back.
    pub async fn ask(&self, request: &Frame, way: &mpsc::Sender<Bytes>) -> Option<Frame> {
        let (answers, answer) = oneshot::channel();
        let id = format!("{}{}", process(), next());
        self.open().insert(id.clone(), answers);
        let raw = quote(&id);
        let mut question = Open {
            asked: self,
            id,
            way,
            answered: false,
        };
        let said = way.send(request.with_id(&raw).finish()).await;
        let answer = match said {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        question.answered = true;
        answer
    }

    /// Takes an answer of the client's. One that answers nothing is nothing.
    pub fn answered(&self, answer: Frame) {
        if !matches!(answer.kind(), Kind::Result | Kind::Error) {
            return;
        }
        let id = answer.id().map(super::json::unquote);
        let open = id.and_then(|id| self.open().remove(&*id));
        if let Some(open) = open {
            // Who asked may just have gone.
            let _ = open.send(answer);
        }
    }

    /// The client listens on this stream until the value is dropped, or until it listens
    /// on another.
    pub fn listens(&self, stream: mpsc::Sender<Bytes>) -> Listening {
        let number = next();
        *self.stream_place() = Some((number, stream));
        Listening {
            asked: self.clone(),
            number,
        }
    }

    /// Where it hears of what belongs to none of its requests, if it listens.
    pub fn stream(&self) -> Option<mpsc::Sender<Bytes>> {
        self.stream_place()
            .as_ref()
            .map(|(_, stream)| stream.clone())
    }

    /// The session is over: nothing will be answered any more.
    pub(super) fn end(&self) {
        self.open().clear();
        *self.stream_place() = None;
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Frame>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream_place(&self) -> MutexGuard<'_, Option<(u64, mpsc::Sender<Bytes>)>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client answers what another process has asked in its session.
pub fn is_of_another_process(answer: &Frame) -> bool {
    let id = answer.id().map(super::json::unquote).unwrap_or_default();
    id.starts_with(OURS) && !id.starts_with(process())
}

/// What the ids of all questions begin with, whichever process of ours asks.
const OURS: &str = "mux-";

/// What the ids of this process's questions begin with.
fn process() -> &'static str {
    static PROCESS: LazyLock<String> =
        LazyLock::new(|| format!("{OURS}{:08x}-", Uuid::new_v4().as_fields().0));
    &PROCESS
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A question that is open.
struct Open<'a> {
    asked: &'a Asked,
    id: String,
    way: &'a mpsc::Sender<Bytes>,
    /// Or the client is gone.
    answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.asked.open().remove(&self.id);
        if !self.answered {
            let id = quote(&self.id);
            let taken_back = notification(
                "notifications/cancelled",
                Some(&format!(r#"{{"requestId":{id}}}"#)),
            );
            // A client that is behind may answer in vain: that is a race the protocol allows.
            let _ = self.way.try_send(taken_back.into_bytes());
        }
    }
}

/// A client that listens. Its drop says that it no longer does.
#[derive(Debug)]
pub struct Listening {
    asked: Asked,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.asked
            .stream_place()
            .take_if(|(number, _)| *number == self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;

    fn request() -> Frame {
        Frame::made(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#.to_owned())
    }

    fn answer(id: &str) -> Frame {
        Frame::made(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))
    }

    /// The id of the next message on a stream, and the message.
    async fn heard(stream: &mut mpsc::Receiver<Bytes>) -> (String, Frame) {
        let frame = Frame::read(stream.recv().await.unwrap()).unwrap();
        (frame.id().unwrap_or_default().to_owned(), frame)
    }

    #[tokio::test]
    async fn an_answer_finds_its_question_in_its_own_session_only() {
        let (mine, other) = (Asked::default(), Asked::default());
        let (way, mut stream) = mpsc::channel(4);
        let task = tokio::spawn({
            let (mine, way) = (mine.clone(), way.clone());
            async move { mine.ask(&request(), &way).await }
        });
        let (id, asked) = heard(&mut stream).await;
        assert_eq!(asked.method().as_deref(), Some("roots/list"));
        assert_ne!(id, "7");

        other.answered(answer(&id));
        mine.answered(answer("\"mux-nothing\""));
        assert!(!task.is_finished());
        mine.answered(answer(&id));
        assert_eq!(task.await.unwrap().unwrap().id(), Some(&*id));
        // Answered again, it is nobody's.
        mine.answered(answer(&id));
        assert!(!is_of_another_process(&answer(&id)));
        assert!(!is_of_another_process(&answer("\"7\"")));
        assert!(is_of_another_process(&answer("\"mux-nothing\"")));
        assert!(mine.open().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_is_taken_back() {
        let asked = Asked::default();
        let (way, mut stream) = mpsc::channel(4);
        let id = {
            let frame = request();
            let mut question = pin!(asked.ask(&frame, &way));
            poll_fn(|cx| {
                assert!(question.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            heard(&mut stream).await.0
        };
        let (_, told) = heard(&mut stream).await;
        assert_eq!(told.method().as_deref(), Some("notifications/cancelled"));
        assert_eq!(told.body(), Some(&*format!(r#"{{"requestId":{id}}}"#)));
        assert!(asked.open().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_is_gone_answers_nothing() {
        let asked = Asked::default();
        let (way, stream) = mpsc::channel(4);
        drop(stream);
        assert!(asked.ask(&request(), &way).await.is_none());

        let (way, mut stream) = mpsc::channel(4);
        let task = tokio::spawn({
            let asked = asked.clone();
            async move { asked.ask(&request(), &way).await.is_none() }
        });
        heard(&mut stream).await;
        asked.end();
        assert!(task.await.unwrap());
    }

    #[tokio::test]
    async fn the_newest_stream_is_the_one_that_is_listened_on() {
        let asked = Asked::default();
        assert!(asked.stream().is_none());
        let first = asked.listens(mpsc::channel(1).0);
        let (way, mut stream) = mpsc::channel(1);
        let second = asked.listens(way);
        drop(first);
        asked.stream().unwrap().try_send(Bytes::new()).unwrap();
        assert!(stream.try_recv().is_ok());
        drop(second);
        assert!(asked.stream().is_none());
    }
}
