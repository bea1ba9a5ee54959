//! The task of one child: it connects, watches, refetches and connects again, for
//! ever.

mod connect;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use rand::Rng;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::connect::Live;
use super::{
    Child, ChildMessage, Failure, HttpClient, Phase, State, breaker::Breaker, child::Loss,
    control::Handshake, seconds, stdio::Process,
};
use crate::{
    catalog::Listing,
    config::{ChildSettings, DISABLED_IN_CONFIG},
    identity::Identity,
    protocol::LogLevel,
    telemetry::Outcome,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that has lived this long starts from the first pause again.
const STABLE: Duration = Duration::from_secs(60);
/// A session that was lost after this long is renewed at once, however often.
const SESSION_SETTLED: Duration = Duration::from_secs(5);
/// Between two fetches of a list, for a child that announces changes in a stream.
const LIST_EVERY: Duration = Duration::from_millis(250);
/// Before a list that could not be had is asked for again.
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// What all children have in common.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The pool of HTTP connections.
    pub http: HttpClient,
    /// The service token.
    pub identity: Identity,
    /// Process starts that may go on at once.
    pub starts: Arc<Semaphore>,
    /// Where log messages of children go.
    pub messages: broadcast::Sender<ChildMessage>,
    /// Told whenever a child's state or listing has changed.
    pub news: mpsc::UnboundedSender<()>,
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
        let (child, losses) = Self::new(settings);
        if let Some(reason) = &child.settings.disabled {
            let (name, transport) = (child.name(), child.transport());
            if reason == DISABLED_IN_CONFIG {
                info!(child = %name, transport, state = "disabled", "child");
            } else {
                warn!(child = %name, transport, state = "disabled", reason = ?reason, "child");
            }
            return (child, None);
        }
        let supervisor = Supervisor {
            breaker: child.breaker.clone(),
            child: Arc::clone(&child),
            surroundings,
            shutdown,
            losses,
            handshake: Handshake::Either,
            attempt: 0,
            generation: 0,
        };
        (child, Some(supervisor.run()))
    }
}

struct Supervisor {
    child: Arc<Child>,
    surroundings: Surroundings,
    shutdown: CancellationToken,
    /// Connections that requests have found lost.
    losses: mpsc::UnboundedReceiver<Loss>,
    breaker: Breaker,
    /// How the next handshake is begun: the way that worked last.
    handshake: Handshake,
    /// Attempts since the child was last stable.
    attempt: u32,
    generation: u64,
}

/// Why a connected child no longer is.
enum End {
    Shutdown,
    Lost(Failure),
}

/// What the child's task does beside watching. One thing at a time, never instead.
enum Job {
    Listed(Result<Listing, Failure>),
    Probed(Result<(), Failure>),
    Told,
}

impl Supervisor {
    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            self.enter(Phase::Connecting, |_| {});
            let pause = match shutdown.run_until_cancelled(self.connect()).await {
                None => break,
                Some(Err(failure)) => {
                    self.child.metrics.connect_attempt(failure.outcome);
                    self.breaker.failed();
                    let pause = self.next_pause();
                    self.down(&failure, pause);
                    pause
                }
                Some(Ok(mut live)) => {
                    self.child.metrics.connect_attempt(Outcome::Ok);
                    self.announce(&live, began);
                    let ready = Instant::now();
                    match self.serve(&mut live).await {
                        End::Shutdown => {
                            self.enter(Phase::Down, |_| {});
                            live.stop().await;
                            break;
                        }
                        End::Lost(failure) => self.lost(live, failure, ready.elapsed()).await,
                    }
                }
            };
            shutdown
                .run_until_cancelled(tokio::time::sleep(pause))
                .await;
        }
    }

    /// Until the child is lost.
    async fn serve(&mut self, live: &mut Live) -> End {
        let connection = &*live.connection;
        let patience = self.child.settings.timeout;
        let mut log_level = self.surroundings.log_level.clone();
        log_level.mark_changed();
        let follow = connection.follow(&self.child.changed);
        tokio::pin!(follow);
        let mut following = true;
        let mut listed = Instant::now();
        let mut list_at = None;
        let mut list_again = LIST_AGAIN;
        let mut job: Option<BoxFuture<'_, Job>> = None;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return End::Shutdown,
                reason = ended(&mut live.process) => {
                    return End::Lost(Failure::transport(reason));
                }
                () = connection.closed() => {
                    return End::Lost(Failure::transport("closed its connection"));
                }
                Some(loss) = self.losses.recv() => {
                    if loss.generation == connection.generation {
                        return End::Lost(loss.failure);
                    }
                }
                followed = &mut follow, if following => {
                    following = false;
                    if let Err(failure) = followed {
                        return End::Lost(failure);
                    }
                }
                () = self.child.changed.notified() => {
                    list_at.get_or_insert(Instant::now().max(listed + LIST_EVERY));
                }
                () = until(list_at), if job.is_none() => {
                    list_at = None;
                    listed = Instant::now();
                    job = Some(connection.list(patience).map(Job::Listed).boxed());
                }
                () = self.breaker.probe_due(), if job.is_none() => {
                    job = Some(connection.probe(patience).map(Job::Probed).boxed());
                }
                Ok(()) = log_level.changed(), if job.is_none() => {
                    if let Some(level) = *log_level.borrow_and_update() {
                        let told = connection.set_log_level(level, patience);
                        job = Some(told.map(|()| Job::Told).boxed());
                    }
                }
                done = running(&mut job) => {
                    job = None;
                    match done {
                        Job::Listed(Ok(listing)) => {
                            list_again = LIST_AGAIN;
                            self.listed(listing);
                        }
                        Job::Listed(Err(failure)) if failure.loses_connection() => {
                            return End::Lost(failure);
                        }
                        Job::Listed(Err(failure)) => {
                            self.not_listed(&failure, list_again);
                            list_at = Some(Instant::now() + list_again);
                            list_again = (list_again * 2).min(LONGEST_PAUSE);
                        }
                        Job::Probed(result) => {
                            self.probed(&result);
                            if let Err(failure) = result {
                                return End::Lost(failure);
                            }
                        }
                        Job::Told => {}
                    }
                }
            }
        }
    }

    /// A connected child is lost: say so at once, then clear up, then say what came
    /// to light. Gives how long to wait before it is tried again.
    async fn lost(&mut self, live: Live, failure: Failure, lived: Duration) -> Duration {
        if lived >= STABLE {
            self.attempt = 0;
        }
        let (reason, pause) = match failure.session_lost {
            true => {
                self.child.metrics.session_renewed();
                // At once, unless it was had a moment ago: then something is wrong.
                let settled = lived >= SESSION_SETTLED || self.attempt == 0;
                let pause = self.next_pause();
                ("session_lost", if settled { Duration::ZERO } else { pause })
            }
            false => ("connection_lost", self.next_pause()),
        };
        self.child.metrics.restarted(reason);
        let phase = match pause {
            Duration::ZERO => Phase::Connecting,
            _ => Phase::Down,
        };
        self.enter(phase, |state| {
            state.restarts += 1;
            state.renewing = phase == Phase::Connecting;
            state.reason = Some(failure.reason.clone());
        });
        self.tell();
        let failure = live.release(failure).await;
        if phase == Phase::Down {
            self.down(&failure, pause);
        }
        pause
    }

    fn next_pause(&mut self) -> Duration {
        let pause = pause(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        pause
    }

    fn listed(&self, listing: Listing) {
        debug!(child = %self.child.name(), tools = listing.tools.len(), "listed again");
        let listing = self.filtered(listing);
        self.child.listing.store(Some(Arc::new(listing)));
        self.tell();
    }

    fn not_listed(&self, failure: &Failure, again: Duration) {
        let child = self.child.name();
        let reason = self.child.mask.told_in_full(failure);
        // Told once; then it is only tried again.
        if again == LIST_AGAIN {
            warn!(%child, ?reason, "the changed list cannot be had");
        } else {
            debug!(%child, ?reason, "the changed list cannot be had");
        }
    }

    /// The breaker's one probe, never a client's call, has come back.
    fn probed(&self, result: &Result<(), Failure>) {
        self.breaker.probed(result.is_ok());
        info!(
            child = %self.child.name(), breaker = self.breaker.state().as_str(),
            reason = result.as_ref().err().map(|failure| self.child.mask.told_in_full(failure)), "probed"
        );
    }

    fn announce(&self, live: &Live, began: Instant) {
        let Live {
            connection,
            listing,
            process,
        } = live;
        self.child.listing.store(Some(Arc::clone(listing)));
        self.breaker.reset();
        self.enter(Phase::Ready, |state| {
            state.attempted = true;
            state.reason = None;
            state.detail = None;
            state.told = None;
            state.attempt = 0;
            state.era = Some(connection.era());
            state.pid = process.as_ref().and_then(Process::pid);
            state.connection = Some(Arc::clone(connection));
        });
        self.tell();
        info!(
            child = %self.child.name(), transport = self.child.transport(), state = "ready",
            era = connection.era().as_str(), tools = listing.tools.len(),
            ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "child"
        );
    }

    fn down(&self, failure: &Failure, pause: Duration) {
        let told = self.child.state().told.as_ref() == Some(&failure.reason);
        let detail = failure
            .detail
            .as_deref()
            .map(|detail| self.child.mask.shown(detail));
        self.enter(Phase::Down, |state| {
            state.attempted = true;
            state.reason = Some(failure.reason.clone());
            state.told = Some(failure.reason.clone());
            state.detail = detail.clone();
            state.next_retry = Some(Instant::now() + pause);
        });
        self.tell();
        let (child, transport) = (self.child.name(), self.child.transport());
        let (reason, retry_in) = (&failure.reason, seconds(pause));
        // The same reason again and again is told once.
        if told {
            debug!(%child, transport, state = "down", ?reason, detail, retry_in, "child");
        } else {
            warn!(%child, transport, state = "down", ?reason, detail, retry_in, "child");
        }
    }

    /// Enters a phase. The reason of the last failure stays until the child is
    /// ready: while it is being tried again, that is what a caller wants to know.
    fn enter(&self, phase: Phase, also: impl FnOnce(&mut State)) {
        self.child.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            if state.phase != phase {
                state.since = SystemTime::now();
            }
            state.phase = phase;
            state.attempt = self.attempt;
            state.next_retry = None;
            state.pid = None;
            state.connection = None;
            // What is being renewed stays so until it is ready, or down.
            state.renewing &= phase == Phase::Connecting;
            also(state);
        });
    }

    fn tell(&self) {
        // Nobody left to be told: the fleet has ended before its children.
        let _ = self.surroundings.news.send(());
    }
}

/// Doubling from the first pause to the longest, a fifth more or less: children
/// that went together do not come back together.
fn pause(attempt: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(16));
    pause
        .min(LONGEST_PAUSE)
        .mul_f64(rand::rng().random_range(0.8..1.2))
}

/// The job that is going on; never, while there is none.
async fn running(job: &mut Option<BoxFuture<'_, Job>>) -> Job {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How a process ended; never, where there is none.
async fn ended(process: &mut Option<Process>) -> String {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_half_a_second_to_a_minute() {
        for (attempt, base) in [(0, 0.5), (1, 1.0), (5, 16.0), (7, 60.0), (u32::MAX, 60.0)] {
            let pause = pause(attempt).as_secs_f64();
            assert!(
                (base * 0.8..base * 1.2).contains(&pause),
                "{attempt}: {pause}"
            );
        }
    }
}
