//! What clients wish to hear of a modern child's resources, and how far it takes that.

use std::collections::HashSet;

use rmcp::model::ErrorData;
use tokio::sync::watch;

use super::{
    Failure,
    subscriptions::{Subscriptions, Verdict},
};
use crate::protocol::OwnName;

/// The error, as JSON text, of a subscription that a child has left out of what it
/// acknowledged.
const NOT_HELD: &str =
    r#"{"code":-32602,"message":"The server does not tell of updates of this resource"}"#;

/// A resource, and the number of the wish for it.
pub(super) type Wish = (OwnName, u64);

/// The subscriptions to the child, and how far it takes them.
pub(super) struct Wishes<'a> {
    all: Option<&'a Subscriptions>,
    changes: Option<watch::Receiver<()>>,
    /// What it has taken.
    held: HashSet<Wish>,
    /// What it has refused, and is not asked for again.
    refused: HashSet<Wish>,
    /// It has refused several at once: the next are asked for one by one, so that one it
    /// does not like is no harm to the others.
    pub(super) cautious: bool,
    /// It has refused what it had taken, and taken nothing since.
    doubted: bool,
}

impl<'a> Wishes<'a> {
    pub(super) fn new(all: Option<&'a Subscriptions>) -> Self {
        let this = Self {
            all,
            changes: all.map(Subscriptions::changes),
            held: HashSet::new(),
            refused: HashSet::new(),
            cautious: false,
            doubted: false,
        };
        this.tell_interrupted();
        this
    }

    /// What the child is to be asked for now, in the order of the wishes.
    pub(super) fn wanted(&mut self) -> Vec<Wish> {
        if let Some(changes) = &mut self.changes {
            changes.mark_unchanged();
        }
        let all = self.all.map(Subscriptions::all).unwrap_or_default();
        let still: HashSet<&Wish> = all.iter().collect();
        self.held.retain(|wish| still.contains(wish));
        self.refused.retain(|wish| still.contains(wish));
        let mut new = 0;
        let mut asked: Vec<Wish> = Vec::with_capacity(all.len());
        for wish in all {
            if self.held.contains(&wish) {
                asked.push(wish);
            } else if !self.refused.contains(&wish) {
                new += 1;
                if new == 1 || !self.cautious {
                    asked.push(wish);
                }
            }
        }
        if new <= 1 {
            self.cautious = false;
        }
        asked.sort_by_key(|(_, wish)| *wish);
        asked
    }

    /// The child tells of those of which this is true; gives them.
    pub(super) fn taken(&mut self, asked: Vec<Wish>, tells: impl Fn(&str) -> bool) -> Vec<Wish> {
        let (told, left_out): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(own, _)| tells(own.as_str()));
        self.doubted &= told.is_empty();
        for wish in &told {
            self.decided(wish, Verdict::Held);
            self.held.insert(wish.clone());
        }
        for wish in left_out {
            self.decided(&wish, Verdict::Refused(NOT_HELD.into()));
            self.held.remove(&wish);
            self.refused.insert(wish);
        }
        told
    }

    /// The child has refused to tell of all these: only what it had not taken before can
    /// be the reason. Whether it can be asked for something else at once.
    pub(super) fn refused(&mut self, asked: &[Wish], error: &ErrorData) -> bool {
        let new: Vec<&Wish> = asked.iter().filter(|it| !self.held.contains(it)).collect();
        match *new {
            [] => return false,
            [wish] => {
                let error = serde_json::to_string(error).unwrap_or_default();
                self.decided(wish, Verdict::Refused(error.into()));
                self.refused.insert(wish.clone());
            }
            _ => self.cautious = true,
        }
        true
    }

    /// What the child had taken may be the reason, too.
    pub(super) fn doubts(&mut self) {
        self.doubted = true;
        self.cautious = true;
        self.held.clear();
    }

    /// Whether the child told of something before, and now of nothing: then it is another
    /// program.
    pub(super) fn are_all_refused_anew(&self) -> bool {
        self.doubted && !self.refused.is_empty()
    }

    /// There was no answer. What the child had taken is asked for again.
    pub(super) fn failed(&self, asked: &[Wish], failure: &Failure) {
        for wish in asked.iter().filter(|it| !self.held.contains(it)) {
            self.decided(wish, Verdict::Failed(failure.clone()));
        }
    }

    /// The child does not know how to tell: says so to whoever wishes it.
    pub(super) async fn never(&mut self, error: &ErrorData) {
        let error = serde_json::to_string(error).unwrap_or_default();
        loop {
            for wish in self.wanted() {
                self.decided(&wish, Verdict::Refused(error.as_str().into()));
            }
            if !self.another().await {
                return;
            }
        }
    }

    /// The child tells nothing until it is asked again. It may think otherwise then of
    /// what it has refused.
    pub(super) fn interrupted(&mut self) {
        self.refused.clear();
        self.tell_interrupted();
    }

    fn tell_interrupted(&self) {
        if let Some(all) = self.all {
            all.interrupted();
        }
    }

    fn decided(&self, (own, wish): &Wish, verdict: Verdict) {
        if let Some(all) = self.all {
            all.decided(own, *wish, verdict);
        }
    }

    /// Waits for another set of subscriptions; `false` where there never is one.
    pub(super) async fn another(&mut self) -> bool {
        match &mut self.changes {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        }
    }
}
