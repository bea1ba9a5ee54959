//! Which children there are: one for each entry, exchanged when the entry changes.
//!
//! A changed child is made before its predecessor is broken. Until the new one is
//! ready the old one serves; then it is given no more calls, ends those it has, and
//! goes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::watched;
use crate::{
    config::{ChildSettings, Settings},
    outbound::{Child, Surroundings},
    protocol::ChildName,
};

/// How long a new child that could not be connected may try again while its
/// predecessor serves.
const GRACE: Duration = Duration::from_secs(10);
/// How often a child that has gone is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The children as the fleet's task knows them.
#[derive(Debug)]
pub(super) struct Members {
    surroundings: Surroundings,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    members: Vec<Member>,
    /// Who has lost its place, and why. It is called until nobody finds it there any
    /// more: see [`Members::dismiss`].
    departed: Vec<(Supervised, &'static str)>,
}

/// One entry.
#[derive(Debug)]
struct Member {
    serving: Supervised,
    successor: Option<Successor>,
}

/// A child that is to take another's place.
#[derive(Debug)]
struct Successor {
    next: Supervised,
    /// Set when it could not be connected at first: it takes the place all the same.
    impatient_at: Option<Instant>,
}

/// A child, and what ends it.
#[derive(Clone, Debug)]
struct Supervised {
    child: Arc<Child>,
    end: CancellationToken,
}

/// What a new configuration has changed, as numbers of children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries that are new.
    pub added: usize,
    /// Entries that are gone.
    pub removed: usize,
    /// Entries that say something else.
    pub changed: usize,
    /// Entries whose children do not notice.
    pub unchanged: usize,
}

impl Members {
    /// Nobody yet.
    pub(super) fn new(
        surroundings: Surroundings,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            surroundings,
            tasks,
            shutdown,
            members: Vec::new(),
            departed: Vec::new(),
        }
    }

    /// The children that are to serve, in file order.
    pub(super) fn serving(&self) -> Vec<Arc<Child>> {
        let members = self.members.iter();
        members.map(|member| member.serving.child.clone()).collect()
    }

    /// Makes the children those of this configuration.
    pub(super) fn become_those_of(&mut self, settings: &Settings) -> Changes {
        let mut changes = Changes::default();
        let before = std::mem::take(&mut self.members).into_iter();
        let mut before: HashMap<ChildName, Member> = before
            .map(|member| (member.serving.child.name().clone(), member))
            .collect();
        for entry in &settings.children {
            let member = match before.remove(&entry.name) {
                None => {
                    changes.added += 1;
                    Member::of(self.start(entry, None))
                }
                Some(member) if member.wanted() == entry => {
                    changes.unchanged += 1;
                    member
                }
                Some(member) => {
                    changes.changed += 1;
                    self.changed(member, entry)
                }
            };
            self.members.push(member);
        }
        changes.removed = before.len();
        for Member { serving, successor } in before.into_values() {
            if let Some(Successor { next, .. }) = successor {
                next.end.cancel();
            }
            self.departed.push((serving, "removed"));
        }
        changes
    }

    /// Puts new children into the place of their predecessors, where it is time.
    pub(super) fn promote(&mut self) {
        for member in &mut self.members {
            let due = member.successor.as_mut().is_some_and(Successor::is_due);
            if let Some(Successor { next, .. }) = member.successor.take_if(|_| due) {
                let old = std::mem::replace(&mut member.serving, next);
                self.departed.push((old, "replaced"));
            }
        }
    }

    /// Lets those go that have lost their place. To be called when the snapshot no
    /// longer names them: who is refused by them finds another there.
    pub(super) fn dismiss(&mut self) {
        for (old, why) in self.departed.drain(..) {
            if old.child.settings.disabled.is_none() {
                self.tasks.spawn(old.retire(why));
            }
        }
    }

    /// When [`Members::promote`] is to be called although nothing has happened.
    pub(super) fn impatient_at(&self) -> Option<Instant> {
        let successors = self.members.iter().filter_map(|it| it.successor.as_ref());
        successors.filter_map(|it| it.impatient_at).min()
    }

    /// Whether every child serves that is to, or has been tried at least.
    pub(super) fn all_attempted(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.successor.is_none() && member.serving.child.state().attempted)
    }

    /// An entry says something else. What has no connection to lose and none to come, or
    /// is not to be used any more, is exchanged at once.
    fn changed(&mut self, mut member: Member, entry: &ChildSettings) -> Member {
        if let Some(Successor { next, .. }) = member.successor.take() {
            // It has never been called.
            next.end.cancel();
        }
        let old = &member.serving.child;
        if old.settings == *entry {
            return member;
        }
        let next = self.start(entry, Some(old));
        // Calls wait for what is undecided: they would be cut off.
        let state = old.state();
        if (state.phase.serves() || state.is_undecided()) && entry.disabled.is_none() {
            member.successor = Some(Successor {
                next,
                impatient_at: None,
            });
            return member;
        }
        self.departed.push((member.serving, "replaced"));
        Member::of(next)
    }

    /// Starts a child. What its predecessor was listed with stays listed until it has
    /// a list of its own.
    fn start(&self, entry: &ChildSettings, before: Option<&Child>) -> Supervised {
        let end = self.shutdown.child_token();
        let surroundings = self.surroundings.clone();
        let news = surroundings.news.clone();
        let (child, task) = Child::supervised(entry.clone(), surroundings, end.clone());
        if let Some(before) = before {
            child.inherit(before);
        }
        if let Some(task) = task {
            self.tasks.spawn(watched(Arc::clone(&child), news, task));
        }
        Supervised { child, end }
    }
}

impl Member {
    fn of(serving: Supervised) -> Self {
        Self {
            serving,
            successor: None,
        }
    }

    /// What it is to be.
    fn wanted(&self) -> &ChildSettings {
        let next = self.successor.as_ref().map(|successor| &successor.next);
        &next.unwrap_or(&self.serving).child.settings
    }
}

impl Successor {
    fn is_due(&mut self) -> bool {
        let state = self.next.child.state();
        if state.phase.serves() {
            return true;
        }
        if !state.attempted {
            return false;
        }
        let now = Instant::now();
        now >= *self.impatient_at.get_or_insert(now + GRACE)
    }
}

impl Supervised {
    /// Lets it end the calls it has, and then ends it.
    async fn retire(self, why: &'static str) {
        let Self { child, end } = self;
        info!(child = %child.name(), transport = child.transport(), state = why, "child");
        let patience = child.settings.max_call_timeout;
        let idle = async {
            while !child.close_if_idle() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let drained = tokio::time::timeout(patience, idle);
        if let Some(Err(_)) = end.run_until_cancelled(drained).await {
            let (in_flight, queued) = child.load();
            warn!(child = %child.name(), in_flight, queued, "ended with calls open");
        }
        child.close();
        end.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::{Semaphore, broadcast, mpsc, watch};

    use super::*;
    use crate::{
        identity::Identities,
        outbound::{HttpClient, Phase},
    };

    fn settings(entry: &str) -> Settings {
        let text = format!(r#"{{"mcpServers": {{"child": {entry}}}}}"#);
        Settings::from_json(Path::new("c.json"), &text, &HashMap::new()).unwrap()
    }

    fn members() -> Members {
        let shutdown = CancellationToken::new();
        let identity = &settings("{}").identity;
        let surroundings = Surroundings {
            http: HttpClient::new().unwrap(),
            identities: Identities::start(identity, shutdown.clone()).unwrap(),
            starts: Arc::new(Semaphore::new(1)),
            messages: broadcast::Sender::new(1),
            news: mpsc::unbounded_channel().0,
            cache: None,
            subscriptions: Default::default(),
            users_lists: Default::default(),
            log_level: watch::channel(None).1,
        };
        Members::new(surroundings, TaskTracker::new(), shutdown)
    }

    /// Whoever finds it in the snapshot would be refused, and find nobody else there.
    #[tokio::test]
    async fn a_child_is_called_until_it_is_dismissed() {
        let mut members = members();
        members.become_those_of(&settings(r#"{"url": "http://127.0.0.1:1"}"#));
        let old = members.serving().remove(0);
        members.become_those_of(&settings(
            r#"{"url": "http://127.0.0.1:1", "disabled": true}"#,
        ));
        assert!(!Arc::ptr_eq(&members.serving()[0], &old));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(old.slot().await.expect("it is still called"));

        members.dismiss();

        members.tasks.close();
        members.tasks.wait().await;
        assert!(old.slot().await.is_err());
    }

    #[tokio::test]
    async fn a_child_whose_supervision_has_failed_is_down() {
        let Members {
            surroundings,
            shutdown,
            ..
        } = members();
        let entry = settings(r#"{"url": "http://127.0.0.1:1"}"#)
            .children
            .remove(0);
        let (child, _) = Child::supervised(entry, surroundings, shutdown);
        let (news, mut told) = mpsc::unbounded_channel();

        watched(Arc::clone(&child), news, async { panic!("as planned") }).await;

        assert!(told.try_recv().is_ok());
        assert_eq!(child.state().phase, Phase::Down);
        let refused = child.callable().unwrap_err();
        assert!(
            refused.reason.contains("restart the multiplexer"),
            "{refused}"
        );
    }
}
