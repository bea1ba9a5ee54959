//! What a child says outside of any request of a client.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast, mpsc};
use tracing::{debug, warn};

use super::{
    at_work::{AtWork, Whose},
    elicited::Elicited,
    link::Link,
    outside::Outside,
    owner::Owner,
    subscriptions::Subscriptions,
    taken_back,
};
use crate::{
    catalog::Family,
    protocol::{ChildName, Frame, Kind, SessionKey, User, is_specified},
    telemetry::ChildMetrics,
};

/// How many messages may wait for the control plane. It is rare traffic; a child
/// that floods loses what is beyond, so that the reader never waits.
const CONTROL_QUEUE: usize = 64;

/// A log message of a child, or a notification that the specification does not know,
/// that belongs to no single request.
#[derive(Clone, Debug)]
pub struct ChildMessage {
    /// Whose it is.
    pub child: ChildName,
    /// The number of the session whose own connection it came by; `None`: everybody's.
    pub session: Option<u64>,
    /// The user for whom alone it may be; `None`: for whoever sees the child.
    pub user: Option<User>,
    /// As the child sent it.
    pub frame: Frame,
}

/// Where each kind of unasked message goes; clones lead to the same places.
#[derive(Clone, Debug)]
pub(super) struct Unasked {
    child: ChildName,
    owner: Option<Owner>,
    at_work: AtWork,
    /// Wakes the child's task; many changes before it looks are one.
    changed: Arc<Notify>,
    messages: broadcast::Sender<ChildMessage>,
    /// Who is told of resources that have changed.
    subscriptions: Arc<Subscriptions>,
    control: mpsc::Sender<Frame>,
    outside: Outside,
    elicited: Elicited,
    metrics: ChildMetrics,
}

impl Unasked {
    /// The places, and the end at which the control plane receives.
    pub(super) fn new(
        child: ChildName,
        changed: Arc<Notify>,
        messages: broadcast::Sender<ChildMessage>,
        metrics: ChildMetrics,
    ) -> (Self, mpsc::Receiver<Frame>) {
        let (control, receiver) = mpsc::channel(CONTROL_QUEUE);
        let unasked = Self {
            child,
            owner: None,
            at_work: AtWork::default(),
            changed,
            messages,
            subscriptions: Arc::default(),
            control,
            outside: Outside::default(),
            elicited: Elicited::default(),
            metrics,
        };
        (unasked, receiver)
    }

    /// The same, on a connection that is somebody's own.
    pub(super) fn of_owner(self, owner: Option<Owner>) -> Self {
        Self { owner, ..self }
    }

    /// Who has used the connection.
    pub(super) fn at_work(&self) -> &AtWork {
        &self.at_work
    }

    fn session(&self) -> Option<&SessionKey> {
        self.owner.as_ref()?.session.as_ref()
    }

    /// Passes on what may be of anybody who uses the connection, to whom it may be of.
    fn pass(&self, frame: Frame) {
        let user = match (&self.owner, self.at_work.whose()) {
            (Some(owner), _) => owner.user.clone(),
            (None, Whose::Everybodys) => None,
            (None, Whose::Only(user)) => Some(user),
            (None, Whose::Unknown) => return self.dropped(),
        };
        // Without a receiver nobody listens: not an error.
        let _ = self.messages.send(ChildMessage {
            child: self.child.clone(),
            session: self.session().map(SessionKey::number),
            user,
            frame,
        });
    }

    /// The same, where updates go to those who have subscribed here.
    pub(super) fn tells(self, subscriptions: Arc<Subscriptions>) -> Self {
        Self {
            subscriptions,
            ..self
        }
    }

    /// The same, where these elicitations may come to their end.
    pub(super) fn completes(self, elicited: Elicited) -> Self {
        Self { elicited, ..self }
    }

    /// What the child has elicited by URL.
    pub(super) fn elicited(&self) -> &Elicited {
        &self.elicited
    }

    /// Sorts one message, which came by `link`, by its kind. Never waits.
    pub(super) fn sort(&self, frame: Frame, link: &Link) {
        match (frame.kind(), frame.method().as_deref()) {
            (Kind::Notification, Some(method)) if is_list_changed(method) => {
                self.changed.notify_one();
            }
            (Kind::Notification, Some(method))
                if method == "notifications/message" || !is_specified(method) =>
            {
                self.pass(frame);
            }
            (Kind::Notification, Some("notifications/resources/updated"))
                if self.subscriptions.updated(&frame) => {}
            (Kind::Notification, Some("notifications/elicitation/complete"))
                if self.elicited.complete(&frame, self.session()) => {}
            // What answers a request, of either kind.
            (Kind::Result | Kind::Error, _)
            | (Kind::Notification, Some("notifications/subscriptions/acknowledged")) => {
                self.to_control(frame);
            }
            (Kind::Request, Some("ping"))
                // The other half of the queue is for answers.
                if self.control.capacity() > CONTROL_QUEUE / 2 =>
            {
                self.to_control(frame);
            }
            (Kind::Request, Some(method)) if method != "ping" => {
                self.outside.take(frame, self.session(), link);
            }
            (Kind::Notification, Some("notifications/cancelled")) => {
                if let Some(id) = taken_back(&frame) {
                    self.outside.withdraw(id);
                }
                // Its question may have come by any of its streams.
                if let Link::Http(http) = link {
                    http.takes_back(frame);
                }
            }
            _ => self.dropped(),
        }
    }

    /// Hands a message to rmcp: an answer to one of its requests, mostly.
    pub(super) fn to_control(&self, frame: Frame) {
        if self.control.try_send(frame).is_err() {
            self.dropped();
        }
    }

    /// A message of more than `limit` bytes.
    pub(super) fn too_long(&self, limit: usize) {
        warn!(child = %self.child, limit, "a message over the limit was dropped");
        self.dropped();
    }

    /// A request of the child's was answered, and the answer did not reach it.
    pub(super) fn unanswered(&self, reason: &str) {
        debug!(child = %self.child, reason, "a child's request stays unanswered");
        self.dropped();
    }

    /// A message nobody could take.
    pub(super) fn dropped(&self) {
        self.metrics.message_dropped();
    }
}

fn is_list_changed(method: &str) -> bool {
    Family::ALL
        .iter()
        .any(|family| family.list_changed() == method)
}
