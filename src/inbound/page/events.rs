//! The event stream that keeps the page up to date.
//!
//! Each watcher has a task of its own, which looks once a second, or as soon as a child's
//! state has changed, and says what is new. Where nobody watches nothing ticks.

use std::{io, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::header;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, MissedTickBehavior},
};

use super::{
    super::{
        admin::Asker,
        stream::{COMMENT, Gone, KEEP_ALIVE, Out},
    },
    Here, WATCHERS,
    changes::Told,
};

/// How often counters are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long changes are gathered: a fleet that starts has them by the dozen.
const GATHER: Duration = Duration::from_millis(50);
/// How long it is believed who watches.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// Serves `/status/events`.
pub(super) async fn watch(State(here): State<Here>, head: Parts) -> Response {
    if let Some(refusal) = here.refusal(&head) {
        return refusal;
    }
    // Half of the places are for those who may come in.
    let watchers = &here.shared.watchers;
    let is_full = watchers.available_permits() <= WATCHERS / 2
        && !here.desk.asker(&head).await.is_told_reasons();
    let place = Arc::clone(watchers).try_acquire_owned().ok();
    let Some(place) = place.filter(|_| !is_full) else {
        let full = "as many watch as may: close another page, or try again later";
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "10")],
            full,
        )
            .into_response();
    };
    let (out, body) = Out::new();
    tokio::spawn(async move {
        tokio::select! {
            _ = watched(&here, &head, &out, place) => {}
            () = out.gone() => {}
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that gather what they pass on would hold back every event.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// Tells one watcher of all that changes. Who does not read is given up by `out`.
async fn watched(
    here: &Here,
    head: &Parts,
    out: &Out,
    _place: OwnedSemaphorePermit,
) -> Result<(), Gone> {
    let shared = &here.shared;
    let mut merges = shared.fleet.merges();
    let mut config = shared.config.clone();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asker = here.desk.asker(head).await;
    let mut asked = Instant::now();
    let mut spoken = Instant::now();
    let mut told = Told::default();
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return out.end().await,
            Ok(()) = merges.changed() => tokio::time::sleep(GATHER).await,
            Ok(()) = config.changed() => {}
            _ = ticks.tick() => {}
        }
        merges.mark_unchanged();
        if asked.elapsed() > ASKED_AGAIN {
            let before = std::mem::replace(&mut asker, here.desk.asker(head).await);
            asked = Instant::now();
            // A token does not open the door longer than it is good for.
            if matches!((before, &asker), (Asker::Caller(_), Asker::Stranger)) {
                return out.end().await;
            }
        }
        let news = told.news(shared, &asker);
        if let Some(news) = news {
            spoken = Instant::now();
            out.send(Ok(event(&news))).await?;
        } else if spoken.elapsed() >= KEEP_ALIVE {
            spoken = Instant::now();
            out.send(io::Result::Ok(COMMENT)).await?;
        }
    }
}

/// JSON has no line breaks but in strings, where they are escaped.
fn event(news: &str) -> Bytes {
    format!("data: {news}\n\n").into()
}
