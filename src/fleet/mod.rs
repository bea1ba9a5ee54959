//! All children together: start, merge, the snapshot, and what operators see of it.
//!
//! Owns: the one task that merges what children offer, and the [`Snapshot`] that
//! lists, routing, status and metrics are all read from, so that they can never
//! disagree. Must never know a client or a frame.

mod merge;
mod status;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::FutureExt;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

pub use status::ChildStatus;

use crate::{
    catalog::{Catalog, Listing},
    config::Settings,
    identity::Identity,
    outbound::{Child, ChildMessage, HttpClient, Surroundings},
    protocol::{ChildName, LogLevel},
};

/// Process starts that may go on at once.
const STARTS: usize = 16;
/// Log messages of children that a slow client may fall behind.
const MESSAGES: usize = 1024;
/// How long the first lists wait for children that are still connecting.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// Every child, and what they offer together, at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// In file order; routes name them by position.
    pub children: Vec<Arc<Child>>,
    /// What they offer.
    pub catalog: Catalog,
    /// What each child offered when this was merged: `None` if it had not been listed.
    pub listings: Vec<Option<Arc<Listing>>>,
    /// Counts the changes of what clients see.
    pub generation: u64,
}

/// All children of this process.
#[derive(Debug)]
pub struct Fleet {
    snapshot: ArcSwap<Snapshot>,
    /// The generation that clients have been told of.
    announced: watch::Sender<u64>,
    /// Moves with every merge.
    merges: watch::Sender<()>,
    /// Whether the first round of connecting is over.
    settled: watch::Sender<bool>,
    messages: broadcast::Sender<ChildMessage>,
    log_level: watch::Sender<Option<LogLevel>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Fleet {
    /// Starts every child. Returns at once: children connect in the background.
    pub fn start(settings: &Settings, http: HttpClient, identity: Identity) -> Arc<Self> {
        let (news, told) = mpsc::unbounded_channel();
        let messages = broadcast::Sender::new(MESSAGES);
        let log_level = watch::Sender::new(None);
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let surroundings = Surroundings {
            http,
            identity,
            starts: Arc::new(Semaphore::new(STARTS)),
            messages: messages.clone(),
            news,
            log_level: log_level.subscribe(),
        };
        let children: Vec<_> = settings
            .children
            .iter()
            .map(|child| {
                let (child, task) =
                    Child::supervised(child.clone(), surroundings.clone(), shutdown.child_token());
                if let Some(task) = task {
                    tasks.spawn(watched(child.name().clone(), task));
                }
                child
            })
            .collect();
        let fleet = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                listings: vec![None; children.len()],
                children,
                catalog: Catalog::merge(&[], settings.max_name_length),
                generation: 0,
            }),
            announced: watch::Sender::new(0),
            merges: watch::Sender::new(()),
            settled: watch::Sender::new(false),
            messages,
            log_level,
            tasks,
            shutdown,
        });
        let merging = merge::run(Arc::clone(&fleet), settings.max_name_length, told);
        fleet
            .tasks
            .spawn(fleet.shutdown.clone().run_until_cancelled_owned(merging));
        fleet.tasks.close();
        fleet
    }

    /// Every child and the catalog, as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The generation of the catalog that clients are to know of; it lags behind the
    /// snapshot's by what is gathered into one announcement.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.announced.subscribe()
    }

    /// Moves with every merge, also one that changes nothing.
    pub fn merges(&self) -> watch::Receiver<()> {
        self.merges.subscribe()
    }

    /// Whether the first round of connecting is over, or has taken long enough: the
    /// one predicate of first lists and of readiness.
    pub fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Waits for [`Fleet::is_settled`].
    pub async fn settled(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// The log messages of children that belong to no single request, from now on.
    pub fn messages(&self) -> broadcast::Receiver<ChildMessage> {
        self.messages.subscribe()
    }

    /// A client asks for log messages. Legacy children know one level for all: the
    /// least severe that anybody asks for.
    pub fn want_log_level(&self, level: LogLevel) {
        self.log_level.send_if_modified(|wanted| {
            let lower = wanted.is_none_or(|wanted| level < wanted);
            if lower {
                *wanted = Some(level);
            }
            lower
        });
    }

    /// Ends every child, all at once, and waits until they are gone.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
    }
}

/// A child's task, and a word in the log if it ever panics: it cannot be told by the
/// task itself.
async fn watched(child: ChildName, task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        error!(%child, "the child's supervision has failed; restart the multiplexer");
    }
}
