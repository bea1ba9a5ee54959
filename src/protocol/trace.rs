//! Where a request stands in a trace (W3C Trace Context): in its `_meta`, and in the
//! headers of the HTTP request that brings it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    frame::Frame,
    json::{self, Object, quote},
    splice::Splice,
};

/// The key, in `_meta` and of the header, of the trace and the span within it.
pub const TRACEPARENT: &str = "traceparent";
/// The same of what the systems on the way have to say of the trace.
pub const TRACESTATE: &str = "tracestate";

/// A place in a trace. What it says is not looked at: that is for who keeps traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

impl TraceContext {
    /// What the headers of an HTTP request say.
    pub fn of_headers(all: &HeaderMap) -> Option<Self> {
        let text = |name| Some(all.get(name)?.to_str().ok()?.to_owned());
        Some(Self {
            parent: text(TRACEPARENT)?,
            state: text(TRACESTATE),
        })
    }

    /// The same as headers.
    pub fn to_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let parent = (TRACEPARENT, Some(&self.parent));
        let state = (TRACESTATE, self.state.as_ref());
        let values = [parent, state].into_iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_str(value?).ok()?;
            Some((HeaderName::from_static(name), value))
        });
        values.collect()
    }

    /// What the `_meta` of a request says.
    pub fn of_request(request: &Frame) -> Option<Self> {
        let params = request.body_object()?;
        let meta = Object::read(params.get("_meta")?).ok()?;
        let text = |key| {
            let raw = meta.get(key).filter(|raw| json::is_string(raw))?;
            Some(json::unquote(raw).into_owned())
        };
        Some(Self {
            parent: text(TRACEPARENT)?,
            state: text(TRACESTATE),
        })
    }

    /// The request with this in its `_meta`, in the place of what it says there. One
    /// that says it twice, or that has no params, stays as it is.
    pub fn put_into(&self, request: Bytes) -> Bytes {
        let Ok(frame) = Frame::read(request.clone()) else {
            return request;
        };
        let Some(params) = frame.body_object() else {
            return request;
        };
        let meta = params.get("_meta").map(Object::read);
        let mut added = Vec::new();
        let mut splice = Splice::of(frame.bytes());
        match &meta {
            Some(Ok(meta)) => {
                let old = |key| meta.get(key);
                // What was said of another trace is not said of this one.
                let state = self.state.as_deref().or(old(TRACESTATE).map(|_| ""));
                let values = [(TRACEPARENT, Some(&*self.parent)), (TRACESTATE, state)];
                for (key, value) in values {
                    if meta.is_doubled(key) {
                        return request;
                    }
                    match (old(key), value) {
                        (Some(old), Some(value)) => {
                            splice.replace(frame.range_of(old), quote(value));
                        }
                        (None, Some(value)) => added.push(member(key, value)),
                        (_, None) => {}
                    }
                }
            }
            None => {
                added.push(member(TRACEPARENT, &self.parent));
                let state = self.state.as_deref();
                added.extend(state.map(|state| member(TRACESTATE, state)));
            }
            Some(Err(_)) => return request,
        }
        if added.is_empty() {
            return splice.finish();
        }
        let added = added.join(",");
        let comma = |object: &Object<'_>| if object.members().is_empty() { "" } else { "," };
        match (&meta, params.get("_meta"), frame.body_range()) {
            (Some(Ok(meta)), Some(raw), _) => {
                let at = frame.range_of(raw).start + 1;
                splice.insert(at, format!("{added}{}", comma(meta)));
            }
            (_, _, Some(at)) => {
                let end = comma(&params);
                splice.insert(at.start + 1, format!("\"_meta\":{{{added}}}{end}"));
            }
            _ => {}
        }
        splice.finish()
    }
}

fn member(key: &str, value: &str) -> String {
    format!("{}:{}", quote(key), quote(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(params: &str, state: Option<&str>) -> String {
        let context = TraceContext {
            parent: "new".to_owned(),
            state: state.map(str::to_owned),
        };
        let begin = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call""#;
        let frame = format!(r#"{begin},"params":{params}}}"#);
        let put = context.put_into(frame.into());
        let text = String::from_utf8(put.to_vec()).unwrap();
        let rest = text.strip_prefix(begin).unwrap();
        let rest = rest.strip_prefix(r#","params":"#).unwrap();
        rest.strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn a_trace_is_put_where_the_old_one_stood_and_every_other_byte_stays() {
        for (params, state, expected) in [
            ("{}", None, r#"{"_meta":{"traceparent":"new"}}"#),
            (
                r#"{ "arguments":{"x":1e400} }"#,
                Some("a=b"),
                r#"{"_meta":{"traceparent":"new","tracestate":"a=b"}, "arguments":{"x":1e400} }"#,
            ),
            (
                r#"{"_meta":{ }}"#,
                None,
                r#"{"_meta":{"traceparent":"new" }}"#,
            ),
            (
                r#"{"_meta":{"k":1.10, "traceparent" : "old"},"name":"n"}"#,
                None,
                r#"{"_meta":{"k":1.10, "traceparent" : "new"},"name":"n"}"#,
            ),
            (
                r#"{"_meta":{"tracestate":"old=1","traceparent":7}}"#,
                None,
                r#"{"_meta":{"tracestate":"","traceparent":"new"}}"#,
            ),
            (
                r#"{"_meta":{"trac\u0065parent":"old","tracestate":"old=1"}}"#,
                Some("old=1"),
                r#"{"_meta":{"trac\u0065parent":"new","tracestate":"old=1"}}"#,
            ),
        ] {
            assert_eq!(put(params, state), expected);
        }
        let twice = r#"{"_meta":{"traceparent":"a","traceparent":"b"}}"#;
        assert_eq!(put(twice, None), twice);
    }

    #[test]
    fn a_request_without_params_stays_as_it_is() {
        let context = TraceContext {
            parent: "new".to_owned(),
            state: None,
        };
        let request = Bytes::from(r#"{"jsonrpc":"2.0","id":1,"method":"own/method"}"#);
        assert_eq!(context.put_into(request.clone()), request);
    }

    #[test]
    fn what_a_request_says_of_its_trace_is_read() {
        let of = |params: &str| {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            TraceContext::of_request(&Frame::made(text))
        };
        let found = of(r#"{"_meta":{"tracestate":"a=b","traceparent":"00-1-2-01"}}"#).unwrap();
        assert_eq!(found.parent, "00-1-2-01");
        assert_eq!(found.state.as_deref(), Some("a=b"));
        for without in ["{}", r#"{"_meta":{}}"#, r#"{"_meta":{"traceparent":1}}"#] {
            assert_eq!(of(without), None, "{without}");
        }
    }
}
