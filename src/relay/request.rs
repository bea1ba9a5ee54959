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
    long::{self, LongReply, Patience},
    route::{Routed, Unrouted, Wanted},
    settle::Settlement,
};
use crate::{
    catalog::{Mirrored, Route},
    fleet::Fleet,
    outbound::{Child, Failure, Need},
    protocol::{
        Caller, Era, Frame, answer,
        error::{RpcError, code},
        request::Params,
    },
    telemetry::Outcome,
};

/// Carries requests between clients and children.
#[derive(Clone, Debug)]
pub struct Relay {
    fleet: Arc<Fleet>,
}

/// What a client is answered with.
pub enum Reply {
    /// The whole answer.
    Whole(Bytes),
    /// An answer that is still arriving.
    Long(LongReply),
}

impl Relay {
    /// A relay to these children.
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
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
        let wanted = Wanted::of(method, &name, params, caller);
        let mut routed = match wanted.find(&self.fleet).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                return Reply::Whole(error.answer(Some(id)).into_bytes());
            }
            Err(Unrouted::Unlisted(child, waited)) => {
                return unlisted(method, id, caller.era, &child, began, waited);
            }
        };
        // Made for what the client saw listed: only with that are its headers compared.
        let mut mirrored = match mirrored_by(frame, &routed.route) {
            Ok(mirrored) => mirrored,
            Err(error) => return Reply::Whole(error.answer(Some(id)).into_bytes()),
        };
        if let (Some(mirrored), Some(headers)) = (&mirrored, &params.headers)
            && let Err(error) = mirrored.check(headers)
        {
            return Reply::Whole(error.answer(Some(id)).into_bytes());
        }
        let mut listed_anew = false;
        loop {
            let Routed {
                child: entry,
                route,
                waited,
            } = routed;
            let tool = (method == Method::CallTool).then(|| route.own.clone());
            let settles = |one| Settlement::new(one, method, tool, began);
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
                deadline: None,
                used: None,
            };
            let failure = match call.carry(&mut settlement).await {
                Ok(Answered {
                    answer: Answer::Whole(answer, outcome),
                    connection,
                    ..
                }) => {
                    let refused = outcome == Outcome::RpcError && connection.reads_headers();
                    if refused && !std::mem::replace(&mut listed_anew, true) && mismatch(&answer) {
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
                    settlement.answered(&connection, outcome);
                    return Reply::Whole(answer);
                }
                Ok(Answered {
                    answer: Answer::Long(answer, last),
                    connection,
                    ..
                }) => {
                    let patience = Patience {
                        pause: child.settings.call_timeout,
                        last,
                    };
                    return Reply::Long(long::pass(answer, connection, settlement, patience));
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

    /// Passes on a notification that the specification does not know, to the child whose
    /// it is. Nobody waits for it: where that child is not connected, it is dropped and
    /// counted.
    pub fn notify(&self, frame: &Frame, caller: &Caller) {
        let method = frame.method().unwrap_or_default();
        let Ok(params) = Params::read(frame, &method) else {
            return;
        };
        let wanted = Wanted::of(Method::Other, &method, &params, caller);
        let Some(Routed { child, route, .. }) = wanted.look_up(&self.fleet.snapshot()) else {
            return;
        };
        // First: a child that is idle is not started for it.
        let callable = child.callable().and_then(|_| {
            let (own, need) = child.for_session(caller.session.as_ref())?;
            Ok((own.callable()?, need))
        });
        let told = callable.is_ok_and(|(connection, _need)| {
            let renamed = Frame::read(params.renamed(frame, route.own.as_str()));
            renamed.is_ok_and(|notification| connection.tell(notification))
        });
        if !told {
            child.metrics.message_dropped();
        }
    }
}

/// What the headers of a call must say, for a tool that wants it said there.
fn mirrored_by(frame: &Frame, route: &Route) -> Result<Option<Mirrored>, RpcError> {
    let mirrors = route.mirrors.as_ref();
    mirrors.map(|mirrors| mirrors.of(frame)).transpose()
}

/// Whether the child says that our headers are not those its tool asks for.
fn mismatch(answer: &Bytes) -> bool {
    let frame = Frame::read(answer.clone()).ok();
    frame.and_then(|frame| answer::error_code(&frame)) == Some(code::HEADER_MISMATCH)
}

/// A child that has never been listed: whether it has such a thing, nobody knows.
fn unlisted(
    method: Method,
    id: &str,
    era: Era,
    child: &Arc<Child>,
    began: Instant,
    waited: Duration,
) -> Reply {
    let failure = match child.callable() {
        Err(failure) => failure,
        Ok(_) => Failure::unavailable("has not been listed yet", None),
    };
    let tool = (method == Method::CallTool).then(|| "unknown".into());
    let needless = (Arc::clone(child), Need::of_no_account());
    let mut settlement = Settlement::new(needless, method, tool, began);
    settlement.has_waited(waited);
    settlement.failed(None, &failure);
    Reply::Whole(failure::answer(method, id, era, child.name(), &failure).into_bytes())
}
