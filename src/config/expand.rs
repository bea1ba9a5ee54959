//! `${VAR}` and `${VAR:-default}` inside one string value.
//!
//! It works on values already parsed: a quote or a backslash in a variable can
//! never change the shape of the file. As in a shell, `:-` also stands in for a
//! variable that is set to nothing, and a default may itself hold variables.
//! Everything else (`$VAR`, `${1}`, an unclosed brace) is left as it stands.

use super::environment::Environment;

/// How deep defaults may nest; more is a mistake, and must not cost the stack.
const MAX_DEPTH: usize = 16;

/// Why a string cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExpandError {
    /// The variable is not set and no default stands beside it.
    Unset(String),
    /// Defaults within defaults, without end.
    TooDeep,
}

/// Whether expansion would change the text, that is, whether it names a variable.
pub(super) fn names_a_variable(text: &str) -> bool {
    text.match_indices("${")
        .any(|(at, _)| Reference::parse(&text[at..]).is_ok_and(|found| found.is_some()))
}

/// The text with every reference replaced by what the environment says.
pub(super) fn expand(text: &str, env: &dyn Environment) -> Result<String, ExpandError> {
    expand_within(text, env, 0)
}

fn expand_within(text: &str, env: &dyn Environment, depth: usize) -> Result<String, ExpandError> {
    if depth > MAX_DEPTH {
        return Err(ExpandError::TooDeep);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match Reference::parse(rest)? {
            Some(reference) => {
                out.push_str(&reference.value(env, depth)?);
                rest = &rest[reference.length..];
            }
            None => {
                out.push_str("${");
                rest = &rest[2..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// One `${…}` at the start of a text.
struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
    /// Bytes from `$` to the closing brace, both included.
    length: usize,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Result<Option<Self>, ExpandError> {
        let Some(inner) = text.strip_prefix("${") else {
            return Ok(None);
        };
        let name = &inner[..name_length(inner)];
        let after = &inner[name.len()..];
        if name.is_empty() {
            return Ok(None);
        }
        if after.starts_with('}') {
            return Ok(Some(Self {
                name,
                default: None,
                length: name.len() + 3,
            }));
        }
        let Some(default) = after.strip_prefix(":-") else {
            return Ok(None);
        };
        Ok(closing_brace(default)?.map(|end| Self {
            name,
            default: Some(&default[..end]),
            length: name.len() + end + 5,
        }))
    }

    fn value(&self, env: &dyn Environment, depth: usize) -> Result<String, ExpandError> {
        match (env.get(self.name), self.default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => expand_within(default, env, depth + 1),
            (None, None) => Err(ExpandError::Unset(self.name.to_owned())),
        }
    }
}

fn name_length(text: &str) -> usize {
    let ends = |(at, c): &(usize, char)| {
        let fits = c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && c.is_ascii_digit());
        !fits
    };
    text.char_indices()
        .find(ends)
        .map_or(text.len(), |(at, _)| at)
}

/// Where the brace stands that closes a default, inner references skipped.
fn closing_brace(text: &str) -> Result<Option<usize>, ExpandError> {
    let bytes = text.as_bytes();
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Ok(Some(at)),
            b'}' => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn env() -> HashMap<String, String> {
        [("TOKEN", "a\"b\\c${X}"), ("EMPTY", ""), ("_A1", "one")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn ok(text: &str) -> String {
        expand(text, &env()).expect("it expands")
    }

    #[test]
    fn a_variable_is_replaced_wherever_it_stands_and_its_value_is_not_read_again() {
        assert_eq!(ok("Bearer ${TOKEN}!"), "Bearer a\"b\\c${X}!");
        assert_eq!(ok("${_A1}${_A1}"), "oneone");
    }

    #[test]
    fn a_default_stands_in_for_a_variable_that_is_unset_or_empty() {
        assert_eq!(ok("${NONE:-x y}"), "x y");
        assert_eq!(ok("${EMPTY:-x}"), "x");
        assert_eq!(ok("${_A1:-x}"), "one");
        assert_eq!(ok("${NONE:-}"), "");
        assert_eq!(ok("${EMPTY}"), "");
    }

    #[test]
    fn a_default_may_hold_a_variable() {
        assert_eq!(ok("${NONE:-<${_A1}>}-"), "<one>-");
        assert_eq!(ok("${NONE:-${ALSO_NONE:-deep}}"), "deep");
        assert_eq!(
            expand("${A:-${B}}", &env()),
            Err(ExpandError::Unset("B".into()))
        );
    }

    #[test]
    fn an_unset_variable_without_default_is_named() {
        assert_eq!(
            expand("x${NONE}", &env()),
            Err(ExpandError::Unset("NONE".into()))
        );
    }

    #[test]
    fn what_is_no_reference_stays_as_it_is() {
        for text in [
            "$TOKEN",
            "${",
            "${}",
            "${1}",
            "${TOKEN",
            "${TOKEN:-",
            "${env:TOKEN}",
            "${ä}",
            "a}b",
            "$${",
        ] {
            assert_eq!(ok(text), text);
            assert!(!names_a_variable(text), "{text}");
        }
        assert!(names_a_variable("a${b}"));
    }

    #[test]
    fn defaults_without_end_are_refused_quickly() {
        let text = "${A:-".repeat(200_000);
        assert_eq!(expand(&text, &env()), Err(ExpandError::TooDeep));
        let closed = format!("{}{}", "${A:-".repeat(1000), "}".repeat(1000));
        assert_eq!(expand(&closed, &env()), Err(ExpandError::TooDeep));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$\\{\\}:\\-AZé_1]{0,60}") {
            let _ = expand(&text, &env());
        }
    }
}
