//! The stream on which a legacy child tells what belongs to no request (MCP
//! 2025-11-25, "Listening for Messages from the Server").

use futures::StreamExt;
use http::StatusCode;
use tokio::sync::Notify;

use super::{
    body::{self, LastEvent},
    link::HttpLink,
};
use crate::{
    config::RestartSettings,
    outbound::{Failure, link::Link, pause::Pause, subscriptions::Subscriptions},
    telemetry::Outcome,
};

/// Follows the stream until the connection is given up, and tells `changed` of each
/// beginning, and subscribers of each but the first, unless the child goes on where it
/// left off. Returns early when the child offers none, which is normal.
///
/// # Errors
///
/// When the connection is found gone, with our session or with the child.
pub(in crate::outbound) async fn follow(
    link: HttpLink,
    changed: &Notify,
    subscriptions: Option<&Subscriptions>,
    clocks: &RestartSettings,
) -> Result<(), Failure> {
    let way = Link::Http(link.clone());
    let mut last_event = LastEvent::default();
    let mut pause = Pause::new(clocks);
    let mut offered = false;
    loop {
        match link.open_events(&last_event).await {
            Ok(response) if response.status() == StatusCode::OK => {
                if let Some(subscriptions) = subscriptions.filter(|_| offered)
                    && last_event.0.is_none()
                {
                    subscriptions.unheard();
                }
                offered = true;
                pause.begins();
                changed.notify_one();
                let mut events = body::events(response.into_body());
                // A broken stream is opened again; what it broke on is not told.
                while let Some(Ok(event)) = events.next().await {
                    last_event.read(&event);
                    match event.frame {
                        Some(Ok(frame)) => link.unasked().sort(frame, &way),
                        Some(Err(_)) => link.unasked().dropped(),
                        None => {}
                    }
                }
            }
            // Servers without the route say so too: only one that had the stream before
            // says that our session is gone, or speaks another era now.
            Ok(response) if is_final(response.status()) && offered => {
                return Err(Failure::session_lost());
            }
            Ok(response) if is_final(response.status()) => return Ok(()),
            // Requests may be let in all the same: what speaks against us is only that a
            // stream is refused which there was.
            Err(failure) if failure.outcome == Outcome::Unauthorized && !offered => {}
            Err(failure) if failure.loses_connection() => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        pause.wait().await;
    }
}

/// Whether asking again would be in vain.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}
