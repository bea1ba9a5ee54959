//! `/status/tools?child=name`: a child's tools as clients see them, and what they cost.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::admin::Asker, Here};
use crate::{
    catalog::{Placed, Primitive},
    fleet::Snapshot,
    protocol::View,
};

#[derive(Deserialize)]
pub(super) struct Wanted {
    child: String,
}

/// A tool, in the words of its child; whatever is no text is left out.
#[derive(Serialize)]
struct Tool<'a> {
    /// What clients call it.
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Value>,
    /// What it takes in a list.
    bytes: usize,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    title: Value,
    #[serde(default)]
    description: Value,
    #[serde(default)]
    annotations: Value,
}

/// Serves it. Operators are shown all that there is; others what they may call.
pub(super) async fn of_child(
    State(here): State<Here>,
    head: Parts,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    if let Some(refusal) = here.refusal(&head) {
        return refusal;
    }
    let Ok(Query(Wanted { child })) = wanted else {
        let hint = "which child? add ?child=name";
        return (StatusCode::BAD_REQUEST, hint).into_response();
    };
    let caller = match here.desk.asker(&head).await {
        Asker::Stranger => {
            let locked = "tools are shown to those who may come in";
            return (StatusCode::FORBIDDEN, locked).into_response();
        }
        Asker::Caller(subject) => Some(subject),
        Asker::Operator => None,
    };
    let snapshot = here.shared.fleet.snapshot();
    let Some(position) = position(&snapshot, &child) else {
        return (StatusCode::NOT_FOUND, "there is no child of this name").into_response();
    };
    let shown = snapshot.view(&View::All).ok();
    let permitted = caller.map(|subject| Some(shown?.permitted(subject.as_ref())));
    let may = |tool: &Placed<'_>| match &permitted {
        None => true,
        Some(permitted) => permitted
            .as_ref()
            .is_some_and(|permitted| permitted.shows(Primitive::Tool, tool)),
    };
    let placed: Vec<_> = snapshot
        .catalog
        .tools()
        .filter(|tool| tool.child == position && may(tool))
        .collect();
    Json(placed.iter().map(Tool::of).collect::<Vec<_>>()).into_response()
}

fn position(snapshot: &Snapshot, child: &str) -> Option<usize> {
    let mut children = snapshot.children.iter();
    children.position(|it| it.name().as_str() == child)
}

impl<'a> Tool<'a> {
    fn of(placed: &'a Placed<'a>) -> Self {
        // A number that no machine can hold makes an entry unreadable here, and no less
        // of a tool.
        let entry: Entry = serde_json::from_slice(placed.entry).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            name: placed.name.as_str(),
            title: text(&entry.title).or_else(|| text(&entry.annotations["title"])),
            description: text(&entry.description),
            annotations: entry.annotations.is_object().then_some(entry.annotations),
            bytes: placed.entry.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::{catalog::Hints, protocol::PublicName};

    fn told(entry: &str) -> Value {
        let name: PublicName = "c__t".into();
        let placed = Placed {
            name: Cow::Owned(name),
            own: &"t".into(),
            child: 0,
            entry: entry.as_bytes(),
            hints: Hints::default(),
        };
        serde_json::to_value(Tool::of(&placed)).unwrap()
    }

    #[test]
    fn a_tool_is_told_in_its_childs_words() {
        let entry = r#"{"name":"c__t","description":"<b>x</b>","annotations":{"title":"T","readOnlyHint":true},"inputSchema":{"maximum":1e400}}"#;
        assert_eq!(
            told(entry),
            json!({
                "name": "c__t", "title": "T", "description": "<b>x</b>", "bytes": entry.len(),
                "annotations": {"title": "T", "readOnlyHint": true},
            })
        );
    }

    #[test]
    fn what_is_no_text_is_left_out() {
        for entry in [
            r#"{"name":"c__t","title":5,"description":[1],"annotations":7}"#,
            "{}",
        ] {
            assert_eq!(told(entry), json!({"name": "c__t", "bytes": entry.len()}));
        }
    }
}
