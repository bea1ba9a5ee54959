//! The keys of one issuer, kept fresh by a task of their own.
//!
//! A request never fetches: it reads the set that is there. One that names an unknown
//! key asks the task for a newer set and waits for it, together with all others that do.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::{GuardError, key_set::KeySet};
use crate::{
    config::{FileWatch, IssuerSettings, KeysSource, ProviderTls, Reach, ShownUrl},
    identity::KeyServer,
    telemetry,
};

/// How often strangers can make us ask an issuer for its keys.
const ON_DEMAND: Duration = Duration::from_secs(10);
/// How long a request waits for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long keys are kept whose server does not say, and the bounds for one that does:
/// a key that was disowned must be out some time.
const FRESH: Duration = Duration::from_secs(300);
const FRESH_LEAST: Duration = Duration::from_secs(30);
const FRESH_MOST: Duration = Duration::from_secs(3600);
/// After a failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// While there are no keys at all, and nobody can come in.
const RETRY_MOST_WITHOUT: Duration = Duration::from_secs(5);
/// A key set that is larger was named by mistake.
const MAX_FILE: u64 = 64 * 1024;

/// The keys of one issuer; clones are the same ones.
#[derive(Clone)]
pub(super) struct Keys {
    state: watch::Receiver<State>,
    /// Where newer ones can be had.
    demand: Option<Arc<Demand>>,
    #[expect(
        dead_code,
        reason = "ends the task when nobody needs its keys any more"
    )]
    task: Option<Arc<DropGuard>>,
}

/// What the task knows.
#[derive(Clone, Default)]
struct State {
    set: Option<Arc<KeySet>>,
    /// Unix time at which the newest set was asked for, in seconds.
    asked_at: u64,
    /// The last attempt failed.
    failing: bool,
    /// The number of the last wish that has been served.
    served: u64,
}

struct Demand {
    wishes: Mutex<Wishes>,
    wake: Notify,
}

struct Wishes {
    last: u64,
    /// The next one is granted from here on.
    from: Instant,
}

/// What came of a wish for newer keys.
pub(super) enum Newer {
    /// They are there.
    Keys(Arc<KeySet>),
    /// There are none; the ones there are were asked for at this time.
    Not {
        asked_at: u64,
        /// Why that may change, and when.
        retry: Option<Duration>,
    },
}

impl Keys {
    /// Those of an issuer, fetched in the background until `shutdown`.
    pub(super) fn of(
        issuer: &IssuerSettings,
        tls: &ProviderTls,
        shutdown: &CancellationToken,
    ) -> Result<Self, GuardError> {
        let place = match &issuer.keys {
            KeysSource::Inline(text) => return Self::fixed(issuer, text),
            KeysSource::Discovery(url) => {
                warn_of_clear_text(url);
                Place::Server(KeyServer::of(url.clone(), tls)?)
            }
            KeysSource::Url(url) => {
                warn_of_clear_text(url);
                Place::Server(KeyServer::at(url.clone(), tls)?)
            }
            KeysSource::File(path) => Place::File {
                watch: FileWatch::new(path)
                    .inspect_err(|error| warn!(%error, "changes of the keys are seen late"))
                    .ok(),
                path: path.clone(),
            },
        };
        let (told, state) = watch::channel(State::default());
        let demand = Arc::new(Demand {
            wishes: Mutex::new(Wishes {
                last: 0,
                from: Instant::now(),
            }),
            wake: Notify::new(),
        });
        let keeper = Keeper {
            issuer: issuer.name.clone(),
            place,
            demand: Arc::clone(&demand),
            told,
        };
        let over = shutdown.child_token();
        tokio::spawn(over.clone().run_until_cancelled_owned(keeper.run()));
        Ok(Self {
            state,
            demand: Some(demand),
            task: Some(Arc::new(over.drop_guard())),
        })
    }

    fn fixed(issuer: &IssuerSettings, text: &str) -> Result<Self, GuardError> {
        let set = KeySet::read(text.as_bytes()).map_err(|why| GuardError::Keys {
            issuer: issuer.name.clone(),
            why,
        })?;
        let (_, state) = watch::channel(State {
            set: Some(Arc::new(set)),
            ..State::default()
        });
        Ok(Self {
            state,
            demand: None,
            task: None,
        })
    }

    /// Those there are; `None` until the first ones have come.
    pub(super) fn now(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().set.clone()
    }

    /// Newer ones, if an issuer may be asked for them now.
    pub(super) async fn newer(&self) -> Newer {
        let wish = self
            .demand
            .as_ref()
            .and_then(|demand| demand.wish(&self.state));
        let Some(wish) = wish else {
            return self.not();
        };
        let mut state = self.state.clone();
        let served = state.wait_for(|state| state.served >= wish);
        // The state is not held while it is looked at again.
        let newer = match tokio::time::timeout(PATIENCE, served).await {
            Ok(Ok(state)) if !state.failing => state.set.clone(),
            _ => None,
        };
        match newer {
            Some(set) => Newer::Keys(set),
            None => self.not(),
        }
    }

    fn not(&self) -> Newer {
        let next = self.next_wish();
        let state = self.state.borrow();
        Newer::Not {
            asked_at: state.asked_at,
            retry: next.filter(|_| state.failing),
        }
    }

    /// When it is worth to ask again for a token that may be newer than the keys.
    pub(super) fn next_wish(&self) -> Option<Duration> {
        let demand = self.demand.as_ref()?;
        let from = demand.wishes().from;
        Some(from.saturating_duration_since(Instant::now()))
    }
}

impl Demand {
    fn wishes(&self) -> std::sync::MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a wish that will be served: one that is open, or a new one.
    fn wish(&self, state: &watch::Receiver<State>) -> Option<u64> {
        let mut wishes = self.wishes();
        if wishes.last > state.borrow().served {
            return Some(wishes.last);
        }
        let now = Instant::now();
        if now < wishes.from {
            return None;
        }
        wishes.from = now + ON_DEMAND;
        wishes.last += 1;
        self.wake.notify_one();
        Some(wishes.last)
    }
}

/// The task.
struct Keeper {
    issuer: String,
    place: Place,
    demand: Arc<Demand>,
    told: watch::Sender<State>,
}

enum Place {
    Server(KeyServer),
    File {
        path: PathBuf,
        watch: Option<FileWatch>,
    },
}

impl Keeper {
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        loop {
            let wish = self.demand.wishes().last;
            let asked_at = now();
            let fetched = self.place.fetch().await;
            telemetry::auth_key_fetch(fetched.is_ok());
            let wait = match fetched {
                Ok((set, fresh)) => {
                    retry = RETRY_FIRST;
                    self.tell(set, asked_at, wish);
                    fresh
                }
                Err(error) => {
                    let most = match self.told.borrow().set {
                        Some(_) => RETRY_MOST,
                        None => RETRY_MOST_WITHOUT,
                    };
                    let wait = retry.min(most);
                    self.fail(&error, wish, wait);
                    retry = (retry * 2).min(RETRY_MOST);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.demand.wake.notified() => {}
                () = self.place.changed() => {}
            }
        }
    }

    fn tell(&self, set: KeySet, asked_at: u64, wish: u64) {
        let first = self.told.borrow().set.is_none();
        if first {
            info!(issuer = ?self.issuer, keys = set.len(), "the keys of an issuer are there");
        }
        self.told.send_replace(State {
            set: Some(Arc::new(set)),
            asked_at,
            failing: false,
            served: wish,
        });
    }

    fn fail(&self, error: &str, wish: u64, retry: Duration) {
        let stale = self.told.borrow().set.is_some();
        warn!(issuer = ?self.issuer, error, stale, retry_in = ?retry, "the keys of an issuer cannot be had");
        self.told.send_modify(|state| {
            state.failing = true;
            state.served = wish;
        });
    }
}

impl Place {
    /// The keys as they are now, and how long they are to be kept.
    async fn fetch(&self) -> Result<(KeySet, Duration), String> {
        match self {
            Self::Server(server) => {
                let document = server.fetch().await.map_err(|error| error.to_string())?;
                let fresh = document.fresh_for.unwrap_or(FRESH);
                let set = KeySet::read(&document.body)?;
                Ok((set, fresh.clamp(FRESH_LEAST, FRESH_MOST)))
            }
            Self::File { path, .. } => {
                let shown = path.display();
                let unreadable = |error| format!("{shown}: {error}");
                let about = tokio::fs::metadata(path).await.map_err(unreadable)?;
                if !about.is_file() || about.len() > MAX_FILE {
                    return Err(format!("{shown}: it is not a small file"));
                }
                let text = tokio::fs::read(path).await.map_err(unreadable)?;
                let set = KeySet::read(&text).map_err(|why| format!("{shown}: {why}"))?;
                Ok((set, FRESH))
            }
        }
    }

    async fn changed(&mut self) {
        match self {
            Self::File {
                watch: Some(watch), ..
            } => watch.changed().await,
            _ => std::future::pending().await,
        }
    }
}

fn warn_of_clear_text(url: &url::Url) {
    if url.scheme() == "http" && Reach::of(url) != Reach::Loopback {
        let keys = ShownUrl(url);
        warn!(%keys, "keys come over plain http: whoever is on the way can let anybody in");
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
