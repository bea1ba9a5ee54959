//! The yardstick over stdio: a relay between two pairs of pipes that takes the prefix
//! from the names and copies the rest, on the runtime that the multiplexer has.

use std::os::fd::AsFd;

use memchr::memmem::Finder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};

use crate::{bare, message::PREFIX, web::Error};

/// Relays until the client closes its end.
pub async fn run(command: &[String]) -> Result<(), Error> {
    let mut child = bare::start(command)?;
    let mut to = child.stdin.take().ok_or("no stdin")?;
    let mut from = child.stdout.take().ok_or("no stdout")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    let mut stdin = pipe::Receiver::from_owned_fd(stdin)?;
    let mut stdout = pipe::Sender::from_owned_fd(stdout)?;
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer).await? {
                0 => return std::io::Result::Ok(()),
                length => stdout.write_all(&buffer[..length]).await?,
            }
        }
    });
    let mut lines = Lines::new();
    let mut read = Vec::with_capacity(64 * 1024);
    while stdin.read_buf(&mut read).await? > 0 {
        let out = lines.without_prefixes(&read);
        to.write_all(out).await?;
        read.clear();
    }
    drop(to);
    Ok(back.await??)
}

/// Takes the prefixes from a stream of lines. What may be the beginning of one more waits
/// for the rest of its line.
struct Lines {
    prefix: Finder<'static>,
    /// A line without its end.
    rest: Vec<u8>,
    out: Vec<u8>,
}

impl Lines {
    fn new() -> Self {
        Self {
            prefix: Finder::new(PREFIX),
            rest: Vec::new(),
            out: Vec::new(),
        }
    }

    /// All lines that are whole now.
    fn without_prefixes(&mut self, read: &[u8]) -> &[u8] {
        self.out.clear();
        let Some(end) = memchr::memrchr(b'\n', read) else {
            self.rest.extend_from_slice(read);
            return &self.out;
        };
        let (whole, rest) = read.split_at(end + 1);
        if self.rest.is_empty() {
            cut(&self.prefix, whole, &mut self.out);
        } else {
            self.rest.extend_from_slice(whole);
            cut(&self.prefix, &self.rest, &mut self.out);
            self.rest.clear();
        }
        self.rest.extend_from_slice(rest);
        &self.out
    }
}

/// The lines without the prefixes.
fn cut(prefix: &Finder<'_>, lines: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for at in prefix.find_iter(lines) {
        out.extend_from_slice(&lines[copied..at]);
        copied = at + PREFIX.len();
    }
    out.extend_from_slice(&lines[copied..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_loses_its_prefix_wherever_it_is_cut() {
        let asked = b"{\"name\":\"child__a\"}\n{\"name\":\"child__b\"}\n";
        for at in 0..asked.len() {
            let mut lines = Lines::new();
            let mut out = lines.without_prefixes(&asked[..at]).to_vec();
            out.extend_from_slice(lines.without_prefixes(&asked[at..]));
            assert_eq!(out, b"{\"name\":\"a\"}\n{\"name\":\"b\"}\n", "cut at {at}");
        }
    }
}
