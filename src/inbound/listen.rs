//! What clients are told outside of any request: changed lists, log messages.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use crate::{
    catalog::Family,
    fleet::Fleet,
    outbound::ChildMessage,
    protocol::{
        Frame, answer,
        error::{RpcError, code, notification, result_answer},
        request::meta_key,
    },
};

/// Serves a modern `subscriptions/listen` (MCP 2026-07-28, "Subscriptions"): the
/// acknowledgement first, then what was asked for, each tagged with the request's
/// id. Returns the answer that ends it, when the program ends.
///
/// # Errors
///
/// `-32602` when the filter cannot be read.
pub(super) async fn subscription(
    request: &Frame,
    fleet: &Fleet,
    shutdown: &CancellationToken,
    asides: &mpsc::Sender<Bytes>,
) -> Result<Bytes, RpcError> {
    let id = request.id().unwrap_or("null");
    let mut changes = fleet.changes();
    let wanted = wanted(request)?;
    let tag: Value = serde_json::from_str(id).unwrap_or_default();
    let meta = json!({meta_key::SUBSCRIPTION_ID: tag});

    // What is not offered yet is left out of what is acknowledged.
    let accepted = wanted
        .iter()
        .map(|family| (filter_key(*family).to_owned(), Value::Bool(true)));
    let accepted: serde_json::Map<String, Value> = accepted.collect();
    let acknowledged = json!({"_meta": meta, "notifications": accepted}).to_string();
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        Some(&acknowledged),
    );
    let tagged = json!({"_meta": meta}).to_string();
    let mut told_of = *changes.borrow_and_update();

    let told = async {
        asides.send(acknowledged.into_bytes()).await?;
        while !wanted.is_empty() && changes.changed().await.is_ok() {
            let now = *changes.borrow_and_update();
            for family in &wanted {
                if now.of(*family) > told_of.of(*family) {
                    let changed = notification(family.list_changed(), Some(&tagged));
                    asides.send(changed.into_bytes()).await?;
                }
            }
            told_of = now;
        }
        std::future::pending::<Result<(), mpsc::error::SendError<Bytes>>>().await
    };
    // A client that is gone drops this future; until then it listens.
    shutdown.run_until_cancelled(told).await;
    let result = json!({"resultType": "complete", "_meta": meta}).to_string();
    Ok(result_answer(id, &result).into_bytes())
}

/// The families of lists whose changes the filter asks for.
fn wanted(request: &Frame) -> Result<Vec<Family>, RpcError> {
    let invalid = |message| RpcError::new(code::INVALID_PARAMS, message);
    let params = request.body_object();
    let filter = params
        .as_ref()
        .and_then(|params| params.get("notifications"))
        .ok_or_else(|| invalid("params.notifications is missing"))?;
    let filter: rmcp::model::SubscriptionFilter = serde_json::from_str(filter)
        .map_err(|_| invalid("params.notifications must be a filter of notifications"))?;
    let asked = |family: &Family| {
        let wish = match family {
            Family::Tools => filter.tools_list_changed,
            Family::Prompts => filter.prompts_list_changed,
            Family::Resources => filter.resources_list_changed,
        };
        wish == Some(true)
    };
    Ok(Family::ALL.into_iter().filter(asked).collect())
}

/// The key of the filter that asks for changes of these lists.
fn filter_key(family: Family) -> &'static str {
    match family {
        Family::Tools => "toolsListChanged",
        Family::Prompts => "promptsListChanged",
        Family::Resources => "resourcesListChanged",
    }
}

/// Tells a legacy client of changed lists, and of log messages at its level, until
/// it is gone.
pub(super) async fn session(fleet: &Fleet, session: &Session, asides: &mpsc::Sender<Bytes>) {
    let _listening = session.key().asked().listens(asides.clone());
    let mut changes = fleet.changes();
    session.listens_from(*changes.borrow());
    // What changed between the client's list and its listening counts too.
    changes.mark_changed();
    let mut messages = fleet.messages();
    loop {
        let message = tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => {
                    let generations = *changes.borrow_and_update();
                    for family in session.catches_up(generations) {
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
                Ok(message) => match for_session(session, message) {
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

/// A log message of no single request goes to those who asked for its level; that of a
/// session's own connection to that session alone.
fn for_session(session: &Session, message: ChildMessage) -> Option<Bytes> {
    let mine = session.key().number();
    if message.session.is_some_and(|session| session != mine) {
        return None;
    }
    let caller = session.caller();
    caller.log_level?;
    caller
        .wants_log(answer::log_level(&message.frame))
        .then(|| message.frame.into_bytes())
}
