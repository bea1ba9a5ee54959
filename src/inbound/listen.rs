//! What clients are told outside of any request: changed lists and resources, log
//! messages.

use std::time::Duration;

use bytes::Bytes;
use rmcp::model::SubscriptionFilter;
use serde_json::{Value, json};
use tokio::sync::{
    broadcast::error::RecvError,
    mpsc::{self, error::SendError},
};

use super::{dispatch::Dispatch, part::Parts, session::Session, subscribed::Subscribed};
use crate::{
    catalog::{Family, Primitive},
    fleet::Snapshot,
    outbound::{ChildMessage, Update},
    protocol::{
        Caller, Frame, answer,
        error::{RpcError, code, notification, result_answer},
        request::meta_key,
    },
};

/// How long children may take to say whether they tell of a resource: the client waits
/// for the acknowledgement.
const SUBSCRIBING: Duration = Duration::from_secs(10);

/// Serves a modern `subscriptions/listen` (MCP 2026-07-28, "Subscriptions"): the
/// acknowledgement first, then what was asked for, each tagged with the request's
/// id. Returns the answer that ends it, when the program ends or the client's token has.
///
/// # Errors
///
/// `-32602` when the filter cannot be read, or asks for too much.
pub(super) async fn subscription(
    request: &Frame,
    dispatch: &Dispatch,
    caller: &Caller,
    asides: &mpsc::Sender<Bytes>,
) -> Result<Bytes, RpcError> {
    let id = request.id().unwrap_or("null");
    let mut changes = dispatch.fleet.changes();
    let mut policies = dispatch.fleet.policies().changes();
    let filter = filter(request)?;
    let wanted = families(&filter);
    let tag: Value = serde_json::from_str(id).unwrap_or_default();
    let meta = json!({meta_key::SUBSCRIPTION_ID: tag});
    let generations = || {
        let snapshot = dispatch.fleet.snapshot_for(caller);
        Some(snapshot.view(&caller.view).ok()?.generations)
    };
    changes.mark_unchanged();
    let mut told_of = generations().unwrap_or_default();
    let part = |primitive| dispatch.part(primitive, caller, None);
    let parts = Parts::default();
    parts.begin(part);

    // A list that nobody offers now may come: it is told of all the same.
    let accepted = wanted
        .iter()
        .map(|family| (filter_key(*family).to_owned(), Value::Bool(true)));
    let mut accepted: serde_json::Map<String, Value> = accepted.collect();
    // Ends with the request: the drop of what is held here is the end of it.
    let subscribed = Subscribed::default();
    if let Some(uris) = &filter.resource_subscriptions {
        let held = subscribed.subscribe_all(&dispatch.relay, uris, caller, SUBSCRIBING);
        let held = tokio::select! {
            held = held => held?,
            () = dispatch.closes() => Vec::new(),
        };
        if !held.is_empty() {
            accepted.insert("resourceSubscriptions".to_owned(), held.into());
        }
    }
    let acknowledged = json!({"_meta": meta, "notifications": accepted}).to_string();
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        Some(&acknowledged),
    );
    let tagged = json!({"_meta": meta}).to_string();

    let told = async {
        asides.reserve().await?.send(acknowledged.into_bytes());
        let lists = async {
            while !wanted.is_empty() {
                tokio::select! {
                    Ok(()) = changes.changed() => {}
                    Ok(()) = policies.changed() => {}
                    else => break,
                }
                let Some(now) = generations() else {
                    // What it shows is gone.
                    return Ok(());
                };
                for family in &wanted {
                    let is_newer = now.of(*family) > told_of.of(*family);
                    // What changed may be nothing that it sees, or what it may see.
                    if parts.change(*family, part).unwrap_or(is_newer) {
                        let changed = notification(family.list_changed(), Some(&tagged));
                        asides.reserve().await?.send(changed.into_bytes());
                    }
                }
                told_of = now;
            }
            std::future::pending::<Result<(), SendError<()>>>().await
        };
        // Whichever ends ends the whole.
        tokio::select! {
            ended = lists => ended,
            ended = updates(dispatch, (&subscribed, caller), Some(id), asides) => ended,
        }
    };
    // A client that is gone drops this future; until then it listens.
    tokio::select! {
        _ = told => {}
        () = dispatch.closes() => {}
    }
    let result = json!({"resultType": "complete", "_meta": meta}).to_string();
    Ok(result_answer(id, &result).into_bytes())
}

/// Tells a client of resources that have changed, until it is gone. An update is taken
/// only when there is room for it.
async fn updates(
    dispatch: &Dispatch,
    (subscribed, caller): (&Subscribed, &Caller),
    subscription: Option<&str>,
    asides: &mpsc::Sender<Bytes>,
) -> Result<(), SendError<()>> {
    loop {
        subscribed.listener.ready().await;
        let room = asides.reserve().await?;
        if let Some(Update { uri, whole, frame }) = subscribed.listener.take()
            && dispatch.may_hear_of(&uri, &whole, caller)
        {
            room.send(answer::updated(&frame, &uri, subscription));
        }
    }
}

/// What a request asks to be told of.
fn filter(request: &Frame) -> Result<SubscriptionFilter, RpcError> {
    let invalid = |message| RpcError::new(code::INVALID_PARAMS, message);
    let params = request.body_object();
    let filter = params
        .as_ref()
        .and_then(|params| params.get("notifications"))
        .ok_or_else(|| invalid("params.notifications is missing"))?;
    serde_json::from_str(filter)
        .map_err(|_| invalid("params.notifications must be a filter of notifications"))
}

/// The families of lists whose changes a filter asks for.
fn families(filter: &SubscriptionFilter) -> Vec<Family> {
    let asked = |family: &Family| {
        let wish = match family {
            Family::Tools => filter.tools_list_changed,
            Family::Prompts => filter.prompts_list_changed,
            Family::Resources => filter.resources_list_changed,
        };
        wish == Some(true)
    };
    Family::ALL.into_iter().filter(asked).collect()
}

/// The key of the filter that asks for changes of these lists.
fn filter_key(family: Family) -> &'static str {
    match family {
        Family::Tools => "toolsListChanged",
        Family::Prompts => "promptsListChanged",
        Family::Resources => "resourcesListChanged",
    }
}

/// Tells a legacy client of changed lists and resources, and of log messages at its
/// level, until it is gone. `caller` is who listens.
pub(super) async fn session(
    dispatch: &Dispatch,
    session: &Session,
    caller: &Caller,
    asides: &mpsc::Sender<Bytes>,
) {
    let _listening = session.key().asked().listens(asides.clone());
    let updates = updates(dispatch, (&session.subscribed, caller), None, asides);
    tokio::select! {
        () = lists_and_messages(dispatch, session, caller, asides) => {}
        _ = updates => {}
    }
}

async fn lists_and_messages(
    dispatch: &Dispatch,
    session: &Session,
    caller: &Caller,
    asides: &mpsc::Sender<Bytes>,
) {
    let fleet = &dispatch.fleet;
    let generations = || {
        let snapshot = fleet.snapshot_for(caller);
        Some(snapshot.view(session.view()).ok()?.generations)
    };
    let part = |primitive: Primitive| dispatch.part(primitive, caller, Some(session));
    let mut changes = fleet.changes();
    let mut policies = fleet.policies().changes();
    session.listens_from(generations().unwrap_or_default(), part);
    // What changed between the client's list and its listening counts too.
    changes.mark_changed();
    let mut messages = fleet.messages();
    loop {
        let changed = async {
            tokio::select! {
                changed = changes.changed() => changed,
                changed = policies.changed() => changed,
            }
        };
        let message = tokio::select! {
            changed = changed => match changed {
                Ok(()) => {
                    let Some(generations) = generations() else {
                        // What it shows is gone.
                        return;
                    };
                    let behind = session.catches_up(generations);
                    for family in Family::ALL {
                        // What changed may be nothing that it sees, or what it may see.
                        let is_behind = behind.contains(&family);
                        if !session.parts.change(family, part).unwrap_or(is_behind) {
                            continue;
                        }
                        let changed = notification(family.list_changed(), None);
                        if asides.send(changed.into_bytes()).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Err(_) => return,
            },
            message = messages.recv() => match message {
                Ok(message) => match for_session(&fleet.snapshot_for(caller), session, caller, message) {
                    Some(message) => message,
                    None => continue,
                },
                // It was too slow for these; the next ones reach it again.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        };
        if asides.send(message).await.is_err() {
            return;
        }
    }
}

/// A message of no single request goes to those who see its child; that of a session's
/// own connection to that session alone, and what may be of one user to that user. Of these a log message reaches who asked for its
/// level; what the specification does not know reaches who sees the child alone, and all
/// of them if the child has declared an extension.
fn for_session(
    snapshot: &Snapshot,
    session: &Session,
    caller: &Caller,
    message: ChildMessage,
) -> Option<Bytes> {
    let mine = session.key().number();
    if message.session.is_some_and(|session| session != mine) {
        return None;
    }
    if message.user.is_some_and(|user| user != caller.user()) {
        return None;
    }
    let shown = snapshot.view(session.view()).ok()?;
    let position = shown.position(&message.child)?;
    let child = shown.child(position)?;
    if !shown.permitted(caller.subject.as_ref()).knows(child) {
        return None;
    }
    if message.frame.method().as_deref() != Some("notifications/message") {
        let declared = shown.alone().is_some() || shown.catalog.extensions().has(position);
        return declared.then(|| message.frame.into_bytes());
    }
    // Its level may have changed since it began to listen.
    let now = session.caller();
    now.log_level?;
    now.wants_log(answer::log_level(&message.frame))
        .then(|| answer::logged(message.frame, &message.child, session.view()))
}
