//! The arguments of our tools, and what is said of those that cannot be read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Asked;
use crate::protocol::json;

/// So much of what a client wrote is said back to it.
const SHOWN: usize = 200;
/// So many names are taken at once.
const MOST_NAMES: usize = 100;
/// So many tools are found at once.
const MOST_FOUND: usize = 50;
/// So many tools are found by who does not say how many.
const FOUND: usize = 8;

/// What a tool of ours takes.
pub(super) trait Input<'a>: Deserialize<'a> {
    /// In words for a model.
    const EXPECTED: &'static str;

    /// What else is wrong with it, that its type does not tell.
    fn fault(&self) -> Option<&'static str> {
        None
    }
}

/// What `find_tools` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Find {
    pub(super) query: String,
    #[serde(default = "found")]
    pub(super) limit: usize,
    pub(super) child: Option<String>,
    #[serde(default)]
    pub(super) read_only: bool,
}

fn found() -> usize {
    FOUND
}

impl Input<'_> for Find {
    const EXPECTED: &'static str = r#"find_tools takes {"query": string, "limit"?: 1 to 50, "child"?: string, "readOnly"?: boolean}"#;

    fn fault(&self) -> Option<&'static str> {
        if self.query.trim().is_empty() {
            return Some("query is empty: say what the tool should do");
        }
        (!(1..=MOST_FOUND).contains(&self.limit)).then_some("limit must be from 1 to 50")
    }
}

/// What `list_catalog` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    pub(super) child: Option<String>,
    #[serde(default)]
    pub(super) offset: usize,
}

impl Input<'_> for Catalog {
    const EXPECTED: &'static str =
        r#"list_catalog takes {"child"?: string, "offset"?: a number from 0}"#;
}

/// What `load_tools` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub(super) names: Vec<String>,
}

impl Input<'_> for Load {
    const EXPECTED: &'static str =
        r#"load_tools takes {"names": [1 to 100 names of tools, as find_tools gives them]}"#;

    fn fault(&self) -> Option<&'static str> {
        number_of(&self.names)
    }
}

/// What `unload_tools` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unload {
    pub(super) names: Vec<String>,
}

impl Input<'_> for Unload {
    const EXPECTED: &'static str =
        r#"unload_tools takes {"names": [1 to 100 names of tools that are loaded]}"#;

    fn fault(&self) -> Option<&'static str> {
        number_of(&self.names)
    }
}

fn number_of(names: &[String]) -> Option<&'static str> {
    match names.len() {
        0 => Some("names is empty"),
        1..=MOST_NAMES => None,
        _ => Some("names holds too many"),
    }
}

/// What `call_tool` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call<'a> {
    pub(super) name: String,
    /// As they stand: they are the child's.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

impl<'a> Input<'a> for Call<'a> {
    const EXPECTED: &'static str = r#"call_tool takes {"name": the tool's name, as find_tools gives it, "arguments"?: an object of what the tool itself takes}"#;

    fn fault(&self) -> Option<&'static str> {
        let odd = self.arguments.filter(|raw| !json::is_object(raw.get()));
        odd.map(|_| "arguments must be an object")
    }
}

/// What `multiplexer_status` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {}

impl Input<'_> for Status {
    const EXPECTED: &'static str = "multiplexer_status takes no arguments";
}

/// Reads arguments as they stand; `None` where a call has none.
pub(super) fn read<'a, I: Input<'a>>(arguments: Option<&'a str>) -> Result<I, String> {
    let arguments = arguments.unwrap_or("{}");
    let wrong = |what: &str| {
        let what: String = what.chars().take(SHOWN).collect();
        format!("{what}. {}.", I::EXPECTED)
    };
    if !json::is_object(arguments) {
        return Err(wrong("arguments must be an object"));
    }
    let read: I = serde_json::from_str(arguments).map_err(|error| wrong(&error.to_string()))?;
    match read.fault() {
        Some(fault) => Err(wrong(fault)),
        None => Ok(read),
    }
}

impl Asked<'_> {
    /// The arguments of this call.
    pub(super) fn input<'f, I: Input<'f>>(&'f self) -> Result<I, String> {
        let params = self.frame.body_object();
        let params = params.as_ref();
        if params.is_some_and(|params| params.is_doubled("arguments")) {
            return Err(format!("arguments stand twice. {}.", I::EXPECTED));
        }
        read(params.and_then(|params| params.get("arguments")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let find: Find = read(Some(r#"{"query":"a"}"#)).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!((find.limit, find.read_only), (FOUND, false));
        assert!(read::<Status>(None).is_ok());
        assert!(read::<Catalog>(None).is_ok());
    }

    #[test]
    fn what_a_child_is_to_get_stays_as_it_stands() {
        let text = r#"{"name":"a","arguments":{ "n":1.10, "n":1e400 }}"#;
        let call: Call<'_> = read(Some(text)).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(call.arguments.unwrap().get(), r#"{ "n":1.10, "n":1e400 }"#);
    }

    #[test]
    fn what_is_wrong_is_said_in_short() {
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(5_000));
        let wrong = read::<Status>(Some(&long)).err().unwrap();
        assert!(
            wrong.len() < 400 && wrong.ends_with("takes no arguments."),
            "{wrong}"
        );
    }
}
