//! All children together: start, reload, merge, the snapshot, and what operators see
//! of it.
//!
//! Owns: the one task that has the children and merges what they offer, and the
//! [`Snapshot`] that lists, routing, status and metrics are all read from, so that they can never
//! disagree. Must never know a client or a frame.

mod costs;
mod finding;
mod members;
mod merge;
mod permitted;
mod shown;
mod status;
mod users;
mod views;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::FutureExt;
use tokio::sync::{OnceCell, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

pub use costs::ListCosts;
pub use finding::about;
pub use members::Changes;
pub use permitted::Permitted;
pub use shown::{NoView, Shown};
pub use status::{ChildStatus, standing};
pub use users::listed_to;

use self::{
    costs::Costs,
    finding::Indexed,
    members::Members,
    merge::{Merging, Reload},
    users::{ListsTo, Users},
    views::Views,
};
use crate::{
    catalog::{
        Catalog, Family, Listing,
        search::{Index, Synonyms},
    },
    config::Settings,
    identity::Identities,
    outbound::{
        AllSubscriptions, CatalogCache, Child, ChildMessage, HttpClient, Surroundings, UsersLists,
    },
    policy::Policies,
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
    /// What they offer together.
    pub catalog: Catalog,
    /// What each child offered when this was merged: `None` if it had not been listed.
    pub listings: Vec<Option<Arc<Listing>>>,
    /// When it last changed for clients that see all of it.
    pub generations: Generations,
    /// The number of the last merge that changed anything for anybody.
    changed: u64,
    /// The number of the merge that made it.
    merge: u64,
    /// Whom children list something of their own to.
    lists_to: ListsTo,
    /// How often children have listed something else to any of their users.
    lists_changed: u64,
    /// One child, or a group of them.
    views: Views,
    /// How its tools are found, once somebody looks; `None` where all see the same.
    own_index: Option<Arc<OnceCell<Arc<Index>>>>,
    /// Words that mean the same to those who search.
    pub synonyms: Arc<Synonyms>,
    /// Whether the multiplexer has tools of its own, whose names are taken.
    offers_meta_tools: bool,
    /// Who may know of what, and call it.
    policies: Policies,
}

/// The number of the merge in which each family of lists last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations([u64; Family::ALL.len()]);

impl Generations {
    /// The number for this one.
    pub fn of(&self, family: Family) -> u64 {
        self.0[family as usize]
    }

    fn all(merge: u64) -> Self {
        Self(Family::ALL.map(|_| merge))
    }

    fn moves(&mut self, family: Family, merge: u64) {
        self.0[family as usize] = merge;
    }

    /// A merge has made `now` of `before`. Whether that is a change.
    fn follow(&mut self, before: &Catalog, now: &Catalog, merge: u64) -> bool {
        let mut changed = false;
        for family in Family::ALL {
            if !now.lists_the_same_as(before, family) {
                self.moves(family, merge);
                changed = true;
            }
        }
        changed
    }
}

/// All children of this process.
#[derive(Debug)]
pub struct Fleet {
    snapshot: ArcSwap<Snapshot>,
    policies: Policies,
    /// The number of the merge up to which clients are to be told of changes.
    announced: watch::Sender<u64>,
    /// Moves with every merge.
    merges: watch::Sender<()>,
    /// Whether the first round of connecting is over.
    settled: watch::Sender<bool>,
    messages: broadcast::Sender<ChildMessage>,
    log_level: watch::Sender<Option<LogLevel>>,
    /// What each user sees, where that differs.
    users: Users,
    /// How tools are found.
    indexed: watch::Sender<Indexed>,
    /// What the lists cost.
    costs: Arc<Costs>,
    /// To the fleet's task.
    reload: mpsc::Sender<Reload>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Fleet {
    /// Starts every child, for those callers that the policies let through. Returns at
    /// once: children connect in the background. The catalogs of lazy ones are kept in
    /// `cache`.
    pub fn start(
        settings: &Settings,
        http: HttpClient,
        identities: Identities,
        policies: Policies,
        cache: Option<CatalogCache>,
    ) -> Arc<Self> {
        let (news, told) = mpsc::unbounded_channel();
        let messages = broadcast::Sender::new(MESSAGES);
        let log_level = watch::Sender::new(None);
        let users_lists = UsersLists::default();
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let surroundings = Surroundings {
            http,
            identities,
            starts: Arc::new(Semaphore::new(STARTS)),
            messages: messages.clone(),
            news,
            cache,
            subscriptions: AllSubscriptions::default(),
            users_lists: users_lists.clone(),
            log_level: log_level.subscribe(),
        };
        let mut members = Members::new(surroundings, tasks.clone(), shutdown.clone());
        members.become_those_of(settings);
        let (reload, reloads) = mpsc::channel(1);
        let mut merging = Merging {
            members,
            max_name_length: settings.max_name_length,
            groups: groups(settings),
            synonyms: Arc::new(Synonyms::with(&settings.synonyms)),
            merges: 0,
            news: told,
            reloads,
        };
        let fleet = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                catalog: Catalog::merge(&[], settings.max_name_length),
                listings: Vec::new(),
                children: Vec::new(),
                generations: Generations::default(),
                changed: 0,
                merge: 0,
                lists_changed: 0,
                lists_to: ListsTo::All,
                views: Views::default(),
                own_index: None,
                synonyms: Arc::default(),
                offers_meta_tools: settings.offers_meta_tools(),
                policies: policies.clone(),
            }),
            policies,
            announced: watch::Sender::new(0),
            merges: watch::Sender::new(()),
            settled: watch::Sender::new(false),
            messages,
            log_level,
            users: Users::new(users_lists),
            indexed: watch::Sender::default(),
            costs: Costs::new(settings),
            reload,
            tasks,
            shutdown,
        });
        // Whoever comes first finds their names and views at least.
        merging.merge(&fleet);
        let merging = merging.run(Arc::clone(&fleet));
        fleet
            .tasks
            .spawn(fleet.shutdown.clone().run_until_cancelled_owned(merging));
        if settings.offers_meta_tools() {
            let indexing = Arc::clone(&fleet).keep_indexed();
            fleet
                .tasks
                .spawn(fleet.shutdown.clone().run_until_cancelled_owned(indexing));
        }
        fleet
    }

    /// Puts another configuration in force. Children whose entries have not changed do
    /// not notice; changed ones serve until their successors do. Returns when the
    /// children are those of the configuration, except that. `None` at the end.
    pub async fn reload(&self, settings: Settings) -> Option<Changes> {
        let (done, changes) = oneshot::channel();
        let settings = Box::new(settings);
        self.reload.send(Reload { settings, done }).await.ok()?;
        changes.await.ok()
    }

    /// Every child and the catalog, as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Who may know of what, and call it.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Moves when clients are to be told of what has changed for them: of what their
    /// view's generations say then. It lags behind the snapshot by what is gathered into
    /// one announcement.
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
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn groups(settings: &Settings) -> Vec<(Arc<str>, Vec<ChildName>)> {
    let groups = settings.groups.iter();
    groups
        .map(|(name, members)| (name.as_str().into(), members.clone()))
        .collect()
}

/// A child's task, and what is said of it if it ever panics: it cannot be told by the
/// task itself.
async fn watched(
    child: Arc<Child>,
    news: mpsc::UnboundedSender<()>,
    task: impl Future<Output = ()>,
) {
    // Clients are let in after the children have been made: the first steps of a thousand
    // children must not come before that.
    tokio::task::yield_now().await;
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        error!(child = %child.name(), "the child's supervision has failed; restart the multiplexer");
        child.unsupervised();
        // Nobody left to be told: the fleet has ended before its children.
        let _ = news.send(());
    }
}
