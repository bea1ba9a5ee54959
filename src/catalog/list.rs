//! A list as it is sent: entries in their order, and where each of them stands.

use std::{borrow::Cow, ops::Range};

use super::{Entry, Hints, Primitive};
use crate::protocol::{Era, OwnName, PublicName};

/// What ends a list in the modern era. It may be kept for five seconds: changes are
/// announced only to those who listen.
const MODERN_END: &str = r#"],"resultType":"complete","ttlMs":5000,"cacheScope":"private"}"#;

/// Something in its place in a list.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// What clients call it; of a resource the URI.
    pub name: Cow<'a, PublicName>,
    /// Position of its child among the offers of the merge.
    pub child: usize,
    /// What the child calls it.
    pub own: &'a OwnName,
    /// What it says it does, if it is a tool.
    pub hints: Hints,
    /// Its entry as clients see it.
    pub entry: &'a [u8],
}

/// Entries as they stand in a list, in order, with commas between them.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) text: Vec<u8>,
    places: Vec<Place>,
}

/// Where something stands in a list.
#[derive(Debug)]
struct Place {
    name: PublicName,
    child: usize,
    own: OwnName,
    hints: Hints,
    at: Range<usize>,
}

impl List {
    /// Appends what this child offers under this name.
    pub(super) fn append(
        &mut self,
        (child, entry): (usize, &Entry),
        name: PublicName,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.text.is_empty() {
            self.text.push(b',');
        }
        let start = self.text.len();
        write(&mut self.text);
        self.places.push(Place {
            name,
            child,
            own: entry.own.clone(),
            hints: entry.hints,
            at: start..self.text.len(),
        });
    }

    /// It stays as it is.
    pub(super) fn finish(mut self) -> Self {
        self.text.shrink_to_fit();
        self.places.shrink_to_fit();
        self
    }

    pub(super) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        self.places.iter().map(|place| Placed {
            name: Cow::Borrowed(&place.name),
            child: place.child,
            own: &place.own,
            hints: place.hints,
            entry: &self.text[place.at.clone()],
        })
    }
}

/// The result of a request that lists, up to the first entry.
pub(super) fn begin_list(primitive: Primitive, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(primitive.list_key().as_bytes());
    out.extend_from_slice(b"\":[");
}

/// The same behind the last.
pub(super) fn end_list(era: Era, out: &mut Vec<u8>) {
    out.extend_from_slice(match era {
        Era::Legacy => b"]}",
        Era::Modern => MODERN_END.as_bytes(),
    });
}
