//! A subscription to a resource: whose it is, and what its child makes of it.

use std::{pin::pin, sync::Arc, time::Instant};

use futures::FutureExt;

use super::{
    Method, Relay,
    call::patience,
    deadline::Deadline,
    failure,
    request::{denied, unlisted},
    route::{Routed, Unrouted, Wanted},
    settle::Settlement,
};
use crate::{
    catalog::Primitive,
    outbound::{self, Child, Failure, Listener, Need, Subscription},
    policy::Verdict,
    protocol::{
        Caller, Frame,
        error::{RpcError, code},
    },
    telemetry::Outcome,
};

impl Relay {
    /// Subscribes a client to the resource it knows as `uri`: its updates go to `listener`
    /// until the subscription is dropped, whatever becomes of the child's connection.
    ///
    /// # Errors
    ///
    /// The answer to the request of this `id` (JSON text): the child's own error, or why
    /// it was not asked.
    pub async fn subscribe(
        &self,
        uri: &str,
        id: &str,
        caller: &Caller,
        listener: &Listener,
    ) -> Result<Subscription, Frame> {
        const METHOD: Method = Method::Subscribe;
        let began = Instant::now();
        let told = |child: &Child, failure: &Failure| {
            failure::answer(METHOD, id, caller.era, child.name(), failure)
        };
        let wanted = Wanted::resource(uri, caller, &self.owners);
        let audited = || self.audited(caller, id, None, Some(Primitive::Resource), uri);
        let mut routed = match wanted.find(&self.fleet).await {
            Ok(routed) => routed,
            Err(Unrouted::Unknown(error)) => {
                self.is_unknown(METHOD, &wanted, began, audited());
                return Err(error.answer(Some(id)));
            }
            Err(Unrouted::Unlisted(child, waited)) => {
                let failure = unlisted(METHOD, &child, caller, began, waited, audited());
                return Err(told(&child, &failure));
            }
        };
        let settles = |one| Settlement::new(one, METHOD, None, began).audited(audited());
        let (child, route, connection, mut settlement) = loop {
            if let Verdict::Shown(why) = routed.verdict.clone() {
                let child = Arc::clone(&routed.child);
                let failure = denied(METHOD, routed, &why, began, audited());
                return Err(told(&child, &failure));
            }
            let Routed {
                child: entry,
                route,
                waited,
                ..
            } = routed;
            let (child, need) = match entry.for_caller(caller) {
                Ok(one) => one,
                Err(failure) => {
                    if let Some(next) = wanted.successor(&self.fleet, &entry) {
                        routed = next;
                        continue;
                    }
                    settles((Arc::clone(&entry), Need::of_no_account())).failed(None, &failure);
                    return Err(told(&entry, &failure));
                }
            };
            let mut settlement = settles((Arc::clone(&child), need));
            settlement.has_waited(waited);
            let connection = settlement.waiting(child.callable_soon(patience(&child)));
            let failure = match connection.await {
                Ok(connection) => break (child, route, connection, settlement),
                Err(failure) => failure,
            };
            // One that came too late for a child that has gone is its successor's.
            if let Some(next) = wanted.successor(&self.fleet, &entry) {
                routed = Routed {
                    waited: settlement.passed_on(),
                    ..next
                };
                continue;
            }
            settlement.failed(None, &failure);
            return Err(told(&child, &failure));
        };
        if !connection.tells_of_updates() {
            settlement.answered_here(Outcome::RpcError);
            let sentence = format!(
                "The server {:?} does not tell when its resources change: it does not declare \
                 resources.subscribe",
                child.name().as_str()
            );
            return Err(RpcError::new(code::METHOD_NOT_FOUND, sentence).answer(Some(id)));
        }
        let asked = async {
            let subscription = child.subscriptions.subscribe(&route.own, uri, listener)?;
            let limit = child.settings.call_timeout;
            let deadline = Deadline::new(limit, child.settings.max_call_timeout);
            // With what it has said before it is not asked again.
            if let Some(verdict) = subscription.settled().now_or_never() {
                return Ok((subscription, verdict, false));
            }
            let verdict = {
                let settled = pin!(async { Ok(subscription.settled().await) });
                deadline.bounds(settled).await?
            };
            Ok((subscription, verdict, true))
        };
        match settlement.waiting(asked).await {
            Ok((subscription, outbound::Verdict::Held, asked)) => {
                match asked {
                    true => settlement.answered(&connection, Outcome::Ok),
                    false => settlement.answered_here(Outcome::Ok),
                }
                Ok(subscription)
            }
            Ok((_, outbound::Verdict::Refused(error), _)) => {
                settlement.answered(&connection, Outcome::RpcError);
                Err(Frame::made(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#
                )))
            }
            Ok((_, outbound::Verdict::Failed(failure), _)) | Err(failure) => {
                settlement.failed(Some(&connection), &failure);
                Err(told(&child, &failure))
            }
        }
    }
}
