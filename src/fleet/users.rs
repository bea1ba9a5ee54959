//! What each user sees, where children list something else to each.
//!
//! A user's snapshot is that of all with what those children list to this user in its
//! place. Nothing that one user was shown stands in another's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::Instant;

use super::{
    FIRST_ROUND, Fleet, Snapshot,
    views::{Sources, Views, offer},
};
use crate::{
    catalog::{Catalog, Listing},
    config::SessionMode,
    outbound::{Child, Need},
    protocol::{Caller, SessionKey, User, View},
};

/// Users whose snapshots are kept. One that was forgotten is made again.
const MOST: usize = 256;

/// The snapshots of users, as they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<HashMap<Key, Kept>>);

/// A session is one user's, except that nobody asks.
type Key = (User, Option<u64>);

#[derive(Debug)]
struct Kept {
    /// Of what it was made.
    shared: Arc<Snapshot>,
    snapshot: Arc<Snapshot>,
    looked_at: Instant,
}

impl Fleet {
    /// Every child and the catalog, as they are now for this caller.
    pub fn snapshot_for(&self, caller: &Caller) -> Arc<Snapshot> {
        let shared = self.snapshot();
        if !shared.knows_users {
            return shared;
        }
        let listings = shared.children.iter().zip(&shared.listings);
        let listings: Vec<_> = listings
            .map(|(child, listing)| match child.settings.is_per_user() {
                true => child.listing_for(caller),
                false => listing.clone(),
            })
            .collect();
        let has_own_sessions = shared.children.iter().any(|child| {
            child.settings.is_per_user() && child.settings.session == SessionMode::Dedicated
        });
        let session = caller.session.as_ref().filter(|_| has_own_sessions);
        let key = (caller.user(), session.map(SessionKey::number));
        let mut all = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match all.get_mut(&key) {
            Some(kept) if Arc::ptr_eq(&kept.shared, &shared) && kept.shows(&listings) => {
                kept.looked_at = Instant::now();
                return Arc::clone(&kept.snapshot);
            }
            Some(kept) => Arc::clone(&kept.snapshot),
            None if listings.iter().zip(&shared.listings).all(is_same) => return shared,
            None => Arc::clone(&shared),
        };
        let snapshot = Arc::new(shared.with(listings, &before));
        if all.len() >= MOST && !all.contains_key(&key) {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.looked_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                all.remove(&oldest);
            }
        }
        let kept = Kept {
            shared,
            snapshot: Arc::clone(&snapshot),
            looked_at: Instant::now(),
        };
        all.insert(key, kept);
        snapshot
    }

    /// Waits until the children of a view that know their users have been asked for what
    /// they list to this caller, as long as a first list waits for any.
    pub async fn asked_for(&self, view: &View, caller: &Caller) {
        let snapshot = self.snapshot();
        if !snapshot.knows_users {
            return;
        }
        let Ok(shown) = snapshot.view(view) else {
            return;
        };
        let permitted = shown.permitted(caller.subject.as_ref());
        let children = shown.children().map(|(child, _)| child);
        let children =
            children.filter(|child| child.settings.is_per_user() && permitted.may_know_any(child));
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
    Some(need)
}

impl Kept {
    fn shows(&self, listings: &[Option<Arc<Listing>>]) -> bool {
        self.snapshot.listings.iter().zip(listings).all(is_same)
    }
}

fn is_same((one, other): (&Option<Arc<Listing>>, &Option<Arc<Listing>>)) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Snapshot {
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
            knows_users: self.knows_users,
            policies: self.policies.clone(),
            synonyms: self.synonyms.clone(),
            listings,
        }
    }
}
