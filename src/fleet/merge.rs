//! The fleet's task: merges what children offer whenever one of them has news.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tracing::warn;

use super::{FIRST_ROUND, Fleet, Snapshot};
use crate::catalog::{Catalog, Collision, Offer};

/// Between two announcements of a changed list, so that a fleet that starts does
/// not make every client fetch it dozens of times.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(250);
/// How long news is gathered for one merge.
const GATHER: Duration = Duration::from_millis(10);

/// Merges until the children are gone.
pub(super) async fn run(
    fleet: Arc<Fleet>,
    max_name_length: usize,
    mut news: mpsc::UnboundedReceiver<()>,
) {
    let first_round = Instant::now() + FIRST_ROUND;
    let mut announce_at: Option<Instant> = None;
    let mut last_announced = Instant::now();
    loop {
        // Read before the merge: whoever has been tried by now is in it.
        let round_is_over = all_attempted(&fleet) || Instant::now() >= first_round;
        let generation = merge(&fleet, max_name_length);
        if round_is_over {
            fleet
                .settled
                .send_if_modified(|settled| !std::mem::replace(settled, true));
        }
        if generation != *fleet.announced.borrow() && announce_at.is_none() {
            announce_at = Some(Instant::now().max(last_announced + ANNOUNCE_EVERY));
        }
        tokio::select! {
            told = news.recv() => {
                if told.is_none() {
                    return;
                }
                // A fleet that starts has news by the dozen: one merge serves many.
                tokio::time::sleep(GATHER).await;
                while news.try_recv().is_ok() {}
            }
            () = tokio::time::sleep_until(first_round), if !round_is_over => {}
            () = until(announce_at) => {
                announce_at = None;
                last_announced = Instant::now();
                fleet.announced.send_replace(generation);
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Swaps the snapshot; gives its generation.
fn merge(fleet: &Fleet, max_name_length: usize) -> u64 {
    let before = fleet.snapshot();
    let listings: Vec<_> = before
        .children
        .iter()
        .map(|child| child.listing())
        .collect();
    let offers: Vec<_> = before
        .children
        .iter()
        .zip(&listings)
        .map(|(child, listing)| Offer {
            child: child.name(),
            prefix: &child.settings.prefix,
            listing: listing.as_deref(),
        })
        .collect();
    let catalog = Catalog::merge(&offers, max_name_length);
    for collision in catalog.collisions() {
        if !before.catalog.collisions().contains(collision) {
            warn_of(collision);
        }
    }
    let same = catalog.lists_the_same_as(&before.catalog);
    let generation = before.generation + u64::from(!same);
    fleet.snapshot.store(Arc::new(Snapshot {
        children: before.children.clone(),
        catalog,
        listings,
        generation,
    }));
    fleet.merges.send_replace(());
    generation
}

fn all_attempted(fleet: &Fleet) -> bool {
    let snapshot = fleet.snapshot();
    snapshot
        .children
        .iter()
        .all(|child| child.state().attempted)
}

fn warn_of(
    Collision {
        name,
        kept,
        left_out,
    }: &Collision,
) {
    warn!(
        tool = %name, kept = %kept, left_out = %left_out,
        "two tools have the same public name: set another \"prefix\" for one of the children"
    );
}
