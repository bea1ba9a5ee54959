//! A request's event stream, followed also where the child lets go of it before it has
//! answered (MCP 2025-11-25, "Resumability and Redelivery").

use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::StatusCode;
use tracing::debug;

use super::{
    body::{self, Event, Events, LastEvent, Shape},
    link::HttpLink,
};
use crate::{outbound::Failure, telemetry::Outcome};

/// A child that lets go at once, and says to come at once, is not hammered.
const LEAST_RETRY: Duration = Duration::from_millis(100);
/// How often a stream is asked for again in a row without one event coming of it, where
/// the child has said when to come: it lets go on purpose. Else it is asked for once, at
/// once: the child may be gone, and its caller waits to be told.
const IN_VAIN: u32 = 3;

/// The events of one request, over as many streams as the child sends them on.
pub(super) struct Followed {
    link: HttpLink,
    events: Events,
    /// Where the child can go on, if it has said so.
    last_event: LastEvent,
    /// The pause before it is asked for the rest, if it has said one.
    retry: Option<Duration>,
    in_vain: u32,
    /// The stream that is being asked for, and how the one before it ended.
    reopening: Option<(BoxFuture<'static, Reopened>, Lost)>,
}

/// What became of asking for the rest.
enum Reopened {
    Stream(Events),
    /// Perhaps later.
    NotNow,
    /// Never.
    Refused,
}

/// How a stream ended: with a failure, or just so.
type Lost = Option<Failure>;

impl Followed {
    /// Follows a stream that has begun.
    pub(super) fn new(link: HttpLink, events: Events) -> Self {
        Self {
            link,
            events,
            last_event: LastEvent::default(),
            retry: None,
            in_vain: 0,
            reopening: None,
        }
    }

    /// The next event; `None` when the child has ended the last stream. Can be dropped
    /// and called again.
    pub(super) async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some((reopening, _)) = &mut self.reopening {
                let reopened = reopening.await;
                let lost = self.reopening.take().and_then(|(_, lost)| lost);
                match reopened {
                    Reopened::Stream(events) => self.events = events,
                    Reopened::NotNow if self.in_vain < self.patience() => {
                        self.reopen(lost);
                        continue;
                    }
                    Reopened::NotNow | Reopened::Refused => return lost.map(Err),
                }
            }
            let lost = match self.events.next().await {
                Some(Ok(event)) => {
                    self.note(&event);
                    return Some(Ok(event));
                }
                Some(Err(failure)) if failure.outcome != Outcome::Transport => {
                    return Some(Err(failure));
                }
                Some(Err(failure)) => Some(failure),
                None => None,
            };
            if self.last_event.0.is_none()
                || self.in_vain >= self.patience()
                || self.link.is_modern()
            {
                return lost.map(Err);
            }
            self.reopen(lost);
        }
    }

    fn patience(&self) -> u32 {
        self.retry.map_or(1, |_| IN_VAIN)
    }

    /// What still comes on the stream that is open now, for whoever only wants its end.
    /// None is, if the child has let go of the last one.
    pub(super) fn into_events(self) -> Option<Events> {
        self.reopening.is_none().then_some(self.events)
    }

    fn note(&mut self, event: &Event) {
        self.in_vain = 0;
        self.last_event.read(event);
        if let Some(retry) = event.retry {
            self.retry = Some(retry.max(LEAST_RETRY));
        }
    }

    fn reopen(&mut self, lost: Lost) {
        self.in_vain += 1;
        let (link, last_event) = (self.link.clone(), self.last_event.clone());
        // One that was cut off has not let go: whether it is there is seen at once.
        let cut = lost.is_some() && self.in_vain == 1;
        let pause = self.retry.filter(|_| !cut).unwrap_or_default();
        debug!(?pause, "a child has let go of a stream before its answer");
        let reopening = async move {
            tokio::time::sleep(pause).await;
            match link.open_events(&last_event).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    match body::shape(&response) {
                        Ok(Shape::Events) => Reopened::Stream(body::events(response.into_body())),
                        _ => Reopened::Refused,
                    }
                }
                Ok(response)
                    if response.status().is_server_error()
                        || response.status() == StatusCode::TOO_MANY_REQUESTS =>
                {
                    Reopened::NotNow
                }
                // Whoever does not listen any more does not work on it either.
                Ok(_) => Reopened::Refused,
                Err(failure) if failure.loses_connection() => Reopened::Refused,
                Err(_) => Reopened::NotNow,
            }
        };
        self.reopening = Some((reopening.boxed(), lost));
    }
}
