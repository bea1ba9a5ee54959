//! What clients are told outside of any request: changed lists, log messages.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use crate::{
    fleet::Fleet,
    outbound::ChildMessage,
    protocol::{
        Frame, answer,
        error::{RpcError, code, notification, result_answer},
        request::meta_key,
    },
};

const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

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
    let tools = wants_tools(request)?;
    let tag: Value = serde_json::from_str(id).unwrap_or_default();
    let meta = json!({meta_key::SUBSCRIPTION_ID: tag});

    // What is not offered yet is left out of what is acknowledged.
    let accepted = if tools {
        json!({"toolsListChanged": true})
    } else {
        json!({})
    };
    let acknowledged = json!({"_meta": meta, "notifications": accepted}).to_string();
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        Some(&acknowledged),
    );
    let changed = notification(TOOLS_CHANGED, Some(&json!({"_meta": meta}).to_string()));

    let told = async {
        asides.send(acknowledged.into_bytes()).await?;
        while tools && changes.changed().await.is_ok() {
            asides.send(changed.bytes().clone()).await?;
        }
        std::future::pending::<Result<(), mpsc::error::SendError<Bytes>>>().await
    };
    // A client that is gone drops this future; until then it listens.
    shutdown.run_until_cancelled(told).await;
    let result = json!({"resultType": "complete", "_meta": meta}).to_string();
    Ok(result_answer(id, &result).into_bytes())
}

fn wants_tools(request: &Frame) -> Result<bool, RpcError> {
    let invalid = |message| RpcError::new(code::INVALID_PARAMS, message);
    let params = request.body_object();
    let filter = params
        .as_ref()
        .and_then(|params| params.get("notifications"))
        .ok_or_else(|| invalid("params.notifications is missing"))?;
    let filter: rmcp::model::SubscriptionFilter = serde_json::from_str(filter)
        .map_err(|_| invalid("params.notifications must be a filter of notifications"))?;
    Ok(filter.tools_list_changed == Some(true))
}

/// Tells a legacy client of changed lists, and of log messages at its level, until
/// it is gone.
pub(super) async fn session(fleet: &Fleet, session: &Session, asides: &mpsc::Sender<Bytes>) {
    let mut changes = fleet.changes();
    // What changed between the client's list and its listening counts too.
    changes.mark_changed();
    let mut messages = fleet.messages();
    loop {
        let message = tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => {
                    let generation = *changes.borrow_and_update();
                    if !session.is_behind(generation) {
                        continue;
                    }
                    session.has_seen(generation);
                    notification(TOOLS_CHANGED, None).into_bytes()
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

/// A log message of no single request goes to those who asked for its level.
fn for_session(session: &Session, message: ChildMessage) -> Option<Bytes> {
    let caller = session.caller();
    caller.log_level?;
    caller
        .wants_log(answer::log_level(&message.frame))
        .then(|| message.frame.into_bytes())
}
