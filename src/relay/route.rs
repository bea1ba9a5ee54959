//! Whose a request is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Method;
use crate::{
    catalog::{Hints, Listing, Primitive, Route, Taker},
    fleet::{Fleet, Permitted, Shown, Snapshot, listed_to},
    outbound::Child,
    policy::Verdict,
    protocol::{
        Caller, Era,
        error::{RpcError, code},
        request::Params,
        task::{self, Owners},
    },
};

/// A merge takes milliseconds at most; this is for a machine that is busy.
const MERGE_TAKES: Duration = Duration::from_millis(500);

/// How long a refused call waits for the child to list its tools again.
const LISTING_TAKES: Duration = Duration::from_secs(5);

/// The child a request belongs to, and what it calls the thing.
pub(super) struct Routed {
    pub(super) child: Arc<Child>,
    pub(super) route: Route,
    /// As what it is listed, if it is.
    pub(super) primitive: Option<Primitive>,
    /// What the caller may do with it.
    pub(super) verdict: Verdict,
    /// How long the name was waited for.
    pub(super) waited: Duration,
}

/// What is known of a name that is in no list.
pub(super) enum Unrouted {
    /// It may be one of a child that has never been listed; it was waited for.
    Unlisted(Arc<Child>, Duration),
    /// Nobody has it.
    Unknown(RpcError),
}

/// What is looked for, and where.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    caller: &'a Caller,
    primitive: Primitive,
    /// A name or URI; empty where the request has none.
    name: &'a str,
    /// Whether the name is a task's id.
    is_task: bool,
    owners: &'a Owners,
    /// The method, if the specification does not know it.
    other: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// What this request is about. `name` is its method's.
    pub(super) fn of(
        method: Method,
        name: &'a str,
        params: &'a Params,
        caller: &'a Caller,
        owners: &'a Owners,
    ) -> Self {
        Self {
            caller,
            owners,
            primitive: method.names(params),
            name: params.name.as_deref().unwrap_or_default(),
            is_task: method.is_of_tasks(),
            other: (method == Method::Other).then_some(name),
        }
    }

    /// The resource that the caller knows by this URI.
    pub(super) fn resource(uri: &'a str, caller: &'a Caller, owners: &'a Owners) -> Self {
        Self {
            caller,
            owners,
            primitive: Primitive::Resource,
            name: uri,
            is_task: false,
            other: None,
        }
    }

    /// Looks it up in the tables; names are never split. While children are still
    /// starting, a name that may become known is waited for.
    pub(super) async fn find(&self, fleet: &Fleet) -> Result<Routed, Unrouted> {
        if let Some(routed) = self.look_up(&fleet.snapshot_for(self.caller)) {
            return Ok(routed);
        }
        let began = Instant::now();
        let mut merges = fleet.merges();
        match self.unlisted(&fleet.snapshot_for(self.caller)) {
            Some(child) => {
                let gone = async {
                    let still = || self.unlisted(&fleet.snapshot_for(self.caller));
                    while still().is_some_and(|still| Arc::ptr_eq(&still, &child)) {
                        let _ = merges.changed().await;
                    }
                };
                let patience = child.settings.queue_timeout;
                tokio::select! {
                    // One that knows its users lists to this one first.
                    _need = listed_to(&child, self.caller, patience) => {}
                    () = gone => {}
                }
                // Listed, it may still be on its way into the snapshot.
                while child.listing().is_some()
                    && self.unlisted(&fleet.snapshot_for(self.caller)).is_some()
                {
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
        let snapshot = fleet.snapshot_for(self.caller);
        match (self.look_up(&snapshot), self.unlisted(&snapshot)) {
            (Some(routed), _) => Ok(Routed {
                waited: began.elapsed(),
                ..routed
            }),
            (None, Some(child)) => Err(Unrouted::Unlisted(child, began.elapsed())),
            (None, None) => Err(Unrouted::Unknown(self.unknown(&snapshot))),
        }
    }

    /// Why nobody has it, once the children have been tried; `None` if somebody has or may
    /// have it.
    pub(super) async fn refused(&self, fleet: &Fleet) -> Option<RpcError> {
        let may_be_found = |snapshot: &Snapshot| {
            self.look_up(snapshot).is_some() || self.unlisted(snapshot).is_some()
        };
        if may_be_found(&fleet.snapshot_for(self.caller)) {
            return None;
        }
        fleet.settled().await;
        let snapshot = fleet.snapshot_for(self.caller);
        (!may_be_found(&snapshot)).then(|| self.unknown(&snapshot))
    }

    /// Who has now what was another child's, when it was looked up.
    pub(super) fn successor(&self, fleet: &Fleet, before: &Arc<Child>) -> Option<Routed> {
        self.look_up(&fleet.snapshot_for(self.caller))
            .filter(|now| !Arc::ptr_eq(&now.child, before))
    }

    /// Has the child list its tools again, since it refused a call that went by its list,
    /// and gives the way to the name, if that is another one now.
    pub(super) async fn listed_anew(
        &self,
        fleet: &Fleet,
        child: &Arc<Child>,
        before: &Route,
    ) -> Option<Routed> {
        let other = |snapshot: &Snapshot| {
            self.look_up(snapshot)
                .filter(|now| Arc::ptr_eq(&now.child, child) && now.route.mirrors != before.mirrors)
        };
        let mut merges = fleet.merges();
        let snapshot = fleet.snapshot_for(self.caller);
        if let Some(routed) = other(&snapshot) {
            return Some(routed);
        }
        let listing = listing_of(&snapshot, child)?;
        match child.settings.is_per_user() {
            true => child.for_caller(self.caller).ok()?.0.list_again(),
            false => child.list_again(),
        }
        let listed = async {
            let same = || {
                let now = listing_of(&fleet.snapshot_for(self.caller), child);
                now.is_some_and(|now| Arc::ptr_eq(&now, &listing))
            };
            while same() && merges.changed().await.is_ok() {}
        };
        let _ = tokio::time::timeout(LISTING_TAKES, listed).await;
        other(&fleet.snapshot_for(self.caller))
    }

    /// Who has it at this moment, if the caller may know of it.
    pub(super) fn look_up(&self, snapshot: &Snapshot) -> Option<Routed> {
        self.look_up_unseen(snapshot)
            .filter(|routed| routed.verdict != Verdict::Hidden)
    }

    /// Who has it, where the caller may not know of it.
    pub(super) fn hidden(&self, fleet: &Fleet) -> Option<Routed> {
        self.look_up_unseen(&fleet.snapshot_for(self.caller))
            .filter(|routed| routed.verdict == Verdict::Hidden)
    }

    /// Who has it, whether the caller may know of it or not.
    pub(super) fn look_up_unseen(&self, snapshot: &Snapshot) -> Option<Routed> {
        let shown = snapshot.view(&self.caller.view).ok()?;
        let permitted = shown.permitted(self.caller.subject.as_ref());
        // What a child does not list is known only when it has been listed.
        if shown.alone().is_some_and(|(_, listing)| listing.is_none()) {
            return None;
        }
        if self.is_task {
            return self.task(&shown, &permitted);
        }
        let listed = |primitive| {
            let (route, verdict) = permitted.find(primitive, self.name)?;
            Some(Routed {
                child: Arc::clone(shown.child(route.child)?),
                route,
                primitive: Some(primitive),
                verdict,
                waited: Duration::ZERO,
            })
        };
        let named = listed(self.primitive);
        let Some(method) = self.other else {
            return named;
        };
        let prompt = || match self.primitive {
            Primitive::Tool => listed(Primitive::Prompt),
            _ => None,
        };
        let extensions = shown.catalog.extensions();
        let may_take = |routed: &Routed| extensions.may_take(method, routed.route.child);
        let named = named.filter(may_take);
        let named = named.or_else(|| prompt().filter(may_take));
        let named = named.map(|routed| Routed {
            route: Route {
                repeatable: false,
                ..routed.route
            },
            ..routed
        });
        named.or_else(|| self.taken(&shown, &permitted, method))
    }

    /// Whose a task is: no table knows it, but its id does. Ids of children without a
    /// prefix tell nothing: there it is the only such child, or the only one of them
    /// that declares tasks. Where callers are told apart, the task must be this one's, too.
    fn task(&self, shown: &Shown<'_>, permitted: &Permitted<'_>) -> Option<Routed> {
        let alone = shown.alone().is_some();
        let prefixes = shown.children().map(|(child, _)| match alone {
            true => "",
            false => child.settings.prefix.as_str(),
        });
        let (mut owner, mut without) = (None, Vec::new());
        for (position, prefix) in prefixes.enumerate() {
            match task::own_id(prefix, self.name) {
                _ if prefix.is_empty() => without.push(position),
                // Where one prefix begins with another, the longer one says more.
                Some(own) if owner.is_none_or(|(_, best): (_, &str)| own.len() < best.len()) => {
                    owner = Some((position, own));
                }
                _ => {}
            }
        }
        let own_id = |position: usize, id| {
            let child = shown.child(position)?;
            self.owners.own(id, child.name(), self.caller)
        };
        without.retain(|position| own_id(*position, self.name).is_some());
        if without.len() > 1 {
            without.retain(|position| shown.catalog.extensions().has_tasks(*position));
        }
        let (child, own) = match (owner, without.as_slice()) {
            (Some(owner), _) => owner,
            (None, [only]) => (*only, self.name),
            (None, _) => return None,
        };
        let own = own_id(child, own)?;
        // Of which tool it is, nobody knows.
        Routed::unlisted(shown, permitted, child, own)
    }

    /// Whose an unknown method is that names nothing known: what it says stays as it is.
    fn taken(&self, shown: &Shown<'_>, permitted: &Permitted<'_>, method: &str) -> Option<Routed> {
        let child = match (shown.alone(), permitted.extensions().taker(method)) {
            (Some(_), _) => 0,
            (None, Taker::Child(child)) => child,
            (None, Taker::Nobody | Taker::Several) => return None,
        };
        Routed::unlisted(shown, permitted, child, self.name)
    }

    /// The child that was never listed and may have it: the one whose prefix the name
    /// carries, or that is seen alone.
    fn unlisted(&self, snapshot: &Snapshot) -> Option<Arc<Child>> {
        let shown = snapshot.view(&self.caller.view).ok()?;
        let alone = shown.alone().is_some();
        let prefixed = |child: &Child| {
            let prefix = &child.settings.prefix;
            !prefix.is_empty()
                && self
                    .name
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.starts_with("__"))
        };
        shown
            .unlisted(|child| alone || prefixed(child))
            .filter(|child| self.may_know(&shown, child))
            .map(Arc::clone)
    }

    /// Whether the caller may know of a child that was never listed, or of what it may
    /// have under this name.
    fn may_know(&self, shown: &Shown<'_>, child: &Child) -> bool {
        let prefix = child.settings.prefix.as_str();
        let own = match shown.alone() {
            Some(_) => self.name,
            None => {
                let rest = self.name.strip_prefix(prefix);
                rest.and_then(|rest| rest.strip_prefix("__"))
                    .unwrap_or(self.name)
            }
        };
        let listed = !self.is_task && self.other.is_none();
        let primitive = listed.then_some(self.primitive);
        shown
            .permitted(self.caller.subject.as_ref())
            .may_know(child, primitive, own)
    }

    /// Nobody has it, as far as the caller may know.
    pub(super) fn unknown(&self, snapshot: &Snapshot) -> RpcError {
        let shown = snapshot.view(&self.caller.view);
        if let Some(method) = self.other {
            let method: String = method.chars().take(128).collect();
            let taker = shown.map_or(Taker::Nobody, |shown| {
                let permitted = shown.permitted(self.caller.subject.as_ref());
                permitted.extensions().taker(&method)
            });
            let advice = match taker {
                Taker::Several => {
                    ". Several servers here may know it: ask one of them alone, at /mcp/{its name}"
                }
                Taker::Nobody | Taker::Child(_) => "",
            };
            let message = format!("Method not found: {method}{advice}");
            return RpcError::new(code::METHOD_NOT_FOUND, message);
        }
        let name: String = self.name.chars().take(128).collect();
        if self.is_task {
            return RpcError::new(code::INVALID_PARAMS, format!("Unknown task: {name}"));
        }
        let closest = shown.map_or_else(
            |_| Vec::new(),
            |shown| {
                let permitted = shown.permitted(self.caller.subject.as_ref());
                permitted.closest(self.primitive, self.name)
            },
        );
        let hint = match closest.as_slice() {
            [] => String::new(),
            names => format!(" Did you mean {}?", names.join(", ")),
        };
        let (what, code) = match (self.primitive, self.caller.era) {
            (Primitive::Tool, _) => ("tool", code::INVALID_PARAMS),
            (Primitive::Prompt, _) => ("prompt", code::INVALID_PARAMS),
            (_, Era::Legacy) => ("resource", code::LEGACY_RESOURCE_NOT_FOUND),
            (_, Era::Modern) => ("resource", code::INVALID_PARAMS),
        };
        let error = RpcError::new(code, format!("Unknown {what}: {name}.{hint}"));
        match self.primitive {
            Primitive::Tool | Primitive::Prompt => error,
            // As the specification has it, for whoever looks at the data (MCP, "Resources").
            Primitive::Resource | Primitive::Template => {
                error.with_data(serde_json::json!({"uri": name}))
            }
        }
    }
}

impl Routed {
    /// The way to something of a child that stands in no list.
    fn unlisted(
        shown: &Shown<'_>,
        permitted: &Permitted<'_>,
        child: usize,
        own: &str,
    ) -> Option<Self> {
        let one = shown.child(child)?;
        Some(Self {
            child: Arc::clone(one),
            route: Route {
                child,
                own: own.into(),
                repeatable: false,
                hints: Hints::default(),
                mirrors: None,
            },
            primitive: None,
            verdict: permitted.of_child(one),
            waited: Duration::ZERO,
        })
    }
}

fn listing_of(snapshot: &Snapshot, child: &Arc<Child>) -> Option<Arc<Listing>> {
    let mut all = snapshot.children.iter().zip(&snapshot.listings);
    let (_, listing) = all.find(|(one, _)| Arc::ptr_eq(one, child))?;
    listing.clone()
}
