//! Notifications of clients that the specification does not know.

use super::{
    Method, Relay,
    route::{Routed, Wanted},
};
use crate::{
    policy::Verdict,
    protocol::{Caller, Frame, request::Params},
};

impl Relay {
    /// Passes on a notification that the specification does not know, to the child whose
    /// it is. Nobody waits for it: where that child is not connected, it is dropped and
    /// counted.
    pub fn notify(&self, frame: &Frame, caller: &Caller) {
        let method = frame.method().unwrap_or_default();
        let Ok(params) = Params::read(frame, &method) else {
            return;
        };
        let wanted = Wanted::of(Method::Other, &method, &params, caller, &self.owners);
        let routed = wanted.look_up(&self.fleet.snapshot_for(caller));
        let Some(Routed { child, route, .. }) =
            routed.filter(|routed| routed.verdict == Verdict::Usable)
        else {
            return;
        };
        // First: a child that is idle is not started for it.
        let started = match child.settings.is_per_user() {
            // It has no connection of everybody's.
            true => Ok(()),
            false => child.callable().map(drop),
        };
        let callable = started.and_then(|()| {
            let (own, need) = child.for_caller(caller)?;
            Ok((own.callable()?, need))
        });
        let told = callable.is_ok_and(|(connection, _need)| {
            connection.is_used_by(caller);
            let renamed = Frame::read(params.renamed(frame, route.own.as_str()));
            renamed.is_ok_and(|notification| connection.tell(notification))
        });
        if !told {
            child.metrics.message_dropped();
        }
    }
}
