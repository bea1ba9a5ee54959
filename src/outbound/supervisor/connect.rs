//! One attempt to connect: the way to the child, the handshake, the list.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Supervisor, Surroundings};
use crate::{
    catalog::{Filter, Listing},
    config::{AuthSettings, ChildSettings, HttpSettings, TransportSettings},
    identity::Identity,
    outbound::{
        Connection, Failure,
        control::Handshake,
        http::{HttpLink, Remote},
        link::Link,
        stdio::{Pipe, Process},
        unasked::Unasked,
    },
    protocol::{Era, Frame},
    telemetry::Outcome,
};

/// How long a starting process counts against the limit of starts: the costly part
/// of a start is over by then, and a child that hangs must not hold up others.
const START_COSTS: Duration = Duration::from_secs(5);
/// How long an exit status may take to show after a pipe has closed.
const EXIT_SHOWS: Duration = Duration::from_millis(500);
/// How long the answers a process wrote before its end may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// A connected child.
pub(super) struct Live {
    pub(super) connection: Arc<Connection>,
    pub(super) listing: Arc<Listing>,
    pub(super) process: Option<Process>,
}

impl Live {
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
            let told = process.last_words().await;
            // What it has started goes too. What it wrote before its end is still being
            // read: the reader closes the way when it is through.
            drop(process);
            let _ = tokio::time::timeout(LAST_WORDS, way.cancelled()).await;
            way.cancel();
            Failure { reason, ..failure }.with_detail(&told)
        }
        _ => {
            way.cancel();
            process.stop().await;
            failure
        }
    }
}

impl Supervisor {
    /// One attempt: way, handshake, list.
    pub(super) async fn connect(&mut self) -> Result<Live, Failure> {
        let permit = match self.child.settings.transport {
            TransportSettings::Stdio(_) => {
                self.surroundings.starts.clone().acquire_owned().await.ok()
            }
            _ => None,
        };
        let (link, inbox, process) = self.open()?;
        self.generation += 1;
        let how = self.handshake;
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
        let timed_out = |_| Err(link.silence(patience));
        match result.unwrap_or_else(timed_out) {
            Ok((connection, listing)) => {
                self.handshake = match connection.era() {
                    Era::Legacy => Handshake::Legacy,
                    Era::Modern => Handshake::Modern,
                };
                let connection = Arc::new(connection);
                let listing = Arc::new(self.filtered(listing));
                Ok(Live {
                    connection,
                    listing,
                    process,
                })
            }
            Err(failure) => {
                self.handshake = after_failure(how, &failure);
                Err(match process {
                    Some(process) => post_mortem(process, failure, link.closed()).await,
                    None => {
                        link.give_up();
                        failure
                    }
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
                let (process, stdin, stdout) =
                    Process::start(&settings.name, stdio, &self.child.mask, self.attempt == 0)?;
                let pipe = Pipe::new(stdin, stdout, unasked);
                Ok((Link::Pipe(pipe), inbox, Some(process)))
            }
            TransportSettings::Http(remote) => {
                let (uri, headers) = target(remote)?;
                let identity = self.identity(&headers);
                let remote = Remote {
                    client: http.clone(),
                    uri,
                    headers,
                    identity,
                    metrics: metrics.clone(),
                };
                let link = HttpLink::new(remote, unasked);
                Ok((Link::Http(link), inbox, None))
            }
            TransportSettings::Sse(_) | TransportSettings::Unusable => {
                Err(Failure::not_sent("has a transport that is not supported"))
            }
        }
    }

    /// The service token goes to every remote child without a header of its own.
    fn identity(&self, headers: &HeaderMap) -> Option<Identity> {
        let own = headers.contains_key(AUTHORIZATION);
        let wanted = self.child.settings.auth == AuthSettings::Service;
        (!own && wanted && self.surroundings.identity.is_on())
            .then(|| self.surroundings.identity.clone())
    }

    /// The listing without what the entry's filters hold back.
    pub(super) fn filtered(&self, listing: Listing) -> Listing {
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
}

/// How the next handshake is begun. One that failed is begun the other way round: a
/// server that hangs on an unknown method still knows `initialize`. A child that was
/// not reached has said nothing about that.
fn after_failure(how: Handshake, failure: &Failure) -> Handshake {
    match how {
        _ if failure.not_executed => how,
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
