//! JSON-RPC frames as the bytes they are.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// The bytes of one member of a JSON object; `None` if it has no such member.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let Members(members) = serde_json::from_str(object)
        .unwrap_or_else(|error| panic!("not an object ({error}): {}", shortened(object)));
    let quoted = quoted(name);
    members
        .into_iter()
        .find(|(key, _)| *key == quoted)
        .map(|(_, value)| value)
}

/// The members of an object as they stand. Not a map, because a key may come twice
/// and may be no text at all, like half of a surrogate pair.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The elements of a JSON array, each as its bytes.
pub fn elements(array: &str) -> Vec<&str> {
    let raw: Vec<&RawValue> = serde_json::from_str(array)
        .unwrap_or_else(|error| panic!("not an array ({error}): {}", shortened(array)));
    raw.into_iter().map(RawValue::get).collect()
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The method of a frame; `None` for an answer.
pub fn method(frame: &str) -> Option<String> {
    member(frame, "method").and_then(|method| serde_json::from_str(method).ok())
}

/// The beginning of what may be a mebibyte, for a person to read.
pub fn shortened(text: &str) -> String {
    text.chars().take(2000).collect()
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// The frame, byte for byte.
    pub frame: String,
    /// What came for this request before its answer.
    pub before: Vec<String>,
}

impl Answer {
    /// The bytes of the request id the frame answers.
    pub fn id(&self) -> &str {
        member(&self.frame, "id").unwrap_or_default()
    }

    /// The bytes of `result`.
    pub fn result(&self) -> &str {
        member(&self.frame, "result")
            .unwrap_or_else(|| panic!("no result: {}", shortened(&self.frame)))
    }

    /// The bytes of `result.structuredContent`.
    pub fn structured(&self) -> &str {
        member(self.result(), "structuredContent")
            .unwrap_or_else(|| panic!("no structuredContent: {}", shortened(&self.frame)))
    }

    /// `result.structuredContent`, for tests that care for values and not for bytes.
    pub fn content(&self) -> Value {
        serde_json::from_str(self.structured()).expect("structuredContent is JSON")
    }

    /// The text of the first part of `result.content`.
    pub fn content_text(&self) -> String {
        let result: Value = serde_json::from_str(self.result()).expect("result is JSON");
        let text = result["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text: {}", self.frame))
            .to_owned()
    }

    /// The bytes of the arguments with which the tool `received` was reached.
    pub fn arguments_received(&self) -> String {
        let params = self.params_received();
        member(&params, "arguments").unwrap_or_default().to_owned()
    }

    /// The bytes of the params with which the tool `received` was reached.
    pub fn params_received(&self) -> String {
        let params = self.content()["params"].as_str().map(str::to_owned);
        params.expect("an answer of the tool received")
    }

    /// The JSON-RPC error.
    pub fn error(&self) -> Value {
        let error = member(&self.frame, "error")
            .unwrap_or_else(|| panic!("no error: {}", shortened(&self.frame)));
        serde_json::from_str(error).expect("error is JSON")
    }

    /// The code of the JSON-RPC error.
    pub fn error_code(&self) -> i64 {
        self.error()["code"].as_i64().expect("a code")
    }

    /// Whether the result says that the tool failed.
    pub fn is_tool_error(&self) -> bool {
        member(&self.frame, "result").and_then(|result| member(result, "isError")) == Some("true")
    }

    /// Our own facts about a failed `tools/call`.
    pub fn failure(&self) -> Value {
        let result: Value = serde_json::from_str(self.result()).expect("result is JSON");
        assert_eq!(result["isError"], true, "not a failure: {result}");
        result["_meta"]["io.mcp-multiplexer/failure"].clone()
    }

    /// Our own word for why a `tools/call` failed.
    pub fn failure_kind(&self) -> String {
        let failure = self.failure();
        failure["kind"]
            .as_str()
            .unwrap_or_else(|| panic!("no kind: {}", self.frame))
            .to_owned()
    }
}
