//! A connected child: it is watched, listed and asked, until it is no longer.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, OptionFuture},
};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{
    Supervisor,
    beside::{Why, made},
    connect::Live,
    idle::nobody_needs,
};
use crate::{
    catalog::Listing,
    outbound::{BreakerState, Failure, connection::Follow, stdio::Process},
    protocol::Era,
};

/// Between two fetches of a list, for a child that announces changes in a stream.
const LIST_EVERY: Duration = Duration::from_millis(250);
/// Before a list that could not be had is asked for again.
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// Why a connected child no longer is.
pub(super) enum End {
    Shutdown,
    /// Nobody has needed it for long enough.
    Idle,
    Lost(Failure),
    /// Another one has been made beside it and takes its place.
    Replaced {
        fresh: Box<Live>,
        why: Why,
        /// When it was begun.
        began: Instant,
    },
}

/// What the child's task does beside watching. One thing at a time, never instead.
enum Job {
    Listed(Result<Listing, Failure>),
    Pinged(Result<bool, Failure>),
    /// The same, for a process that no fresh one could replace.
    LastAsked(Result<bool, Failure>),
    Told,
}

impl Supervisor {
    /// Until the child is lost.
    pub(super) async fn serve(&mut self, live: &mut Live) -> End {
        let connection = &*live.connection;
        let child = Arc::clone(&self.child);
        let settings = &child.settings;
        let patience = settings.timeout;
        let mut log_level = self.surroundings.log_level.clone();
        log_level.mark_changed();
        let follow = connection.follow(Follow {
            changed: &child.changed,
            subscriptions: &child.subscriptions,
            listed: child.is_listed(),
            patience,
            clocks: &settings.restart,
        });
        tokio::pin!(follow);
        let mut following = true;
        let mut subscriptions = child.subscriptions.changes();
        subscriptions.mark_changed();
        let mut listed = Instant::now();
        let mut list_at = None;
        let mut list_again = LIST_AGAIN;
        let next_ping = || settings.keep_alive.map(|every| Instant::now() + every);
        let mut ping_at = next_ping();
        let mut job: Option<BoxFuture<'_, Job>> = None;
        let idle = nobody_needs(child.demand.clone(), settings.idle_timeout);
        tokio::pin!(idle);
        // It falls idle when the job is done.
        let mut lets_go = false;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return End::Shutdown,
                reason = ended(&mut live.process) => {
                    return End::Lost(Failure::transport(reason));
                }
                () = connection.closed() => {
                    return End::Lost(connection.loss());
                }
                () = &mut idle, if job.is_none() => {
                    // What it has changed is listed before, but once only: it may go on
                    // changing, or fail to list it, for ever.
                    if list_at.take().is_some() {
                        lets_go = true;
                        listed = Instant::now();
                        job = Some(connection.list(patience).map(Job::Listed).boxed());
                    } else if self.falls_idle() {
                        return End::Idle;
                    }
                    idle.set(nobody_needs(child.demand.clone(), settings.idle_timeout));
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
                _ = subscriptions.changed() => self.is_subscribed_to(),
                () = child.changed.notified(), if child.is_listed() => {
                    list_at.get_or_insert(Instant::now().max(listed + LIST_EVERY));
                }
                Some(()) = OptionFuture::from(list_at.map(sleep_until)), if job.is_none() => {
                    list_at = None;
                    listed = Instant::now();
                    job = Some(connection.list(patience).map(Job::Listed).boxed());
                }
                () = self.breaker.probe_due(), if self.beside.is_none() => {
                    self.connect_beside(Why::Probe, self.handshake);
                }
                () = self.child.doubted.notified(), if self.beside.is_none() => {
                    self.doubt(live.process.is_none());
                }
                (why, result) = made(&mut self.beside) => {
                    match self.made(why, result, live) {
                        Some(end) => return end,
                        None => continue,
                    }
                }
                () = std::future::ready(()), if !self.replaceable && job.is_none() => {
                    self.replaceable = true;
                    job = Some(connection.ping(patience).map(Job::LastAsked).boxed());
                }
                Some(()) = OptionFuture::from(ping_at.map(sleep_until)), if job.is_none() => {
                    ping_at = next_ping();
                    // A child that works shows by its answers that it lives, and one
                    // that fails has its probe.
                    if self.child.own_load().0 == 0 && self.child.breaker() == BreakerState::Closed {
                        job = Some(connection.ping(patience).map(Job::Pinged).boxed());
                    }
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
                            child.keeping.keep(connection.era(), &listing);
                            self.listed(listing, connection.era());
                        }
                        Job::Listed(Err(failure)) if failure.loses_connection() => {
                            return End::Lost(failure);
                        }
                        Job::Listed(Err(failure)) => {
                            self.not_listed(&failure, list_again);
                            list_at = Some(Instant::now() + list_again);
                            list_again = (list_again * 2).min(settings.restart.max_backoff.max(LIST_AGAIN));
                        }
                        Job::Pinged(Ok(false)) if !self.odd_pings => {
                            self.doubt(live.process.is_none());
                        }
                        Job::Pinged(Ok(_)) | Job::LastAsked(Ok(_)) | Job::Told => {}
                        Job::LastAsked(Err(failure)) => return End::Lost(failure),
                        Job::Pinged(Err(failure)) if failure.loses_connection() => {
                            return End::Lost(failure);
                        }
                        Job::Pinged(Err(failure)) => {
                            if failure.counts() {
                                self.breaker.failed();
                            }
                        }
                    }
                    if std::mem::take(&mut lets_go) && self.falls_idle() {
                        return End::Idle;
                    }
                }
            }
        }
    }

    fn listed(&self, listing: Listing, era: Era) {
        debug!(child = %self.child.name(), tools = listing.tools().len(), "listed again");
        let listing = self.child.filtered(listing);
        self.warn_of_unfit(&listing);
        self.child.lists(Arc::new(listing), era);
        self.tell();
    }

    /// Tells of tools that are left out, once.
    pub(super) fn warn_of_unfit(&self, listing: &Listing) {
        let before = self.child.listing();
        for unfit in &listing.unfit {
            if !before.as_ref().is_some_and(|it| it.unfit.contains(unfit)) {
                let (child, tool, why) = (self.child.name(), unfit.own.as_str(), &unfit.why);
                warn!(%child, tool, why, "a tool is left out: it cannot be called over HTTP");
            }
        }
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
}

/// The job that is going on; never, while there is none.
async fn running(job: &mut Option<BoxFuture<'_, Job>>) -> Job {
    match job {
        Some(job) => job.await,
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
