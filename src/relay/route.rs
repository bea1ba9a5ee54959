//! Whose a name is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    catalog::{Listing, Primitive, Route},
    fleet::{Fleet, Snapshot},
    outbound::{Child, Phase},
    protocol::{
        Era,
        error::{RpcError, code},
    },
};

/// A merge takes milliseconds at most; this is for a machine that is busy.
const MERGE_TAKES: Duration = Duration::from_millis(500);

/// How long a refused call waits for the child to list its tools again.
const LISTING_TAKES: Duration = Duration::from_secs(5);

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

/// Looks a name or URI up in the table; names are never split. While children are
/// still starting, a name that may become known is waited for.
pub(super) async fn find(
    fleet: &Fleet,
    primitive: Primitive,
    name: &str,
    era: Era,
) -> Result<Routed, Unrouted> {
    if let Some(routed) = look_up(&fleet.snapshot(), primitive, name) {
        return Ok(routed);
    }
    let began = Instant::now();
    let mut merges = fleet.merges();
    match unlisted(&fleet.snapshot(), name) {
        Some(child) => {
            let gone = async {
                let still = || unlisted(&fleet.snapshot(), name);
                while still().is_some_and(|still| Arc::ptr_eq(&still, &child)) {
                    let _ = merges.changed().await;
                }
            };
            tokio::select! {
                () = child.attempted(child.settings.queue_timeout) => {}
                () = gone => {}
            }
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
    match (
        look_up(&snapshot, primitive, name),
        unlisted(&snapshot, name),
    ) {
        (Some(routed), _) => Ok(Routed {
            waited: began.elapsed(),
            ..routed
        }),
        (None, Some(child)) => Err(Unrouted::Unlisted(child, began.elapsed())),
        (None, None) => Err(Unrouted::Unknown(unknown(&snapshot, primitive, name, era))),
    }
}

/// Who has a name that was another child's, when it was looked up.
pub(super) fn successor(
    fleet: &Fleet,
    primitive: Primitive,
    name: &str,
    before: &Arc<Child>,
) -> Option<Routed> {
    look_up(&fleet.snapshot(), primitive, name).filter(|now| !Arc::ptr_eq(&now.child, before))
}

/// Has the child list its tools again, since it refused a call that went by its list,
/// and gives the way to the name, if that is another one now.
pub(super) async fn listed_anew(
    fleet: &Fleet,
    primitive: Primitive,
    name: &str,
    child: &Arc<Child>,
    before: &Route,
) -> Option<Routed> {
    let other = |snapshot: &Snapshot| {
        look_up(snapshot, primitive, name)
            .filter(|now| Arc::ptr_eq(&now.child, child) && now.route.mirrors != before.mirrors)
    };
    let mut merges = fleet.merges();
    let snapshot = fleet.snapshot();
    if let Some(routed) = other(&snapshot) {
        return Some(routed);
    }
    let listing = listing_of(&snapshot, child)?;
    child.list_again();
    let listed = async {
        let same = || {
            let now = listing_of(&fleet.snapshot(), child);
            now.is_some_and(|now| Arc::ptr_eq(&now, &listing))
        };
        while same() && merges.changed().await.is_ok() {}
    };
    let _ = tokio::time::timeout(LISTING_TAKES, listed).await;
    other(&fleet.snapshot())
}

fn listing_of(snapshot: &Snapshot, child: &Arc<Child>) -> Option<Arc<Listing>> {
    let mut all = snapshot.children.iter().zip(&snapshot.listings);
    let (_, listing) = all.find(|(one, _)| Arc::ptr_eq(one, child))?;
    listing.clone()
}

fn look_up(snapshot: &Snapshot, primitive: Primitive, name: &str) -> Option<Routed> {
    let route = snapshot.catalog.route(primitive, name)?;
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

fn unknown(snapshot: &Snapshot, primitive: Primitive, name: &str, era: Era) -> RpcError {
    let shown: String = name.chars().take(128).collect();
    let closest = snapshot.catalog.closest(primitive, name);
    let hint = match closest.as_slice() {
        [] => String::new(),
        names => format!(" Did you mean {}?", names.join(", ")),
    };
    let (what, code) = match (primitive, era) {
        (Primitive::Tool, _) => ("tool", code::INVALID_PARAMS),
        (Primitive::Prompt, _) => ("prompt", code::INVALID_PARAMS),
        (_, Era::Legacy) => ("resource", code::LEGACY_RESOURCE_NOT_FOUND),
        (_, Era::Modern) => ("resource", code::INVALID_PARAMS),
    };
    let error = RpcError::new(code, format!("Unknown {what}: {shown}.{hint}"));
    match primitive {
        Primitive::Tool | Primitive::Prompt => error,
        // As the specification has it, for whoever looks at the data (MCP, "Resources").
        Primitive::Resource | Primitive::Template => {
            error.with_data(serde_json::json!({"uri": shown}))
        }
    }
}
