//! `tools/call`: route it, carry it, settle it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    call::{Answer, Answered, Call, METHOD},
    failure::tool_failure,
    long::{self, LongReply},
    route::{self, Routed, Unrouted},
    settle::Settlement,
};
use crate::{
    fleet::Fleet,
    outbound::{Child, Failure},
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

    /// Carries one `tools/call`. What the child sends before its answer goes to
    /// `asides`. Its drop cancels the child's work.
    pub async fn tool_call(
        &self,
        frame: &Frame,
        params: &Params,
        caller: &Caller,
        asides: &mpsc::Sender<Bytes>,
    ) -> Reply {
        let id = frame.id().unwrap_or("null");
        let name = params.name.as_deref().unwrap_or_default();
        let began = Instant::now();
        let Routed {
            child,
            route,
            waited,
        } = match route::tool(&self.fleet, name).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                return Reply::Whole(error.answer(Some(id)).into_bytes());
            }
            Err(Unrouted::Unlisted(child, waited)) => {
                return unlisted(id, caller.era, &child, began, waited);
            }
        };
        let mut settlement = Settlement::new(Arc::clone(&child), METHOD, route.own.clone(), began);
        settlement.has_waited(waited);
        let mut call = Call {
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
        match call.carry(&mut settlement).await {
            Ok(Answered {
                answer: Answer::Whole(answer, outcome),
                connection,
            }) => {
                settlement.answered(&connection, outcome);
                Reply::Whole(answer)
            }
            Ok(Answered {
                answer: Answer::Long(answer),
                connection,
            }) => {
                let patience = child.settings.call_timeout;
                Reply::Long(long::pass(answer, connection, settlement, patience))
            }
            Err(failure) => {
                settlement.failed(call.used.as_deref(), &failure);
                Reply::Whole(tool_failure(id, caller.era, child.name(), &failure).into_bytes())
            }
        }
    }
}

/// A child that has never been listed: whether it has such a tool, nobody knows.
fn unlisted(id: &str, era: Era, child: &Arc<Child>, began: Instant, waited: Duration) -> Reply {
    let failure = match child.callable() {
        Err(failure) => failure,
        Ok(_) => Failure::unavailable("has not been listed yet", None),
    };
    let mut settlement = Settlement::new(Arc::clone(child), METHOD, "unknown".into(), began);
    settlement.has_waited(waited);
    settlement.failed(None, &failure);
    Reply::Whole(tool_failure(id, era, child.name(), &failure).into_bytes())
}
