//! The fleet's task: merges what children offer whenever one of them has news, and
//! exchanges children when the configuration has changed.

use std::{sync::Arc, time::Duration};

use futures::future::OptionFuture;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    Changes, FIRST_ROUND, Fleet, Snapshot, groups,
    members::Members,
    users::ListsTo,
    views::{Sources, Views, offer},
};
use crate::{
    catalog::{Catalog, Collision, search::Synonyms},
    config::Settings,
    protocol::ChildName,
};

/// Between two announcements of a changed list, so that a fleet that starts does
/// not make every client fetch it dozens of times.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(250);
/// How long news is gathered for one merge.
const GATHER: Duration = Duration::from_millis(10);

/// What the fleet's task is told by the rest of the program.
#[derive(Debug)]
pub(super) struct Reload {
    /// What is to be in force.
    pub(super) settings: Box<Settings>,
    /// Told when it is.
    pub(super) done: oneshot::Sender<Changes>,
}

/// The fleet's task: the one owner of the children, and the one writer of the snapshot.
#[derive(Debug)]
pub(super) struct Merging {
    pub(super) members: Members,
    pub(super) max_name_length: usize,
    pub(super) groups: Vec<(Arc<str>, Vec<ChildName>)>,
    pub(super) synonyms: Arc<Synonyms>,
    /// How many there have been.
    pub(super) merges: u64,
    /// A child has news.
    pub(super) news: mpsc::UnboundedReceiver<()>,
    /// There is a new configuration.
    pub(super) reloads: mpsc::Receiver<Reload>,
}

impl Merging {
    /// Merges for ever.
    pub(super) async fn run(mut self, fleet: Arc<Fleet>) {
        let first_round = Instant::now() + FIRST_ROUND;
        let mut announce_at: Option<Instant> = None;
        let mut last_announced = Instant::now();
        // A new configuration is announced once, when its children are there.
        let mut quiet_until: Option<Instant> = None;
        loop {
            self.members.promote();
            // Read before the merge: whoever has been tried by now is in it.
            let all_attempted = self.members.all_attempted();
            let round_is_over = all_attempted || Instant::now() >= first_round;
            let changed = self.merge(&fleet);
            self.members.dismiss();
            if round_is_over {
                fleet
                    .settled
                    .send_if_modified(|settled| !std::mem::replace(settled, true));
            }
            quiet_until = quiet_until.filter(|_| !all_attempted);
            if quiet_until.is_none()
                && announce_at.is_none()
                && changed != *fleet.announced.borrow()
            {
                announce_at = Some(Instant::now().max(last_announced + ANNOUNCE_EVERY));
            }
            tokio::select! {
                Some(()) = self.news.recv() => {
                    // A fleet that starts has news by the dozen: one merge serves many.
                    tokio::time::sleep(GATHER).await;
                    while self.news.try_recv().is_ok() {}
                }
                Some(Reload { settings, done }) = self.reloads.recv() => {
                    let changes = self.members.become_those_of(&settings);
                    self.max_name_length = settings.max_name_length;
                    self.groups = groups(&settings);
                    self.synonyms = Arc::new(Synonyms::with(&settings.synonyms));
                    self.merge(&fleet);
                    self.members.dismiss();
                    announce_at = None;
                    quiet_until = Some(Instant::now() + FIRST_ROUND);
                    // Nobody waits any more: it is in force all the same.
                    let _ = done.send(changes);
                }
                () = sleep_until(first_round), if !round_is_over => {}
                Some(()) = OptionFuture::from(self.members.impatient_at().map(sleep_until)) => {}
                Some(()) = OptionFuture::from(quiet_until.map(sleep_until)) => quiet_until = None,
                Some(()) = OptionFuture::from(announce_at.map(sleep_until)) => {
                    announce_at = None;
                    last_announced = Instant::now();
                    fleet.announced.send_replace(changed);
                }
            }
        }
    }

    /// Swaps the snapshot; gives the number of the last merge that changed anything.
    pub(super) fn merge(&mut self, fleet: &Fleet) -> u64 {
        self.merges += 1;
        let before = fleet.snapshot();
        let children = self.members.serving();
        let listings: Vec<_> = children.iter().map(|child| child.listing()).collect();
        let offers: Vec<_> = children
            .iter()
            .zip(&listings)
            .map(|(child, listing)| offer(child, listing.as_deref()))
            .collect();
        let catalog = Catalog::merge(&offers, self.max_name_length);
        for collision in catalog.collisions() {
            if !before.catalog.collisions().contains(collision) {
                warn_of(collision);
            }
        }
        let mut generations = before.generations;
        let all_changed = generations.follow(&before.catalog, &catalog, self.merges);
        let now = Sources {
            children: &children,
            listings: &listings,
            groups: &self.groups,
            max_name_length: self.max_name_length,
            merge: self.merges,
        };
        let (views, views_changed) = Views::merge(&before, now);
        let lists_changed = children.iter().map(|child| child.lists_changed()).sum();
        let lists_to = ListsTo::of(&children);
        let user_changed = lists_changed != before.lists_changed;
        let changed = match all_changed || views_changed || user_changed {
            true => self.merges,
            false => before.changed,
        };
        fleet.snapshot.store(Arc::new(Snapshot {
            children,
            catalog,
            listings,
            generations,
            changed,
            merge: self.merges,
            lists_changed,
            lists_to,
            views,
            own_index: None,
            synonyms: Arc::clone(&self.synonyms),
            offers_meta_tools: before.offers_meta_tools,
            policies: before.policies.clone(),
        }));
        fleet.merges.send_replace(());
        changed
    }
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
