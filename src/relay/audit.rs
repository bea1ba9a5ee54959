//! Who called what, and what became of it: one line of the log per call, without
//! arguments and results.

use std::{sync::Arc, time::Duration};

use tracing::info;
use uuid::Uuid;

use super::{Method, Relay};
use crate::{
    catalog::Primitive,
    protocol::{Caller, ChildName, Frame, Subject, json, json::Object},
    telemetry::{AUDIT, Outcome},
};

/// As much of a client's text as a line repeats.
const SHOWN: usize = 256;

/// A request whose end is to be written down; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Audited(Arc<Line>);

#[derive(Debug)]
struct Line {
    id: Uuid,
    subject: Option<Arc<Subject>>,
    /// The client's own id of the request.
    request: String,
    trace: Option<String>,
    primitive: Option<Primitive>,
    name: String,
}

impl Audited {
    /// A request for `name`, of the trace that its frame tells of, if there is one.
    pub(super) fn new(
        caller: &Caller,
        id: &str,
        frame: Option<&Frame>,
        primitive: Option<Primitive>,
        name: &str,
    ) -> Self {
        let name = match primitive {
            // What stands behind is as good as an argument.
            Some(Primitive::Resource | Primitive::Template) => {
                name.split(['?', '#']).next().unwrap_or_default()
            }
            _ => name,
        };
        Self(Arc::new(Line {
            id: Uuid::new_v4(),
            subject: caller.subject.clone(),
            request: shown(&json::unquote(id)),
            trace: frame.and_then(trace_id),
            primitive,
            name: shown(name),
        }))
    }

    /// What its line is found by.
    pub(super) fn correlation_id(&self) -> String {
        self.0.id.simple().to_string()
    }

    /// It has ended. Where nobody has what it names, there is no child.
    pub(super) fn write(
        &self,
        child: Option<&ChildName>,
        method: Method,
        outcome: Outcome,
        took: Duration,
    ) {
        let Line {
            id,
            subject,
            request,
            trace,
            primitive,
            name,
        } = &*self.0;
        let subject = subject.as_deref();
        let named = |these: &[Primitive]| {
            let fits = primitive.is_some_and(|primitive| these.contains(&primitive));
            fits.then_some(name.as_str())
        };
        info!(
            target: AUDIT,
            sub = subject.map(|subject| subject.sub.as_str()),
            client = subject.and_then(|subject| subject.client.as_deref()),
            issuer = subject.map(|subject| subject.issuer.as_str()),
            child = child.map(ChildName::as_str),
            method = method.as_str(),
            tool = named(&[Primitive::Tool]),
            prompt = named(&[Primitive::Prompt]),
            uri = named(&[Primitive::Resource, Primitive::Template]),
            outcome = outcome.as_str(),
            us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            correlation_id = %id.simple(),
            request = request.as_str(),
            trace_id = trace.as_deref(),
            "audit"
        );
    }
}

impl Relay {
    /// Writes down a request for a tool of our own, where that is wanted: no child has seen
    /// it.
    pub fn writes_down(
        &self,
        (tool, outcome): (&str, Outcome),
        frame: &Frame,
        caller: &Caller,
        took: Duration,
    ) {
        let id = frame.id().unwrap_or("null");
        if let Some(line) = self.audited(caller, id, Some(frame), Some(Primitive::Tool), tool) {
            line.write(None, Method::CallTool, outcome, took);
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// The trace that a request belongs to (W3C Trace Context, 3.2).
fn trace_id(frame: &Frame) -> Option<String> {
    let params = frame.body_object()?;
    let meta = Object::read(params.get("_meta")?).ok()?;
    let parent = json::unquote(meta.get("traceparent")?);
    let id = parent.split('-').nth(1)?;
    let good = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_if_it_is_one() {
        let of = |meta: &str| {
            trace_id(&Frame::made(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta}}}}}"#
            )))
        };
        let id = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!(r#"{{"traceparent":"00-{id}-b7ad6b7169203331-01"}}"#);
        assert_eq!(of(&parent).as_deref(), Some(id));
        for odd in [
            "{}",
            "1",
            r#"{"traceparent":7}"#,
            r#"{"traceparent":"00-secret-1-1"}"#,
        ] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
