//! The kinds of values, as the reader takes them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// In a text that holds this, anything may stand once variables are expanded.
const VARIABLE: &str = r"\$\{[A-Za-z_]";

/// Declares a kind of value whose schema is given in place.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident $(<$(const $param:ident: $kind:ty),+>)?, $schema:expr) => {
        $(#[$doc])*
        pub(super) struct $name $(<$(const $param: $kind),+>)?;

        impl $(<$(const $param: $kind),+>)? JsonSchema for $name $(<$($param),+>)? {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

value!(
    /// How long.
    Span,
    json_schema!({"anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": format!(r"^\s*[0-9.]+\s*(ms|s|m|h|d)?\s*$|{VARIABLE}")},
    ]})
);
value!(
    /// `true` or `false`.
    Switch,
    json_schema!({"anyOf": [
        {"type": "boolean"},
        {"type": "string", "pattern": VARIABLE},
    ]})
);
value!(
    /// A whole number within a range.
    Count<const LEAST: u32, const MOST: u32>,
    json_schema!({"anyOf": [
        {"type": "integer", "minimum": LEAST, "maximum": MOST},
        {"type": "string", "pattern": VARIABLE},
    ]})
);
value!(
    /// Above 0 and up to 1.
    Share,
    json_schema!({"anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "string", "pattern": VARIABLE},
    ]})
);
value!(
    /// The transports, in the spellings that clients write.
    Transport,
    words(&["stdio", "http", "streamable-http", "streamableHttp", "streamable_http", "sse"])
);
value!(
    /// What is listed.
    Mode,
    words(&["eager", "dynamic"])
);
value!(
    /// Whether clients share a connection.
    Session,
    words(&["shared", "dedicated"])
);
value!(
    /// What becomes of callers who do not prove who they are.
    LockMode,
    words(&["strict", "optional", "permissive"])
);
value!(
    /// An issuer's software.
    Provider,
    words(&["keycloak"])
);
value!(
    /// Whose token a child is sent, where a word says it.
    Whose,
    words(&["service", "none", "passthrough"])
);
value!(
    /// Anything at all.
    Anything,
    json_schema!(true)
);

/// One of several words, or a text whose variable brings one.
fn words(words: &[&str]) -> Schema {
    json_schema!({"anyOf": [
        {"enum": words},
        {"type": "string", "pattern": VARIABLE},
    ]})
}
