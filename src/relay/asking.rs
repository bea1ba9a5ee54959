//! What a child asks of a legacy client: requests of ours in its session.

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::running::MOST_QUESTIONS;
use crate::{
    outbound::{Question, taken_back},
    protocol::{
        Caller, Frame, Kind,
        answer::{INPUT_REQUESTS, INPUT_REQUIRED},
        error::{RpcError, code},
        json::{Object, quote},
        request::{INPUT_RESPONSES, REQUEST_STATE},
    },
};

/// The questions of one call that are open. Its drop takes them back from the client,
/// and answers the child.
#[derive(Default)]
pub(super) struct Asking<'a> {
    open: Option<FuturesUnordered<BoxFuture<'a, ()>>>,
    /// By the child's id.
    withdrawn: Vec<(Box<str>, CancellationToken)>,
}

impl<'a> Asking<'a> {
    /// Puts a child's question to the client, on the stream of its call.
    pub(super) fn ask(
        &mut self,
        question: Question,
        caller: &'a Caller,
        way: &'a mpsc::Sender<Bytes>,
    ) {
        let Some(session) = &caller.session else {
            return question.refuse_undeclared();
        };
        if !caller.abilities.allow(question.frame()) {
            return question.refuse_undeclared();
        }
        let open = self.open.get_or_insert_default();
        if open.len() >= MOST_QUESTIONS {
            return question.refuse(&too_many());
        }
        question.goes_to(session, way);
        let withdrawn = CancellationToken::new();
        self.withdrawn
            .push((question.id().into(), withdrawn.clone()));
        open.push(Box::pin(async move {
            tokio::select! {
                answer = session.asked().ask(question.frame(), way, |report| question.progressed(report)) => {
                    if let Some(answer) = answer {
                        question.answer(&answer);
                    }
                }
                () = withdrawn.cancelled() => question.withdrawn(),
            }
        }));
    }

    /// The child takes a question back, if that is what the message says.
    pub(super) fn withdraw(&mut self, message: &Frame) {
        let Some(id) = taken_back(message) else {
            return;
        };
        for (_, withdrawn) in self.withdrawn.iter().filter(|(own, _)| **own == *id) {
            withdrawn.cancel();
        }
    }

    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.open.as_ref().is_none_or(FuturesUnordered::is_empty)
    }

    /// Resolves when one of them is answered; never, while none is open.
    pub(super) async fn one(&mut self) {
        let answered = match &mut self.open {
            Some(open) => open.next().await,
            None => None,
        };
        if answered.is_none() {
            std::future::pending::<()>().await;
        }
        if self.is_empty() {
            self.withdrawn.clear();
        }
    }
}

/// More questions than are asked at once.
pub(super) fn too_many() -> RpcError {
    RpcError::new(code::INTERNAL, "too many requests to clients are open")
}

/// Why a modern child's unfinished answer cannot be finished.
pub(super) enum Unanswered {
    /// It asks what this client cannot be asked. With the word it used.
    Unaskable(String),
    /// The client is gone.
    Gone,
    /// The client answered with this error.
    Refused(Frame),
}

/// Asks a legacy client all that a modern child's unfinished `answer` asks, at once;
/// gives the members of `params` with which the request is to be sent again.
pub(super) async fn input(
    answer: &Frame,
    caller: &Caller,
    way: &mpsc::Sender<Bytes>,
) -> Result<String, Unanswered> {
    let unaskable = |what: &str| Unanswered::Unaskable(what.to_owned());
    let (Some(body), Some(session)) = (answer.body_object(), &caller.session) else {
        return Err(unaskable(INPUT_REQUIRED));
    };
    let asked = match body.get(INPUT_REQUESTS) {
        Some(asked) => Some(Object::read(asked).map_err(|_| unaskable(INPUT_REQUESTS))?),
        None => None,
    };
    let members = asked.as_ref().map_or(&[][..], |asked| asked.members());
    if members.len() > MOST_QUESTIONS {
        return Err(unaskable(INPUT_REQUESTS));
    }
    let mut requests = Vec::with_capacity(members.len());
    for member in members {
        let request = request(member.value).ok_or_else(|| unaskable(INPUT_REQUESTS))?;
        if !caller.abilities.allow(&request) {
            return Err(unaskable(&request.method().unwrap_or_default()));
        }
        requests.push(request);
    }
    let answers = requests
        .iter()
        .map(|request| session.asked().ask(request, way, |_| {}));
    let mut given = Vec::with_capacity(members.len());
    for (member, answer) in members.iter().zip(futures::future::join_all(answers).await) {
        let answer = answer.ok_or(Unanswered::Gone)?;
        match (answer.kind(), answer.body()) {
            (Kind::Result, Some(result)) => given.push(format!("{}:{result}", member.raw_key)),
            _ => return Err(Unanswered::Refused(answer)),
        }
    }
    let state = body.get(REQUEST_STATE);
    let state = state.map(|state| format!("\"{REQUEST_STATE}\":{state},"));
    Ok(format!(
        "\"{INPUT_RESPONSES}\":{{{}}},{}",
        given.join(","),
        state.unwrap_or_default()
    ))
}

/// One of the requests that an unfinished answer holds.
fn request(raw: &str) -> Option<Frame> {
    let object = Object::read(raw).ok()?;
    let method: String = serde_json::from_str(object.get("method")?).ok()?;
    let method = quote(&method);
    let params = object.get("params").unwrap_or("{}");
    Frame::read(Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":{method},"params":{params}}}"#
    )))
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Abilities, Era, SessionKey, View};

    const UNFINISHED: &str = r#"{"resultType":"input_required","inputRequests":
        {"a\u0062" : {"method":"roots/list"},
         "two":{"method":"elicitation/create","params":{"message":"?", "x":1.10}}},
        "requestState":"s\u0074ate \/"}"#;

    fn caller(declared: &str) -> Caller {
        Caller {
            session: Some(SessionKey::begin()),
            abilities: Abilities::read(declared),
            ..Caller::nobody(Era::Legacy, View::All)
        }
    }

    fn unfinished(result: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":"m1","result":{result}}}"#
        ))
    }

    /// What comes of it with a client that gives these answers, as members.
    async fn asked(declared: &str, result: &str, answer: &str) -> Result<String, Unanswered> {
        let caller = caller(declared);
        let (way, mut stream) = mpsc::channel::<Bytes>(8);
        let asked = caller.session.as_ref().unwrap().asked().clone();
        let answer = answer.to_owned();
        tokio::spawn(async move {
            while let Some(message) = stream.recv().await {
                let request = Frame::read(message).unwrap();
                let id = request.id().unwrap();
                asked.answered(Frame::made(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#
                )));
            }
        });
        input(&unfinished(result), &caller, &way).await
    }

    const ALL: &str = r#"{"roots":{},"elicitation":{}}"#;

    #[tokio::test]
    async fn keys_and_state_go_back_as_they_stood() {
        let given = asked(ALL, UNFINISHED, r#""result":{"y":1e400}"#).await;
        assert_eq!(
            given.ok().as_deref(),
            Some(
                r#""inputResponses":{"a\u0062":{"y":1e400},"two":{"y":1e400}},"requestState":"s\u0074ate \/","#
            )
        );
        let nothing = r#"{"resultType":"input_required","requestState":"x"}"#;
        let given = asked("{}", nothing, "").await;
        assert_eq!(
            given.ok().as_deref(),
            Some(r#""inputResponses":{},"requestState":"x","#)
        );
    }

    #[tokio::test]
    async fn what_a_client_cannot_be_asked_it_is_not_asked() {
        for (declared, result) in [
            (r#"{"roots":{}}"#, UNFINISHED),
            (ALL, r#"{"inputRequests":{"a":{"method":"tools/list"}}}"#),
            (ALL, r#"{"inputRequests":{"a":{"params":{}}}}"#),
            (ALL, r#"{"inputRequests":[]}"#),
        ] {
            let given = asked(declared, result, r#""result":{}"#).await;
            assert!(matches!(given, Err(Unanswered::Unaskable(_))), "{result}");
        }
        let error = r#""error":{"code":1,"message":"m"}"#;
        let given = asked(ALL, UNFINISHED, error).await;
        assert!(matches!(given, Err(Unanswered::Refused(_))));
    }
}
