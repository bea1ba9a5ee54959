//! One call on its way to a child: guard, edit, send, stream back.

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{Method, deadline::Deadline, settle::Settlement};
use crate::{
    catalog::Mirrored,
    outbound::{
        Child, Connection, Failure, LongAnswer, Outgoing, Part, call_id, era_keys, next_number,
    },
    protocol::{
        Caller, Era, Frame, Kind, View, answer,
        request::{MetaEdit, Params, RequestEdit, name_key},
        task,
    },
    telemetry::Outcome,
};

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
    /// Runs from the first time it is sent.
    pub(super) deadline: Option<Deadline>,
    /// What it was last sent on, if it was sent.
    pub(super) used: Option<Arc<Connection>>,
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
}

impl Call<'_> {
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
            Err(failure) if may_repeat(&failure, self.repeatable) => failure,
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

    async fn send(&mut self, settlement: &mut Settlement) -> Result<Answered, Failure> {
        let patience = self.patience();
        settlement
            .waiting(self.child.callable_soon(patience))
            .await?;
        let slot = settlement.waiting(self.child.slot()).await?;
        // The wait may have been long: the child may be another one now.
        let connection = settlement
            .waiting(self.child.callable_soon(patience))
            .await?;
        let number = next_number();
        let own_id = call_id(number);
        let keeps_ids = connection.keeps_ids();
        let id = (!keeps_ids).then_some(own_id.as_str());
        let edit = RequestEdit {
            id,
            name: self.own_name,
            progress_token: id,
            meta: self.era_edit(connection.era()),
        };
        let method = self.frame.method().unwrap_or_default();
        let mirrored = self.mirrored.filter(|_| connection.reads_headers());
        let mirrored = mirrored.map(Mirrored::headers).unwrap_or_default();
        let outgoing = Outgoing {
            frame: self.params.edit(self.frame, &edit),
            id: id.or(self.frame.id()).unwrap_or("null"),
            number,
            method: &method,
            name: name_key(&method).map(|_| self.own_name),
            mirrored: &mirrored,
            may_stream: keeps_ids
                && self.caller.era == connection.era()
                && !self.method.is_of_tasks(),
        };
        let settings = &self.child.settings;
        let mut deadline = self
            .deadline
            .take()
            .unwrap_or_else(|| Deadline::new(settings.call_timeout, settings.max_call_timeout));
        let connection = Arc::clone(self.used.insert(connection));
        let answer = async {
            let mut exchange = {
                let sent = pin!(connection.call(&outgoing, Some(slot)));
                settlement.waiting(deadline.bounds(sent)).await?
            };
            loop {
                let part = {
                    let next = pin!(exchange.next());
                    settlement.waiting(deadline.bounds(next)).await?
                };
                match part {
                    Part::Aside(aside) => {
                        if aside.method().as_deref() == Some("notifications/progress") {
                            deadline.progressed();
                        }
                        if let Some(message) = self.aside(aside, keeps_ids) {
                            let taken = pin!(async {
                                // A client that is gone drops this whole call.
                                let _ = self.asides.send(message).await;
                            });
                            settlement.waiting(deadline.bounds_client(taken)).await?;
                        }
                    }
                    Part::Answer(answer) => {
                        let answer = self.answered(answer, connection.era())?;
                        // A method that it does not know says nothing of its era.
                        let refused = exchange.is_refusal() && self.method != Method::Other;
                        return Ok((answer, refused));
                    }
                    Part::Long(long) => return Ok((Answer::Long(long, deadline.last()), false)),
                }
            }
        }
        .await;
        self.deadline = Some(deadline);
        answer.map(|(answer, refused)| Answered {
            answer,
            connection,
            refused,
        })
    }

    /// How long it waits for a child that is being connected: that ends at the child's
    /// own limit, and the reason is worth a moment more.
    fn patience(&self) -> Duration {
        const REASON_SHOWS: Duration = Duration::from_secs(1);
        let Child { settings, .. } = self.child;
        let connecting = settings.timeout + REASON_SHOWS;
        settings
            .call_timeout
            .map_or(connecting, |limit| limit.min(connecting))
    }

    /// What happens to the keys in which the eras differ.
    fn era_edit(&self, child: Era) -> MetaEdit<'static> {
        static QUIET: LazyLock<String> = LazyLock::new(|| era_keys(None));
        match (self.caller.era, child) {
            (Era::Legacy, Era::Modern) => match self.caller.log_level {
                None => MetaEdit::Add(QUIET.as_str().into()),
                Some(level) => MetaEdit::Add(era_keys(Some(level)).into()),
            },
            (Era::Modern, Era::Legacy) => MetaEdit::Strip,
            _ => MetaEdit::Keep,
        }
    }

    /// A message of the child for this call, as the client is to read it; `None` if
    /// it asked for none such.
    fn aside(&self, message: Frame, keeps_ids: bool) -> Option<Bytes> {
        let message = self.of_public_task(message);
        match message.method().as_deref() {
            Some("notifications/progress") => {
                let token = self.params.progress_token.as_deref()?;
                if keeps_ids {
                    Some(message.into_bytes())
                } else {
                    answer::with_progress_token(&message, token)
                }
            }
            Some("notifications/message") => {
                let level = answer::log_level(&message);
                self.caller.wants_log(level).then(|| message.into_bytes())
            }
            // The child's own cancelling of something else.
            Some("notifications/cancelled") => None,
            _ => Some(message.into_bytes()),
        }
    }

    /// What tells of a task, under the id that clients see.
    fn of_public_task(&self, message: Frame) -> Frame {
        let prefix = match self.caller.view {
            View::All | View::Group(_) => self.child.settings.prefix.as_str(),
            View::Child(_) => "",
        };
        if prefix.is_empty() {
            return message;
        }
        let spliced = task::with_public_ids(&message, prefix, self.method.is_of_tasks());
        spliced
            .and_then(|bytes| Frame::read(bytes).ok())
            .unwrap_or(message)
    }

    fn answered(&self, answer: Frame, child: Era) -> Result<Answer, Failure> {
        let answer = &self.of_public_task(answer);
        if (self.caller.era, child) == (Era::Legacy, Era::Modern)
            && let Some(kind) = answer::unfinished(answer)
        {
            let asks = "asks for more than this client's protocol version can give";
            return Err(Failure::protocol(asks).with_detail(&kind));
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

/// A call is sent twice only if it was certainly not executed the first time, or if
/// its tool may be called twice. A child that is asked too much is not asked again.
fn may_repeat(failure: &Failure, repeatable: bool) -> bool {
    failure.session_lost
        || repeatable
            && failure.outcome == Outcome::Transport
            && failure.retry_after.is_none()
            && !failure.asked_too_much
}
