//! The event stream of a child: first the endpoint, then everything it says.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt, stream::BoxStream};
use http::Uri;
use sse_stream::Sse;
use tokio::sync::watch;
use url::Url;

use super::link::Endpoint;
use crate::{
    outbound::{
        Failure,
        http::{
            HttpLink, Remote,
            body::{self, LastEvent, Shape},
        },
        stdio::Reader,
        unasked::Unasked,
    },
    protocol::Frame,
};

/// Reads the stream until it ends, or is given up.
pub(super) async fn read(
    remote: Remote,
    unasked: Unasked,
    reader: Reader,
    endpoint: watch::Sender<Endpoint>,
    spoken: Arc<AtomicBool>,
) {
    let closed = reader.pipe.closed().clone();
    let heard = async {
        let mut events = match open(remote, &unasked).await {
            Ok((link, events)) => {
                endpoint.send_replace(Endpoint::Named(link));
                events
            }
            Err(failure) => {
                endpoint.send_replace(Endpoint::None(failure));
                return;
            }
        };
        // What it broke on is not told: it is opened again with a new handshake.
        while let Some(Ok(event)) = events.next().await {
            let is_message = event.event.as_deref().is_none_or(|kind| kind == "message");
            let data = event
                .data
                .filter(|data| is_message && !data.trim().is_empty());
            match data.map(|data| Frame::read(data.into())) {
                Some(Ok(frame)) => {
                    spoken.store(true, Ordering::Relaxed);
                    reader.sort(frame);
                }
                Some(Err(_)) => unasked.dropped(),
                None => {}
            }
        }
    };
    closed.run_until_cancelled(heard).await;
    reader.end();
}

/// Opens the stream, and reads what must come first: where to send messages.
async fn open(
    remote: Remote,
    unasked: &Unasked,
) -> Result<(HttpLink, BoxStream<'static, Result<Sse, Failure>>), Failure> {
    let asking = HttpLink::new(remote.clone(), unasked.clone());
    let response = asking.open_events(&LastEvent::default()).await?;
    let status = response.status();
    if matches!(status.as_u16(), 400 | 404..=406) {
        return Err(Failure::protocol(format!(
            "answered HTTP {} to the opening of an event stream: its \"type\" may be \"http\"",
            status.as_u16()
        )));
    }
    if !status.is_success() {
        return Err(asking.refused(&response));
    }
    let Shape::Events = body::shape(&response)? else {
        return Err(Failure::protocol("opened no event stream"));
    };
    let mut events = body::raw_events(response.into_body());
    let first = loop {
        match events.next().await {
            // An id, or a comment.
            Some(Ok(Sse { data: None, .. })) => {}
            Some(event) => break event?,
            None => {
                return Err(Failure::transport(
                    "ended its event stream before it named an endpoint",
                ));
            }
        }
    };
    let named = first.event.as_deref() == Some("endpoint");
    let Some(data) = first.data.filter(|_| named) else {
        return Err(Failure::protocol(
            "began its event stream without naming an endpoint",
        ));
    };
    let uri = endpoint(asking.uri(), data.trim())?;
    let link = HttpLink::new(Remote { uri, ..remote }, unasked.clone());
    Ok((link, events))
}

/// The endpoint that a stream names, which may be relative to the stream's own address.
/// It must be on the same origin: our credentials are for that one.
fn endpoint(stream: &Uri, named: &str) -> Result<Uri, Failure> {
    let unusable = || Failure::protocol("named an endpoint that is no address");
    let stream = Url::parse(&stream.to_string()).map_err(|_| unusable())?;
    let mut target = stream.join(named).map_err(|_| unusable())?;
    if target.origin() != stream.origin() {
        return Err(Failure::protocol(
            "named an endpoint on another origin, to which nothing is sent",
        ));
    }
    target.set_fragment(None);
    // Only URLs that have no host refuse this.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    target.as_str().parse().map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: &str) -> Result<String, String> {
        let stream = "https://host:8443/api/sse?key=1".parse().unwrap();
        endpoint(&stream, address)
            .map(|uri| uri.to_string())
            .map_err(|failure| failure.reason)
    }

    #[test]
    fn an_endpoint_is_found_from_where_the_stream_is() {
        for (address, found) in [
            ("/messages/?session_id=a%2Fb", "/messages/?session_id=a%2Fb"),
            ("messages?s=1", "/api/messages?s=1"),
            ("?s=1", "/api/sse?s=1"),
            ("https://host:8443/m", "/m"),
            ("//me:x@host:8443/m#f", "/m"),
        ] {
            assert_eq!(named(address), Ok(format!("https://host:8443{found}")));
        }
    }

    #[test]
    fn an_endpoint_elsewhere_is_refused() {
        for address in [
            "https://other:8443/m",
            "https://host/m",
            "http://host:8443/m",
            "//other:8443/m",
            "data:text/plain,x",
            "\\\\other/m",
        ] {
            let refused = named(address).unwrap_err();
            assert!(refused.contains("another origin"), "{address}: {refused}");
        }
        assert!(named("http://[").unwrap_err().contains("no address"));
    }
}
