//! Replacing a few stretches of a message and copying every other byte.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

/// Edits to a message, applied in one copy.
#[derive(Debug)]
pub struct Splice<'a> {
    source: &'a Bytes,
    edits: Vec<(Range<usize>, Cow<'a, str>)>,
}

impl<'a> Splice<'a> {
    /// No edits yet.
    pub fn of(source: &'a Bytes) -> Self {
        Self {
            source,
            edits: Vec::new(),
        }
    }

    /// Puts `text` in the place of `at`. Ranges must not overlap. What stands there
    /// already costs nothing.
    pub fn replace(&mut self, at: Range<usize>, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        if self.source[at.clone()] != *text.as_bytes() {
            self.edits.push((at, text));
        }
    }

    /// Puts `text` before the byte at `at`.
    pub fn insert(&mut self, at: usize, text: impl Into<Cow<'a, str>>) {
        self.replace(at..at, text);
    }

    /// The message with all edits made. Without any it is the source itself.
    pub fn finish(mut self) -> Bytes {
        if self.edits.is_empty() {
            return self.source.clone();
        }
        self.edits.sort_by_key(|(at, _)| at.start);
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(self.source.len() + added);
        let mut copied = 0;
        for (at, text) in &self.edits {
            debug_assert!(copied <= at.start, "overlapping edits");
            out.extend_from_slice(&self.source[copied..at.start]);
            out.extend_from_slice(text.as_bytes());
            copied = at.end;
        }
        out.extend_from_slice(&self.source[copied..]);
        Bytes::from(out)
    }
}

/// A message that fits on one line: line breaks, which can only stand between
/// tokens, become spaces. Copies only if there is one.
pub fn on_one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    message
        .iter()
        .map(|&byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                byte
            }
        })
        .collect::<Vec<_>>()
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_edits_nothing_is_copied() {
        let source = Bytes::from_static(b"abc");
        assert_eq!(Splice::of(&source).finish().as_ptr(), source.as_ptr());
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(
            on_one_line(Bytes::from_static(b"{\r\n\"a\":1}\n")),
            "{  \"a\":1} "
        );
    }

    proptest! {
        #[test]
        fn every_byte_outside_the_edits_is_copied(
            before in "[a-z]{0,20}", old in "[A-Z]{0,20}", after in "[a-z]{0,20}", new in "[0-9]{0,20}",
        ) {
            let source = Bytes::from(format!("{before}{old}{after}"));
            let mut splice = Splice::of(&source);
            splice.replace(before.len()..before.len() + old.len(), new.clone());
            prop_assert_eq!(splice.finish(), format!("{before}{new}{after}"));
        }
    }
}
