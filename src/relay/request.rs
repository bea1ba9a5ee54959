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
    route::{self, Routed, Unrouted},
    settle::Settlement,
};
use crate::{
    fleet::Fleet,
    outbound::{Child, Failure, Need},
    protocol::{Caller, Era, Frame, request::Params},
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

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
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
        let name = params.name.as_deref().unwrap_or_default();
        let began = Instant::now();
        let primitive = method.names(params);
        let mut routed = match route::find(&self.fleet, primitive, name, caller.era).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                return Reply::Whole(error.answer(Some(id)).into_bytes());
            }
            Err(Unrouted::Unlisted(child, waited)) => {
                return unlisted(method, id, caller.era, &child, began, waited);
            }
        };
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
                    if let Some(next) = route::successor(&self.fleet, primitive, name, &entry) {
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
                asides,
                deadline: None,
                used: None,
            };
            let failure = match call.carry(&mut settlement).await {
                Ok(Answered {
                    answer: Answer::Whole(answer, outcome),
                    connection,
                }) => {
                    settlement.answered(&connection, outcome);
                    return Reply::Whole(answer);
                }
                Ok(Answered {
                    answer: Answer::Long(answer, last),
                    connection,
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
                && let Some(next) = route::successor(&self.fleet, primitive, name, &entry)
            {
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
