//! The search, made anew beside the requests whenever what is offered has changed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::sync::OnceCell;
use tracing::{error, warn};

use super::{Fleet, Snapshot, views::offer};
use crate::{
    catalog::{
        Listing, MetaTool, Primitive,
        search::{Index, Source},
    },
    protocol::Caller,
};

/// How long a search waits for what has just been listed: as long as an index of some
/// ten thousand tools takes on a slow machine.
const INDEXING: Duration = Duration::from_secs(5);
/// So many characters of what a child says of itself are searched.
const ABOUT: usize = 400;

/// A search, and of which merge it is.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    changed: u64,
    index: Arc<Index>,
}

impl Fleet {
    /// What this caller sees, and the search over it.
    pub async fn index_for(&self, caller: &Caller) -> (Arc<Snapshot>, Arc<Index>) {
        let snapshot = self.snapshot_for(caller);
        let Some(own) = &snapshot.own_index else {
            let index = self.index().await;
            return (self.snapshot_for(caller), index);
        };
        let index = match made_within(INDEXING, own, &snapshot).await {
            Some(index) => index,
            // What all see is found at least.
            None => self.index().await,
        };
        (snapshot, index)
    }

    /// The search over everything that is listed to all at this moment; if that cannot be
    /// waited for, over what was listed a moment ago.
    async fn index(&self) -> Arc<Index> {
        let now = self.snapshot().changed;
        let mut indexed = self.indexed.subscribe();
        let caught_up = indexed.wait_for(|indexed| indexed.changed >= now);
        let _ = tokio::time::timeout(INDEXING, caught_up).await;
        Arc::clone(&self.indexed.borrow().index)
    }

    /// Makes the index anew after each merge that changes anything, for ever.
    pub(super) async fn keep_indexed(self: Arc<Self>) {
        let mut merges = self.merges();
        let mut taken = HashSet::new();
        loop {
            let snapshot = self.snapshot();
            if snapshot.changed != self.indexed.borrow().changed {
                warn_of_taken(&snapshot, &mut taken);
                let changed = snapshot.changed;
                match tokio::task::spawn_blocking(made_of(snapshot)).await {
                    Ok(index) => {
                        self.indexed.send_replace(Indexed { changed, index });
                    }
                    Err(failed) => error!(%failed, "the tools cannot be searched as they are now"),
                }
            }
            if merges.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The search over what one user sees, if it is there in time. It is made once, by a task
/// of its own: who waits no longer leaves it to whoever searches next.
async fn made_within(
    patience: Duration,
    own: &Arc<OnceCell<Arc<Index>>>,
    snapshot: &Arc<Snapshot>,
) -> Option<Arc<Index>> {
    if let Some(index) = own.get() {
        return Some(Arc::clone(index));
    }
    let (own, listed) = (Arc::clone(own), Arc::clone(snapshot));
    let making = tokio::spawn(async move {
        let made = own.get_or_try_init(|| tokio::task::spawn_blocking(made_of(listed)));
        made.await.ok().cloned()
    });
    let made = tokio::time::timeout(patience, making).await;
    made.ok()?.ok()?
}

/// Takes milliseconds for thousands of tools.
fn made_of(snapshot: Arc<Snapshot>) -> impl FnOnce() -> Arc<Index> {
    move || Arc::new(snapshot.index())
}

impl Snapshot {
    fn index(&self) -> Index {
        let all = || self.children.iter().zip(&self.listings);
        let about: Vec<String> = all()
            .map(|(_, listing)| listing.as_deref().map(about).unwrap_or_default())
            .collect();
        let sources: Vec<Source<'_>> = all()
            .zip(&about)
            .map(|((child, listing), about)| Source {
                offer: offer(child, listing.as_deref()),
                about,
            })
            .collect();
        Index::build(&sources, self.max_name_length())
    }
}

/// What a child is, in its own words.
pub fn about(listing: &Listing) -> String {
    let profile = &listing.profile;
    let said = |key: &str| profile.server_info.as_ref()?.get(key)?.as_str();
    let parts = [said("title"), said("description")];
    let instructions = || profile.instructions.as_deref();
    let text: Vec<&str> = match parts {
        [None, None] => instructions().into_iter().collect(),
        parts => parts.into_iter().flatten().collect(),
    };
    text.join(". ").chars().take(ABOUT).collect()
}

/// A tool of a child that cannot be reached, since its name is one of ours: told once.
fn warn_of_taken(snapshot: &Snapshot, told: &mut HashSet<&'static str>) {
    for ours in MetaTool::ALL.map(MetaTool::as_str) {
        if let Some(route) = snapshot.catalog.route(Primitive::Tool, ours)
            && let Some(child) = snapshot.children.get(route.child)
            && told.insert(ours)
        {
            warn!(
                tool = ours, left_out = %child.name(),
                "a tool has the name of one of the multiplexer's own: set a \"prefix\" for its child"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::fleet::views::tests::nothing;

    #[tokio::test]
    async fn what_nobody_waits_for_any_longer_is_made_all_the_same() {
        let (own, snapshot) = (Arc::default(), Arc::new(nothing()));
        let waiting = made_within(INDEXING, &own, &snapshot);
        assert!(waiting.now_or_never().is_none(), "it is there at once");
        while own.get().is_none() {
            tokio::task::yield_now().await;
        }
        let made = made_within(Duration::ZERO, &own, &snapshot).await;
        assert!(made.is_some());
    }
}
