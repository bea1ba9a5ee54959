//! What is known of one tool: what is shown of it, and by which texts it is found.

use super::super::Entry;
use crate::protocol::{
    ChildName, PublicName,
    json::{self, Object},
};

/// A summary is one line of so many characters.
const LONGEST_SUMMARY: usize = 160;
/// So many parameters are shown.
const MOST_SHOWN: usize = 12;

/// One tool, as a search shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What clients call it.
    pub name: PublicName,
    /// Whose it is.
    pub child: ChildName,
    /// The first line of its description, cut if it is long.
    pub summary: String,
    /// Its parameters in short: `owner: string, page?: number`.
    pub parameters: String,
    /// Whether it says that it changes nothing (`annotations.readOnlyHint`).
    pub read_only: bool,
}

/// The texts of one tool by which it is found.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub title: String,
    pub description: String,
    pub parameters: String,
    pub hints: String,
}

/// Reads a tool's entry. What is not as it should be is as if it were not there.
pub(super) fn read(name: PublicName, child: &ChildName, entry: &Entry) -> (Tool, Texts) {
    let text = entry.text();
    let tool = Object::read(&text).ok();
    let annotations = tool.as_ref().and_then(|tool| object(tool, "annotations"));
    let schema = tool.as_ref().and_then(|tool| object(tool, "inputSchema"));
    let mut texts = Texts::default();
    for holder in [&tool, &annotations].into_iter().flatten() {
        append(&mut texts.title, &string(holder, "title"));
    }
    if let Some(tool) = &tool {
        texts.description = string(tool, "description");
    }
    let required: Vec<String> = schema
        .as_ref()
        .and_then(|schema| serde_json::from_str(schema.get("required")?).ok())
        .unwrap_or_default();
    let mut shown = Vec::new();
    let properties = schema
        .as_ref()
        .and_then(|schema| object(schema, "properties"));
    for member in properties.iter().flat_map(Object::members) {
        let parameter = member.key();
        let described = Object::read(member.value).ok();
        let told = |key| described.as_ref().map(|it| string(it, key));
        append(&mut texts.parameters, &parameter);
        append(&mut texts.hints, &told("description").unwrap_or_default());
        let mark = if required.iter().any(|it| *it == parameter) {
            ""
        } else {
            "?"
        };
        shown.push(match told("type").filter(|kind| !kind.is_empty()) {
            Some(kind) => format!("{parameter}{mark}: {kind}"),
            None => format!("{parameter}{mark}"),
        });
    }
    if shown.len() > MOST_SHOWN {
        shown.truncate(MOST_SHOWN);
        shown.push("…".to_owned());
    }
    let tool = Tool {
        name,
        child: child.clone(),
        summary: summary(&texts.description),
        parameters: shown.join(", "),
        read_only: annotations.is_some_and(|it| it.get("readOnlyHint") == Some("true")),
    };
    (tool, texts)
}

fn object<'a>(holder: &Object<'a>, key: &str) -> Option<Object<'a>> {
    Object::read(holder.get(key)?).ok()
}

fn string(holder: &Object<'_>, key: &str) -> String {
    let raw = holder.get(key).filter(|raw| json::is_string(raw));
    raw.map(|raw| json::unquote(raw).into_owned())
        .unwrap_or_default()
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

/// The first line that says something, cut with a mark.
fn summary(description: &str) -> String {
    let line = description
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    match line.char_indices().nth(LONGEST_SUMMARY) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::Primitive, *};

    fn read(json: &str) -> (Tool, Texts) {
        let entry = Entry::read(Primitive::Tool, json).unwrap();
        super::read("p__a".into(), &"child".into(), &entry)
    }

    #[test]
    fn a_tool_is_shown_in_short_and_found_by_all_of_it() {
        let (tool, texts) = read(
            r#"{"name":"a","title":"T","description":"\n First. \nSecond.","inputSchema":{"properties":{"owner":{"type":"string","description":"Whose"},"page":{"type":"number"},"odd":5},"required":["owner"]},"annotations":{"title":"U","readOnlyHint":true}}"#,
        );
        assert_eq!(tool.summary, "First.");
        assert_eq!(tool.parameters, "owner: string, page?: number, odd?");
        assert!(tool.read_only);
        assert_eq!(texts.title, "T U");
        assert_eq!(texts.description, "\n First. \nSecond.");
        assert_eq!(texts.parameters, "owner page odd");
        assert_eq!(texts.hints.trim(), "Whose");
    }

    #[test]
    fn what_is_long_is_cut() {
        let parameters: Vec<_> = (0..99).map(|n| format!(r#""p{n}":{{}}"#)).collect();
        let (tool, _) = read(&format!(
            r#"{{"name":"a","description":"{}","inputSchema":{{"properties":{{{}}}}}}}"#,
            "é".repeat(500),
            parameters.join(",")
        ));
        assert_eq!(tool.summary.chars().count(), LONGEST_SUMMARY + 1);
        assert!(tool.parameters.ends_with("p11?, …"), "{}", tool.parameters);
    }

    #[test]
    fn an_odd_tool_is_read_as_far_as_it_goes() {
        for odd in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","title":1e400,"description":[],"inputSchema":"x","annotations":7}"#,
            r#"{"name":"a","inputSchema":{"properties":[],"required":{}}}"#,
        ] {
            let (tool, texts) = read(odd);
            assert_eq!((tool.summary.as_str(), tool.parameters.as_str()), ("", ""));
            assert!(!tool.read_only && texts.description.is_empty());
        }
    }
}
