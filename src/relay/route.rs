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
    /// It carries the prefix of a child that has never been listed.
    Unlisted(Arc<Child>),
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
    let unlisted = unlisted(&fleet.snapshot(), name);
    match &unlisted {
        Some(child) => child.attempted(child.settings.queue_timeout).await,
        None if !fleet.is_settled() => fleet.settled().await,
        None => {}
    }
    if unlisted
        .as_ref()
        .is_some_and(|child| child.listing().is_some())
        && look_up(&fleet.snapshot(), name).is_none()
    {
        // Listed, and on its way into the snapshot.
        let _ = tokio::time::timeout(MERGE_TAKES, merges.changed()).await;
    }
    let snapshot = fleet.snapshot();
    match (look_up(&snapshot, name), unlisted) {
        (Some(routed), _) => Ok(Routed {
            waited: began.elapsed(),
            ..routed
        }),
        (None, Some(child)) if child.listing().is_none() => Err(Unrouted::Unlisted(child)),
        (None, _) => Err(Unrouted::Unknown(unknown(&snapshot, name))),
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

/// The child whose prefix the name carries, if it has never been listed.
fn unlisted(snapshot: &Snapshot, name: &str) -> Option<Arc<Child>> {
    let prefixed = |child: &&Arc<Child>| {
        let prefix = &child.settings.prefix;
        !prefix.is_empty()
            && name
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with("__"))
    };
    let mut children = snapshot.children.iter().filter(prefixed);
    children
        .find(|child| child.listing().is_none() && child.state().phase != Phase::Disabled)
        .cloned()
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
