//! One call on its way to a child: guard, edit, send, stream back.

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Method,
    asking::{self, Unanswered},
    deadline::Deadline,
    hearing::Said,
    held::{self, HeldCalls},
    running::Running,
    settle::Settlement,
};
use crate::{
    catalog::Mirrored,
    outbound::{Child, Connection, Failure, LongAnswer, Outgoing, call_id, era_keys, next_number},
    protocol::{
        Abilities, Caller, Era, Frame, Kind, TraceContext, answer,
        request::{MetaEdit, Params, RequestEdit, name_key},
        task::Owners,
    },
    telemetry::Outcome,
};

/// How often a child may ask for more before it answers a call.
const MOST_ROUNDS: usize = 32;
/// How long a call waits until its child has been asked for the log messages that the
/// client wants of it.
const LOG_LEVEL_TAKES: Duration = Duration::from_secs(2);

/// One call, with what is needed to send it again.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) frame: &'a Frame,
    pub(super) params: &'a Params,
    pub(super) caller: &'a Caller,
    pub(super) child: &'a Child,
    pub(super) own_name: &'a str,
    pub(super) repeatable: bool,
    /// What the headers repeat of its arguments, if they do.
    pub(super) mirrored: Option<&'a Mirrored>,
    pub(super) asides: &'a mpsc::Sender<Bytes>,
    pub(super) held: &'a HeldCalls,
    pub(super) owners: &'a Owners,
    /// Runs from the first time it is sent.
    pub(super) deadline: Option<Deadline>,
    /// What it was last sent on, if it was sent.
    pub(super) used: Option<Arc<Connection>>,
    /// Whether its client was asked something: that is not asked twice.
    pub(super) asked: bool,
}

/// An answered call.
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// What it was sent on.
    pub(super) connection: Arc<Connection>,
    /// Whether an HTTP server refused the request itself: it may speak another protocol
    /// than was agreed.
    refused: bool,
}

/// What a call came to.
pub(super) enum Answer {
    Whole(Bytes, Outcome),
    /// With the moment by which all of it must have come.
    Long(LongAnswer, Option<Instant>),
    /// The client has to be asked, and to come back.
    Asks(Box<Running>),
    /// Refused here: the child has not seen it.
    Refused(Bytes),
}

impl<'a> Call<'a> {
    /// Sends it; and once more, if that is allowed.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(super) async fn carry(&mut self, settlement: &mut Settlement) -> Result<Answered, Failure> {
        let first = self.send(settlement).await;
        let refused = match &first {
            Ok(answered) => answered.refused,
            Err(failure) => failure.refused,
        };
        if refused && let Some(used) = self.used.clone() {
            let changed = self.child.has_changed_era(&used);
            if settlement.waiting(changed).await {
                return self.send(settlement).await;
            }
        }
        let failure = match first {
            Err(failure) if !self.asked && may_repeat(&failure, self.repeatable) => failure,
            decided => return decided,
        };
        let Some(lost) = self.used.take() else {
            return Err(failure);
        };
        self.child.failed(&lost, &failure);
        if failure.session_lost {
            let given_up = self.child.given_up(&lost, self.child.settings.timeout);
            settlement.waiting(given_up).await;
        } else if lost.is_closed() {
            // Nothing to send it on; and the child may come back another one.
            return Err(failure);
        }
        match self.send(settlement).await {
            // What may have been executed is not undone by a second try that was not.
            Err(second) if second.not_executed && !failure.not_executed => Err(failure),
            decided => decided,
        }
    }

    /// Sends it; and again, with what the client has given, as often as a modern child
    /// asks a legacy client for more.
    async fn send(&mut self, settlement: &mut Settlement) -> Result<Answered, Failure> {
        if let Some(refused) = self.resumes_nothing(settlement).await? {
            return Ok(refused);
        }
        let mut given = String::new();
        for _ in 0..MOST_ROUNDS {
            let (said, mut running) = self.round(&given, settlement).await?;
            let unfinished = match said {
                Said::Answer(answer) if self.asks_for_more(&answer, &running) => answer,
                said => return self.answered(said, running),
            };
            self.asked = true;
            running.deadline.pause();
            let input = {
                let input = asking::input(&unfinished, self.caller, self.asides);
                let input = pin!(async { Ok(input.await) });
                settlement.waiting(running.deadline.bounds(input)).await?
            };
            running.deadline.go_on();
            given = match input {
                Ok(given) => given,
                Err(Unanswered::Refused(error)) => {
                    let error = error.with_id(self.id()).finish();
                    return Ok(Answered {
                        answer: Answer::Whole(error, Outcome::RpcError),
                        connection: running.connection,
                        refused: false,
                    });
                }
                Err(Unanswered::Unaskable(what)) => return Err(unaskable(&what)),
                Err(Unanswered::Gone) => return Err(Failure::asked_nobody()),
            };
            self.deadline = Some(running.deadline);
        }
        Err(Failure::protocol("asks the client again and again"))
    }

    /// A modern client's retry for a legacy child is a held call's, or nothing: the child
    /// would do everything again.
    async fn resumes_nothing(
        &self,
        settlement: &mut Settlement,
    ) -> Result<Option<Answered>, Failure> {
        if self.caller.era == Era::Legacy || !self.params.is_retry() {
            return Ok(None);
        }
        let connection = self.child.callable_soon(patience(self.child));
        let connection = settlement.waiting(connection).await?;
        Ok((connection.era() == Era::Legacy).then(|| Answered {
            answer: Answer::Refused(held::foreign().answer(self.frame.id()).into_bytes()),
            connection,
            refused: false,
        }))
    }

    /// Sends it once, with `given` in its params, and hears the child to the end.
    async fn round(
        &mut self,
        given: &str,
        settlement: &mut Settlement,
    ) -> Result<(Said, Running), Failure> {
        let patience = patience(self.child);
        settlement
            .waiting(self.child.callable_soon(patience))
            .await?;
        let slot = settlement.waiting(self.child.slot()).await?;
        // The wait may have been long: the child may be another one now.
        let connection = settlement
            .waiting(self.child.callable_soon(patience))
            .await?;
        if let Some(level) = self.caller.log_level {
            settlement
                .waiting(connection.logs_from(level, LOG_LEVEL_TAKES))
                .await;
        }
        let number = next_number();
        let own_id = call_id(number);
        // What is sent again is another request.
        let keeps_ids = connection.keeps_ids() && given.is_empty();
        let id = (!keeps_ids).then_some(own_id.as_str());
        let edit = RequestEdit {
            id,
            name: self.own_name,
            progress_token: id,
            meta: self.era_edit(connection.era()),
            members: given,
        };
        let method = self.frame.method().unwrap_or_default();
        let mirrored = self.mirrored.filter(|_| connection.reads_headers());
        let mut headers = mirrored.map(Mirrored::headers).unwrap_or_default();
        let mut frame = self.params.edit(self.frame, &edit);
        // Without traces of our own, what the client says of its passes as it came.
        let trace = settlement.trace();
        if let Some(trace) = &trace {
            frame = trace.put_into(frame);
        }
        let trace = trace.as_ref().or(self.params.trace.as_ref());
        headers.extend(trace.map(TraceContext::to_headers).unwrap_or_default());
        let outgoing = Outgoing {
            frame,
            id: id.or(self.frame.id()).unwrap_or("null"),
            number,
            method: &method,
            name: name_key(&method).map(|_| self.own_name),
            shown: self.child.shown_by(self.caller),
            headers: &headers,
            passes_as: (self.caller.takes_pieces
                && self.caller.era == connection.era()
                && !self.method.is_of_tasks())
            .then(|| self.id()),
        };
        let settings = &self.child.settings;
        let deadline = self
            .deadline
            .unwrap_or_else(|| Deadline::new(settings.call_timeout, settings.max_call_timeout));
        self.deadline = Some(deadline);
        let connection = Arc::clone(self.used.insert(connection));
        connection.is_used_by(self.caller);
        let exchange = {
            let sent = pin!(connection.call(&outgoing, Some(slot)));
            settlement.waiting(deadline.bounds(sent)).await?
        };
        let mut running = Running::new(exchange, connection, deadline);
        let said = self.hear(&mut running, keeps_ids, settlement).await;
        self.deadline = Some(running.deadline);
        Ok((said?, running))
    }

    /// Goes on with a call whose client has come back with answers.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(super) async fn go_on(
        &mut self,
        mut running: Running,
        settlement: &mut Settlement,
    ) -> Result<Answered, Failure> {
        self.used = Some(Arc::clone(&running.connection));
        let said = self.hear(&mut running, false, settlement).await?;
        self.answered(said, running)
    }

    fn asks_for_more(&self, answer: &Frame, running: &Running) -> bool {
        (self.caller.era, running.connection.era()) == (Era::Legacy, Era::Modern)
            && self.method != Method::Complete
            && answer::unfinished(answer).as_deref() == Some(answer::INPUT_REQUIRED)
    }

    fn id(&self) -> &'a str {
        self.frame.id().unwrap_or("null")
    }

    /// What happens to the keys in which the eras differ.
    fn era_edit(&self, child: Era) -> MetaEdit<'static> {
        static QUIET: LazyLock<String> = LazyLock::new(|| era_keys(None, Abilities::default()));
        match (self.caller.era, child) {
            (Era::Legacy, Era::Modern) => match (self.caller.log_level, self.caller.abilities) {
                (None, nothing) if nothing == Abilities::default() => {
                    MetaEdit::Add(QUIET.as_str().into())
                }
                (level, abilities) => MetaEdit::Add(era_keys(level, abilities).into()),
            },
            (Era::Modern, Era::Legacy) => MetaEdit::Strip,
            _ => MetaEdit::Keep,
        }
    }

    fn answered(&self, said: Said, running: Running) -> Result<Answered, Failure> {
        let connection = Arc::clone(&running.connection);
        // A method that it does not know says nothing of its era.
        let refused = running.exchange.is_refusal() && self.method != Method::Other;
        let answer = match said {
            Said::Answer(answer) => {
                if let (Era::Legacy, Some(session)) = (self.caller.era, &self.caller.session) {
                    connection.answers(&answer, session, self.asides);
                }
                self.finished(&answer, connection.era())?
            }
            Said::Long(long) => Answer::Long(long, running.deadline.last()),
            Said::Asks => Answer::Asks(Box::new(running)),
        };
        Ok(Answered {
            answer,
            connection,
            refused,
        })
    }

    fn finished(&self, answer: &Frame, child: Era) -> Result<Answer, Failure> {
        if (self.caller.era, child) == (Era::Legacy, Era::Modern)
            && let Some(kind) = answer::unfinished(answer)
        {
            return Err(unaskable(&kind));
        }
        let outcome = match answer.kind() {
            Kind::Error => Outcome::RpcError,
            _ if self.method == Method::CallTool && answer::is_tool_error(answer) => {
                Outcome::ToolError
            }
            _ => Outcome::Ok,
        };
        let cacheable = self.method == Method::ReadResource;
        let bytes = answer::to_client(answer, self.frame.id(), child, self.caller.era, cacheable);
        Ok(Answer::Whole(bytes, outcome))
    }
}

fn unaskable(what: &str) -> Failure {
    Failure::protocol("asks for more than this client can give").with_detail(what)
}

/// How long a request waits for a child that is being connected: that ends at the
/// child's own limit, and the reason is worth a moment more.
pub(super) fn patience(Child { settings, .. }: &Child) -> Duration {
    const REASON_SHOWS: Duration = Duration::from_secs(1);
    let connecting = settings.timeout + REASON_SHOWS;
    settings
        .call_timeout
        .map_or(connecting, |limit| limit.min(connecting))
}

/// A call is sent twice only if it was certainly not executed the first time, or if
/// its tool may be called twice. A child that is asked too much is not asked again.
fn may_repeat(failure: &Failure, repeatable: bool) -> bool {
    failure.session_lost
        || repeatable
            && failure.outcome == Outcome::Transport
            && failure.retry_after.is_none()
            && !failure.asked_too_much
}
