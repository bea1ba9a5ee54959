//! One request: route it, carry it, settle it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Method,
    call::{Answer, Answered, Call},
    failure,
    held::{self, Held, HeldCalls, Resumed},
    long::{self, LongReply, Patience},
    route::{Routed, Unrouted, Wanted},
    settle::Settlement,
};
use crate::{
    catalog::{Mirrored, Route},
    config::SessionKeys,
    fleet::Fleet,
    outbound::{Child, Failure, Need},
    protocol::{
        Caller, Era, Frame, SessionKey, Signer, TraceContext,
        answer::{self, INPUT_REQUESTS, INPUT_REQUIRED, RESULT_TYPE},
        error::{RpcError, code, result_answer},
        json::{Object, quote},
        request::{Params, REQUEST_STATE},
    },
    telemetry::{CallSpan, Incoming, Outcome},
};

/// Carries requests between clients and children.
#[derive(Clone, Debug)]
pub struct Relay {
    pub(super) fleet: Arc<Fleet>,
    held: Arc<HeldCalls>,
}

/// What a client is answered with.
pub enum Reply {
    /// The whole answer.
    Whole(Bytes),
    /// An answer that is still arriving.
    Long(LongReply),
}

impl Relay {
    /// A relay to these children. With `keys`, a held call's retry that comes to another
    /// replica is told so.
    pub fn new(fleet: Arc<Fleet>, keys: Option<&SessionKeys>) -> Self {
        let signers = match keys {
            Some(keys) => keys.iter().map(Signer::from_key).collect(),
            None => Vec::from_iter(Signer::random()),
        };
        Self {
            fleet,
            held: HeldCalls::new(signers),
        }
    }

    /// Carries one request. What the child sends before its answer goes to `asides`.
    /// Its drop cancels the child's work.
    pub async fn carry(
        &self,
        method: Method,
        frame: &Frame,
        params: &Params,
        caller: &Caller,
        asides: &mpsc::Sender<Bytes>,
    ) -> Reply {
        let id = frame.id().unwrap_or("null");
        if let Some(state) = params
            .request_state
            .as_deref()
            .filter(|_| caller.era == Era::Modern)
        {
            let request = Retry {
                method,
                frame,
                params,
                caller,
                asides,
            };
            match self.resume(state, &request).await {
                Ok(Some(reply)) => return reply,
                // A modern child's own, it is carried like any other.
                Ok(None) => {}
                Err(error) => return Reply::Whole(error.answer(Some(id)).into_bytes()),
            }
        }
        let began = Instant::now();
        let span = CallSpan::begin(|| incoming(method, frame, params, caller));
        let refuse = |error: RpcError| {
            span.refused(error.code);
            Reply::Whole(error.answer(Some(id)).into_bytes())
        };
        let name = frame.method().unwrap_or_default();
        let wanted = Wanted::of(method, &name, params, caller);
        let mut routed = match wanted.find(&self.fleet).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => return refuse(error),
            Err(Unrouted::Unlisted(child, waited)) => {
                let failure = unlisted(method, &child, began, waited);
                span.ended(child.name(), None, failure.outcome, None);
                let told = failure::answer(method, id, caller.era, child.name(), &failure);
                return Reply::Whole(told.into_bytes());
            }
        };
        match (method, params.name.as_deref()) {
            (Method::CallTool, Some(name)) => span.is_for_tool(method.as_str(), name),
            (Method::GetPrompt, Some(name)) => span.is_for_prompt(method.as_str(), name),
            _ => {}
        }
        // Made for what the client saw listed: only with that are its headers compared.
        let mut mirrored = match mirrored_by(frame, &routed.route) {
            Ok(mirrored) => mirrored,
            Err(error) => return refuse(error),
        };
        if let (Some(mirrored), Some(headers)) = (&mirrored, &params.headers)
            && let Err(error) = mirrored.check(headers)
        {
            return refuse(error);
        }
        let mut listed_anew = false;
        loop {
            let Routed {
                child: entry,
                route,
                waited,
            } = routed;
            let tool = (method == Method::CallTool).then(|| route.own.clone());
            let settles = |one| Settlement::new(one, method, tool, began).traced_by(&span);
            let (child, need) = match entry.for_session(caller.session.as_ref()) {
                Ok(one) => one,
                Err(failure) => {
                    if let Some(next) = wanted.successor(&self.fleet, &entry) {
                        mirrored = mirrored_by(frame, &next.route).unwrap_or_default();
                        routed = next;
                        continue;
                    }
                    let told = failure::answer(method, id, caller.era, entry.name(), &failure);
                    settles((entry, Need::of_no_account())).failed(None, &failure);
                    return Reply::Whole(told.into_bytes());
                }
            };
            let mut settlement = settles((Arc::clone(&child), need));
            settlement.has_waited(waited);
            let mut call = Call {
                method,
                frame,
                params,
                caller,
                child: &child,
                own_name: route.own.as_str(),
                repeatable: route.repeatable,
                mirrored: mirrored.as_ref(),
                asides,
                held: &self.held,
                deadline: None,
                used: None,
                asked: false,
            };
            let failure = match call.carry(&mut settlement).await {
                Ok(answered) => {
                    if is_mismatch(&answered) && !std::mem::replace(&mut listed_anew, true) {
                        let anew = wanted.listed_anew(&self.fleet, &entry, &route);
                        if let Some(next) = settlement.waiting(anew).await
                            && let Ok(other) = mirrored_by(frame, &next.route)
                        {
                            mirrored = other;
                            routed = Routed {
                                waited: settlement.passed_on(),
                                ..next
                            };
                            continue;
                        }
                    }
                    return self.reply(&call, answered, Arc::clone(&child), settlement);
                }
                Err(failure) => failure,
            };
            let used = call.used;
            // A call that came too late for a child that has gone is its successor's.
            if used.is_none()
                && let Some(next) = wanted.successor(&self.fleet, &entry)
            {
                mirrored = mirrored_by(frame, &next.route).unwrap_or_default();
                routed = Routed {
                    waited: settlement.passed_on(),
                    ..next
                };
                continue;
            }
            settlement.failed(used.as_deref(), &failure);
            let told = failure::answer(method, id, caller.era, child.name(), &failure);
            return Reply::Whole(told.into_bytes());
        }
    }

    /// Why nobody has the tool that a call names; `None` if somebody has, or may have it
    /// when it is waited for.
    pub async fn unknown_tool(&self, params: &Params, caller: &Caller) -> Option<RpcError> {
        let method = Method::CallTool;
        let wanted = Wanted::of(method, method.as_str(), params, caller);
        wanted.refused(&self.fleet).await
    }

    /// Resumes the call that a retry names; `None` if it names none of ours.
    async fn resume(&self, state: &str, retry: &Retry<'_>) -> Result<Option<Reply>, RpcError> {
        let Retry {
            method,
            frame,
            params,
            caller,
            asides,
        } = *retry;
        let answers = params.input_responses.as_deref().unwrap_or("{}");
        let answers = Object::read(answers)
            .map_err(|_| held::refused("params.inputResponses must be an object"))?;
        let name = params.name.as_deref().unwrap_or_default();
        let held = match self.held.resume(state, method, name, caller).await? {
            Resumed::Held(held) => *held,
            Resumed::Foreign => return Ok(None),
        };
        let Held {
            mut running,
            mut settlement,
            child,
        } = held;
        settlement.waits_no_more();
        running.answer(&answers);
        let mut call = Call {
            method,
            frame,
            params,
            caller,
            child: &child,
            own_name: name,
            repeatable: false,
            mirrored: None,
            asides,
            held: &self.held,
            deadline: None,
            used: None,
            asked: true,
        };
        Ok(Some(match call.go_on(running, &mut settlement).await {
            Ok(answered) => self.reply(&call, answered, Arc::clone(&child), settlement),
            Err(failure) => {
                settlement.failed(call.used.as_deref(), &failure);
                let id = frame.id().unwrap_or("null");
                let told = failure::answer(method, id, caller.era, child.name(), &failure);
                Reply::Whole(told.into_bytes())
            }
        }))
    }

    /// What the client is told, and the end of the request, if this is one.
    fn reply(
        &self,
        call: &Call<'_>,
        answered: Answered,
        child: Arc<Child>,
        mut settlement: Settlement,
    ) -> Reply {
        let Answered {
            answer, connection, ..
        } = answered;
        match answer {
            Answer::Whole(answer, outcome) => {
                if outcome == Outcome::RpcError {
                    settlement.has_code(|| code_of(&answer));
                }
                settlement.answered(&connection, outcome);
                Reply::Whole(answer)
            }
            Answer::Refused(answer) => {
                settlement.has_code(|| code_of(&answer));
                settlement.answered_here(Outcome::RpcError);
                Reply::Whole(answer)
            }
            Answer::Long(answer, last) => {
                let patience = Patience {
                    pause: child.settings.call_timeout,
                    last,
                };
                Reply::Long(long::pass(answer, connection, settlement, patience))
            }
            Answer::Asks(running) => {
                let requests = running.input_requests();
                let held = Held {
                    running: *running,
                    settlement,
                    child,
                };
                let name = call.params.name.as_deref().unwrap_or_default();
                let state = self.held.hold(held, call.method, name, call.caller);
                let state = quote(&state);
                let result = format!(
                    r#"{{"{RESULT_TYPE}":"{INPUT_REQUIRED}","{INPUT_REQUESTS}":{requests},"{REQUEST_STATE}":{state}}}"#
                );
                Reply::Whole(result_answer(call.frame.id().unwrap_or("null"), &result).into_bytes())
            }
        }
    }
}

/// A request that gives something back.
struct Retry<'a> {
    method: Method,
    frame: &'a Frame,
    params: &'a Params,
    caller: &'a Caller,
    asides: &'a mpsc::Sender<Bytes>,
}

/// What the headers of a call must say, for a tool that wants it said there.
fn mirrored_by(frame: &Frame, route: &Route) -> Result<Option<Mirrored>, RpcError> {
    let mirrors = route.mirrors.as_ref();
    mirrors.map(|mirrors| mirrors.of(frame)).transpose()
}

/// Whether the child says that our headers are not those its tool asks for.
fn is_mismatch(answered: &Answered) -> bool {
    let Answer::Whole(answer, Outcome::RpcError) = &answered.answer else {
        return false;
    };
    answered.connection.reads_headers() && code_of(answer) == Some(code::HEADER_MISMATCH)
}

/// The code of an answer that is an error.
fn code_of(answer: &Bytes) -> Option<i64> {
    answer::error_code(&Frame::read(answer.clone()).ok()?)
}

/// What a trace tells of a request that comes in.
fn incoming<'a>(
    method: Method,
    frame: &'a Frame,
    params: &'a Params,
    caller: &Caller,
) -> Incoming<'a> {
    Incoming {
        method: method.as_str(),
        id: frame.id().unwrap_or("null"),
        session: caller.session.as_ref().map(SessionKey::number),
        version: params.version.as_deref(),
        in_meta: TraceContext::of_request(frame),
        in_headers: params.trace.as_ref(),
    }
}

/// A child that has never been listed: whether it has such a thing, nobody knows. The
/// request is settled.
pub(super) fn unlisted(
    method: Method,
    child: &Arc<Child>,
    began: Instant,
    waited: Duration,
) -> Failure {
    let failure = match child.callable() {
        Err(failure) => failure,
        Ok(_) => Failure::unavailable("has not been listed yet", None),
    };
    let tool = (method == Method::CallTool).then(|| "unknown".into());
    let needless = (Arc::clone(child), Need::of_no_account());
    let mut settlement = Settlement::new(needless, method, tool, began);
    settlement.has_waited(waited);
    settlement.failed(None, &failure);
    failure
}
