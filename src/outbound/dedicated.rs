//! A connection of its own for each client session, for children that keep something
//! in memory that clients must not share: a browser, a working folder.
//!
//! Each is a child of the same entry with a task of its own. The session's first call
//! makes it; it ends with the session, with its entry, or when the session has not
//! needed it for `idleTimeout`. One that fails is not tried again for nobody: it ends
//! after its pause, and the session's next one goes on with the pauses where it was. The entry's own connection is there for what belongs to
//! no session: lists, and callers without one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Child, Failure, Need, Phase, Surroundings, supervisor::Backoff};
use crate::{
    config::{ChildSettings, SessionMode},
    protocol::{Era, Frame, SessionKey},
};

/// The sessions' own connections to one child.
#[derive(Debug)]
pub(super) struct Dedicated {
    surroundings: Surroundings,
    /// Ends all of them, with the entry.
    shutdown: CancellationToken,
    most: usize,
    /// By the number of the session.
    all: Mutex<HashMap<u64, Arc<Child>>>,
    /// How often the connections of a session have failed, that has none now.
    failed: Mutex<HashMap<u64, (SessionKey, Backoff)>>,
    tasks: TaskTracker,
}

impl Child {
    /// Who answers a caller's calls: the session's own connection, where the entry is
    /// `dedicated` and the caller has a session; else the child itself. The need is to be
    /// held until the call has ended: it starts a child that is idle, and keeps it
    /// running.
    ///
    /// # Errors
    ///
    /// `busy` when too many sessions have one, `unavailable` when the session is over.
    pub fn for_session(
        self: &Arc<Self>,
        session: Option<&SessionKey>,
    ) -> Result<(Arc<Self>, Need), Failure> {
        match (&self.dedicated, session) {
            (Some(dedicated), Some(session)) => dedicated.of(self, session),
            _ => Ok((Arc::clone(self), self.needed())),
        }
    }

    /// The connections that belong to one session each, as they are now.
    pub fn sessions(&self) -> Vec<Arc<Self>> {
        let dedicated = self.dedicated.as_ref();
        dedicated.map_or_else(Vec::new, |it| it.all().values().map(Arc::clone).collect())
    }

    /// Tells the session's own connection, if it has one and a legacy child at its end.
    /// A connection that all share knows nothing of one client.
    pub fn tell_dedicated(&self, session: &SessionKey, notification: &Frame) {
        let Some(dedicated) = &self.dedicated else {
            return;
        };
        let own = dedicated.all().get(&session.number()).map(Arc::clone);
        if let Some(connection) = own.and_then(|own| own.state().connection.clone())
            && connection.era() == Era::Legacy
        {
            connection.tell(notification.clone());
        }
    }

    /// Whether it is there for lists, and not for one session.
    pub(super) fn is_listed(&self) -> bool {
        self.session.is_none()
    }

    /// What the next one of its session goes on with, should it end now.
    pub(super) fn leaves_behind(&self, backoff: Option<Backoff>) {
        *self.backoff() = backoff;
    }

    fn left_behind(&self) -> Option<Backoff> {
        self.backoff().take()
    }

    fn backoff(&self) -> MutexGuard<'_, Option<Backoff>> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the session it belongs to, if it belongs to one: for the log.
    pub(super) fn session_number(&self) -> Option<u64> {
        self.session.as_ref().map(SessionKey::number)
    }
}

impl Dedicated {
    /// None yet; `None` for an entry whose connection all share.
    pub(super) fn new(
        settings: &ChildSettings,
        surroundings: &Surroundings,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        (settings.session == SessionMode::Dedicated).then(|| Self {
            surroundings: surroundings.clone(),
            shutdown: shutdown.clone(),
            most: settings.max_sessions,
            all: Mutex::default(),
            failed: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Waits for the end of all, once the entry has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn of(&self, entry: &Arc<Child>, session: &SessionKey) -> Result<(Arc<Child>, Need), Failure> {
        let number = session.number();
        let mut all = self.all();
        let mut before = None;
        if let Some(child) = all.get(&number) {
            // In this order: one that is needed does not fall idle.
            let need = child.needed();
            if child.state.borrow().phase != Phase::Idle {
                return Ok((Arc::clone(child), need));
            }
            before = child.left_behind();
        } else if all.len() >= self.most {
            return Err(Failure::busy(format!(
                "gives each client session a connection of its own, and {} sessions have one \
                 already",
                all.len()
            )));
        }
        if session.is_over() || self.shutdown.is_cancelled() {
            return Err(Failure::unavailable(
                "is not there for this session any more",
                None,
            ));
        }
        let shutdown = self.shutdown.child_token();
        let (child, task) = Child::dedicated_to(
            session.clone(),
            entry,
            before.or_else(|| Some(self.failed().remove(&number)?.1)),
            self.surroundings.clone(),
            shutdown.clone(),
        );
        let need = child.needed();
        all.insert(number, Arc::clone(&child));
        let leaves = Leaves {
            entry: Arc::clone(entry),
            child: Arc::clone(&child),
            number,
        };
        let session = session.clone();
        self.tasks.spawn(async move {
            let _leaves = leaves;
            tokio::pin!(task);
            tokio::select! {
                () = &mut task => {}
                () = session.over() => {
                    shutdown.cancel();
                    task.await;
                }
            }
        });
        Ok((child, need))
    }

    /// A session's connection has ended: the failures are kept for its next one.
    fn left(&self, number: u64, child: &Child) {
        let Some(session) = child.session.as_ref().filter(|it| !it.is_over()) else {
            return;
        };
        if let Some(backoff) = child.left_behind() {
            let mut failed = self.failed();
            failed.retain(|_, (session, _)| !session.is_over());
            failed.insert(number, (session.clone(), backoff));
        }
    }

    fn failed(&self) -> MutexGuard<'_, HashMap<u64, (SessionKey, Backoff)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Child>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that ends, however it does, makes room for another.
struct Leaves {
    entry: Arc<Child>,
    child: Arc<Child>,
    number: u64,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let Some(dedicated) = &self.entry.dedicated else {
            return;
        };
        let mut all = dedicated.all();
        // The session may have another one by now.
        if all
            .get(&self.number)
            .is_some_and(|child| Arc::ptr_eq(child, &self.child))
        {
            all.remove(&self.number);
            dedicated.left(self.number, &self.child);
        }
    }
}
