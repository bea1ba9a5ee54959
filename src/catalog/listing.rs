//! What one child said it offers, as it said it.

use thiserror::Error;

use super::{Entry, Family, Filter, Primitive, Profile};
use crate::protocol::{Frame, Kind, OwnName, json};

/// Everything one child offers, each list in the child's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    lists: [Vec<Entry>; Primitive::ALL.len()],
    offered: [bool; Family::ALL.len()],
    /// Whether it completes arguments.
    pub completes: bool,
    /// What it says of itself.
    pub profile: Profile,
    /// Tools that are left out because they cannot be called the way the child is
    /// reached.
    pub unfit: Vec<Unfit>,
}

/// A tool that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The child's own name for it.
    pub own: OwnName,
    /// What is wrong with it.
    pub why: String,
}

/// One answered page of a list.
#[derive(Debug)]
pub struct Page {
    /// The entries on it, in order.
    pub entries: Vec<Entry>,
    /// Entries that are none: not an object, or without a name.
    pub unusable: usize,
    /// Where the next page starts (JSON text), if there is one.
    pub next_cursor: Option<String>,
}

/// Why an answer is no page.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListingError {
    /// The child has no such method: it offers none.
    #[error("the child does not offer them")]
    NotOffered,
    /// The child answered with an error.
    #[error("the list was refused: {0}")]
    Refused(String),
    /// The result holds no list.
    #[error("the answer holds no list")]
    NoList,
}

impl Page {
    /// Reads the answer to a request that lists.
    ///
    /// # Errors
    ///
    /// See [`ListingError`].
    pub fn read(primitive: Primitive, answer: &Frame) -> Result<Self, ListingError> {
        let body = answer.body_object().ok_or(ListingError::NoList)?;
        if answer.kind() == Kind::Error {
            return Err(match body.get("code") {
                Some("-32601") => ListingError::NotOffered,
                _ => ListingError::Refused(
                    json::unquote(body.get("message").unwrap_or("no message")).into_owned(),
                ),
            });
        }
        let raw = body.get(primitive.list_key()).ok_or(ListingError::NoList)?;
        let written: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(raw).map_err(|_| ListingError::NoList)?;
        let entries: Vec<Entry> = written
            .iter()
            .filter_map(|entry| Entry::read(primitive, entry.get()))
            .collect();
        Ok(Self {
            unusable: written.len() - entries.len(),
            entries,
            next_cursor: body
                .get("nextCursor")
                .filter(|cursor| *cursor != "null")
                .map(str::to_owned),
        })
    }
}

impl Listing {
    /// One of its lists.
    pub fn of(&self, primitive: Primitive) -> &[Entry] {
        &self.lists[primitive as usize]
    }

    /// Its tools.
    pub fn tools(&self) -> &[Entry] {
        self.of(Primitive::Tool)
    }

    /// Whether it offers these at all, be it none at this moment.
    pub(super) fn offers(&self, family: Family) -> bool {
        self.offered[family as usize]
    }

    /// Adds a page to one of its lists.
    pub fn extend(&mut self, primitive: Primitive, entries: impl IntoIterator<Item = Entry>) {
        self.offered[primitive.family() as usize] = true;
        self.lists[primitive as usize].extend(entries);
    }

    /// What [`Self::to_json`] wrote; `None` if it is something else.
    pub fn read(text: &str) -> Option<Self> {
        let object = json::Object::read(text).ok()?;
        let profile = object.get("profile").map(serde_json::from_str);
        let mut listing = Self {
            completes: object.get("completes")? == "true",
            profile: profile.transpose().ok()?.unwrap_or_default(),
            ..Self::default()
        };
        for primitive in Primitive::ALL {
            if let Some(list) = object.get(primitive.list_key()) {
                let written: Vec<&serde_json::value::RawValue> = serde_json::from_str(list).ok()?;
                let entries = written.iter().map(|it| Entry::read(primitive, it.get()));
                listing.extend(primitive, entries.collect::<Option<Vec<_>>>()?);
            }
        }
        Some(listing)
    }

    /// All of it as JSON, each entry byte for byte as the child gave it.
    pub fn to_json(&self) -> String {
        let mut members = vec![format!("\"completes\":{}", self.completes)];
        let profile = serde_json::to_string(&self.profile);
        members.extend(profile.map(|profile| format!("\"profile\":{profile}")));
        for primitive in Primitive::ALL {
            if self.offers(primitive.family()) {
                let entries: Vec<_> = self.of(primitive).iter().map(Entry::text).collect();
                let key = primitive.list_key();
                members.push(format!("\"{key}\":[{}]", entries.join(",")));
            }
        }
        format!("{{{}}}", members.join(","))
    }

    /// The listing without the tools that `filter` holds back.
    pub fn filtered(mut self, filter: &Filter) -> Self {
        self.lists[Primitive::Tool as usize].retain(|tool| filter.allows(tool.own.as_str()));
        self.unfit.retain(|tool| filter.allows(tool.own.as_str()));
        self
    }

    /// The listing without the tools that a client must not call over HTTP: those whose
    /// arguments cannot be told in headers as they ask.
    pub fn fit_for_headers(mut self) -> Self {
        let tools = &mut self.lists[Primitive::Tool as usize];
        let unfit = tools.extract_if(.., |tool| tool.mirrors.is_err());
        self.unfit.extend(unfit.map(|tool| Unfit {
            own: tool.own,
            why: tool.mirrors.err().unwrap_or_default(),
        }));
        self
    }

    /// Whether clients would see the same in the lists of this family.
    pub fn lists_the_same_as(&self, other: &Self, family: Family) -> bool {
        let mut lists = Primitive::ALL
            .into_iter()
            .filter(|it| it.family() == family);
        lists.all(|list| self.of(list) == other.of(list))
    }

    /// How many bytes its tools take in a list.
    pub fn tools_size(&self) -> usize {
        self.tools().iter().map(Entry::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tools: &str) -> Page {
        let frame = Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools},"nextCursor":"p2"}}}}"#
        ));
        Page::read(Primitive::Tool, &frame).unwrap()
    }

    #[test]
    fn a_tool_keeps_every_byte_but_its_name() {
        let page = page(r#"[ {"x-new" : 1.10, "name":"a", "_meta":{"n":1e400}} ]"#);
        let mut out = Vec::new();
        page.entries[0].write_as("p__a", &mut out);
        assert_eq!(
            out,
            br#"{"x-new" : 1.10, "name":"p__a", "_meta":{"n":1e400}}"#
        );
        assert_eq!(page.next_cursor.as_deref(), Some("\"p2\""));
    }

    #[test]
    fn entries_that_are_no_tools_are_counted_and_left_out() {
        let page = page(r#"[1, {"title":"no name"}, {"name":5}, {"name":"good"}]"#);
        assert_eq!((page.entries.len(), page.unusable), (1, 3));
    }

    #[test]
    fn a_tool_that_only_reads_may_be_called_twice() {
        let page = page(
            r#"[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"b","annotations":{"readOnlyHint":false}},{"name":"c"}]"#,
        );
        let repeatable: Vec<_> = page.entries.iter().map(|t| t.repeatable).collect();
        assert_eq!(repeatable, [true, false, false]);
    }

    #[test]
    fn every_primitive_has_its_own_list_and_key() {
        let frame = Frame::made(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"name":"n","uri":"a:b"}],"resourceTemplates":[{"name":"n","uriTemplate":"a:{b}"}]}}"#.to_owned(),
        );
        for (primitive, own) in [(Primitive::Resource, "a:b"), (Primitive::Template, "a:{b}")] {
            let page = Page::read(primitive, &frame).unwrap();
            assert_eq!(page.entries[0].own.as_str(), own);
        }
        assert!(Page::read(Primitive::Prompt, &frame).is_err());
    }

    #[test]
    fn a_child_without_the_method_offers_nothing() {
        let answer = |body: &str| Frame::made(format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#));
        assert_eq!(
            Page::read(
                Primitive::Tool,
                &answer(r#""error":{"code":-32601,"message":"?"}"#)
            )
            .unwrap_err(),
            ListingError::NotOffered
        );
        assert_eq!(
            Page::read(
                Primitive::Tool,
                &answer(r#""error":{"code":-32603,"message":"boom"}"#)
            )
            .unwrap_err(),
            ListingError::Refused("boom".into())
        );
        assert_eq!(
            Page::read(Primitive::Tool, &answer(r#""result":{}"#)).unwrap_err(),
            ListingError::NoList
        );
    }
}
