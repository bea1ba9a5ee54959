//! Hearing a child out: what it says for a call before it answers.

use std::pin::pin;

use bytes::Bytes;

use super::{Method, asking::Asking, call::Call, running::Running, settle::Settlement};
use crate::{
    outbound::{Failure, LongAnswer, Part, Question},
    protocol::{Era, Frame, View, answer, task},
};

/// What a child has said to the end.
pub(super) enum Said {
    Answer(Frame),
    Long(LongAnswer),
    /// Nothing yet: a modern client is to be asked.
    Asks,
}

impl<'a> Call<'a> {
    /// Hears a child to the end: what comes before goes to the client.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(super) async fn hear(
        &mut self,
        running: &mut Running,
        keeps_ids: bool,
        settlement: &mut Settlement,
    ) -> Result<Said, Failure> {
        let asides = self.asides;
        let mut asking = Asking::default();
        loop {
            // Of this moment: what comes may move it.
            let deadline = running.deadline;
            let part = {
                let next = pin!(async {
                    tokio::select! {
                        biased;
                        part = running.next() => part.map(Some),
                        () = asking.one() => Ok(None),
                    }
                });
                settlement.waiting(deadline.bounds(next)).await?
            };
            match part {
                None if asking.is_empty() => running.deadline.go_on(),
                None => {}
                Some(None) => return Ok(Said::Asks),
                Some(Some(Part::Request(question))) => {
                    self.asked = true;
                    self.ask(question, running, &mut asking);
                }
                Some(Some(Part::Aside(aside))) => {
                    asking.withdraw(&aside);
                    running.withdraw(&aside);
                    if aside.method().as_deref() == Some("notifications/progress") {
                        running.deadline.progressed();
                    }
                    if let Some(message) = self.aside(aside, keeps_ids) {
                        let taken = pin!(async {
                            // A client that is gone drops this whole call.
                            let _ = asides.send(message).await;
                        });
                        let bounded = running.deadline.bounds_client(taken);
                        settlement.waiting(bounded).await?;
                    }
                }
                Some(Some(Part::Answer(answer))) => {
                    return Ok(Said::Answer(self.of_public_task(answer)));
                }
                Some(Some(Part::Long(long))) => return Ok(Said::Long(long)),
            }
        }
    }

    /// Takes a question of the child's to the client, as the client's era has it.
    fn ask(&self, question: Question, running: &mut Running, asking: &mut Asking<'a>) {
        match (self.caller.era, running.connection.era()) {
            // In its era a server asks with its answer.
            (_, Era::Modern) => question.refuse_undeclared(),
            (Era::Legacy, Era::Legacy) => {
                asking.ask(question, self.caller, self.asides);
                if !asking.is_empty() {
                    running.deadline.pause();
                }
            }
            (Era::Modern, Era::Legacy) if self.method == Method::Complete => {
                question.refuse_undeclared();
            }
            (Era::Modern, Era::Legacy) => {
                running.ask(question, self.caller.abilities, || {
                    self.held.room(self.caller)
                });
            }
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
                self.caller
                    .wants_log(level)
                    .then(|| answer::logged(message, self.child.name(), &self.caller.view))
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
        if prefix.is_empty() && !self.caller.told_apart {
            return message;
        }
        let public = |own: &str| {
            let of_caller = self.owners.of_caller(own, self.child.name(), self.caller);
            match prefix {
                "" => of_caller,
                prefix => task::public_id(prefix, &of_caller),
            }
        };
        let spliced = task::with_public_ids(&message, self.method.is_of_tasks(), public);
        spliced
            .and_then(|bytes| Frame::read(bytes).ok())
            .unwrap_or(message)
    }
}
