//! One request over HTTP, and what comes back for it.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    body::{self, Gathered, Shape},
    challenge::denies,
    link::HttpLink,
    resume::Followed,
};
use crate::{
    outbound::{
        Failure, GATHER_LIMIT, LongAnswer, MESSAGE_LIMIT, Outgoing, Part, Question,
        link::Link,
        slots::{CANCEL_GRACE, Slot},
    },
    protocol::{
        Frame, Kind, LEADING, answer,
        error::{notification, result_answer},
        leading_id,
        splice::Splice,
    },
};

/// How long a cancelled request keeps its slot where the child has no way left to say
/// that it is done: its connection is closed.
const UNHEARD_GRACE: Duration = Duration::from_secs(1);

/// A request sent over HTTP. Its drop, before the answer, cancels it: closing the
/// stream says so to a modern child, a notification to a legacy one.
#[derive(Debug)]
pub struct HttpExchange {
    link: HttpLink,
    id: Box<str>,
    /// The client's id, where a long answer may be passed on under it.
    passes_as: Option<Box<str>>,
    state: State,
    refused: bool,
    slot: Option<Slot>,
    /// What the child takes back on other streams, once it has asked something on this.
    taken_back: Option<broadcast::Receiver<Frame>>,
}

enum State {
    Sent,
    Message(Incoming),
    /// The child's JSON-RPC error came with an HTTP error.
    Refused(Frame),
    Events(Followed),
    Done,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sent => "Sent",
            Self::Message(_) => "Message",
            Self::Refused(_) => "Refused",
            Self::Events(_) => "Events",
            Self::Done => "Done",
        })
    }
}

impl HttpExchange {
    /// A request that is being sent.
    pub(super) fn new(link: HttpLink, request: &Outgoing<'_>, slot: Option<Slot>) -> Self {
        Self {
            link,
            id: request.id.into(),
            passes_as: request.passes_as.map(Box::from),
            state: State::Sent,
            refused: false,
            slot,
            taken_back: None,
        }
    }

    /// It could not be sent: there is nothing to cancel.
    pub(super) fn give_up(&mut self) {
        self.state = State::Done;
    }

    /// The child has taken it.
    ///
    /// # Errors
    ///
    /// When the response is neither an answer nor the beginning of one.
    pub(super) async fn receive(
        &mut self,
        mut response: Response<Incoming>,
    ) -> Result<(), Failure> {
        let received = if response.status().is_success() {
            body::shape(&response).and_then(|shape| match shape {
                Shape::Message => Ok(State::Message(response.into_body())),
                Shape::Events => Ok(State::Events(Followed::new(
                    self.link.clone(),
                    body::events(response.into_body()),
                ))),
                Shape::Accepted => {
                    Err(Failure::protocol("accepted a request without answering it"))
                }
            })
        } else {
            let refused = self.link.refused(&response);
            // The modern era sends JSON-RPC errors with 4xx: those are answers.
            let denied = denies(&response);
            let is_answer = response.status().is_client_error() && !refused.session_lost && !denied;
            match body::frame(body::error_body(response.body_mut()).await) {
                Ok(frame)
                    if is_answer && frame.kind() == Kind::Error && answers(&frame, &self.id) =>
                {
                    Ok(State::Refused(frame))
                }
                _ => Err(refused),
            }
        };
        self.state = State::Done;
        self.state = received?;
        self.refused = match &self.state {
            State::Refused(error) => !(self.link.is_modern() && answer::is_modern_error(error)),
            _ => false,
        };
        Ok(())
    }

    /// Whether the answer came with an HTTP error, and what was refused may be the protocol.
    pub(in crate::outbound) fn is_refusal(&self) -> bool {
        self.refused
    }

    /// The next part.
    pub(in crate::outbound) async fn next(&mut self) -> Result<Part, Failure> {
        let part = self.part().await;
        if !matches!(part, Ok(Part::Aside(_) | Part::Request(_))) {
            self.state = State::Done;
            // A long answer has taken it along.
            self.slot = None;
        }
        part
    }

    async fn part(&mut self) -> Result<Part, Failure> {
        match &mut self.state {
            State::Message(incoming) => {
                let enough = match self.passes_as {
                    // What is known to be long is not gathered first.
                    Some(_) if incoming.size_hint().lower() > GATHER_LIMIT as u64 => LEADING,
                    Some(_) => GATHER_LIMIT,
                    None => MESSAGE_LIMIT,
                };
                let mut gathered = body::gather(Bytes::new(), incoming, enough).await?;
                if let (Gathered::Beyond(head), Some(id)) = (&gathered, &self.passes_as) {
                    if let Some(head) = with_leading_id(head, &self.id, id) {
                        return self.long(head);
                    }
                    gathered = body::gather(head.clone(), incoming, MESSAGE_LIMIT).await?;
                }
                let whole = gathered.message()?;
                if answers(&whole, &self.id) {
                    Ok(Part::Answer(whole))
                } else {
                    Err(Failure::protocol("answered another request than this one"))
                }
            }
            State::Events(events) => loop {
                let event = tokio::select! {
                    biased;
                    taken_back = other_streams(&mut self.taken_back) => {
                        return Ok(Part::Aside(taken_back));
                    }
                    event = events.next() => event,
                };
                let Some(event) = event else {
                    return Err(Failure::transport(
                        "ended its event stream before it answered",
                    ));
                };
                let Some(frame) = event?.frame.transpose()? else {
                    continue;
                };
                match (frame.kind(), frame.method()) {
                    (Kind::Result | Kind::Error, _) if answers(&frame, &self.id) => {
                        return Ok(Part::Answer(frame));
                    }
                    (Kind::Result | Kind::Error, _) => self.link.unasked().dropped(),
                    (Kind::Request, _) => {
                        if let Some(question) = asked(frame, &self.link) {
                            let taken_back = &mut self.taken_back;
                            taken_back.get_or_insert_with(|| self.link.taken_back());
                            return Ok(Part::Request(question));
                        }
                    }
                    // Not of this request: some servers send it on any stream.
                    (_, Some(method))
                        if method.ends_with("/list_changed")
                            || method == "notifications/resources/updated"
                            || method == "notifications/cancelled" =>
                    {
                        let link = Link::Http(self.link.clone());
                        self.link.unasked().sort(frame.clone(), &link);
                    }
                    _ => return Ok(Part::Aside(frame)),
                }
            },
            State::Refused(_) => match std::mem::replace(&mut self.state, State::Done) {
                State::Refused(frame) => Ok(Part::Answer(frame)),
                _ => Err(Failure::transport("has been answered")),
            },
            State::Sent | State::Done => Err(Failure::transport("has been answered")),
        }
    }

    fn long(&mut self, head: Bytes) -> Result<Part, Failure> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Message(rest) => Ok(Part::Long(LongAnswer {
                head,
                rest,
                slot: self.slot.take(),
            })),
            _ => Err(Failure::transport("has been answered")),
        }
    }
}

/// The beginning of a long answer, given back the id `public`; `None` if it has to be read
/// whole: its id does not stand there, or is another's. In one piece, since small ones
/// that go out one by one cost more than a copy.
fn with_leading_id(head: &Bytes, own: &str, public: &str) -> Option<Bytes> {
    let at = leading_id(head).filter(|at| head[at.clone()] == *own.as_bytes())?;
    let mut splice = Splice::of(head);
    splice.replace(at, public);
    Some(splice.finish())
}

/// Whether a message answers the request of this id. Ids are compared as values: a
/// child may write an escape another way. An error without an id answers too.
fn answers(frame: &Frame, id: &str) -> bool {
    let value = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).ok();
    match (frame.kind(), frame.id()) {
        (Kind::Request | Kind::Notification, _) => false,
        (_, Some(own)) if own == id => true,
        (Kind::Error, None | Some("null")) => true,
        (_, Some(own)) => value(own).is_some_and(|own| Some(own) == value(id)),
        (_, None) => false,
    }
}

/// The next that the child takes back anywhere; never, where nothing can be meant.
async fn other_streams(taken_back: &mut Option<broadcast::Receiver<Frame>>) -> Frame {
    if let Some(taken_back) = taken_back {
        loop {
            match taken_back.recv().await {
                Ok(frame) => return frame,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
    }
    std::future::pending().await
}

/// A request of the child's; a ping is answered at once.
fn asked(request: Frame, link: &HttpLink) -> Option<Question> {
    if request.method().as_deref() == Some("ping") {
        link.reply(result_answer(request.id().unwrap_or("null"), "{}"));
        return None;
    }
    Some(Question::new(request, Link::Http(link.clone())))
}

impl Drop for HttpExchange {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Done);
        if matches!(state, State::Done | State::Refused(_)) {
            return;
        }
        let modern = self.link.is_modern();
        if !modern {
            let id = &self.id;
            self.link.post_aside(notification(
                "notifications/cancelled",
                Some(&format!(r#"{{"requestId":{id}}}"#)),
            ));
        }
        // A modern child learns it from the end of the stream, which goes here.
        let unread = (!modern).then_some(state);
        if let Some(slot) = self.slot.take() {
            tokio::spawn(held(self.link.clone(), slot, unread));
        }
    }
}

/// Keeps the slot of a cancelled request until the child is done with it, as far as
/// that can be heard. What it asks meanwhile is answered: nobody does.
async fn held(link: HttpLink, slot: Slot, unread: Option<State>) {
    let done = async {
        match unread {
            Some(State::Events(followed)) => match followed.into_events() {
                Some(mut events) => {
                    while let Some(Ok(event)) = events.next().await {
                        if let Some(Ok(frame)) = event.frame
                            && frame.kind() == Kind::Request
                        {
                            asked(frame, &link);
                        }
                    }
                }
                None => tokio::time::sleep(UNHEARD_GRACE).await,
            },
            Some(State::Message(mut body)) => while let Some(Ok(_)) = body.frame().await {},
            _ => tokio::time::sleep(UNHEARD_GRACE).await,
        }
    };
    let _ = tokio::time::timeout(CANCEL_GRACE, done).await;
    drop(slot);
}
