//! Who called what, and what became of it: one line of the log per call, without
//! arguments and results.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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

/// A request for a tool of our own, which no child has seen. Its drop writes it down, where
/// that is wanted: without an outcome, the client took it back, or went away.
#[derive(Debug)]
pub struct OwnCall {
    line: Option<Audited>,
    began: Instant,
    outcome: Outcome,
}

impl Relay {
    /// A request for this tool of our own, that began then.
    pub fn own_call(&self, tool: &str, began: Instant, frame: &Frame, caller: &Caller) -> OwnCall {
        let id = frame.id().unwrap_or("null");
        OwnCall {
            line: self.audited(caller, id, Some(frame), Some(Primitive::Tool), tool),
            began,
            outcome: Outcome::Cancelled,
        }
    }
}

impl OwnCall {
    /// It was answered.
    pub fn answered(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for OwnCall {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.write(None, Method::CallTool, self.outcome, self.began.elapsed());
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
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::protocol::{Era, View};

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_call_of_ours_that_nobody_waits_for_any_longer_is_written_down() {
        let caller = Caller::nobody(Era::Modern, View::All);
        let call = || OwnCall {
            line: Some(Audited::new(&caller, "1", None, Some(Primitive::Tool), "t")),
            began: Instant::now(),
            outcome: Outcome::Cancelled,
        };
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            call().answered(Outcome::Ok);
            drop(call());
        });
        let text = log.0.lock().unwrap().clone();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains(r#"outcome="ok""#), "{text}");
        assert!(lines[1].contains(r#"outcome="cancelled""#), "{text}");
    }

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
