//! The task of one child: it connects, watches, refetches and connects again, for
//! ever.

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

use super::{
    Child, ChildMessage, Connection, Failure, HttpClient, Phase, State,
    breaker::Breaker,
    child::Loss,
    control::Handshake,
    http::HttpLink,
    link::Link,
    seconds,
    stdio::{Pipe, Process},
    unasked::Unasked,
};
use crate::{
    catalog::{Filter, Listing},
    config::{AuthSettings, ChildSettings, HttpSettings, TransportSettings},
    identity::Identity,
    protocol::{Era, Frame, LogLevel},
    telemetry::Outcome,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that has lived this long starts from the first pause again.
const STABLE: Duration = Duration::from_secs(60);
/// How long a starting process counts against the limit of starts: the costly part
/// of a start is over by then, and a child that hangs must not hold up others.
const START_COSTS: Duration = Duration::from_secs(5);
/// How long an exit status may take to show after a pipe has closed.
const EXIT_SHOWS: Duration = Duration::from_millis(500);

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
            era: None,
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
    /// The era that worked last.
    era: Option<Era>,
    /// Attempts since the child was last stable.
    attempt: u32,
    generation: u64,
}

/// A connected child.
struct Live {
    connection: Arc<Connection>,
    listing: Listing,
    process: Option<Process>,
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
            self.enter(Phase::Connecting, None, None);
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

    /// One attempt: way, handshake, list.
    async fn connect(&mut self) -> Result<Live, Failure> {
        let permit = match self.child.settings.transport {
            TransportSettings::Stdio(_) => {
                self.surroundings.starts.clone().acquire_owned().await.ok()
            }
            _ => None,
        };
        let (link, inbox, process) = self.open()?;
        self.generation += 1;
        let how = self.handshake();
        let patience = self.child.settings.timeout;
        let established = async {
            let connection =
                Connection::establish(link.clone(), inbox, how, self.generation).await?;
            let listing = connection.list(patience).await?;
            Ok((connection, listing))
        };
        let established = tokio::time::timeout(patience, established);
        tokio::pin!(established);
        let result = tokio::select! {
            result = &mut established => result,
            () = tokio::time::sleep(START_COSTS) => {
                drop(permit);
                established.await
            }
        };
        match result.unwrap_or_else(|_| Err(Failure::timeout(patience))) {
            Ok((connection, listing)) => {
                self.era = Some(connection.era());
                let connection = Arc::new(connection);
                let listing = self.filtered(listing);
                Ok(Live {
                    connection,
                    listing,
                    process,
                })
            }
            Err(failure) => {
                self.era = None;
                link.closed().cancel();
                Err(match process {
                    Some(process) => post_mortem(process, failure).await,
                    None => failure,
                })
            }
        }
    }

    /// The way to the child, on which nothing has been said yet.
    fn open(&self) -> Result<(Link, mpsc::Receiver<Frame>, Option<Process>), Failure> {
        let Surroundings { http, messages, .. } = &self.surroundings;
        let settings = &self.child.settings;
        let metrics = &self.child.metrics;
        let (unasked, inbox) = Unasked::new(
            settings.name.clone(),
            Arc::clone(&self.child.changed),
            messages.clone(),
            metrics.clone(),
        );
        match &settings.transport {
            TransportSettings::Stdio(stdio) => {
                let (process, stdin, stdout) = Process::start(&settings.name, stdio)?;
                let pipe = Pipe::new(stdin, stdout, unasked);
                Ok((Link::Pipe(pipe), inbox, Some(process)))
            }
            TransportSettings::Http(remote) => {
                let uri = remote
                    .url
                    .as_str()
                    .parse()
                    .map_err(|_| Failure::not_sent("has a URL that cannot be used"))?;
                let link = HttpLink::new(
                    http.clone(),
                    uri,
                    remote.headers.clone(),
                    self.identity(remote),
                    metrics.clone(),
                    unasked,
                );
                Ok((Link::Http(link), inbox, None))
            }
            TransportSettings::Sse(_) | TransportSettings::Unusable => {
                Err(Failure::not_sent("has a transport that is not supported"))
            }
        }
    }

    /// The service token goes to every remote child without a header of its own.
    fn identity(&self, remote: &HttpSettings) -> Option<Identity> {
        let own = remote.headers.contains_key(http::header::AUTHORIZATION);
        let wanted = self.child.settings.auth == AuthSettings::Service;
        (!own && wanted && self.surroundings.identity.is_on())
            .then(|| self.surroundings.identity.clone())
    }

    /// What worked last; else both, and after each failure the other way round: a
    /// server that hangs on an unknown method still knows `initialize`.
    fn handshake(&self) -> Handshake {
        match self.era {
            Some(Era::Legacy) => Handshake::Legacy,
            Some(Era::Modern) => Handshake::Modern,
            None if self.attempt % 2 == 1 => Handshake::Legacy,
            None => Handshake::Either,
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
                () = self.child.changed.notified() => self.refetch(&connection).await,
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
        if !matches!(end, End::Lost(_)) {
            connection.close().await;
        }
        if let Some(process) = process {
            process.stop().await;
        }
        end
    }

    /// The child's list has changed. While it cannot be had, the last one stays.
    async fn refetch(&self, connection: &Connection) {
        let listed = connection.list(self.child.settings.timeout);
        match self.shutdown.run_until_cancelled(listed).await {
            Some(Ok(listing)) => {
                let listing = self.filtered(listing);
                debug!(child = %self.child.name(), tools = listing.tools.len(), "listed again");
                self.child.listing.store(Some(Arc::new(listing)));
                self.tell();
            }
            Some(Err(failure)) => {
                warn!(child = %self.child.name(), reason = %failure, "the changed list cannot be had");
            }
            None => {}
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

    fn filtered(&self, listing: Listing) -> Listing {
        let ChildSettings {
            enabled_tools,
            disabled_tools,
            ..
        } = &self.child.settings;
        match Filter::new(enabled_tools, disabled_tools) {
            Ok(filter) => listing.filtered(&filter),
            // The configuration refuses such a pattern before it comes here.
            Err(_) => listing,
        }
    }

    fn announce(&mut self, live: &Live, began: Instant) {
        let tools = live.listing.tools.len();
        self.child
            .listing
            .store(Some(Arc::new(live.listing.clone())));
        self.breaker.reset();
        self.enter(
            Phase::Ready,
            None,
            live.process.as_ref().and_then(Process::pid),
        );
        self.child
            .connection
            .send_replace(Some(Arc::clone(&live.connection)));
        self.tell();
        info!(
            child = %self.child.name(), transport = self.child.transport(), state = "ready",
            era = live.connection.era().as_str(), tools,
            ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "child"
        );
    }

    fn down(&self, failure: &Failure, pause: Duration) {
        let before = self.child.state();
        self.enter(Phase::Down, Some((failure.reason.clone(), pause)), None);
        self.tell();
        let (child, transport) = (self.child.name(), self.child.transport());
        // The same reason again and again is told once.
        if before.reason.as_ref() == Some(&failure.reason) {
            debug!(%child, transport, state = "down", reason = %failure, retry_in = %seconds(pause), "child");
        } else {
            warn!(%child, transport, state = "down", reason = %failure, retry_in = %seconds(pause), "child");
        }
    }

    fn lost(&self, reason: &'static str) {
        self.child.metrics.restarted(reason);
        let mut state = State::clone(&self.child.state());
        state.restarts += 1;
        self.child.state.send_replace(Arc::new(state));
    }

    fn attempted(&self, outcome: Outcome) {
        self.child.metrics.connect_attempt(outcome);
        let mut state = State::clone(&self.child.state());
        state.attempted = true;
        self.child.state.send_replace(Arc::new(state));
    }

    /// Replaces the state. While an attempt is going on, the reason of the last one
    /// stays: it is what a caller wants to know.
    fn enter(&self, phase: Phase, down: Option<(String, Duration)>, pid: Option<u32>) {
        let before = self.child.state();
        let (reason, pause) = down.unzip();
        self.child.state.send_replace(Arc::new(State {
            phase,
            reason: match phase {
                Phase::Connecting => before.reason.clone(),
                _ => reason,
            },
            since: match before.phase == phase {
                true => before.since,
                false => SystemTime::now(),
            },
            attempt: self.attempt,
            next_retry: pause.map(|pause| Instant::now() + pause),
            era: self.era.or(before.era),
            pid,
            restarts: before.restarts,
            attempted: before.attempted,
        }));
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

/// How a process ended; never, where there is none.
async fn ended(process: &mut Option<Process>) -> String {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

/// The better reason, if the process has ended by itself; and the end of it.
async fn post_mortem(mut process: Process, failure: Failure) -> Failure {
    let closed = failure.outcome == Outcome::Transport;
    let patience = if closed { EXIT_SHOWS } else { Duration::ZERO };
    match tokio::time::timeout(patience, process.ended()).await {
        Ok(reason) => Failure { reason, ..failure },
        Err(_) => {
            process.stop().await;
            failure
        }
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
