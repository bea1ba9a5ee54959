//! What each user sees, where children list something else to each.
//!
//! A user's snapshot is that of all with what those children list to this user in its
//! place. Nothing that one user was shown stands in another's. It is made when what all
//! see has changed, or what is listed to this user: nothing is gathered in between, and
//! nobody waits for another user's.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;

use super::{
    FIRST_ROUND, Fleet, Snapshot,
    views::{Sources, Views, is_same, offer},
};
use crate::{
    catalog::{Catalog, Listing},
    config::SessionMode,
    outbound::{Child, Need, UsersLists},
    protocol::{Caller, SessionKey, User, View},
};

/// Users whose snapshots are kept. One that was forgotten is made again.
const MOST: usize = 256;

/// Whom children list something of their own to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListsTo {
    /// All see the same.
    All,
    /// Each user.
    Users,
    /// Each user, in each of its sessions.
    Sessions,
}

/// The snapshots of users, as they were last looked at.
#[derive(Debug)]
pub(super) struct Users {
    all: RwLock<HashMap<Key, Arc<Own>>>,
    /// Moves with every look.
    looks: AtomicU64,
    lists: UsersLists,
}

/// A session is one user's, except that nobody asks.
type Key = (User, Option<u64>);

/// One user's.
#[derive(Debug, Default)]
struct Own {
    kept: Mutex<Option<Kept>>,
    looked_at: AtomicU64,
}

#[derive(Debug)]
struct Kept {
    /// Of what it was made.
    shared: Arc<Snapshot>,
    generation: u64,
    snapshot: Arc<Snapshot>,
}

impl Fleet {
    /// Every child and the catalog, as they are now for this caller.
    pub fn snapshot_for(&self, caller: &Caller) -> Arc<Snapshot> {
        let shared = self.snapshot();
        let session = match shared.lists_to {
            ListsTo::All => return shared,
            ListsTo::Users => None,
            ListsTo::Sessions => caller.session.as_ref(),
        };
        let key = (caller.user(), session.map(SessionKey::number));
        let is_known = || {
            let mut children = shared.children.iter();
            children.any(|it| it.settings.is_per_user() && it.listing_for(caller).is_some())
        };
        let own = match self.users.find(&key) {
            Some(own) => own,
            // Nothing of its own to be kept: whoever comes with a token is somebody.
            None if !is_known() => return shared,
            None => self.users.keep(&key),
        };
        let mut kept = lock(&own.kept);
        // As they are now: another look may have come first. The number before what is
        // gathered, so that what comes meanwhile is found by the next.
        let (shared, generation) = (self.snapshot(), self.users.lists.generation(&key.0));
        let now = || shared.listings_for(caller);
        if let Some(kept) = kept.as_mut() {
            let is_at_rest = Arc::ptr_eq(&kept.shared, &shared);
            // What has moved may be the number of another, or news of a child that lists
            // what it has listed.
            if (is_at_rest && kept.generation == generation)
                || ((is_at_rest || kept.shared.is_arranged_as(&shared))
                    && kept.snapshot.is_made_of(&now()))
            {
                kept.shared = shared;
                kept.generation = generation;
                return Arc::clone(&kept.snapshot);
            }
        }
        let before = kept.as_ref().map_or(&shared, |kept| &kept.snapshot);
        let snapshot = Arc::new(shared.with(now(), before));
        *kept = Some(Kept {
            shared,
            generation,
            snapshot: Arc::clone(&snapshot),
        });
        snapshot
    }

    /// Waits until the children of a view that know their users have been asked for what
    /// they list to this caller, as long as a first list waits for any.
    pub async fn asked_for(&self, view: &View, caller: &Caller) {
        self.asked(view, caller, |_| true).await;
    }

    /// The same of those that have never listed anything to it.
    pub async fn asked_first(&self, view: &View, caller: &Caller) {
        let is_new = |child: &Child| child.listing_for(caller).is_none();
        self.asked(view, caller, is_new).await;
    }

    async fn asked(&self, view: &View, caller: &Caller, wanted: impl Fn(&Child) -> bool) {
        let snapshot = self.snapshot();
        if snapshot.lists_to == ListsTo::All {
            return;
        }
        let Ok(shown) = snapshot.view(view) else {
            return;
        };
        let permitted = shown.permitted(caller.subject.as_ref());
        let children = shown.children().map(|(child, _)| child);
        let children = children.filter(|child| {
            child.settings.is_per_user() && permitted.may_know_any(child) && wanted(child)
        });
        let asked = children.map(|child| async {
            let (own, need) = child.for_caller(caller).ok()?;
            own.attempted(FIRST_ROUND).await;
            Some(need)
        });
        let needs: Vec<_> = join_all(asked).await;
        drop(needs);
    }
}

/// Waits until a child has listed to this caller what it is called by, or has failed to;
/// it runs for as long as what is given is held.
pub async fn listed_to(child: &Arc<Child>, caller: &Caller, patience: Duration) -> Option<Need> {
    let (own, need) = child.for_caller(caller).ok()?;
    // Which it is, whoever looks next finds out.
    let _ = own.callable_soon(patience).await;
    own.attempted(patience).await;
    // What it lists to all is listed by its entry, not by the caller's own connection.
    if !child.settings.is_per_user() && !child.settings.lazy {
        child.attempted(patience).await;
    }
    Some(need)
}

impl ListsTo {
    pub(super) fn of(children: &[Arc<Child>]) -> Self {
        let of_one = |child: &Arc<Child>| match (
            child.settings.is_per_user(),
            child.settings.session == SessionMode::Dedicated,
        ) {
            (false, _) => Self::All,
            (true, false) => Self::Users,
            (true, true) => Self::Sessions,
        };
        children.iter().map(of_one).max().unwrap_or(Self::All)
    }
}

impl Users {
    /// Nobody's yet; made anew when these move.
    pub(super) fn new(lists: UsersLists) -> Self {
        Self {
            all: RwLock::default(),
            looks: AtomicU64::new(0),
            lists,
        }
    }

    fn find(&self, key: &Key) -> Option<Arc<Own>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(key).map(|own| self.looked_at(own))
    }

    /// A place for this one's. Where there is none, the one goes that was looked at the
    /// longest time ago.
    fn keep(&self, key: &Key) -> Arc<Own> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(key) {
            let oldest = all
                .iter()
                .min_by_key(|(_, own)| own.looked_at.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                all.remove(&oldest);
            }
        }
        self.looked_at(all.entry(key.clone()).or_default())
    }

    fn looked_at(&self, own: &Arc<Own>) -> Arc<Own> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        own.looked_at.store(look, Ordering::Relaxed);
        Arc::clone(own)
    }
}

impl Snapshot {
    /// What each child lists to this caller.
    fn listings_for(&self, caller: &Caller) -> Vec<Option<Arc<Listing>>> {
        let listings = self.children.iter().zip(&self.listings);
        let of_one =
            |(child, listing): (&Arc<Child>, &Option<_>)| match child.settings.is_per_user() {
                true => child.listing_for(caller),
                false => listing.clone(),
            };
        listings.map(of_one).collect()
    }

    /// Whether it shows the same children in the same way, whatever they list.
    pub(super) fn is_arranged_as(&self, other: &Self) -> bool {
        let mut pairs = self.children.iter().zip(&other.children);
        self.children.len() == other.children.len()
            && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
            && self.views.are_arranged_as(&other.views)
            && Arc::ptr_eq(&self.synonyms, &other.synonyms)
    }

    fn is_made_of(&self, listings: &[Option<Arc<Listing>>]) -> bool {
        let mut pairs = self.listings.iter().zip(listings);
        pairs.all(|(one, other)| is_same(one.as_ref(), other.as_ref()))
    }

    /// The same with these listings; `before` is what its user saw until now.
    fn with(&self, listings: Vec<Option<Arc<Listing>>>, before: &Self) -> Self {
        let offers = self.children.iter().zip(&listings);
        let offers: Vec<_> = offers
            .map(|(child, listing)| offer(child, listing.as_deref()))
            .collect();
        let max_name_length = self.max_name_length();
        let catalog = Catalog::merge(&offers, max_name_length);
        // It grows with every one of the user's, whatever others do meanwhile.
        let merge = self.merge.max(before.merge + 1);
        let mut generations = before.generations;
        generations.follow(&before.catalog, &catalog, merge);
        let groups = self.views.groups();
        let now = Sources {
            children: &self.children,
            listings: &listings,
            groups: &groups,
            max_name_length,
            merge,
        };
        let (views, _) = Views::merge(before, now);
        Self {
            children: self.children.clone(),
            catalog,
            generations,
            changed: self.changed,
            merge,
            views,
            offers_meta_tools: self.offers_meta_tools,
            lists_changed: self.lists_changed,
            lists_to: self.lists_to,
            policies: self.policies.clone(),
            synonyms: self.synonyms.clone(),
            listings,
            own_index: Some(Arc::default()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        (User::Nobody, Some(number))
    }

    #[test]
    fn nobody_waits_for_what_is_made_for_another() {
        let users = Users::new(UsersLists::default());
        let own = users.keep(&key(1));
        let making = lock(&own.kept);

        let another = users.keep(&key(2));

        assert!(another.kept.try_lock().is_ok());
        assert!(users.find(&key(1)).is_some_and(|it| Arc::ptr_eq(&it, &own)));
        drop(making);
    }

    #[test]
    fn who_was_looked_at_the_longest_time_ago_makes_room() {
        let users = Users::new(UsersLists::default());
        for number in 0..MOST as u64 {
            users.keep(&key(number));
        }
        users.find(&key(0));

        users.keep(&key(1_000));

        let is_kept = |number| users.find(&key(number)).is_some();
        assert!(is_kept(0) && is_kept(1_000) && !is_kept(1));
    }
}
