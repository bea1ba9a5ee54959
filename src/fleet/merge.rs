//! The fleet's task: merges what children offer whenever one of them has news.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tracing::warn;

use super::{FIRST_ROUND, Fleet, Snapshot};
use crate::{
    catalog::{Catalog, Collision, Offer},
    outbound::Child,
};

/// Between two announcements of a changed list, so that a fleet that starts does
/// not make every client fetch it dozens of times.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(250);

/// Merges until the children are gone.
pub(super) async fn run(
    fleet: Arc<Fleet>,
    max_name_length: usize,
    mut news: mpsc::UnboundedReceiver<()>,
) {
    let first_round = Instant::now() + FIRST_ROUND;
    let mut announce_at: Option<Instant> = None;
    let mut last_announced = Instant::now();
    settle(&fleet, first_round);
    loop {
        let settled = fleet.is_settled();
        tokio::select! {
            told = news.recv() => {
                let Some(()) = told else { return };
                while news.try_recv().is_ok() {}
                if merge(&fleet, max_name_length) && announce_at.is_none() {
                    announce_at = Some(Instant::now().max(last_announced + ANNOUNCE_EVERY));
                }
                settle(&fleet, first_round);
            }
            () = tokio::time::sleep_until(first_round), if !settled => settle(&fleet, first_round),
            () = until(announce_at) => {
                announce_at = None;
                last_announced = Instant::now();
                fleet.generation.send_modify(|generation| *generation += 1);
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

/// Swaps the snapshot; whether clients see another list now.
fn merge(fleet: &Fleet, max_name_length: usize) -> bool {
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
    let same = catalog.lists_the_same_as(&before.catalog);
    for collision in catalog.collisions() {
        if !before.catalog.collisions().contains(collision) {
            warn_of(collision);
        }
    }
    fleet.snapshot.store(Arc::new(Snapshot {
        children: before.children.clone(),
        catalog,
    }));
    !same
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

fn settle(fleet: &Fleet, first_round: Instant) {
    let over = Instant::now() >= first_round
        || fleet
            .snapshot()
            .children
            .iter()
            .all(|child| is_attempted(child));
    if over {
        fleet
            .settled
            .send_if_modified(|settled| !std::mem::replace(settled, true));
    }
}

fn is_attempted(child: &Child) -> bool {
    child.state().attempted
}
