//! All children together: start, merge, the snapshot, and what operators see of it.
//!
//! Owns: the one task that merges what children offer, and the [`Snapshot`] that
//! lists, routing, status and metrics are all read from, so that they can never
//! disagree. Must never know a client or a frame.

mod merge;
mod status;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

pub use status::ChildStatus;

use crate::{
    catalog::Catalog,
    config::{ChildSettings, SessionMode, Settings},
    identity::Identity,
    outbound::{Child, ChildMessage, HttpClient, Surroundings},
    protocol::LogLevel,
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
}

/// All children of this process.
#[derive(Debug)]
pub struct Fleet {
    snapshot: ArcSwap<Snapshot>,
    /// Counts the changes of what clients see.
    generation: watch::Sender<u64>,
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
        let children = settings
            .children
            .iter()
            .map(|child| {
                warn_of_what_is_not_in_force(child);
                let (child, task) =
                    Child::start(child.clone(), surroundings.clone(), shutdown.clone());
                if let Some(task) = task {
                    tasks.spawn(task);
                }
                child
            })
            .collect();
        let fleet = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                children,
                catalog: Catalog::merge(&[], settings.max_name_length),
            }),
            generation: watch::Sender::new(0),
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

    /// Changes whenever clients would see another list.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
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

fn warn_of_what_is_not_in_force(child: &ChildSettings) {
    let waiting = [
        ("session", child.session == SessionMode::Dedicated),
        ("lazy", child.lazy),
    ];
    for (key, _) in waiting.into_iter().filter(|(_, set)| *set) {
        warn!(child = %child.name, key, "this setting is read but not in force yet");
    }
}
