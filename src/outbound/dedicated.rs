//! A connection of its own for each client session, for children that keep something
//! in memory that clients must not share: a browser, a working folder. And one for each
//! user, for children that are to know who their users are.
//!
//! Each is a child of the same entry with a task of its own. Its owner's first call
//! makes it; it ends with the session, with its entry, or when it has not been needed for
//! `idleTimeout`. One that fails is not tried again for nobody: it ends
//! after its pause, and the owner's next one goes on with the pauses where it was. The
//! entry's own connection is there for what belongs to nobody: lists, and callers of whom
//! nothing is known. Where the child knows its users, there is none.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Child, Failure, Need, Phase, Shown, Surroundings,
    credentials::{How, UserTokens},
    demand::Demand,
    owner::{Owner, OwnerKey},
    room::{self, Place},
    supervisor::Backoff,
};
use crate::{
    catalog::Listing,
    config::{AuthSettings, ChildSettings, SessionMode, TransportSettings},
    protocol::{Caller, Era, Frame, SessionKey, SubjectKey},
};

/// Users whose lists are remembered while they have no connection.
const LISTS: usize = 1_000;

/// The owners' own connections to one child.
#[derive(Debug)]
pub(super) struct Dedicated {
    surroundings: Surroundings,
    /// Ends all of them, with the entry.
    shutdown: CancellationToken,
    most: usize,
    all: Mutex<HashMap<OwnerKey, Own>>,
    /// How often the connections of an owner have failed, that has none now.
    failed: Mutex<HashMap<OwnerKey, (Owner, Backoff)>>,
    /// What the child lists to each user.
    lists: Mutex<HashMap<OwnerKey, Listed>>,
    /// Moves when it lists something else to anybody.
    lists_changed: AtomicU64,
    /// What becomes of users' tokens.
    how: OnceLock<How>,
    tasks: TaskTracker,
}

/// One owner's connection.
#[derive(Debug)]
struct Own {
    child: Arc<Child>,
    end: CancellationToken,
    asked_for: Instant,
}

#[derive(Debug)]
struct Listed {
    listing: Arc<Listing>,
    at: Instant,
}

impl Child {
    /// Who answers a caller's calls: its own connection, where the entry gives it one;
    /// else the child itself. The need is to be held until the call has ended: it starts a
    /// child that is idle, and keeps it running.
    ///
    /// # Errors
    ///
    /// `busy` when too many have one, `unavailable` when the session is over,
    /// `unauthorized` where the child is to know its users and does not know this one.
    pub fn for_caller(self: &Arc<Self>, caller: &Caller) -> Result<(Arc<Self>, Need), Failure> {
        // A disabled entry has nobody's connection: its own says why.
        let dedicated = self.dedicated.as_ref();
        match dedicated.filter(|_| self.settings.disabled.is_none()) {
            None => Ok((Arc::clone(self), self.needed())),
            Some(dedicated) => match Owner::of(&self.settings, caller)? {
                None => Ok((Arc::clone(self), self.needed())),
                Some(owner) => dedicated.of(self, owner, Shown::of(caller)),
            },
        }
    }

    /// What a caller's requests are to show of it to the child.
    pub fn shown_by(&self, caller: &Caller) -> Option<Shown> {
        self.tokens.as_ref().and_then(|_| Shown::of(caller))
    }

    /// What it lists to this caller, of whom it knows who that is; `None` where that is not
    /// known yet.
    pub fn listing_for(&self, caller: &Caller) -> Option<Arc<Listing>> {
        let dedicated = self.dedicated.as_ref()?;
        let owner = Owner::of(&self.settings, caller).ok()??;
        let listed = lock(&dedicated.lists)
            .get(&owner.key())
            .map(|it| Arc::clone(&it.listing));
        // Forgotten for others' sake, its connection knows it still.
        listed.or_else(|| lock(&dedicated.all).get(&owner.key())?.child.listing())
    }

    /// How often it has listed something else to any of its users.
    pub fn lists_changed(&self) -> u64 {
        let dedicated = self.dedicated.as_ref();
        dedicated.map_or(0, |it| it.lists_changed.load(Ordering::Acquire))
    }

    /// The connections that belong to one owner each, as they are now.
    pub fn sessions(&self) -> Vec<Arc<Self>> {
        let dedicated = self.dedicated.as_ref();
        dedicated.map_or_else(Vec::new, |it| {
            let all = lock(&it.all);
            all.values().map(|own| Arc::clone(&own.child)).collect()
        })
    }

    /// Tells the session's own connection, if it has one and a legacy child at its end.
    /// A connection that all share knows nothing of one client.
    pub fn tell_dedicated(&self, session: &SessionKey, notification: &Frame) {
        for own in self.sessions() {
            let is_its = |owner: &Owner| {
                let its = owner.session.as_ref();
                its.is_some_and(|its| its.number() == session.number())
            };
            if own.owner.as_ref().is_some_and(is_its)
                && let Some(connection) = own.state().connection.clone()
                && connection.era() == Era::Legacy
            {
                connection.tell(notification.clone());
            }
        }
    }

    /// Whether it is the entry, and not somebody's own connection to it.
    pub(super) fn is_entry(&self) -> bool {
        self.owner.is_none()
    }

    /// Whether anybody sees what it lists.
    pub(super) fn is_listed(&self) -> bool {
        self.is_entry() || self.settings.is_per_user()
    }

    /// What the next one of its owner goes on with, should it end now.
    pub(super) fn leaves_behind(&self, backoff: Option<Backoff>) {
        *lock(&self.backoff) = backoff;
    }

    fn left_behind(&self) -> Option<Backoff> {
        lock(&self.backoff).take()
    }

    /// The number of the session it belongs to, if it belongs to one: for the log.
    pub(super) fn session_number(&self) -> Option<u64> {
        self.owner
            .as_ref()?
            .session
            .as_ref()
            .map(SessionKey::number)
    }

    /// Lists this from now on, in this era.
    pub(super) fn lists(&self, listing: Arc<Listing>, era: Era) {
        if let Some(owner) = &self.owner
            && let Some(entry) = self.entry.upgrade()
            && let Some(dedicated) = &entry.dedicated
        {
            // The next one begins with what has worked.
            entry.state.send_if_modified(|state| {
                let is_new = state.era != Some(era);
                if is_new {
                    Arc::make_mut(state).era = Some(era);
                }
                is_new
            });
            dedicated.lists(owner.key(), Arc::clone(&listing));
        }
        self.listing.store(Some(listing));
    }
}

impl Dedicated {
    /// None yet; `None` for an entry whose connection all share.
    pub(super) fn new(
        settings: &ChildSettings,
        surroundings: &Surroundings,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        let wanted = settings.session == SessionMode::Dedicated || settings.is_per_user();
        wanted.then(|| Self {
            surroundings: surroundings.clone(),
            shutdown: shutdown.clone(),
            most: settings.max_sessions,
            all: Mutex::default(),
            failed: Mutex::default(),
            lists: Mutex::default(),
            lists_changed: AtomicU64::new(0),
            how: OnceLock::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Waits for the end of all, once the entry has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn of(
        &self,
        entry: &Arc<Child>,
        owner: Owner,
        shown: Option<Shown>,
    ) -> Result<(Arc<Child>, Need), Failure> {
        let key = owner.key();
        let mut all = lock(&self.all);
        let mut before = None;
        if let Some(own) = all.get_mut(&key) {
            // In this order: one that is needed does not fall idle.
            let need = own.child.needed();
            own.asked_for = Instant::now();
            let state = own.child.state();
            let refused_another = || {
                let shown = shown.as_ref().map(|shown| &shown.bearer);
                let tokens = own.child.tokens.as_ref();
                state.refused.is_some()
                    && shown.is_some_and(|it| tokens.is_some_and(|tokens| !tokens.has_shown(it)))
            };
            if state.phase != Phase::Idle && !refused_another() {
                if let Some(tokens) = &own.child.tokens {
                    tokens.shows(shown);
                }
                return Ok((Arc::clone(&own.child), need));
            }
            match state.phase {
                Phase::Idle => before = own.child.left_behind(),
                // Another token is another matter.
                _ => own.end.cancel(),
            }
        } else {
            self.make_room(&mut all, &owner)?;
        }
        if owner.is_over() || self.shutdown.is_cancelled() {
            return Err(Failure::unavailable(
                "is not there for this client any more",
                None,
            ));
        }
        let tokens = self.tokens(entry, shown)?;
        let end = self.shutdown.child_token();
        let (child, task) = Child::dedicated_to(
            owner.clone(),
            tokens,
            entry,
            before.or_else(|| Some(lock(&self.failed).remove(&key)?.1)),
            self.surroundings.clone(),
            end.clone(),
        );
        let need = child.needed();
        let own = Own {
            child: Arc::clone(&child),
            end: end.clone(),
            asked_for: Instant::now(),
        };
        all.insert(key.clone(), own);
        let leaves = Leaves {
            entry: Arc::clone(entry),
            child: Arc::clone(&child),
            key,
        };
        self.tasks.spawn(async move {
            let _leaves = leaves;
            tokio::pin!(task);
            tokio::select! {
                () = &mut task => {}
                () = owner.over() => {
                    end.cancel();
                    task.await;
                }
            }
        });
        Ok((child, need))
    }

    /// What the user has shown, for a child that is to know it.
    fn tokens(
        &self,
        entry: &Child,
        shown: Option<Shown>,
    ) -> Result<Option<Arc<UserTokens>>, Failure> {
        if !entry.settings.is_per_user() {
            return Ok(None);
        }
        let tokens = UserTokens::new(self.how(&entry.settings)?);
        tokens.shows(shown);
        Ok(Some(Arc::new(tokens)))
    }

    fn how(&self, settings: &ChildSettings) -> Result<How, Failure> {
        if let Some(how) = self.how.get() {
            return Ok(how.clone());
        }
        let ChildSettings {
            name,
            auth,
            transport,
            ..
        } = settings;
        let how = match (auth, transport) {
            (AuthSettings::Passthrough, _) => How::PassedOn,
            (_, TransportSettings::Http(remote) | TransportSettings::Sse(remote)) => {
                let identities = &self.surroundings.identities;
                let exchange = identities
                    .exchange(name, auth, &remote.url)
                    .map_err(|error| {
                        Failure::not_sent("cannot be given a token as its \"auth\" asks")
                            .with_detail(&error.to_string())
                    })?;
                exchange.map_or(How::Withheld, How::Exchanged)
            }
            _ => How::Withheld,
        };
        Ok(self.how.get_or_init(|| how).clone())
    }

    /// Makes room for one more, if there is none.
    fn make_room(&self, all: &mut HashMap<OwnerKey, Own>, owner: &Owner) -> Result<(), Failure> {
        let places = all.iter().map(|(key, own)| Place {
            key: key.clone(),
            subject: own.subject(),
            keeps_state: own.child.settings.session == SessionMode::Dedicated,
            is_needed: own.child.demand.as_ref().is_some_and(Demand::is_some),
            asked_for: own.asked_for,
        });
        let given_up = room::made_for(owner.subject.as_ref(), self.most, places.collect())?;
        if let Some(own) = given_up.and_then(|key| all.remove(&key)) {
            own.end.cancel();
        }
        Ok(())
    }

    /// The child lists this to the owner.
    fn lists(&self, key: OwnerKey, listing: Arc<Listing>) {
        let mut lists = lock(&self.lists);
        if lists.len() >= LISTS && !lists.contains_key(&key) {
            let oldest = lists.iter().min_by_key(|(_, listed)| listed.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                lists.remove(&oldest);
            }
        }
        let at = Instant::now();
        let user = key.user().cloned();
        let before = lists.insert(
            key,
            Listed {
                listing: Arc::clone(&listing),
                at,
            },
        );
        if before.is_none_or(|before| *before.listing != *listing) {
            self.lists_changed.fetch_add(1, Ordering::AcqRel);
        }
        drop(lists);
        if let Some(user) = user {
            self.surroundings.users_lists.moved(&user);
        }
    }

    /// An owner's connection has ended: the failures are kept for its next one.
    fn left(&self, key: OwnerKey, child: &Child) {
        let Some(owner) = child.owner.as_ref().filter(|it| !it.is_over()) else {
            return;
        };
        if let Some(backoff) = child.left_behind() {
            let mut failed = lock(&self.failed);
            failed.retain(|_, (owner, _)| !owner.is_over());
            // Users come and go, and never end.
            if failed.len() >= LISTS {
                failed.clear();
            }
            failed.insert(key, (owner.clone(), backoff));
        }
    }
}

impl Own {
    fn subject(&self) -> Option<SubjectKey> {
        self.child.owner.as_ref()?.subject.clone()
    }
}

/// A connection that ends, however it does, makes room for another.
struct Leaves {
    entry: Arc<Child>,
    child: Arc<Child>,
    key: OwnerKey,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let Some(dedicated) = &self.entry.dedicated else {
            return;
        };
        let mut all = lock(&dedicated.all);
        // The owner may have another one by now.
        if all
            .get(&self.key)
            .is_some_and(|own| Arc::ptr_eq(&own.child, &self.child))
        {
            all.remove(&self.key);
            dedicated.left(self.key.clone(), &self.child);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
