//! One message per line: how stdio carries frames (MCP, "stdio" transport).

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::ends::{Ends, KEPT};

/// What a read from a line-framed pipe gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its line break. Never blank.
    Whole(Bytes),
    /// A line over the limit; it has been dropped, but for its ends.
    TooLong(Ends),
}

/// Cuts a byte stream into lines without copying them.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line break.
    searched: usize,
    limit: usize,
    /// The first bytes of a line that is being dropped, and the last so far.
    dropping: Option<(Bytes, Vec<u8>)>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `limit` bytes.
    pub fn new(source: R, limit: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::with_capacity(8 * 1024),
            searched: 0,
            limit,
            dropping: None,
        }
    }

    /// The next line; `None` at the end of the stream. What stands after the last line
    /// break is a line too: scripts forget the last one. Safe to drop and call again.
    ///
    /// # Errors
    ///
    /// Whatever reading the source gives.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            self.buffer.reserve(8 * 1024);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(self.rest());
            }
        }
    }

    fn rest(&mut self) -> Option<Line> {
        if let Some((head, tail)) = self.dropping.take() {
            return Some(Line::TooLong(Ends::of(&head, &tail)));
        }
        let line = self.buffer.split();
        self.searched = 0;
        let line = line.freeze();
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }

    fn buffered(&mut self) -> Option<Line> {
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let mut line = self.buffer.split_to(self.searched + found + 1);
            self.searched = 0;
            if let Some((head, mut tail)) = self.dropping.take() {
                tail.extend_from_slice(&line);
                return Some(Line::TooLong(Ends::of(&head, &tail)));
            }
            if line.len() - 1 > self.limit {
                return Some(Line::TooLong(Ends::of(&line, &line)));
            }
            line.truncate(line.trim_ascii_end().len());
            if !line.trim_ascii_start().is_empty() {
                return Some(Line::Whole(line.freeze()));
            }
        }
        self.searched = self.buffer.len();
        if self.searched > self.limit {
            // Not kept until its end comes: that may be never. Nor is the room it took.
            if self.dropping.is_none() {
                let head = &self.buffer[..self.buffer.len().min(KEPT)];
                self.dropping = Some((Bytes::copy_from_slice(head), Vec::new()));
            }
            self.keep_tail();
            self.buffer = BytesMut::with_capacity(8 * 1024);
            self.searched = 0;
        } else if self.dropping.is_some() {
            self.keep_tail();
            self.buffer.clear();
            self.searched = 0;
        }
        None
    }

    /// Of what is dropped the last bytes are kept.
    fn keep_tail(&mut self) {
        if let Some((_, tail)) = &mut self.dropping {
            let more = &self.buffer[self.buffer.len().saturating_sub(KEPT)..];
            let over = (tail.len() + more.len()).saturating_sub(KEPT);
            tail.drain(..over.min(tail.len()));
            tail.extend_from_slice(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(source: &[u8], limit: usize) -> Vec<Line> {
        let mut reader = LineReader::new(source, limit);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_cut_and_blank_ones_skipped() {
        assert_eq!(
            lines(b"one\r\n\n  \ntwo\nhalf", 100).await,
            [
                Line::Whole(Bytes::from_static(b"one")),
                Line::Whole(Bytes::from_static(b"two")),
                Line::Whole(Bytes::from_static(b"half")),
            ]
        );
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_dropped_and_the_next_one_read() {
        let long = b"x".repeat(100_000);
        let source = [&long[..], b"\nnext\n"].concat();
        let next = Line::Whole(Bytes::from_static(b"next"));
        for limit in [1000, 99_999] {
            let dropped = Line::TooLong(Ends::of(&long, &source[..100_001]));
            assert_eq!(lines(&source, limit).await, [dropped, next.clone()]);
        }
        let unended = Line::TooLong(Ends::of(&long, &long));
        assert_eq!(lines(&long, 1000).await, [unended]);
    }
}
