//! What a child has said for one request and nobody has read yet, in the order in which it
//! came.
//!
//! Most requests are answered with one message, so nothing is kept ready for more.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard},
    task::{Poll, Waker},
};

use crate::{outbound::Failure, protocol::Frame};

/// How many messages may wait for the client before an answer. Beyond that the client is
/// too slow for them, and they are dropped: the answer never is.
const ASIDES: usize = 256;

/// What a request hears.
#[derive(Debug)]
pub(super) enum Said {
    /// A message before the answer.
    Aside(Frame),
    /// The answer, or why it was not kept.
    Answer(Result<Frame, Failure>),
}

/// Where what comes for a request is put. Its drop says that nothing more comes.
#[derive(Debug)]
pub(super) struct Post(Arc<Mutex<Letters>>);

/// Where the request finds it. Its drop says that nobody reads any more.
#[derive(Debug)]
pub(super) struct Mailbox(Arc<Mutex<Letters>>);

#[derive(Debug, Default)]
struct Letters {
    asides: VecDeque<Frame>,
    answer: Option<Result<Frame, Failure>>,
    /// One side has gone.
    closed: bool,
    reader: Option<Waker>,
}

/// A mailbox, and the way into it.
pub(super) fn mailbox() -> (Post, Mailbox) {
    let letters = Arc::<Mutex<Letters>>::default();
    (Post(Arc::clone(&letters)), Mailbox(letters))
}

impl Post {
    /// Puts in a message before the answer, without waiting.
    ///
    /// # Errors
    ///
    /// The message, if there is no room for it, or nobody to read it.
    pub(super) fn aside(&self, message: Frame) -> Result<(), Box<Frame>> {
        let mut letters = lock(&self.0);
        if letters.closed || letters.asides.len() >= ASIDES {
            return Err(Box::new(message));
        }
        letters.asides.push_back(message);
        wake(letters);
        Ok(())
    }

    /// Puts in the answer. The reader may just have gone: then nobody asks any more.
    pub(super) fn answer(self, answer: Result<Frame, Failure>) {
        lock(&self.0).answer = Some(answer);
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut letters = lock(&self.0);
        letters.closed = true;
        wake(letters);
    }
}

impl Mailbox {
    /// The next of what was said; `None` if nothing more comes. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Said> {
        poll_fn(|context| {
            let mut letters = lock(&self.0);
            let aside = letters.asides.pop_front().map(Said::Aside);
            let said = aside.or_else(|| letters.answer.take().map(Said::Answer));
            if said.is_some() || letters.closed {
                return Poll::Ready(said);
            }
            match &mut letters.reader {
                Some(reader) => reader.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    /// Takes in nothing more; gives what nobody has read.
    pub(super) fn close(&mut self) -> VecDeque<Frame> {
        let mut letters = lock(&self.0);
        letters.closed = true;
        letters.reader = None;
        std::mem::take(&mut letters.asides)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).asides.is_empty()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

fn wake(mut letters: MutexGuard<'_, Letters>) {
    let reader = letters.reader.take();
    drop(letters);
    if let Some(reader) = reader {
        reader.wake();
    }
}

fn lock(letters: &Mutex<Letters>) -> MutexGuard<'_, Letters> {
    letters
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: usize) -> Frame {
        Frame::made(format!(r#"{{"jsonrpc":"2.0","method":"n{number}"}}"#))
    }

    async fn heard(mailbox: &mut Mailbox) -> String {
        match mailbox.next().await {
            Some(Said::Aside(frame)) => frame.method().unwrap_or_default().into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_came_before_the_answer_is_heard_before_it_and_nothing_after_it() {
        let (post, mut mailbox) = mailbox();
        for number in [1, 2] {
            post.aside(frame(number)).unwrap();
        }
        post.answer(Err(Failure::too_long()));
        assert_eq!(heard(&mut mailbox).await, "n1");
        assert_eq!(heard(&mut mailbox).await, "n2");
        assert!(matches!(mailbox.next().await, Some(Said::Answer(Err(_)))));
        assert!(mailbox.next().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_hears_a_message_and_that_nothing_more_comes() {
        let (post, mut mailbox) = mailbox();
        let waits = tokio::spawn(async move {
            let first = heard(&mut mailbox).await;
            (first, mailbox.next().await.is_none())
        });
        tokio::task::yield_now().await;
        post.aside(frame(1)).unwrap();
        tokio::task::yield_now().await;
        drop(post);
        assert_eq!(waits.await.unwrap(), ("n1".to_owned(), true));
    }

    #[test]
    fn what_nobody_can_read_any_more_is_given_back() {
        let (post, mut mailbox) = mailbox();
        for number in 0..ASIDES {
            post.aside(frame(number)).unwrap();
        }
        assert!(post.aside(frame(0)).is_err(), "it is full");
        assert_eq!(mailbox.close().len(), ASIDES);
        assert!(post.aside(frame(0)).is_err(), "nobody reads it");
        post.answer(Ok(frame(0)));
    }
}
