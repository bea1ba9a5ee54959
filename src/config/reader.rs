//! Reads one object key by key and gathers what is wrong with it.
//!
//! A reader never stops at the first mistake: whoever repairs a file wants to
//! see all of them. A key that is absent, `null` or wrong reads as `None`; the
//! mistake is among the [`Findings`].

use super::{
    document::Node,
    environment::Environment,
    expand::{ExpandError, expand},
    keys,
    shown::quoted,
    warning::Warning,
};

/// What is wrong with an object, and what is only odd.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<Warning>,
}

/// One object of the file.
pub(super) struct Reader<'a> {
    /// How its sentences begin: `entry "github": `, or nothing at the top.
    place: String,
    /// What stands before its keys: `breaker.`, or nothing.
    pub(super) path: String,
    fields: Vec<Field<'a>>,
    pub(super) env: &'a dyn Environment,
    pub(super) findings: Findings,
}

#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    key: &'static str,
    /// The spelling the file uses, which is the one to tell its author.
    pub(super) written: &'a str,
    pub(super) value: &'a Node,
}

impl<'a> Reader<'a> {
    /// Sorts an object's members into known keys, unknown ones and doubles.
    pub(super) fn open(
        place: String,
        pairs: &'a [(String, Node)],
        known: &'static [&'static str],
        env: &'a dyn Environment,
    ) -> Self {
        let mut reader = Self {
            place,
            path: String::new(),
            fields: Vec::new(),
            env,
            findings: Findings::default(),
        };
        reader.sort(pairs, known);
        reader
    }

    /// Variables that stand for keys, as (key, variable, value).
    pub(super) fn of_variables(
        variables: &'a [(&'static str, &'static str, Node)],
        env: &'a dyn Environment,
    ) -> Self {
        let fields = variables.iter().map(|(key, written, value)| Field {
            key,
            written,
            value,
        });
        Self {
            place: String::new(),
            path: String::new(),
            fields: fields.collect(),
            env,
            findings: Findings::default(),
        }
    }

    fn sort(&mut self, pairs: &'a [(String, Node)], known: &'static [&'static str]) {
        for (written, value) in pairs {
            let Some(key) = keys::known(known, written) else {
                self.warn_unknown(written, known);
                continue;
            };
            match self.fields.iter().find(|field| field.key == key) {
                None => self.fields.push(Field {
                    key,
                    written,
                    value,
                }),
                Some(first) if first.written == written => {
                    self.refuse(written, "the key stands twice");
                }
                Some(first) => {
                    let first = first.written;
                    self.refuse(
                        written,
                        &format!("the same key stands as {first:?} already; keep one spelling"),
                    );
                }
            }
        }
    }

    fn warn_unknown(&mut self, written: &str, known: &'static [&'static str]) {
        let Some(nearest) = keys::nearest(known.iter().copied(), written) else {
            return;
        };
        let shown = quoted(&format!("{}{written}", self.path));
        self.warn(&format!(
            "the key {shown} is not known and has no effect; the nearest known one is {nearest:?}"
        ));
    }

    /// Records a mistake at a key, spelt as in the file.
    pub(super) fn refuse(&mut self, written: &str, why: &str) {
        let Self { place, path, .. } = self;
        let problem = format!("{place}\"{path}{written}\": {why}");
        self.findings.problems.push(problem);
    }

    /// Records something odd.
    pub(super) fn warn(&mut self, what: &str) {
        let warning = Warning::new(format!("{}{what}", self.place));
        self.findings.warnings.push(warning);
    }

    pub(super) fn expected(&mut self, field: Field<'_>, what: &str) {
        let found = found(field.value);
        self.refuse(field.written, &format!("expected {what}, found {found}"));
    }

    /// The member with this key, unless it is absent or `null`.
    pub(super) fn field(&self, key: &str) -> Option<Field<'a>> {
        let field = self.fields.iter().find(|field| field.key == key)?;
        (!matches!(field.value, Node::Null)).then_some(*field)
    }

    /// How the file spells this key, or the key itself where it does not stand.
    pub(super) fn spelling(&self, key: &'static str) -> &'a str {
        self.field(key).map_or(key, |field| field.written)
    }

    pub(super) fn expanded(&mut self, written: &str, raw: &str) -> Option<String> {
        match expand(raw, self.env) {
            Ok(text) => Some(text),
            Err(error) => {
                self.refuse(written, &expand_sentence(&error));
                None
            }
        }
    }

    /// An object within this one; give it back with [`absorb`](Self::absorb).
    pub(super) fn inner(
        &mut self,
        key: &str,
        known: &'static [&'static str],
    ) -> Option<Reader<'a>> {
        let field = self.field(key)?;
        let Node::Object(pairs) = field.value else {
            self.expected(field, "an object");
            return None;
        };
        Some(self.within(field.written, pairs, known))
    }

    /// An object at a place within this one; give it back with [`absorb`](Self::absorb).
    pub(super) fn within<'b>(
        &self,
        written: &str,
        pairs: &'b [(String, Node)],
        known: &'static [&'static str],
    ) -> Reader<'b>
    where
        'a: 'b,
    {
        let mut inner = Reader {
            place: self.place.clone(),
            path: format!("{}{written}.", self.path),
            fields: Vec::new(),
            env: self.env,
            findings: Findings::default(),
        };
        inner.sort(pairs, known);
        inner
    }

    /// Takes over what an inner reader found.
    pub(super) fn absorb(&mut self, inner: Reader<'_>) {
        self.findings.problems.extend(inner.findings.problems);
        self.findings.warnings.extend(inner.findings.warnings);
    }

    /// All that was found.
    pub(super) fn finish(self) -> Findings {
        self.findings
    }
}

pub(super) fn expand_sentence(error: &ExpandError) -> String {
    match error {
        ExpandError::Unset(variable) => format!(
            "the variable {variable} is not set; set it, or write ${{{variable}:-a default}}"
        ),
        ExpandError::TooDeep => "variables nest too deep".into(),
    }
}

/// What stands in the file, before any variable is expanded. Used only for keys
/// whose values are no secrets.
pub(super) fn found(value: &Node) -> String {
    match value {
        Node::Bool(flag) => flag.to_string(),
        Node::Number(number) => number.to_string(),
        Node::String(raw) => quoted(raw),
        other => other.kind().to_owned(),
    }
}

/// Reads one object for the tests of everything that reads through a [`Reader`].
#[cfg(test)]
pub(super) mod testing {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::document::parse;

    pub(in crate::config) const KEYS: &[&str] = &["someKey", "other", "breaker"];

    pub(in crate::config) fn read<T>(
        text: &str,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> (T, Vec<String>, String) {
        let env: HashMap<String, String> = [("N", "7"), ("ON", "true"), ("SECRET", "hunter2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let Ok(Node::Object(pairs)) = parse(Path::new("c"), text) else {
            panic!("an object was expected");
        };
        let mut reader = Reader::open("entry \"x\": ".into(), &pairs, KEYS, &env);
        let value = read(&mut reader);
        let findings = reader.finish();
        let warnings: Vec<_> = findings.warnings.iter().map(Warning::to_string).collect();
        (value, findings.problems, warnings.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{KEYS, read};

    #[test]
    fn two_spellings_of_one_key_are_a_mistake() {
        let (_, problems, _) = read(r#"{"someKey": 1, "some_key": 2}"#, |_| ());
        assert!(problems[0].contains(r#""some_key": the same key stands as "someKey""#));
        let (_, problems, _) = read(r#"{"other": 1, "other": 2}"#, |_| ());
        assert!(problems[0].contains(r#""other": the key stands twice"#));
    }

    #[test]
    fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
        let (_, problems, warnings) = read(r#"{"somekey": 1}"#, |_| ());
        assert!(problems.is_empty());
        assert!(
            warnings.contains(r#"entry "x": the key "somekey""#),
            "{warnings}"
        );
        assert!(warnings.contains(r#"nearest known one is "someKey""#));
    }

    #[test]
    fn null_reads_as_absent() {
        let (value, problems, _) = read(r#"{"other": null}"#, |r| r.text("other"));
        assert_eq!((value, problems.len()), (None, 0));
    }

    #[test]
    fn an_inner_object_tells_its_path() {
        let (_, problems, warnings) = read(r#"{"breaker": {"other": 1, "oter": 2}}"#, |r| {
            let mut inner = r.inner("breaker", KEYS).expect("an object");
            inner.text("other");
            r.absorb(inner);
        });
        assert!(problems[0].contains(r#""breaker.other": expected a string"#));
        assert!(warnings.contains(r#""breaker.oter""#));
    }
}
