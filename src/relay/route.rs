//! Whose a name is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    catalog::Route,
    fleet::{Fleet, Snapshot},
    outbound::{Child, Phase},
    protocol::error::{RpcError, code},
};

/// A merge takes milliseconds at most; this is for a machine that is busy.
const MERGE_TAKES: Duration = Duration::from_millis(500);

/// The child a name belongs to, and what it calls the thing.
pub(super) struct Routed {
    pub(super) child: Arc<Child>,
    pub(super) route: Route,
    /// How long the name was waited for.
    pub(super) waited: Duration,
}

/// What is known of a name that is in no list.
pub(super) enum Unrouted {
    /// It carries the prefix of a child that has never been listed; it was waited for.
    Unlisted(Arc<Child>, Duration),
    /// Nobody has it.
    Unknown(RpcError),
}

/// Looks a tool's name up in the table; names are never split. While children are
/// still starting, a name that may become known is waited for.
pub(super) async fn tool(fleet: &Fleet, name: &str) -> Result<Routed, Unrouted> {
    if let Some(routed) = look_up(&fleet.snapshot(), name) {
        return Ok(routed);
    }
    let began = Instant::now();
    let mut merges = fleet.merges();
    match unlisted(&fleet.snapshot(), name) {
        Some(child) => {
            child.attempted(child.settings.queue_timeout).await;
            // Listed, it may still be on its way into the snapshot.
            while child.listing().is_some() && unlisted(&fleet.snapshot(), name).is_some() {
                if tokio::time::timeout(MERGE_TAKES, merges.changed())
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }
        None if !fleet.is_settled() => fleet.settled().await,
        None => {}
    }
    let snapshot = fleet.snapshot();
    match (look_up(&snapshot, name), unlisted(&snapshot, name)) {
        (Some(routed), _) => Ok(Routed {
            waited: began.elapsed(),
            ..routed
        }),
        (None, Some(child)) => Err(Unrouted::Unlisted(child, began.elapsed())),
        (None, None) => Err(Unrouted::Unknown(unknown(&snapshot, name))),
    }
}

fn look_up(snapshot: &Snapshot, name: &str) -> Option<Routed> {
    let route = snapshot.catalog.tool(name)?.clone();
    let child = Arc::clone(snapshot.children.get(route.child)?);
    Some(Routed {
        child,
        route,
        waited: Duration::ZERO,
    })
}

/// The child whose prefix the name carries, if nothing of it stands in the catalog.
fn unlisted(snapshot: &Snapshot, name: &str) -> Option<Arc<Child>> {
    let prefixed = |child: &Child| {
        let prefix = &child.settings.prefix;
        !prefix.is_empty()
            && name
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with("__"))
    };
    let mut children = snapshot.children.iter().zip(&snapshot.listings);
    children
        .find(|(child, listing)| {
            listing.is_none() && prefixed(child) && child.state().phase != Phase::Disabled
        })
        .map(|(child, _)| Arc::clone(child))
}

fn unknown(snapshot: &Snapshot, name: &str) -> RpcError {
    let shown: String = name.chars().take(128).collect();
    let closest = snapshot.catalog.closest(name);
    let hint = match closest.as_slice() {
        [] => String::new(),
        names => {
            let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            format!(" Did you mean {}?", names.join(", "))
        }
    };
    RpcError::new(
        code::INVALID_PARAMS,
        format!("Unknown tool: {shown}.{hint}"),
    )
}
