//! A source that is read no faster than so: whoever floods it waits.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How much is taken within the time of [`PAUSE`]: some 12 MB a second. No log is that
/// long, and what reads it costs its neighbours nothing to speak of.
const PORTION: usize = 256 * 1024;
const PAUSE: Duration = Duration::from_millis(20);

/// Reads from `source`, a portion at a time.
pub(super) struct Paced<R> {
    source: R,
    /// What of this portion has been taken.
    taken: usize,
    /// When the next one may begin.
    next: Pin<Box<Sleep>>,
}

impl<R> Paced<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            taken: 0,
            next: Box::pin(sleep(Duration::ZERO)),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Paced<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken >= PORTION {
            ready!(self.next.as_mut().poll(context));
            self.taken = 0;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.source).poll_read(context, buffer))?;
        if self.taken == 0 {
            self.next.as_mut().reset(Instant::now() + PAUSE);
        }
        self.taken += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// How long it takes to read this, in small pieces.
    async fn takes(bytes: &[u8]) -> Duration {
        let began = Instant::now();
        let (mut source, mut piece) = (Paced::new(bytes), [0; 8 * 1024]);
        let mut read = 0;
        loop {
            match source.read(&mut piece).await.unwrap() {
                0 => break,
                more => read += more,
            }
        }
        assert_eq!(read, bytes.len());
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_pace_and_a_little_at_once() {
        let little = takes(&[1; PORTION]).await;
        assert!(little < 2 * PAUSE, "{little:?}");
        let flood = takes(&vec![1; 20 * PORTION]).await;
        assert!(flood >= 19 * PAUSE, "{flood:?}");
    }
}
