//! How a child's catalog is kept while the child runs, and found again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use super::cache::{Kept, Place};
use crate::{catalog::Listing, protocol::Era};

/// The place of a child's catalog on disk, if it is kept there at all.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    place: Option<Place>,
    writing: Arc<Mutex<Writing>>,
}

#[derive(Debug, Default)]
struct Writing {
    /// What stands in the file, or will: it is not written again.
    last: Option<Arc<Kept>>,
    /// What is to be written next. A slow disk sees only the newest.
    next: Option<Arc<Kept>>,
    /// Writes until there is nothing next.
    task: Option<JoinHandle<()>>,
}

impl Keeping {
    pub(super) fn at(place: Option<Place>) -> Self {
        Self {
            place,
            writing: Arc::default(),
        }
    }

    /// Keeps what the child offers, unfiltered, in the background.
    pub(super) fn keep(&self, era: Era, listing: &Listing) {
        let Some(place) = self.place.clone() else {
            return;
        };
        let mut writing = lock(&self.writing);
        let same = |last: &Arc<Kept>| last.era == era && last.listing == *listing;
        if writing.last.as_ref().is_some_and(same) {
            return;
        }
        let kept = Arc::new(Kept {
            era,
            listing: listing.clone(),
        });
        writing.last = Some(Arc::clone(&kept));
        writing.next = Some(kept);
        if writing.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let all = Arc::clone(&self.writing);
            writing.task = Some(tokio::task::spawn_blocking(move || {
                while let Some(kept) = take_next(&all) {
                    place.write(&kept);
                }
            }));
        }
    }

    /// Waits until what is to be kept is kept.
    pub(super) async fn settled(&self) {
        let task = lock(&self.writing).task.take();
        if let Some(task) = task {
            // One that panicked is done, too.
            let _ = task.await;
        }
    }

    /// What was kept, if it fits.
    pub(super) async fn recall(&self) -> Option<Arc<Kept>> {
        let place = self.place.clone()?;
        let read = tokio::task::spawn_blocking(move || place.read());
        let kept = Arc::new(read.await.ok().flatten()?);
        lock(&self.writing).last = Some(Arc::clone(&kept));
        Some(kept)
    }
}

/// What is to be written next; with nothing, the task is over, and the next to keep
/// something starts another.
fn take_next(writing: &Mutex<Writing>) -> Option<Arc<Kept>> {
    let mut writing = lock(writing);
    let next = writing.next.take();
    if next.is_none() {
        writing.task = None;
    }
    next
}

fn lock(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}
