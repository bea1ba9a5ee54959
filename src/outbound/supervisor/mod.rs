//! The task of one child: it connects, watches, refetches and connects again, for
//! ever.

mod backoff;
mod beside;
mod change;
mod connect;
mod idle;
mod serve;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(super) use self::backoff::Backoff;
use self::{
    beside::Beside,
    connect::{Attempt, Live, handshake_after},
    idle::somebody_needs,
    serve::End,
};
use super::{
    AllSubscriptions, CatalogCache, Child, ChildMessage, Failure, HttpClient, Need, Phase,
    UsersLists,
    breaker::Breaker,
    child::{Loss, Role},
    control::Handshake,
    credentials::UserTokens,
    dedicated::Dedicated,
    keeping::Keeping,
    owner::Owner,
};
use crate::{
    config::{ChildSettings, DISABLED_IN_CONFIG},
    identity::{Identities, Identity},
    protocol::{Era, LogLevel},
    telemetry::Outcome,
};

/// What all children have in common.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The pool of HTTP connections.
    pub http: HttpClient,
    /// The tokens.
    pub identities: Identities,
    /// Process starts that may go on at once.
    pub starts: Arc<Semaphore>,
    /// Where log messages of children go.
    pub messages: broadcast::Sender<ChildMessage>,
    /// Told whenever a child's state or listing has changed.
    pub news: mpsc::UnboundedSender<()>,
    /// Where the catalogs of lazy children are kept, if they are.
    pub cache: Option<CatalogCache>,
    /// What clients have subscribed to.
    pub subscriptions: AllSubscriptions,
    /// How often something was listed to each user.
    pub users_lists: UsersLists,
    /// The least severe log level any client asks for.
    pub log_level: watch::Receiver<Option<LogLevel>>,
}

impl Child {
    /// A supervised child, and the task that supervises it. The task ends, and the
    /// child with it, when `shutdown` is cancelled; a disabled child has none.
    pub fn supervised(
        settings: ChildSettings,
        surroundings: Surroundings,
        shutdown: CancellationToken,
    ) -> (Arc<Self>, Option<impl Future<Output = ()> + Send + 'static>) {
        let cache = surroundings.cache.as_ref().filter(|_| settings.lazy);
        let role = Role {
            keeping: Keeping::at(cache.map(|cache| cache.place(&settings))),
            dedicated: Dedicated::new(&settings, &surroundings, &shutdown),
            owner: None,
            tokens: None,
            entry: Weak::new(),
            subscriptions: surroundings.subscriptions.of(&settings.name, None),
        };
        let (child, losses) = Self::new(settings, role);
        if let Some(reason) = &child.settings.disabled {
            let (name, transport) = (child.name(), child.transport());
            if reason == DISABLED_IN_CONFIG {
                info!(child = %name, transport, state = "disabled", "child");
            } else {
                warn!(child = %name, transport, state = "disabled", reason = ?reason, "child");
            }
            return (child, None);
        }
        let supervisor = match child.settings.is_per_user() {
            false => Some(Box::new(Supervisor::new(
                &child,
                surroundings,
                shutdown.clone(),
                losses,
            ))),
            // Nothing is asked of the child but for a user.
            true => {
                child.waits_for_users();
                None
            }
        };
        // Boxed: a future that is handed on takes its room again with everyone who holds it.
        let task = Box::pin({
            let child = Arc::clone(&child);
            async move {
                match supervisor {
                    Some(supervisor) => supervisor.run().await,
                    None => {
                        shutdown.cancelled().await;
                        child.users_leave();
                    }
                }
                if let Some(dedicated) = &child.dedicated {
                    dedicated.ended().await;
                }
            }
        });
        (child, Some(task))
    }

    /// An owner's own connection to `entry`, and the task that supervises it: that
    /// ends by itself when nobody has needed it for long enough. It goes on with the
    /// pauses of `before`, in whose place it comes.
    pub(super) fn dedicated_to(
        owner: Owner,
        tokens: Option<Arc<UserTokens>>,
        entry: &Arc<Self>,
        before: Option<Backoff>,
        surroundings: Surroundings,
        shutdown: CancellationToken,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let key = owner.key();
        let role = Role {
            owner: Some(owner),
            tokens,
            entry: Arc::downgrade(entry),
            subscriptions: surroundings.subscriptions.of(entry.name(), Some(key)),
            ..Role::default()
        };
        let (child, losses) = Self::new(entry.settings.clone(), role);
        let mut supervisor = Box::new(Supervisor::new(&child, surroundings, shutdown, losses));
        if let Some(era) = entry.state().era {
            supervisor.handshake = known_to_work(era);
        }
        if let Some(backoff) = before {
            // It could not be reached before: no list waits for that again.
            if backoff.attempt() > 0 {
                child
                    .state
                    .send_modify(|state| Arc::make_mut(state).attempted = true);
            }
            supervisor.backoff = backoff;
        }
        (child, Box::pin(supervisor.run()))
    }
}

struct Supervisor {
    child: Arc<Child>,
    surroundings: Surroundings,
    shutdown: CancellationToken,
    /// Connections that requests have found lost.
    losses: mpsc::UnboundedReceiver<Box<Loss>>,
    breaker: Breaker,
    /// How the next handshake is begun: the way that worked last.
    handshake: Handshake,
    /// Who we are to it: found out at the first attempt, then held.
    identity: Arc<OnceLock<Identity>>,
    backoff: Backoff,
    /// Whether a handshake of that kind has worked, and none has failed since.
    agreed: bool,
    generation: u64,
    /// An attempt that goes on while the child is connected.
    beside: Option<Beside>,
    /// When such an attempt was last made to see which era the child speaks.
    last_doubt: Option<Instant>,
    /// Whether the child answers pings with an error for no reason of its era.
    odd_pings: bool,
    /// Whether a fresh process may come up beside the one there is, as far as is known.
    replaceable: bool,
    /// Held while somebody has subscribed to anything of the child: one that does not run
    /// tells nothing.
    subscribed: Option<Need>,
    /// Connections that others have replaced, on their way out.
    leaving: JoinSet<()>,
}

/// How the handshake is begun with a child that has spoken this.
fn known_to_work(era: Era) -> Handshake {
    match era {
        Era::Legacy => Handshake::Legacy,
        Era::Modern => Handshake::Modern,
    }
}

impl Supervisor {
    fn new(
        child: &Arc<Child>,
        surroundings: Surroundings,
        shutdown: CancellationToken,
        losses: mpsc::UnboundedReceiver<Box<Loss>>,
    ) -> Self {
        Self {
            breaker: child.breaker.clone(),
            child: Arc::clone(child),
            surroundings,
            shutdown,
            losses,
            handshake: Handshake::Either,
            identity: Arc::default(),
            backoff: Backoff::new(child.settings.restart.clone()),
            agreed: false,
            generation: 0,
            beside: None,
            last_doubt: None,
            odd_pings: false,
            replaceable: true,
            subscribed: None,
            leaving: JoinSet::new(),
        }
    }

    async fn run(mut self: Box<Self>) {
        let shutdown = self.shutdown.clone();
        self.recall().await;
        while !shutdown.is_cancelled() {
            self.is_subscribed_to();
            let woken = self.is_idle();
            if woken {
                let needed = somebody_needs(self.child.demand.clone());
                shutdown.run_until_cancelled(needed).await;
            }
            let began = Instant::now();
            self.enter(Phase::Connecting, |state| state.renewing |= woken);
            let how = self.handshake;
            // Boxed, as what else is rare or short: the child's task is as large as the
            // largest it awaits, for as long as the child is there.
            let attempt = self.attempt(how, shutdown.clone());
            let result = Box::pin(attempt.run()).await;
            self.handshake = handshake_after(how, &result);
            let pause = match result {
                Err(_) if shutdown.is_cancelled() => break,
                Err(failure) => {
                    self.child.metrics.connect_attempt(failure.outcome);
                    if failure.outcome != Outcome::Busy && !failure.is_of_user() {
                        self.breaker.failed();
                    }
                    self.count_exit(&failure);
                    // It may have come back in the other era: that is asked at once.
                    let agreed = std::mem::take(&mut self.agreed);
                    let pause = match failure.outcome {
                        // The user may come back with another token: that is tried at once.
                        _ if failure.is_of_user() => self.child.settings.restart.backoff,
                        Outcome::Protocol if agreed => Duration::ZERO,
                        _ => self.backoff.next(),
                    };
                    self.down(&failure, pause);
                    pause
                }
                Ok(live) => {
                    self.child.metrics.connect_attempt(Outcome::Ok);
                    self.agreed = true;
                    self.announce(&live, began);
                    // After that: what it lets through must go by the new connection.
                    // Of a child that was only stopped it knows what it knew.
                    if !woken {
                        self.breaker.reset();
                    }
                    match self.live(live).await {
                        Some(pause) => pause,
                        None => break,
                    }
                }
            };
            shutdown.run_until_cancelled(self.rest(pause)).await;
            // An owner that asks again gets another one.
            if !self.child.is_entry() {
                self.child.leaves_behind(Some(self.backoff.clone()));
                if self.lets_go() {
                    break;
                }
                self.child.leaves_behind(None);
            }
        }
        if shutdown.is_cancelled() {
            // Who still waits for it, waits in vain.
            self.ended();
        }
        self.child.keeping.settled().await;
        while self.leaving.join_next().await.is_some() {}
    }

    /// A connected child, until it is lost or idle: gives how long to wait then; or until
    /// the end of all.
    async fn live(&mut self, mut live: Live) -> Option<Duration> {
        let mut ready = Instant::now();
        loop {
            match self.serve(&mut live).await {
                End::Shutdown => {
                    self.ended();
                    self.give_up_beside();
                    Box::pin(live.stop()).await;
                    return None;
                }
                End::Idle => {
                    self.give_up_beside();
                    self.backoff = Backoff::new(self.child.settings.restart.clone());
                    // A token that only this child asks for is not kept fresh for nobody.
                    self.identity = Arc::default();
                    self.child.mask.hides(None);
                    Box::pin(live.stop()).await;
                    // An owner that asks again gets another one.
                    return self.child.is_entry().then_some(Duration::ZERO);
                }
                End::Lost(failure) => {
                    self.last_doubt = None;
                    self.give_up_beside();
                    return Some(Box::pin(self.lost(live, failure, ready.elapsed())).await);
                }
                End::Replaced { fresh, why, began } => {
                    let old = std::mem::replace(&mut live, *fresh);
                    self.last_doubt = None;
                    self.backoff.lived(ready.elapsed());
                    self.replaced(&live, why, began);
                    self.retire(old);
                    ready = Instant::now();
                }
            }
        }
    }

    /// One attempt to connect, that ends early with `given_up`.
    fn attempt(&mut self, how: Handshake, given_up: CancellationToken) -> Attempt {
        self.generation += 1;
        Attempt {
            identity: Arc::clone(&self.identity),
            child: Arc::clone(&self.child),
            surroundings: self.surroundings.clone(),
            how,
            generation: self.generation,
            loud: self.backoff.attempt() == 0,
            given_up,
        }
    }

    /// Keeps the child running while somebody has subscribed to anything of it.
    fn is_subscribed_to(&mut self) {
        let nobody = self.child.subscriptions.is_empty();
        self.subscribed = (!nobody).then(|| self.child.needed());
    }

    fn count_exit(&mut self, failure: &Failure) {
        if failure.exited {
            self.backoff.exited();
        }
    }

    /// Waits before the next attempt. A child that refused a request without a token is
    /// tried as soon as there is one.
    fn rest(&self, pause: Duration) -> impl Future<Output = ()> + Send + use<> {
        let without_token = self.child.state().without_token;
        let awaited = self.identity.get().filter(|_| without_token).cloned();
        async move {
            match awaited {
                None => tokio::time::sleep(pause).await,
                Some(identity) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout(pause, identity.available()).await;
                }
            }
        }
    }
}
