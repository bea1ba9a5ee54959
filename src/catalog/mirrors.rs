//! Arguments of a tool that its calls repeat in `Mcp-Param-*` headers (MCP 2026-07-28,
//! "Custom Headers from Tool Parameters"), so that who stands between need not read
//! the body.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::protocol::{
    Frame,
    error::{RpcError, code},
    headers,
    json::{self, Object},
};

/// The key of a property that is to be mirrored.
const KEY: &str = "x-mcp-header";

/// How deep a schema is looked through.
const DEEPEST: usize = 64;

/// Which arguments of a tool are mirrored, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirrors(Vec<Mirror>);

#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    header: HeaderName,
    /// The keys from the arguments down to the value.
    path: Vec<String>,
}

/// What the headers of one call must say.
#[derive(Debug)]
pub struct Mirrored(Vec<(HeaderName, Option<Value>)>);

#[derive(Debug)]
struct Value {
    text: String,
    is_number: bool,
}

impl Mirrors {
    /// Reads a tool's entry; `None` if it has no such arguments.
    ///
    /// # Errors
    ///
    /// What is wrong with its annotations: a client must not call such a tool over
    /// HTTP.
    pub(super) fn read(tool: &Object<'_>) -> Result<Option<Self>, String> {
        let Some(schema) = tool.get("inputSchema").filter(|text| mentioned(text)) else {
            return Ok(None);
        };
        let mut found = Search::default();
        found.schema(schema, Some(&mut Vec::new()), 0)?;
        Ok((!found.mirrors.is_empty()).then_some(Self(found.mirrors)))
    }

    /// What the headers of this call must say.
    ///
    /// # Errors
    ///
    /// A key on the way to a value stands twice: two readers could see two values.
    pub fn of(&self, call: &Frame) -> Result<Mirrored, RpcError> {
        let params = call.body_object();
        let arguments = match &params {
            Some(params) => single(params, "arguments")?,
            None => None,
        };
        // Read once: it may be long, and there may be many mirrors.
        let arguments = arguments.and_then(|text| Object::read(text).ok());
        let values = self.0.iter().map(|mirror| {
            let value = match &arguments {
                Some(arguments) => mirror.value(arguments)?,
                None => None,
            };
            Ok((mirror.header.clone(), value))
        });
        values.collect::<Result<_, _>>().map(Mirrored)
    }
}

impl Mirror {
    fn value(&self, arguments: &Object<'_>) -> Result<Option<Value>, RpcError> {
        let Some((first, rest)) = self.path.split_first() else {
            return Ok(None);
        };
        let mut found = single(arguments, first)?;
        for key in rest {
            let Some(Ok(object)) = found.map(Object::read) else {
                return Ok(None);
            };
            found = single(&object, key)?;
        }
        Ok(found.and_then(Value::read))
    }
}

impl Value {
    /// A primitive as a header says it; `None` for anything else, and for null.
    fn read(raw: &str) -> Option<Self> {
        let (text, is_number) = match raw.as_bytes().first()? {
            b'"' => (json::unquote(raw).into_owned(), false),
            b't' | b'f' => (raw.to_owned(), false),
            b'-' | b'0'..=b'9' => (decimal(raw).unwrap_or_else(|| raw.to_owned()), true),
            _ => return None,
        };
        Some(Self { text, is_number })
    }

    /// Whether a header says it. Numbers are compared as such: `42.0` is `42`.
    fn is(&self, said: &str) -> bool {
        said == self.text || self.is_number && decimal(said).is_some_and(|said| said == self.text)
    }
}

impl Mirrored {
    /// Compares with what the headers of the call say.
    ///
    /// # Errors
    ///
    /// `-32020` where they do not say what the body says.
    pub fn check(&self, said: &HeaderMap) -> Result<(), RpcError> {
        for (header, value) in &self.0 {
            let mismatch = |how: &str| {
                let message = format!("the header {header} {how}");
                Err(RpcError::new(code::HEADER_MISMATCH, message))
            };
            let mut all = said.get_all(header).iter();
            let (first, second) = (all.next(), all.next());
            match (first, value) {
                (None, None) => {}
                (Some(_), _) if second.is_some() => return mismatch("stands twice"),
                (None, Some(_)) => return mismatch("is missing, and the body has its argument"),
                (Some(_), None) => return mismatch("says what the body does not say"),
                (Some(first), Some(value)) => match headers::decode(first) {
                    None => return mismatch("cannot be read"),
                    Some(said) if !value.is(&said) => {
                        return mismatch("does not say what the body says");
                    }
                    Some(_) => {}
                },
            }
        }
        Ok(())
    }

    /// The headers themselves.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let present = self.0.iter().filter_map(|(header, value)| {
            let text = &value.as_ref()?.text;
            Some((header.clone(), headers::encode(text)))
        });
        present.collect()
    }
}

/// An integer in decimal digits, however it is written; `None` for anything else.
fn decimal(raw: &str) -> Option<String> {
    /// Up to here a double holds every integer (IEEE 754).
    const EXACT: f64 = 9_007_199_254_740_991.0;
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let number: serde_json::Number = serde_json::from_str(raw).ok()?;
    if digits != "0" && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some(raw.to_owned());
    }
    let number = number.as_f64()?;
    // Adding zero takes the sign off a zero.
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| format!("{:.0}", number + 0.0))
}

/// A quick no, for almost all tools. The key may be written with escapes.
fn mentioned(schema: &str) -> bool {
    let holds = |part: &str| memchr::memmem::find(schema.as_bytes(), part.as_bytes()).is_some();
    holds(KEY) || holds("\\u")
}

fn single<'a>(object: &Object<'a>, key: &str) -> Result<Option<&'a str>, RpcError> {
    if object.is_doubled(key) {
        let twice = format!("the argument {key:?} stands twice, and is told in a header");
        return Err(RpcError::new(code::INVALID_REQUEST, twice));
    }
    Ok(object.get(key))
}

/// A walk through a schema.
#[derive(Default)]
struct Search {
    mirrors: Vec<Mirror>,
    taken: HashSet<HeaderName>,
}

impl Search {
    /// Looks at one schema. `path` leads to it by nothing but `properties`; `None`
    /// where it stands elsewhere, and where no annotation is allowed.
    fn schema(
        &mut self,
        text: &str,
        mut path: Option<&mut Vec<String>>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEEPEST {
            return Ok(());
        }
        if text.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            let mut items = items.into_iter().map(RawValue::get);
            return items.try_for_each(|item| self.schema(item, None, depth + 1));
        }
        let Some(schema) = json::is_object(text)
            .then(|| Object::read(text).ok())
            .flatten()
        else {
            return Ok(());
        };
        for member in schema.members() {
            match &*member.key() {
                KEY => self.annotation(member.value, &schema, path.as_deref())?,
                "properties" => self.each(member.value, path.as_deref_mut(), depth)?,
                "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                    self.each(member.value, None, depth)?;
                }
                // Values, and no schemas.
                "default" | "const" | "enum" | "examples" => {}
                _ => self.schema(member.value, None, depth + 1)?,
            }
        }
        Ok(())
    }

    /// Looks at each schema of a map from names.
    fn each(
        &mut self,
        map: &str,
        mut path: Option<&mut Vec<String>>,
        depth: usize,
    ) -> Result<(), String> {
        let Ok(map) = Object::read(map) else {
            return Ok(());
        };
        for member in map.members() {
            match path.as_deref_mut() {
                None => self.schema(member.value, None, depth + 1)?,
                Some(path) => {
                    path.push(member.key().into_owned());
                    self.schema(member.value, Some(&mut *path), depth + 1)?;
                    path.pop();
                }
            }
        }
        Ok(())
    }

    fn annotation(
        &mut self,
        value: &str,
        schema: &Object<'_>,
        path: Option<&Vec<String>>,
    ) -> Result<(), String> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Err(format!(
                "{KEY} stands where no property of the arguments is"
            ));
        };
        let at = path.join(".");
        let name = json::is_string(value)
            .then(|| json::unquote(value))
            .filter(|name| !name.is_empty())
            .ok_or_else(|| format!("the {KEY} of {at:?} is no name"))?;
        let header = HeaderName::from_bytes(format!("{}{name}", headers::PARAM_PREFIX).as_bytes())
            .map_err(|_| format!("the {KEY} of {at:?} is no name that a header can have"))?;
        if !matches!(
            schema.get("type"),
            Some(r#""string""# | r#""integer""# | r#""boolean""#)
        ) {
            return Err(format!(
                "{at:?} has an {KEY}, and is no string, integer or boolean"
            ));
        }
        if !self.taken.insert(header.clone()) {
            return Err(format!("two properties have the {KEY} {name:?}"));
        }
        self.mirrors.push(Mirror {
            header,
            path: path.clone(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_schema(schema: &str) -> Result<Option<Mirrors>, String> {
        let entry = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
        Mirrors::read(&Object::read(&entry).unwrap())
    }

    fn of_properties(properties: &str) -> Result<Option<Mirrors>, String> {
        of_schema(&format!(r#"{{"type":"object","properties":{properties}}}"#))
    }

    fn mirrored(properties: &str, arguments: &str) -> Result<Mirrored, RpcError> {
        let call = Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        ));
        of_properties(properties).unwrap().unwrap().of(&call)
    }

    fn headers_of(properties: &str, arguments: &str) -> Vec<String> {
        let headers = mirrored(properties, arguments).unwrap().headers();
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    const REGION: &str = r#"{"region":{"type":"string","x-mcp-header":"Region"}}"#;

    #[test]
    fn annotated_arguments_are_told_and_others_are_not() {
        let properties = r#"{
            "region":{"type":"string","x-mcp-header":"Region"},
            "at":{"type":"object","properties":{"n":{"x-mcp-header":"N","type":"integer"}}},
            "dry":{"type":"boolean","x-mcp-header":"Dry"},
            "q":{"type":"string"}}"#;
        assert_eq!(
            headers_of(
                properties,
                r#"{"q":"x","region":" M\u00fcnchen","at":{"n":7},"dry":false}"#
            ),
            [
                "mcp-param-region: =?base64?IE3DvG5jaGVu?=",
                "mcp-param-n: 7",
                "mcp-param-dry: false"
            ]
        );
        assert_eq!(
            headers_of(properties, r#"{"region":null,"at":[],"dry":{}}"#),
            [""; 0]
        );
        assert_eq!(headers_of(properties, "3"), [""; 0]);
    }

    #[test]
    fn an_integer_is_told_in_digits_and_compared_as_a_number() {
        let n = r#"{"n":{"type":"integer","x-mcp-header":"N"}}"#;
        for (written, told) in [
            ("42", "42"),
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("-7", "-7"),
            ("-0", "0"),
            ("1.5", "1.5"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            let arguments = format!(r#"{{"n":{written}}}"#);
            assert_eq!(headers_of(n, &arguments), [format!("mcp-param-n: {told}")]);
            for said in [written, told] {
                let mut all = HeaderMap::new();
                all.insert("mcp-param-n", said.parse().unwrap());
                let mirrored = mirrored(n, &arguments).unwrap();
                assert_eq!(mirrored.check(&all), Ok(()), "{written} as {said}");
            }
        }
        let mut all = HeaderMap::new();
        all.insert("mcp-param-n", "43".parse().unwrap());
        assert!(mirrored(n, r#"{"n":42}"#).unwrap().check(&all).is_err());
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let check = |arguments: &str, said: &[&'static str]| {
            let mut all = HeaderMap::new();
            for said in said {
                all.append("mcp-param-region", HeaderValue::from_static(said));
            }
            let mirrored = mirrored(REGION, arguments).unwrap();
            mirrored.check(&all).map_err(|error| error.code)
        };
        let told = r#"{"region":"Hello"}"#;
        assert_eq!(check(told, &["Hello"]), Ok(()));
        assert_eq!(check(told, &["=?base64?SGVsbG8=?="]), Ok(()));
        assert_eq!(check(r#"{"region":"SGVsbG8="}"#, &["SGVsbG8="]), Ok(()));
        assert_eq!(check(r#"{"region":null}"#, &[]), Ok(()));
        assert_eq!(check("{}", &[]), Ok(()));
        for (arguments, said) in [
            (told, &["hello"][..]),
            (told, &[]),
            (told, &["Hello", "Hello"]),
            (told, &["=?base64?SGVsbG8?="]),
            (told, &["=?base64?SGVs!!!bG8=?="]),
            ("{}", &["Hello"]),
            (r#"{"region":null}"#, &["null"]),
        ] {
            let refused = check(arguments, said);
            assert_eq!(refused, Err(code::HEADER_MISMATCH), "{arguments} {said:?}");
        }
    }

    #[test]
    fn an_argument_that_stands_twice_is_refused() {
        for arguments in [
            r#"{"region":"a","region":"b"}"#,
            r#"{"region":"a","r\u0065gion":"b"}"#,
        ] {
            let refused = mirrored(REGION, arguments).unwrap_err();
            assert_eq!(refused.code, code::INVALID_REQUEST, "{arguments}");
        }
    }

    #[test]
    fn a_tool_without_annotations_has_no_mirrors() {
        assert_eq!(of_properties(r#"{"a":{"type":"string"}}"#), Ok(None));
        assert_eq!(of_schema("true"), Ok(None));
        // The words themselves, as a value and as a name.
        let named = r#"{"x-mcp-header":{"type":"string","default":{"x-mcp-header":1}}}"#;
        assert_eq!(of_properties(named), Ok(None));
    }

    #[test]
    fn an_annotation_that_breaks_the_rules_makes_the_tool_unfit() {
        for properties in [
            r#"{"a":{"type":"string","x-mcp-header":""}}"#,
            r#"{"a":{"type":"string","x-mcp-header":1}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"a b"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"a:b"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"\u00fc"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"a\nb"}}"#,
            r#"{"a":{"type":"string","x-mcp\u002dheader":"a,b"}}"#,
            r#"{"a":{"type":"number","x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"object","x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"null","x-mcp-header":"A"}}"#,
            r#"{"a":{"x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
            r#"{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#,
            r#"{"a":{"oneOf":[{"type":"string","x-mcp-header":"A"}]}}"#,
            r#"{"a":{"then":{"properties":{"b":{"type":"string","x-mcp-header":"B"}}}}}"#,
        ] {
            assert!(of_properties(properties).is_err(), "{properties}");
        }
        for schema in [
            r#"{"x-mcp-header":"Root"}"#,
            r#"{"$defs":{"default":{"type":"string","x-mcp-header":"A"}}}"#,
        ] {
            assert!(of_schema(schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_header_name_holds_what_a_token_may_hold() {
        for byte in 0_u8..128 {
            let name = char::from(byte);
            let properties = format!(
                r#"{{"a":{{"type":"string","x-mcp-header":{}}}}}"#,
                json::quote(&name.to_string())
            );
            // RFC 9110, 5.6.2.
            let is_token = name.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(name);
            assert_eq!(of_properties(&properties).is_ok(), is_token, "{name:?}");
        }
    }
}
