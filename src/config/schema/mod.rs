//! The JSON Schema of the file, for editors: generated from types that describe what
//! may stand in it.
//!
//! The file is read by hand, for the sake of its sentences. These types are never made;
//! tests hold that they know the same keys as the reader, and refuse nothing it takes.

mod door;
mod file;
mod values;

use schemars::{Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::{Map, Value, json};

use super::keys::snake_case;

/// The JSON Schema (draft 2020-12) of `mcp_config.json`.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .with_transform(both_spellings as fn(&mut Schema))
        .into_generator()
        .into_root_schema_for::<file::File>()
        .to_value()
}

/// Lets every key be spelt in snake_case too, as a pattern: editors offer names, not
/// patterns, and so they offer one spelling.
fn both_spellings(schema: &mut Schema) {
    transform_subschemas(&mut (both_spellings as fn(&mut Schema)), schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let Some(Value::Object(properties)) = object.get("properties") else {
        return;
    };
    let patterns: Map<String, Value> = properties
        .iter()
        .filter(|(key, _)| key.contains(|c: char| c.is_ascii_uppercase()))
        .map(|(key, value)| {
            let mut value = value.clone();
            if let Some(described) = value.as_object_mut() {
                described.insert("description".into(), json!(format!("As `{key}`.")));
            }
            (format!("^{}$", snake_case(key)), value)
        })
        .collect();
    if !patterns.is_empty() {
        object.insert("patternProperties".into(), patterns.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, collections::HashMap, path::Path};

    use super::*;
    use crate::config::{Settings, keys};

    /// Every list of keys, and where the schema has it.
    const LISTS: &[(&[&str], &str)] = &[
        (keys::TOP, ""),
        (keys::ENTRY, "/$defs/Entry"),
        (keys::BREAKER, "/$defs/Breaker"),
        (keys::RESTART, "/$defs/Restart"),
        (keys::ENTRY_AUTH, "/$defs/OwnToken"),
        (keys::TOKEN_EXCHANGE, "/$defs/Exchange"),
        (keys::AUTH, "/$defs/Door"),
        (keys::AUTH_ISSUER, "/$defs/Issuer"),
        (keys::AUTH_JWKS, "/$defs/Keys"),
        (keys::AUTH_VALIDATION, "/$defs/Validation"),
        (keys::AUTH_INTROSPECTION, "/$defs/Introspection"),
        (keys::AUTH_METADATA, "/$defs/Metadata"),
    ];

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&schema()).expect("a schema")
    }

    #[test]
    fn the_schema_knows_the_keys_the_reader_knows_and_no_others() {
        let schema = schema();
        for (known, place) in LISTS {
            let described = schema.pointer(&format!("{place}/properties"));
            let described = described.and_then(Value::as_object).expect(place);
            let described: BTreeSet<_> = described.keys().map(String::as_str).collect();
            let known: BTreeSet<_> = known.iter().copied().collect();
            assert_eq!(described, known, "{place}");
        }
        let lists = include_str!("../keys.rs").matches(": &[&str] = &[").count();
        assert_eq!(lists, LISTS.len(), "every list of keys is compared");
    }

    #[test]
    fn every_key_is_described() {
        let schema = schema();
        for (_, place) in LISTS {
            let properties = &schema.pointer(place).expect(place)["properties"];
            for (key, value) in properties.as_object().expect("keys") {
                assert!(value["description"].is_string(), "{place}: {key}");
            }
        }
    }

    #[test]
    fn the_published_schema_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mcp_config.schema.json");
        let published = std::fs::read_to_string(path).expect("it is published");
        let published: Value = serde_json::from_str(&published).expect("JSON");
        assert_eq!(
            published,
            schema(),
            "publish it: cargo run -- schema > docs/mcp_config.schema.json"
        );
    }

    #[test]
    fn a_schema_that_knows_nothing_else_refuses_a_misspelt_key() {
        let validator = validator();
        for (text, taken) in [
            (json!({"mcpServers": {"a": {"comand": "x"}}}), false),
            (json!({"mcpServer": {}}), false),
            (
                json!({"mcp_servers": {"a": {"command": "x", "call_timeout": "5m"}}}),
                true,
            ),
            (
                json!({"mcpServers": {"a": {"command": "x", "call_timeout": []}}}),
                false,
            ),
        ] {
            assert_eq!(validator.is_valid(&text), taken, "{text}");
        }
    }

    /// What the reader says of a file: whether it has nothing to say.
    fn reads(text: &str) -> bool {
        let env: HashMap<String, String> = [
            ("OIDC_CLIENT_ID", "x"),
            ("OIDC_CLIENT_SECRET", "x"),
            ("OIDC_ISSUER", "https://h"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        match Settings::from_json(Path::new("c.json"), text, &env) {
            Ok(settings) => settings.children[0].disabled.is_none(),
            Err(_) => false,
        }
    }

    #[test]
    fn what_the_reader_takes_the_schema_takes_and_a_wrong_kind_neither() {
        let validator = validator();
        let values = [
            "null", "true", "1", "0.5", "\"2m\"", "\"x\"", "[]", "[\"a\"]", "{}", "[[]]", "[1]",
        ];
        let mut taken = 0;
        for key in keys::ENTRY.iter().filter(|key| **key != "disabled") {
            for place in ["command", "url"] {
                for value in values {
                    if key == &place {
                        continue;
                    }
                    let text = format!(
                        r#"{{"mcpServers": {{"a": {{"{place}": "https://h/mcp", "{key}": {value}}}}}}}"#
                    );
                    let document: Value = serde_json::from_str(&text).expect("JSON");
                    let (read, valid) = (reads(&text), validator.is_valid(&document));
                    let ignored = keys::WITHOUT_EFFECT.iter().any(|(name, _)| name == key);
                    if read && !ignored {
                        assert!(valid, "refused: {text}");
                        taken += 1;
                    }
                    // What a text means, and whether a token is complete, is not the
                    // schema's to know.
                    let is_of_kind = value.starts_with('"') || (*key == "auth" && value == "{}");
                    if !read && !is_of_kind {
                        assert!(!valid, "taken: {text}");
                    }
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
