//! The life of one call: route, guard, send, stream back, settle.

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    deadline::Deadline,
    failure::tool_failure,
    route::{self, Routed, Unrouted},
    settle::Settlement,
};
use crate::{
    fleet::Fleet,
    outbound::{
        Child, Connection, Failure, LongAnswer, Outgoing, Part, call_id, era_keys, next_number,
    },
    protocol::{
        Caller, Era, Frame, Kind, answer,
        request::{MetaEdit, Params, RequestEdit},
    },
    telemetry::Outcome,
};

const METHOD: &str = "tools/call";

/// Carries requests between clients and children.
#[derive(Clone, Debug)]
pub struct Relay {
    fleet: Arc<Fleet>,
}

/// What a client is answered with.
#[derive(Debug)]
pub enum Reply {
    /// The whole answer.
    Whole(Bytes),
    /// An answer that is still arriving. Settled by whoever passes it on.
    Long(LongAnswer, Settlement),
}

/// One call, with what is needed to send it again.
struct Call<'a> {
    frame: &'a Frame,
    params: &'a Params,
    caller: &'a Caller,
    child: &'a Child,
    own_name: &'a str,
    may_stream: bool,
}

impl Relay {
    /// A relay to these children.
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }

    /// Carries one `tools/call`. What the child sends before its answer goes to
    /// `asides`. Its drop cancels the child's work. `may_stream` says whether the
    /// client can take an answer that is still arriving.
    pub async fn tool_call(
        &self,
        frame: &Frame,
        params: &Params,
        caller: &Caller,
        may_stream: bool,
        asides: &mpsc::Sender<Bytes>,
    ) -> Reply {
        let began = Instant::now();
        let id = frame.id().unwrap_or("null");
        let name = params.name.as_deref().unwrap_or_default();
        let Routed { child, route } = match route::tool(&self.fleet, name).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                return Reply::Whole(error.answer(Some(id)).into_bytes());
            }
            Err(Unrouted::Unlisted(child)) => return unlisted(id, caller.era, &child, began),
        };
        let call = Call {
            frame,
            params,
            caller,
            child: &child,
            own_name: route.own.as_str(),
            may_stream,
        };
        let mut settlement = Settlement::new(Arc::clone(&child), METHOD, route.own.clone(), began);
        let mut connection = None;
        let mut result = call.attempt(&mut connection, &mut settlement, asides).await;
        if let Err(failure) = &result
            && let Some(lost) = connection.take_if(|_| may_repeat(failure, route.repeatable))
        {
            child.failed(Some(&lost), failure);
            let failure = failure.clone();
            result = call
                .repeat(&lost, &failure, &mut connection, &mut settlement, asides)
                .await;
        }
        match result {
            Ok(Answer::Whole(answer, outcome)) => {
                settlement.answered(outcome);
                Reply::Whole(answer)
            }
            Ok(Answer::Long(long)) => Reply::Long(long, settlement),
            Err(failure) => {
                settlement.failed(connection.as_deref(), &failure);
                Reply::Whole(tool_failure(id, caller.era, child.name(), &failure).into_bytes())
            }
        }
    }
}

/// What a call came to.
enum Answer {
    Whole(Bytes, Outcome),
    Long(LongAnswer),
}

impl Call<'_> {
    /// Guard and send. `used` is the connection the call was sent on.
    async fn attempt(
        &self,
        used: &mut Option<Arc<Connection>>,
        settlement: &mut Settlement,
        asides: &mpsc::Sender<Bytes>,
    ) -> Result<Answer, Failure> {
        let connection = self.child.callable()?;
        self.send(connection, used, settlement, asides).await
    }

    /// Once more, on the connection that takes the place of a lost one.
    async fn repeat(
        &self,
        lost: &Connection,
        failure: &Failure,
        used: &mut Option<Arc<Connection>>,
        settlement: &mut Settlement,
        asides: &mpsc::Sender<Bytes>,
    ) -> Result<Answer, Failure> {
        let connection = if failure.session_lost {
            let renewed = self.child.renewed(lost, self.child.settings.timeout);
            settlement.waiting(renewed).await?
        } else {
            self.child.callable().map_err(|_| failure.clone())?
        };
        self.send(connection, used, settlement, asides).await
    }

    async fn send(
        &self,
        connection: Arc<Connection>,
        used: &mut Option<Arc<Connection>>,
        settlement: &mut Settlement,
        asides: &mpsc::Sender<Bytes>,
    ) -> Result<Answer, Failure> {
        let slot = settlement.waiting(self.child.slot()).await?;
        let number = next_number();
        let own_id = call_id(number);
        let keeps_ids = connection.keeps_ids();
        let id = if keeps_ids {
            None
        } else {
            Some(own_id.as_str())
        };
        let outgoing = Outgoing {
            frame: self.params.edit(
                self.frame,
                &RequestEdit {
                    id,
                    name: self.own_name,
                    progress_token: id,
                    meta: self.era_edit(connection.era()),
                },
            ),
            id: id.or(self.frame.id()).unwrap_or("null"),
            number,
            method: METHOD,
            name: Some(self.own_name),
            may_stream: self.may_stream && keeps_ids && self.caller.era == connection.era(),
        };
        let connection: &Connection = used.insert(connection);

        let mut deadline = Deadline::new(self.child.settings.call_timeout);
        let sent = settlement.waiting(within(&deadline, connection.call(&outgoing, Some(slot))));
        let mut exchange = sent.await?;
        loop {
            match settlement
                .waiting(within(&deadline, exchange.next()))
                .await?
            {
                Part::Aside(aside) => {
                    if aside.method().as_deref() == Some("notifications/progress") {
                        deadline.progressed();
                    }
                    if let Some(message) = self.aside(aside, keeps_ids) {
                        // A client that is gone drops this whole call.
                        let _ = settlement.waiting(asides.send(message)).await;
                    }
                }
                Part::Answer(answer) => return self.answered(&answer, connection.era()),
                Part::Long(long) => return Ok(Answer::Long(long)),
            }
        }
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
        match message.method().as_deref() {
            Some("notifications/progress") => {
                let token = self.params.progress_token.as_deref()?;
                match keeps_ids {
                    true => Some(message.into_bytes()),
                    false => answer::with_progress_token(&message, token),
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

    fn answered(&self, answer: &Frame, child: Era) -> Result<Answer, Failure> {
        if (self.caller.era, child) == (Era::Legacy, Era::Modern)
            && let Some(kind) = answer::unfinished(answer)
        {
            return Err(Failure::protocol(format!(
                "answered with {kind:?}, which this client's protocol version does not know"
            )));
        }
        let outcome = match answer.kind() {
            Kind::Error => Outcome::RpcError,
            _ if answer::is_tool_error(answer) => Outcome::ToolError,
            _ => Outcome::Ok,
        };
        let bytes = answer::to_client(answer, self.frame.id(), child, self.caller.era);
        Ok(Answer::Whole(bytes, outcome))
    }
}

/// `work`, unless the deadline passes before it is done.
async fn within<T>(
    deadline: &Deadline,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        limit = deadline.passed() => Err(Failure::timeout(limit)),
    }
}

/// A call is sent twice only if it was certainly not executed the first time, or if
/// its tool may be called twice.
fn may_repeat(failure: &Failure, repeatable: bool) -> bool {
    failure.session_lost
        || repeatable && failure.outcome == Outcome::Transport && failure.retry_after.is_none()
}

fn unlisted(id: &str, era: Era, child: &Arc<Child>, began: Instant) -> Reply {
    let failure = match child.callable() {
        Err(failure) => failure,
        Ok(_) => Failure::unavailable("has not been listed yet", None),
    };
    // No tool of this name is known: it must not become a label.
    child
        .metrics
        .request(METHOD, failure.outcome, began.elapsed());
    Reply::Whole(tool_failure(id, era, child.name(), &failure).into_bytes())
}
