//! What a client has been asked and has not answered yet.
//!
//! A legacy client is asked by requests of ours, in its session; its answers come back
//! through whichever door they like, and find their question by its id.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Abilities, Frame, Kind, answer,
    error::notification,
    json::{Object, quote},
    request::meta_key,
};

/// How many reports of progress may wait for the child that asked. Beyond that it is
/// told of later ones only.
const PROGRESS: usize = 16;

/// One session's questions; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    abilities: OnceLock<Abilities>,
    open: Mutex<HashMap<String, Waiting>>,
    /// Where the client hears of what belongs to none of its requests.
    stream: Mutex<Option<(u64, mpsc::Sender<Bytes>)>>,
}

/// Whoever waits for the client.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Frame>,
    progress: mpsc::Sender<Frame>,
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
    ///
    /// The client's progress until then goes to `progressed`, as the child is to read it:
    /// towards the client its token is ours, too, for children know nothing of each other.
    pub async fn ask(
        &self,
        request: &Frame,
        way: &mpsc::Sender<Bytes>,
        progressed: impl Fn(Frame),
    ) -> Option<Frame> {
        let (answers, mut answer) = oneshot::channel();
        let (progress, mut reports) = mpsc::channel(PROGRESS);
        let id = format!("mux-{}", next());
        let waiting = Waiting {
            answer: answers,
            progress,
        };
        self.open().insert(id.clone(), waiting);
        let raw = quote(&id);
        let token = progress_token(request);
        let mut request_of_ours = request.with_id(&raw);
        if let Some(token) = token {
            request_of_ours.replace(request.range_of(token), raw.as_str());
        }
        let mut question = Open {
            asked: self,
            id,
            way,
            answered: false,
        };
        let said = way.send(request_of_ours.finish()).await;
        let answer = match said {
            Ok(()) => loop {
                tokio::select! {
                    biased;
                    Some(report) = reports.recv() => {
                        let own = token.and_then(|own| answer::with_progress_token(&report, own));
                        if let Some(Ok(report)) = own.map(Frame::read) {
                            progressed(report);
                        }
                    }
                    answer = &mut answer => break answer.ok(),
                }
            },
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
            let _ = open.answer.send(answer);
        }
    }

    /// Takes the client's report of its progress with an answer.
    pub fn progressed(&self, report: Frame) {
        let token = answer::progress_token(&report);
        if let Some(open) = token.and_then(|id| self.open().get(&id).map(|it| it.progress.clone()))
        {
            // The next one says more.
            let _ = open.try_send(report);
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

    fn open(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream_place(&self) -> MutexGuard<'_, Option<(u64, mpsc::Sender<Bytes>)>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token by which a request wants to hear of progress, as it stands.
fn progress_token(request: &Frame) -> Option<&str> {
    let meta = Object::read(request.body_object()?.get("_meta")?).ok()?;
    meta.get(meta_key::PROGRESS_TOKEN)
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
            async move { mine.ask(&request(), &way, |_| {}).await }
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
        assert!(mine.open().is_empty());
    }

    #[tokio::test]
    async fn progress_goes_back_by_the_token_it_was_asked_by() {
        let asked = Asked::default();
        let (way, mut stream) = mpsc::channel(4);
        let (told, mut reports) = mpsc::channel(4);
        let task = tokio::spawn({
            let asked = asked.clone();
            let request = r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"n":1.10,"_meta":{"progressToken" : 7}}}"#;
            let request = Frame::made(request.to_owned());
            async move {
                let progressed = |report| told.try_send(report).unwrap();
                asked.ask(&request, &way, progressed).await
            }
        });
        let (id, question) = heard(&mut stream).await;
        let expected = format!(r#"{{"n":1.10,"_meta":{{"progressToken" : {id}}}}}"#);
        assert_eq!(question.body(), Some(&*expected));
        let report = |token: &str| {
            let params = format!(r#"{{"progressToken":{token},"progress":1e400}}"#);
            notification("notifications/progress", Some(&params))
        };

        asked.progressed(report("7"));
        asked.progressed(report(&id));

        let expected = report("7");
        assert_eq!(reports.recv().await.unwrap().body(), expected.body());
        asked.answered(answer(&id));
        assert!(task.await.unwrap().is_some());
        assert!(reports.recv().await.is_none());
        asked.progressed(report(&id));
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_is_taken_back() {
        let asked = Asked::default();
        let (way, mut stream) = mpsc::channel(4);
        let id = {
            let frame = request();
            let mut question = pin!(asked.ask(&frame, &way, |_| {}));
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
        assert!(asked.ask(&request(), &way, |_| {}).await.is_none());

        let (way, mut stream) = mpsc::channel(4);
        let task = tokio::spawn({
            let asked = asked.clone();
            async move { asked.ask(&request(), &way, |_| {}).await.is_none() }
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
