//! The task of one child: it connects, watches, refetches and connects again, for
//! ever.

mod connect;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rand::Rng;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::connect::{Live, post_mortem};
use super::{
    Child, ChildMessage, Connection, Failure, HttpClient, Phase, State, breaker::Breaker,
    child::Loss, control::Handshake, seconds, stdio::Process,
};
use crate::{config::ChildSettings, identity::Identity, protocol::LogLevel, telemetry::Outcome};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that has lived this long starts from the first pause again.
const STABLE: Duration = Duration::from_secs(60);
/// Before a list that could not be had is asked for again.
const REFETCH_PAUSE: Duration = Duration::from_secs(5);

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
    /// Starts supervising a child. The task ends, and the child with it, when
    /// `shutdown` is cancelled.
    pub fn start(
        settings: ChildSettings,
        surroundings: Surroundings,
        shutdown: CancellationToken,
    ) -> (Arc<Self>, Option<tokio::task::JoinHandle<()>>) {
        let (child, losses) = Self::new(settings);
        if child.state().phase == Phase::Disabled {
            info!(
                child = %child.name(), transport = child.transport(), state = "disabled",
                reason = child.settings.disabled.as_deref(), "child"
            );
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
        (child, Some(tokio::spawn(supervisor.run())))
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
    SessionLost,
    Lost(Failure),
}

impl End {
    fn of(failure: Failure) -> Self {
        match failure.session_lost {
            true => Self::SessionLost,
            false => Self::Lost(failure),
        }
    }
}

impl Supervisor {
    async fn run(mut self) {
        while !self.shutdown.is_cancelled() {
            let began = Instant::now();
            self.enter(Phase::Connecting, |_| {});
            let shutdown = self.shutdown.clone();
            let failure = match shutdown.run_until_cancelled(self.connect()).await {
                None => break,
                Some(Err(failure)) => {
                    self.attempted(failure.outcome);
                    self.child.failed(None, &failure);
                    failure
                }
                Some(Ok(live)) => {
                    self.attempted(Outcome::Ok);
                    self.announce(&live, began);
                    let ready = Instant::now();
                    let end = self.serve(live).await;
                    self.child.connection.send_replace(None);
                    if ready.elapsed() >= STABLE {
                        self.attempt = 0;
                    }
                    match end {
                        End::Shutdown => break,
                        End::SessionLost => {
                            self.child.metrics.session_renewed();
                            self.lost("session_lost");
                            continue;
                        }
                        End::Lost(failure) => {
                            self.lost("connection_lost");
                            failure
                        }
                    }
                }
            };
            let pause = pause(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            self.down(&failure, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    /// Until the child is lost.
    async fn serve(&mut self, live: Live) -> End {
        let Live {
            connection,
            mut process,
            ..
        } = live;
        let mut log_level = self.surroundings.log_level.clone();
        log_level.mark_changed();
        let follow = connection.follow();
        tokio::pin!(follow);
        let mut following = true;
        let mut refetch_at = None;
        let end = loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break End::Shutdown,
                reason = ended(&mut process) => break End::Lost(Failure::transport(reason)),
                () = connection.closed() => {
                    let failure = Failure::transport("closed its connection");
                    break End::Lost(match process.take() {
                        Some(process) => post_mortem(process, failure).await,
                        None => failure,
                    });
                }
                Some(loss) = self.losses.recv() => {
                    if loss.generation == connection.generation {
                        break End::of(loss.failure);
                    }
                }
                followed = &mut follow, if following => {
                    following = false;
                    if let Err(failure) = followed {
                        break End::of(failure);
                    }
                }
                () = self.child.changed.notified() => refetch_at = self.refetch(&connection).await,
                () = until(refetch_at) => refetch_at = self.refetch(&connection).await,
                () = self.breaker.probe_due() => {
                    if let Some(failure) = self.probe(&connection).await {
                        break End::of(failure);
                    }
                }
                Ok(()) = log_level.changed() => {
                    let level = *log_level.borrow_and_update();
                    if let Some(level) = level {
                        connection.set_log_level(level).await;
                    }
                }
            }
        };
        self.child.connection.send_replace(None);
        match end {
            End::Lost(_) => connection.abandon(),
            End::Shutdown | End::SessionLost => connection.close().await,
        }
        if let Some(process) = process {
            process.stop().await;
        }
        end
    }

    /// The child's list has changed. While it cannot be had, the last one stays, and
    /// it is asked for again at the moment that is given back.
    async fn refetch(&self, connection: &Connection) -> Option<Instant> {
        let listed = connection.list(self.child.settings.timeout);
        match self.shutdown.run_until_cancelled(listed).await? {
            Ok(listing) => {
                debug!(child = %self.child.name(), tools = listing.tools.len(), "listed again");
                let listing = self.filtered(listing);
                self.child.listing.store(Some(Arc::new(listing)));
                self.tell();
                None
            }
            Err(failure) => {
                warn!(child = %self.child.name(), reason = %failure, "the changed list cannot be had");
                Some(Instant::now() + REFETCH_PAUSE)
            }
        }
    }

    /// The breaker's one probe, never a client's call. Gives the failure that shows
    /// that the connection itself is no longer there.
    async fn probe(&self, connection: &Connection) -> Option<Failure> {
        let probed = connection.probe(self.child.settings.timeout);
        let result = self.shutdown.run_until_cancelled(probed).await?;
        self.breaker.probed(result.is_ok());
        let failure = result.err();
        info!(
            child = %self.child.name(), breaker = self.breaker.state().as_str(),
            reason = failure.as_ref().map(|failure| &*failure.reason), "probed"
        );
        failure.filter(|failure| failure.not_executed && failure.outcome == Outcome::Transport)
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
            state.reason = None;
            state.era = Some(connection.era());
            state.pid = process.as_ref().and_then(Process::pid);
        });
        self.child
            .connection
            .send_replace(Some(Arc::clone(connection)));
        self.tell();
        info!(
            child = %self.child.name(), transport = self.child.transport(), state = "ready",
            era = connection.era().as_str(), tools = listing.tools.len(),
            ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "child"
        );
    }

    fn down(&self, failure: &Failure, pause: Duration) {
        let told = self.child.state().reason.as_ref() == Some(&failure.reason);
        self.enter(Phase::Down, |state| {
            state.reason = Some(failure.reason.clone());
            state.next_retry = Some(Instant::now() + pause);
        });
        self.tell();
        let (child, transport) = (self.child.name(), self.child.transport());
        let retry_in = seconds(pause);
        // The same reason again and again is told once.
        if told {
            debug!(%child, transport, state = "down", reason = %failure, %retry_in, "child");
        } else {
            warn!(%child, transport, state = "down", reason = %failure, %retry_in, "child");
        }
    }

    fn lost(&self, reason: &'static str) {
        self.child.metrics.restarted(reason);
        self.change(|state| state.restarts += 1);
    }

    fn attempted(&self, outcome: Outcome) {
        self.child.metrics.connect_attempt(outcome);
        self.change(|state| state.attempted = true);
    }

    /// Enters a phase. The reason of the last failure stays until the child is
    /// ready: while it is being tried again, that is what a caller wants to know.
    fn enter(&self, phase: Phase, also: impl FnOnce(&mut State)) {
        self.change(|state| {
            if state.phase != phase {
                state.since = SystemTime::now();
            }
            state.phase = phase;
            state.attempt = self.attempt;
            state.next_retry = None;
            state.pid = None;
            also(state);
        });
    }

    fn change(&self, edit: impl FnOnce(&mut State)) {
        self.child
            .state
            .send_modify(|state| edit(Arc::make_mut(state)));
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
