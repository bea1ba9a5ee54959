//! `key=value`, typed as a tool's input schema says.

use std::str::FromStr;

use serde_json::{Value, value::RawValue};

use crate::protocol::json::{Object, quote};

/// One argument as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    key: String,
    value: String,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("expected key=value, or all arguments with --args".to_owned()),
        }
    }
}

/// JSON text that is an object.
pub(super) fn object(text: &str) -> Result<String, String> {
    match Object::read(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

/// The arguments as JSON text, for the tool that is described so.
pub(super) fn typed(given: &[Given], entry: &str) -> Result<String, String> {
    let entry: Value = serde_json::from_str(entry).unwrap_or_default();
    let schema = &entry["inputSchema"];
    let properties = schema["properties"].as_object();
    let mut members: Vec<String> = Vec::with_capacity(given.len());
    for (at, Given { key, value }) in given.iter().enumerate() {
        if given[..at].iter().any(|before| before.key == *key) {
            return Err(format!("{key} stands twice; a list is written as JSON"));
        }
        let property = properties.and_then(|properties| properties.get(key));
        if let (None, Some(known)) = (property, properties)
            && schema["additionalProperties"] == false
        {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(match known.as_slice() {
                [] => format!("there is no argument {key}: it takes none"),
                known => format!("there is no argument {key}: it takes {}", known.join(", ")),
            });
        }
        let value = one(value, property.unwrap_or(&Value::Null))
            .map_err(|expected| format!("{key}: expected {expected}, found {value:?}"))?;
        members.push(format!("{}:{value}", quote(key)));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

/// One value: of the types that the schema allows the first that fits, text last.
fn one(text: &str, schema: &Value) -> Result<String, String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let trimmed = text.trim();
    let json = serde_json::from_str::<&RawValue>(trimmed).ok();
    let begins = |with: &[char]| trimmed.starts_with(with);
    let is_of = |kind: &str| match kind {
        "number" | "integer" => begins(&['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
        "boolean" => matches!(trimmed, "true" | "false"),
        "null" => trimmed == "null",
        "array" => begins(&['[']),
        "object" => begins(&['{']),
        _ => false,
    };
    if types.is_empty() {
        // Nobody says: JSON if it is some.
        return Ok(json.map_or_else(|| quote(text), |json| json.get().to_owned()));
    }
    if let Some(json) = json
        && types.iter().any(|kind| is_of(kind))
    {
        return Ok(json.get().to_owned());
    }
    if types.contains(&"string") {
        return Ok(quote(text));
    }
    let told = types.iter().map(|kind| match *kind {
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "array" => "a JSON array",
        "object" => "a JSON object",
        other => other,
    });
    Err(told.collect::<Vec<_>>().join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"name":"t","inputSchema":{"properties":{
        "text":{"type":"string"},"n":{"type":"number"},"on":{"type":"boolean"},
        "list":{"type":"array"},"either":{"type":["integer","string"]},"any":{},
        "nothing":{"type":["string","null"]}},"additionalProperties":false}}"#;

    fn of(words: &[&str]) -> Result<String, String> {
        let given: Vec<Given> = words.iter().map(|word| word.parse().unwrap()).collect();
        typed(&given, ENTRY)
    }

    #[test]
    fn a_value_is_what_its_schema_says() {
        for (word, json) in [
            ("text=5", r#"{"text":"5"}"#),
            ("text=a=b \"c\"", r#"{"text":"a=b \"c\""}"#),
            ("text=", r#"{"text":""}"#),
            (
                "n=12345678901234567890123",
                r#"{"n":12345678901234567890123}"#,
            ),
            ("n=-1.10", r#"{"n":-1.10}"#),
            ("on=true", r#"{"on":true}"#),
            ("list=[1, \"x\"]", r#"{"list":[1, "x"]}"#),
            ("either=7", r#"{"either":7}"#),
            ("either=seven", r#"{"either":"seven"}"#),
            ("any={\"a\":1}", r#"{"any":{"a":1}}"#),
            ("any=words", r#"{"any":"words"}"#),
            ("nothing=null", r#"{"nothing":null}"#),
        ] {
            assert_eq!(of(&[word]).as_deref(), Ok(json), "{word}");
        }
        let both = of(&["n=1", "text=x"]);
        assert_eq!(both.as_deref(), Ok(r#"{"n":1,"text":"x"}"#));
    }

    #[test]
    fn a_value_that_is_not_is_told() {
        for (words, told) in [
            (&["n=many"][..], "n: expected a number, found \"many\""),
            (&["on=yes"], "on: expected true or false"),
            (&["list=a,b"], "list: expected a JSON array"),
            (&["list=[1"], "list: expected a JSON array"),
            (&["n=1", "n=2"], "stands twice"),
            (&["nn=1"], "there is no argument nn: it takes"),
        ] {
            let failed = of(words).unwrap_err();
            assert!(failed.contains(told), "{failed}");
        }
        for odd in ["", "=x", "word"] {
            assert!(odd.parse::<Given>().is_err(), "{odd}");
        }
    }

    #[test]
    fn a_tool_that_nobody_describes_takes_json_and_text() {
        let given = ["n=1".parse().unwrap(), "text=a b".parse().unwrap()];
        assert_eq!(typed(&given, "").as_deref(), Ok(r#"{"n":1,"text":"a b"}"#));
    }
}
