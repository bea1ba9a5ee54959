//! One request: route it, carry it, settle it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Method,
    audit::Audited,
    call::{Answer, Answered, Call, patience},
    failure,
    held::{self, Held, HeldCalls, Resumed},
    long::{self, LongReply, Patience},
    route::{Routed, Unrouted, Wanted},
    settle::Settlement,
};
use crate::{
    catalog::{Mirrored, Primitive, Route},
    config::SessionKeys,
    fleet::Fleet,
    outbound::{Challenged, Child, Failure, Need},
    policy::Verdict,
    protocol::{
        Caller, Era, Frame, SessionKey, Signer, TraceContext,
        answer::{self, INPUT_REQUESTS, INPUT_REQUIRED, RESULT_TYPE},
        error::{RpcError, code, result_answer},
        json::{Object, quote},
        request::{Params, REQUEST_STATE},
        task::Owners,
    },
    telemetry::{self, CallSpan, Incoming, Outcome},
};

/// Carries requests between clients and children.
#[derive(Clone, Debug)]
pub struct Relay {
    pub(super) fleet: Arc<Fleet>,
    /// Whether every call is written down.
    audit: bool,
    held: Arc<HeldCalls>,
    /// Whose tasks are.
    pub(super) owners: Owners,
}

/// What a client is answered with.
pub enum Reply {
    /// The whole answer.
    Whole(Bytes),
    /// An answer that is still arriving.
    Long(LongReply),
    /// The child does not let the client's user in: what it demands, and the whole answer
    /// for a client that cannot be told so.
    Challenged(Challenged, Bytes),
}

impl Reply {
    /// The answer to a request that has failed like this.
    fn failed(failure: &Failure, told: Frame) -> Self {
        match &failure.challenged {
            Some(challenged) => Self::Challenged(challenged.clone(), told.into_bytes()),
            None => Self::Whole(told.into_bytes()),
        }
    }
}

impl Relay {
    /// A relay to these children; with `audit` every call is written down. With `keys`, a
    /// held call's retry that comes to another replica is told so.
    pub fn new(fleet: Arc<Fleet>, audit: bool, keys: Option<&SessionKeys>) -> Self {
        let signers = match keys {
            Some(keys) => keys.iter().map(Signer::from_key).collect(),
            None => Vec::from_iter(Signer::random()),
        };
        Self {
            fleet,
            audit,
            owners: Owners::new(signers.clone()),
            held: HeldCalls::new(signers),
        }
    }

    /// What is to be written down of a request, if anything is.
    pub(super) fn audited(
        &self,
        caller: &Caller,
        id: &str,
        frame: Option<&Frame>,
        primitive: Option<Primitive>,
        name: &str,
    ) -> Option<Audited> {
        self.audit
            .then(|| Audited::new(caller, id, frame, primitive, name))
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
        let began = Instant::now();
        let name = frame.method().unwrap_or_default();
        let wanted = Wanted::of(method, &name, params, caller, &self.owners);
        // What a held call goes on with is asked for anew, by whoever its caller is now.
        let is_kept = || {
            let routed = wanted.look_up_unseen(&self.fleet.snapshot_for(caller));
            routed.is_some_and(|routed| routed.verdict != Verdict::Usable)
        };
        if let Some(state) = params
            .request_state
            .as_deref()
            .filter(|_| caller.era == Era::Modern && !is_kept())
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
        let audited = |primitive| {
            let named = params.name.as_deref().unwrap_or_default();
            self.audited(caller, id, Some(frame), primitive, named)
        };
        // As what it would be listed, if it were.
        let listed =
            (!method.is_of_tasks() && method != Method::Other).then(|| method.names(params));
        let span = CallSpan::begin(|| incoming(method, frame, params, caller));
        let refuse = |error: &RpcError| {
            span.refused(error.code);
            Reply::Whole(error.answer(Some(id)).into_bytes())
        };
        let mismatched = |routed: &Routed, error: &RpcError| {
            if let Some(audited) = audited(routed.primitive) {
                let child = Some(routed.child.name());
                audited.write(child, method, Outcome::RpcError, began.elapsed());
            }
            refuse(error)
        };
        let mut routed = match wanted.find(&self.fleet).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                self.is_unknown(method, &wanted, began, audited(listed));
                return refuse(&error);
            }
            Err(Unrouted::Unlisted(child, waited)) => {
                let failure = unlisted(method, &child, caller, began, waited, audited(listed));
                span.ended(child.name(), None, failure.outcome, None);
                let told = failure::answer(method, id, caller.era, child.name(), &failure);
                return Reply::failed(&failure, told);
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
            Err(error) => return mismatched(&routed, &error),
        };
        if let (Some(mirrored), Some(headers)) = (&mirrored, &params.headers)
            && let Err(error) = mirrored.check(headers)
        {
            return mismatched(&routed, &error);
        }
        let mut listed_anew = false;
        loop {
            let audited = audited(routed.primitive);
            if let Verdict::Shown(why) = routed.verdict.clone() {
                let child = routed.child.name().clone();
                let failure = denied(method, routed, &why, began, audited);
                span.ended(&child, None, failure.outcome, None);
                let told = failure::answer(method, id, caller.era, &child, &failure);
                return Reply::Whole(told.into_bytes());
            }
            let Routed {
                child: entry,
                route,
                waited,
                ..
            } = routed;
            let tool = (method == Method::CallTool).then(|| route.own.clone());
            let settles = |one| {
                let settlement = Settlement::new(one, method, tool, began);
                settlement.audited(audited).traced_by(&span)
            };
            let (child, need) = match entry.for_caller(caller) {
                Ok(one) => one,
                Err(failure) => {
                    if let Some(next) = wanted.successor(&self.fleet, &entry) {
                        mirrored = mirrored_by(frame, &next.route).unwrap_or_default();
                        routed = next;
                        continue;
                    }
                    let told = failure::answer(method, id, caller.era, entry.name(), &failure);
                    settles((entry, Need::of_no_account())).failed(None, &failure);
                    return Reply::failed(&failure, told);
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
                owners: &self.owners,
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
            return Reply::failed(&failure, told);
        }
    }

    /// Why nobody has the tool that a call names, which ends it; `None` if somebody has, or
    /// may have it when it is waited for.
    pub async fn unknown_tool(
        &self,
        frame: &Frame,
        params: &Params,
        caller: &Caller,
    ) -> Option<RpcError> {
        let method = Method::CallTool;
        let began = Instant::now();
        let wanted = Wanted::of(method, method.as_str(), params, caller, &self.owners);
        let error = wanted.refused(&self.fleet).await?;
        let name = params.name.as_deref().unwrap_or_default();
        let id = frame.id().unwrap_or("null");
        let audited = self.audited(caller, id, Some(frame), Some(Primitive::Tool), name);
        self.is_unknown(method, &wanted, began, audited);
        Some(error)
    }

    /// The end of a request for what nobody has, as far as its caller may know.
    pub(super) fn is_unknown(
        &self,
        method: Method,
        wanted: &Wanted<'_>,
        began: Instant,
        audited: Option<Audited>,
    ) {
        match (wanted.hidden(&self.fleet), audited) {
            (Some(routed), audited) => {
                denied(method, routed, NOT_SEEN, began, audited);
            }
            (None, Some(audited)) => {
                audited.write(None, method, Outcome::RpcError, began.elapsed());
            }
            (None, None) => {}
        }
    }

    /// What the one child of a view that knows its users demands of this one, before it
    /// lists anything; `None`: nothing. Its client asks for the list again with that.
    pub async fn demanded(&self, frame: &Frame, caller: &Caller) -> Option<Reply> {
        let snapshot = self.fleet.snapshot();
        let shown = snapshot.view(&caller.view).ok()?;
        let (entry, _) = shown.alone()?;
        let permitted = shown.permitted(caller.subject.as_ref());
        if !entry.settings.is_per_user() || !permitted.may_know_any(entry) {
            return None;
        }
        let failed = match entry.for_caller(caller) {
            Ok((own, _need)) => own.callable_soon(patience(entry)).await.err(),
            Err(failure) => Some(failure),
        };
        let failure = failed.filter(Failure::is_of_user)?;
        let id = frame.id().unwrap_or("null");
        let told = failure::answer(Method::Other, id, caller.era, entry.name(), &failure);
        Some(Reply::failed(&failure, told))
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
            owners: &self.owners,
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

/// Why a caller is not let through to what it may not know of: never told to it.
const NOT_SEEN: &str = "it may not know of it";

/// The end of a request that the policies keep from its child.
pub(super) fn denied(
    method: Method,
    routed: Routed,
    why: &str,
    began: Instant,
    audited: Option<Audited>,
) -> Failure {
    let failure = Failure::forbidden(why, audited.as_ref().map(Audited::correlation_id));
    let tool = (method == Method::CallTool).then(|| routed.route.own.clone());
    let needless = (routed.child, Need::of_no_account());
    telemetry::policy_denied(method.as_str());
    let mut settlement = Settlement::new(needless, method, tool, began).audited(audited);
    settlement.has_waited(routed.waited);
    settlement.failed(None, &failure);
    failure
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
    caller: &Caller,
    began: Instant,
    waited: Duration,
    audited: Option<Audited>,
) -> Failure {
    // What its own connection is told with is masked by that.
    let (own, callable) = match child.for_caller(caller) {
        Ok((own, _need)) => {
            let callable = own.callable().map(drop);
            (own, callable)
        }
        Err(failure) => (Arc::clone(child), Err(failure)),
    };
    let failure = match callable {
        Err(failure) => failure,
        Ok(()) => Failure::unavailable("has not been listed yet", None),
    };
    let tool = (method == Method::CallTool).then(|| "unknown".into());
    let needless = (own, Need::of_no_account());
    let mut settlement = Settlement::new(needless, method, tool, began).audited(audited);
    settlement.has_waited(waited);
    settlement.failed(None, &failure);
    failure
}
