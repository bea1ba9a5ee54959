//! Task ids: the child that owns a task stands in the id that clients see, so that any
//! replica finds it, and after a restart. Where callers are told apart, it is signed for
//! the one whose it is, too.

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Caller, ChildName, Signer,
    answer::RESULT_TYPE,
    frame::{Frame, Kind},
    json::{self, Object, quote},
    splice::Splice,
};

const ID: &str = "taskId";

/// The `_meta` key that says which task a message belongs to (MCP 2025-11-25, "Tasks").
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The notifications about a task: of 2025-11-25, and of the extension.
const NOTIFICATIONS: [&str; 2] = ["notifications/tasks/status", "notifications/tasks"];

/// The id that clients see of a task of the child with this prefix.
pub fn public_id(prefix: &str, own: &str) -> String {
    format!("{prefix}__{own}")
}

/// The child's own id, if this is one of a child with this prefix.
pub fn own_id<'a>(prefix: &str, public: &'a str) -> Option<&'a str> {
    public.strip_prefix(prefix)?.strip_prefix("__")
}

/// Says in the ids of tasks whose they are; clones are the same.
#[derive(Clone, Debug)]
pub struct Owners(Arc<[Signer]>);

/// What ids are signed for.
const PURPOSE: &str = "task";

impl Owners {
    /// The first signs, each verifies. Without any nobody has tasks who is told apart.
    pub fn new(signers: Vec<Signer>) -> Self {
        Self(signers.into())
    }

    /// What a caller knows this child's task by, but for the child's prefix.
    pub fn of_caller(&self, own: &str, child: &ChildName, caller: &Caller) -> String {
        match self.0.first() {
            _ if !caller.told_apart => own.to_owned(),
            Some(signer) => format!("{own}~{}", signer.tag(PURPOSE, &whose(own, child, caller))),
            None => format!("{own}~"),
        }
    }

    /// The child's own id, if the task is this caller's.
    pub fn own<'a>(&self, id: &'a str, child: &ChildName, caller: &Caller) -> Option<&'a str> {
        if !caller.told_apart {
            return Some(id);
        }
        let (own, tag) = id.rsplit_once('~')?;
        let whose = whose(own, child, caller);
        let mut signers = self.0.iter();
        let is_its = signers.any(|signer| signer.has_tagged(PURPOSE, &whose, tag));
        is_its.then_some(own)
    }
}

fn whose(own: &str, child: &ChildName, caller: &Caller) -> Vec<u8> {
    let subject = caller.subject.as_ref().map(|subject| subject.key());
    serde_json::json!([child, own, subject])
        .to_string()
        .into_bytes()
}

/// A child's answer or notification with the ids that clients see in it; `None` if it
/// has none. `of_tasks`: it answers a method that is about a task.
pub fn with_public_ids(
    message: &Frame,
    of_tasks: bool,
    public: impl Fn(&str) -> String,
) -> Option<Bytes> {
    let has = |key| message.body_member(key).is_some();
    if !of_tasks
        && message.kind() == Kind::Result
        && !["_meta", "task", RESULT_TYPE].into_iter().any(has)
    {
        return None;
    }
    let body = message.body_object()?;
    let about_a_task = match message.kind() {
        Kind::Result => of_tasks || text(&body, RESULT_TYPE).as_deref() == Some("task"),
        Kind::Notification => NOTIFICATIONS.contains(&&*message.method()?),
        Kind::Request | Kind::Error => false,
    };
    let mut ids = Vec::new();
    if about_a_task {
        ids.push(id_in(message, &body));
    }
    // As 2025-11-25 answers a call with a new task: it has no other result.
    if message.kind() == Kind::Result
        && body.get("content").is_none()
        && let Some(task) = object(&body, "task")
    {
        ids.push(id_in(message, &task));
    }
    if let Some(related) = object(&body, "_meta").and_then(|meta| object(&meta, RELATED)) {
        ids.push(id_in(message, &related));
    }
    let mut splice = Splice::of(message.bytes());
    for (at, own) in ids.into_iter().flatten() {
        splice.replace(at, quote(&public(&own)));
    }
    Some(splice.finish())
}

fn id_in<'a>(message: &Frame, object: &Object<'a>) -> Option<(Range<usize>, Cow<'a, str>)> {
    let raw = object.get(ID).filter(|raw| json::is_string(raw))?;
    Some((message.range_of(raw), json::unquote(raw)))
}

fn object<'a>(of: &Object<'a>, key: &str) -> Option<Object<'a>> {
    Object::read(of.get(key)?).ok()
}

fn text<'a>(of: &Object<'a>, key: &str) -> Option<Cow<'a, str>> {
    of.get(key).map(json::unquote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(message: &str, of_tasks: bool) -> Option<String> {
        let message = Frame::made(message.to_owned());
        let bytes = with_public_ids(&message, of_tasks, |own| public_id("p", own))?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn answer(result: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
    }

    #[test]
    fn an_id_leads_back_to_its_child() {
        assert_eq!(own_id("p", &public_id("p", "7")), Some("7"));
        assert_eq!(own_id("q", &public_id("p", "7")), None);
        assert_eq!(own_id("p", "p7"), None);
    }

    #[test]
    fn a_task_is_its_owners_alone() {
        use crate::protocol::{Era, Subject, View};

        let caller = |sub: Option<&str>, told_apart| Caller {
            subject: sub.map(|sub| {
                Arc::new(Subject {
                    sub: sub.into(),
                    ..Subject::default()
                })
            }),
            told_apart,
            ..Caller::nobody(Era::Modern, View::All)
        };
        let [child, other] = ["a", "b"].map(ChildName::from);
        let owners = Owners::new(vec![Signer::from_key(b"key")]);
        let [one, two, nobody] = [Some("1"), Some("2"), None].map(|sub| caller(sub, true));
        let id = owners.of_caller("7~x", &child, &one);
        assert_eq!(owners.own(&id, &child, &one), Some("7~x"));
        assert_eq!(owners.own(&id, &child, &two), None);
        assert_eq!(owners.own(&id, &child, &nobody), None);
        assert_eq!(owners.own(&id, &other, &one), None);
        assert_eq!(owners.own("7~x", &child, &nobody), None);
        let anybody = caller(None, false);
        assert_eq!(owners.of_caller("7", &child, &anybody), "7");
        assert_eq!(owners.own("7", &child, &anybody), Some("7"));
        let none = Owners::new(Vec::new());
        let id = none.of_caller("7", &child, &one);
        assert_eq!(none.own(&id, &child, &one), None);
    }

    #[test]
    fn a_new_task_has_the_id_that_clients_see() {
        for (own, public) in [
            (
                r#"{"resultType":"task", "taskId" : "7","n":1.10}"#,
                r#"{"resultType":"task", "taskId" : "p__7","n":1.10}"#,
            ),
            (
                r#"{"task":{"taskId":"7","ttl":1e3}}"#,
                r#"{"task":{"taskId":"p__7","ttl":1e3}}"#,
            ),
        ] {
            assert_eq!(seen(&answer(own), false), Some(answer(public)));
        }
    }

    #[test]
    fn a_task_has_it_wherever_it_is_told_of() {
        assert_eq!(
            seen(&answer(r#"{"taskId":"7","status":"working"}"#), true),
            Some(answer(r#"{"taskId":"p__7","status":"working"}"#))
        );
        let result = |id| {
            format!(
                r#"{{"content":[],"_meta":{{"a":1.0,"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}}}"#
            )
        };
        let (own, public) = (answer(&result("7")), answer(&result("p__7")));
        assert_eq!(seen(&own, false), Some(public));
        let told = |id| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{id}"}}}}"#
            )
        };
        assert_eq!(seen(&told("7"), false), Some(told("p__7")));
    }

    #[test]
    fn a_tools_own_task_ids_are_its_own() {
        for result in [
            r#"{"content":[],"taskId":"7"}"#,
            r#"{"content":[],"task":{"taskId":"7"}}"#,
            r#"{"content":[{"text":"taskId"}],"structuredContent":{"taskId":"7"}}"#,
        ] {
            let seen = seen(&answer(result), false);
            assert!(seen.is_none_or(|seen| seen == answer(result)), "{result}");
        }
        assert_eq!(seen(&answer(r#"{"content":[]}"#), false), None);
    }
}
