//! Single values: a string, a word of several, a switch, a number, a duration.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    document::Node,
    duration, environment,
    expand::names_a_variable,
    reader::{Field, Reader, found},
};

impl Reader<'_> {
    /// A string, variables expanded.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let field = self.field(key)?;
        match field.value {
            Node::String(raw) => self.expanded(field.written, raw),
            other => {
                let why = format!("expected a string, found {}", other.kind());
                self.refuse(field.written, &why);
                None
            }
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let field = self.field(key)?;
        let chosen = match field.value {
            Node::String(raw) => {
                let text = self.expanded(field.written, raw)?;
                choices.iter().find(|(word, _)| *word == text.trim())
            }
            _ => None,
        };
        if chosen.is_none() {
            self.expected(field, &one_of(choices.iter().map(|(word, _)| *word)));
        }
        chosen.map(|(_, value)| *value)
    }

    /// `true` or `false`; a variable brings them as text.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let field = self.field(key)?;
        let flag = match field.value {
            Node::Bool(flag) => Some(*flag),
            Node::String(raw) if names_a_variable(raw) => {
                let text = self.expanded(field.written, raw)?;
                environment::flag(&text)
            }
            _ => None,
        };
        if flag.is_none() {
            self.expected(field, "true or false");
        }
        flag
    }

    /// A whole number within a range; a variable brings it as text.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let field = self.field(key)?;
        let number = match field.value {
            Node::Number(number) => number.as_u64(),
            Node::String(raw) if names_a_variable(raw) => {
                self.expanded(field.written, raw)?.trim().parse().ok()
            }
            _ => None,
        };
        let count = number
            .and_then(|number| usize::try_from(number).ok())
            .filter(|count| range.contains(count));
        if count.is_none() {
            let (least, most) = (range.start(), range.end());
            self.expected(field, &format!("a whole number from {least} to {most}"));
        }
        count
    }

    /// A share: above 0 and up to 1.
    pub(super) fn share(&mut self, key: &str) -> Option<f64> {
        let field = self.field(key)?;
        let number = match field.value {
            Node::Number(number) => number.as_f64(),
            Node::String(raw) if names_a_variable(raw) => {
                self.expanded(field.written, raw)?.trim().parse().ok()
            }
            _ => None,
        };
        let share = number.filter(|share| *share > 0.0 && *share <= 1.0);
        if share.is_none() {
            self.expected(field, "a number above 0 and up to 1");
        }
        share
    }

    /// A duration, zero included.
    pub(super) fn duration_or_zero(&mut self, key: &str) -> Option<Duration> {
        let field = self.field(key)?;
        let reading = match field.value {
            Node::Number(number) => number.as_f64().map(duration::from_seconds),
            Node::String(raw) => {
                let text = self.expanded(field.written, raw)?;
                Some(duration::from_text(&text))
            }
            _ => None,
        };
        match reading {
            Some(Ok(reading)) => {
                if reading.looks_like_milliseconds {
                    self.warn_seconds(field);
                }
                Some(reading.duration)
            }
            Some(Err(why)) => {
                self.expected(field, duration::EXPECTED);
                if let Some(problem) = self.findings.problems.last_mut() {
                    problem.push_str(&format!(" ({why})"));
                }
                None
            }
            None => {
                self.expected(field, duration::EXPECTED);
                None
            }
        }
    }

    fn warn_seconds(&mut self, field: Field<'_>) {
        let key = format!("{}{}", self.path, field.written);
        let found = found(field.value);
        self.warn(&format!(
            "{key:?} is {found}, which means seconds; for milliseconds write a string such as \"30000ms\""
        ));
    }

    /// A duration of more than nothing.
    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        let duration = self.duration_or_zero(key)?;
        if duration.is_zero() {
            let field = self.field(key)?;
            self.expected(field, "a duration of more than 0");
            return None;
        }
        Some(duration)
    }
}

/// A list of words for a sentence: `"a", "b" or "c"`.
pub(super) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("{word:?}")).collect();
    match words.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::reader::testing::read;

    #[test]
    fn a_wrong_type_tells_entry_key_what_was_found_and_what_is_expected() {
        let (_, problems, _) = read(r#"{"some_key": [1]}"#, |r| r.count("someKey", 1..=9));
        assert_eq!(
            problems,
            [r#"entry "x": "some_key": expected a whole number from 1 to 9, found a list"#]
        );
        let (_, problems, _) = read(r#"{"someKey": "-5s"}"#, |r| r.duration("someKey"));
        assert!(
            problems[0].ends_with(r#"found "-5s" (it is negative)"#),
            "{problems:?}"
        );
    }

    #[test]
    fn a_variable_may_bring_a_number_or_a_flag_and_a_plain_string_may_not() {
        let text = r#"{"someKey": "${N}", "other": "${ON}"}"#;
        let (values, problems, _) = read(text, |r| (r.count("someKey", 1..=9), r.flag("other")));
        assert_eq!((values, problems.len()), ((Some(7), Some(true)), 0));
        let (_, problems, _) = read(r#"{"someKey": "7"}"#, |r| r.count("someKey", 1..=9));
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_value_of_a_variable_is_never_shown() {
        let text = r#"{"someKey": "${SECRET}", "other": "${SECRET}"}"#;
        let (_, problems, warnings) = read(text, |r| {
            r.count("someKey", 1..=9);
            r.duration("other");
            r.flag("other");
            r.choice("other", &[("a", ())]);
        });
        assert_eq!(problems.len(), 4);
        assert!(!format!("{problems:?}{warnings}").contains("hunter2"));
    }
}
