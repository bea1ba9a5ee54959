//! One attempt to connect: the way to the child, the handshake, the list.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Surroundings, known_to_work};
use crate::{
    catalog::Listing,
    config::{ChildSettings, HttpSettings, TransportSettings},
    identity::Identity,
    outbound::{
        Child, Connection, Failure,
        control::Handshake,
        credentials::Credentials,
        http::{HttpLink, Remote},
        link::Link,
        sse::SseLink,
        stdio::{Pipe, Process},
        unasked::Unasked,
    },
    protocol::Frame,
    telemetry::Outcome,
};

/// How long a starting process counts against the limit of starts: the costly part
/// of a start is over by then, and a child that hangs must not hold up others.
const START_COSTS: Duration = Duration::from_secs(5);
/// How long an exit status may take to show after a pipe has closed.
const EXIT_SHOWS: Duration = Duration::from_millis(500);
/// Between two looks whether a replaced connection is still used.
const STILL_USED: Duration = Duration::from_millis(100);
/// How long the answers a process wrote before its end may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// One attempt to connect, with all it needs: it may go on beside the connection that
/// there is.
pub(super) struct Attempt {
    pub(super) child: Arc<Child>,
    pub(super) surroundings: Surroundings,
    /// Who we are to it: found out at the first attempt, then held by the child's task.
    pub(super) identity: Arc<OnceLock<Identity>>,
    /// How the handshake is begun.
    pub(super) how: Handshake,
    pub(super) generation: u64,
    /// Whether what a process says on stderr is worth an `info`.
    pub(super) loud: bool,
    /// Cancelled when nobody waits for it any more.
    pub(super) given_up: CancellationToken,
}

/// A connected child.
pub(super) struct Live {
    pub(super) connection: Arc<Connection>,
    pub(super) listing: Arc<Listing>,
    pub(super) process: Option<Process>,
}

impl Live {
    /// Ends a connection that another has replaced, once the calls on it have ended:
    /// each holds its connection. They have `patience`, or until `hurry`.
    pub(super) async fn retire(self, patience: Duration, hurry: CancellationToken) {
        let unused = async {
            while Arc::strong_count(&self.connection) > 1 {
                tokio::time::sleep(STILL_USED).await;
            }
        };
        let _ = tokio::time::timeout(patience, hurry.run_until_cancelled(unused)).await;
        self.stop().await;
    }

    /// Ends a child that is there to be told: its session, or its process.
    pub(super) async fn stop(self) {
        self.connection.close().await;
        if let Some(process) = self.process {
            process.stop().await;
        }
    }

    /// Clears up after a child that is lost; gives the better reason, if its process
    /// has ended by itself.
    pub(super) async fn release(self, failure: Failure) -> Failure {
        let Self {
            connection,
            process,
            ..
        } = self;
        match process {
            Some(process) => post_mortem(process, failure, connection.way()).await,
            None => {
                // Nobody is there to end a session, or none is left to be ended.
                if failure.loses_connection() {
                    connection.way().cancel();
                } else {
                    connection.give_up();
                }
                failure
            }
        }
    }
}

/// How a process came to its end, if it has; else the end of it. Closes the `way` to
/// it, and with that its stdin.
async fn post_mortem(mut process: Process, failure: Failure, way: &CancellationToken) -> Failure {
    match tokio::time::timeout(EXIT_SHOWS, process.ended()).await {
        // After any other failure it has ended because we hung up.
        Ok(reason) if failure.outcome == Outcome::Transport => {
            // First: calls wait for the end of a stdout that what it has started may hold.
            process.end_group();
            let told = process.last_words().await;
            drop(process);
            // What it wrote before its end is still being read: the reader closes the
            // way when it is through.
            let _ = tokio::time::timeout(LAST_WORDS, way.cancelled()).await;
            way.cancel();
            Failure {
                reason,
                exited: true,
                ..failure
            }
            .with_detail(&told)
        }
        _ => {
            way.cancel();
            process.stop().await;
            failure
        }
    }
}

impl Attempt {
    /// Way, handshake, list. One that is given up ends what it has started as one ends
    /// a child that runs.
    pub(super) async fn run(self) -> Result<Live, Failure> {
        let given_up = self.given_up.clone();
        let permit = match self.child.settings.transport {
            TransportSettings::Stdio(_) => {
                let start = self.surroundings.starts.clone().acquire_owned();
                match given_up.run_until_cancelled(start).await {
                    Some(permit) => permit.ok(),
                    None => return Err(not_waited_for()),
                }
            }
            _ => None,
        };
        let (link, inbox, process) = self.open()?;
        let patience = self.child.settings.timeout;
        // Boxed: it is large, and takes its room again wherever it is moved.
        let established = Box::pin(async {
            let how = match link {
                // Servers of this kind are older than any other handshake.
                Link::Sse(_) => Handshake::Legacy,
                _ => self.how,
            };
            let connection =
                Connection::establish(link.clone(), inbox, how, self.generation).await?;
            let listing = match self.child.is_listed() {
                true => connection.list(patience).await?,
                false => Listing::default(),
            };
            Ok((connection, listing))
        });
        let established = tokio::time::timeout(patience, established);
        let result = {
            tokio::pin!(established);
            tokio::select! {
                biased;
                () = given_up.cancelled() => None,
                result = &mut established => Some(result),
                () = tokio::time::sleep(START_COSTS) => {
                    drop(permit);
                    given_up.run_until_cancelled(established).await
                }
            }
        };
        let timed_out = |_| Err(link.silence(patience));
        match result.map(|result| result.unwrap_or_else(timed_out)) {
            Some(Ok((connection, listing))) => {
                self.child.keeping.keep(connection.era(), &listing);
                Ok(Live {
                    connection: Arc::new(connection),
                    listing: Arc::new(self.child.filtered(listing)),
                    process,
                })
            }
            Some(Err(failure)) => Err(match process {
                Some(process) => post_mortem(process, failure, link.closed()).await,
                None => {
                    link.give_up();
                    failure
                }
            }),
            None => {
                link.end().await;
                if let Some(process) = process {
                    process.stop().await;
                }
                Err(not_waited_for())
            }
        }
    }

    /// The way to the child, on which nothing has been said yet.
    fn open(&self) -> Result<(Link, mpsc::Receiver<Frame>, Option<Process>), Failure> {
        let Surroundings { http, messages, .. } = self.surroundings.clone();
        let child = Arc::clone(&self.child);
        let settings = &child.settings;
        let metrics = &child.metrics;
        let (unasked, inbox) = Unasked::new(
            settings.name.clone(),
            Arc::clone(&self.child.changed),
            messages,
            metrics.clone(),
        );
        let unasked = unasked
            .of_owner(child.owner.clone())
            .tells(Arc::clone(&child.subscriptions))
            .completes(child.elicited.clone());
        match &settings.transport {
            TransportSettings::Stdio(stdio) => {
                let (process, stdin, stdout) =
                    Process::start(&settings.name, stdio, &self.child.mask, self.loud)?;
                let pipe = Pipe::new(stdin, stdout, unasked);
                Ok((Link::Pipe(pipe), inbox, Some(process)))
            }
            TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
                let (uri, headers) = target(remote)?;
                let credentials = match &child.tokens {
                    Some(tokens) => Credentials::User(Arc::clone(tokens)),
                    None => Credentials::Service(self.identity(remote)?),
                };
                let remote = Remote {
                    // A pool for each handshake: what it leaves behind may lead to a
                    // process that is gone, and a request that meets it is lost.
                    client: http.afresh(),
                    uri,
                    headers,
                    credentials,
                    metrics: metrics.clone(),
                };
                let link = match settings.transport {
                    TransportSettings::Sse(_) => Link::Sse(SseLink::open(remote, unasked)),
                    _ => Link::Http(HttpLink::new(remote, unasked)),
                };
                Ok((link, inbox, None))
            }
            TransportSettings::Unusable => {
                Err(Failure::not_sent("has a transport that is not supported"))
            }
        }
    }

    /// Who we are to a remote child.
    fn identity(&self, remote: &HttpSettings) -> Result<Identity, Failure> {
        if let Some(known) = self.identity.get() {
            return Ok(known.clone());
        }
        if remote.has_own_authorization() {
            return Ok(Identity::off());
        }
        let ChildSettings { name, auth, .. } = &self.child.settings;
        let identity = self.surroundings.identities.of(name, auth, &remote.url);
        let identity = identity.map_err(|error| {
            Failure::not_sent("cannot be given a token as its \"auth\" asks")
                .with_detail(&error.to_string())
        })?;
        let identity = self.identity.get_or_init(|| identity).clone();
        self.child.mask.hides(Some(identity.clone()));
        Ok(identity)
    }
}

fn not_waited_for() -> Failure {
    Failure::not_sent("is no longer waited for")
}

/// How the next handshake is begun: the way that worked.
pub(super) fn handshake_after(how: Handshake, result: &Result<Live, Failure>) -> Handshake {
    match result {
        Ok(live) => known_to_work(live.connection.era()),
        Err(failure) => after_failure(how, failure),
    }
}

/// How the next handshake is begun. One that failed is begun the other way round: a
/// server that hangs on an unknown method still knows `initialize`. A child that was
/// not reached has said nothing about that, and one that was slow to start may have said
/// it too late.
fn after_failure(how: Handshake, failure: &Failure) -> Handshake {
    match how {
        _ if failure.not_executed => how,
        _ if failure.is_modern => Handshake::Modern,
        Handshake::Either => Handshake::Legacy,
        Handshake::Legacy | Handshake::Modern => Handshake::Either,
    }
}

/// Where to send requests, and the entry's own headers. User and password in the URL
/// are Basic credentials (RFC 7617), as every HTTP client takes them.
fn target(remote: &HttpSettings) -> Result<(Uri, HeaderMap), Failure> {
    let unusable = || Failure::not_sent("has a URL that cannot be used");
    let mut url = remote.url.clone();
    let mut headers = remote.headers.clone();
    if !url.username().is_empty() || url.password().is_some() {
        let part = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let mut credentials = part(url.username());
        credentials.push(b':');
        credentials.extend(part(url.password().unwrap_or_default()));
        let encoded = format!("Basic {}", BASE64_STANDARD.encode(credentials));
        let mut basic = HeaderValue::from_str(&encoded).map_err(|_| unusable())?;
        basic.set_sensitive(true);
        headers.entry(AUTHORIZATION).or_insert(basic);
        url.set_username("").map_err(|()| unusable())?;
        url.set_password(None).map_err(|()| unusable())?;
    }
    url.set_fragment(None);
    let uri = url.as_str().parse().map_err(|_| unusable())?;
    Ok((uri, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_handshake_depends_on_how_the_last_one_failed() {
        let (refused, odd) = (Failure::not_sent("x"), Failure::protocol("x"));
        assert_eq!(
            after_failure(Handshake::Modern, &refused),
            Handshake::Modern
        );
        assert_eq!(after_failure(Handshake::Modern, &odd), Handshake::Either);
        assert_eq!(after_failure(Handshake::Either, &odd), Handshake::Legacy);
        assert_eq!(after_failure(Handshake::Legacy, &odd), Handshake::Either);
        let late = Failure {
            is_modern: true,
            ..odd
        };
        assert_eq!(after_failure(Handshake::Either, &late), Handshake::Modern);
    }

    #[test]
    fn credentials_in_a_url_become_a_header() {
        let remote = HttpSettings {
            url: "https://me%40x:p%3Aw@host/mcp?a=1#f".parse().unwrap(),
            headers: HeaderMap::new(),
        };
        let (uri, headers) = target(&remote).unwrap();
        assert_eq!(uri.to_string(), "https://host/mcp?a=1");
        assert_eq!(headers[AUTHORIZATION], "Basic bWVAeDpwOnc=");
    }
}
