//! What a question asks for.

use super::{
    synonyms::{Phrase, Synonyms},
    words::{term, words},
};

/// What a part of a word counts if the catalog knows the whole: who writes `JavaScript`
/// hardly asks for a script.
const PART: f32 = 0.1;
/// A question has no more terms; what comes after is not read.
const MOST_TERMS: usize = 64;

/// How a question that asks begins.
const ASKING: &[&str] = &[
    "are", "can", "did", "do", "does", "has", "have", "how", "is", "was", "were", "what", "when",
    "where", "which", "who", "whose", "why", "will",
];
/// Words by which something is to be done, and not only to be known.
const DOING: &[&str] = &[
    "accept",
    "acknowledge",
    "add",
    "adjust",
    "alter",
    "answer",
    "append",
    "apply",
    "approve",
    "archive",
    "assign",
    "attach",
    "ban",
    "begin",
    "bill",
    "boot",
    "call",
    "cancel",
    "change",
    "clear",
    "clone",
    "close",
    "comment",
    "connect",
    "copy",
    "correct",
    "create",
    "decline",
    "delete",
    "deploy",
    "destroy",
    "disable",
    "drain",
    "drop",
    "duplicate",
    "edit",
    "enable",
    "end",
    "erase",
    "file",
    "forget",
    "fork",
    "forward",
    "give",
    "grant",
    "insert",
    "install",
    "invite",
    "invoke",
    "kick",
    "kill",
    "launch",
    "link",
    "log",
    "make",
    "mark",
    "merge",
    "modify",
    "move",
    "mute",
    "new",
    "open",
    "patch",
    "pause",
    "pin",
    "plan",
    "play",
    "post",
    "postpone",
    "prepare",
    "publish",
    "purge",
    "push",
    "put",
    "raise",
    "react",
    "reboot",
    "record",
    "register",
    "remember",
    "remove",
    "rename",
    "replace",
    "reply",
    "report",
    "rerun",
    "reschedule",
    "reset",
    "resolve",
    "restart",
    "restore",
    "retry",
    "revert",
    "ring",
    "rollback",
    "run",
    "save",
    "scale",
    "schedule",
    "send",
    "set",
    "share",
    "silence",
    "skip",
    "stage",
    "start",
    "stop",
    "store",
    "switch",
    "sync",
    "tag",
    "text",
    "throw",
    "trash",
    "trigger",
    "undo",
    "unstage",
    "update",
    "upgrade",
    "upload",
    "write",
];

/// Whether a question wants to know something, and not that something is done: it asks,
/// or names a thing alone.
pub(super) fn wants_to_know(question: &str) -> bool {
    let mut words = words(question)
        .take(MOST_TERMS)
        .map(|word| word.parts().concat())
        .peekable();
    let asks = |word: &String| ASKING.binary_search(&word.as_str()).is_ok();
    words.peek().is_some_and(asks) || !words.any(|word| DOING.binary_search(&word.as_str()).is_ok())
}

/// A term of a question.
#[derive(Debug, PartialEq)]
pub(super) struct Asked<'s> {
    pub term: String,
    /// What it counts beside the others.
    pub weight: f32,
    /// Phrases that may stand for it.
    pub others: Vec<&'s Phrase>,
}

/// The terms of a question, each once. `known` says whether the catalog has a term.
pub(super) fn read<'s>(
    question: &str,
    synonyms: &'s Synonyms,
    known: impl Fn(&str) -> bool,
) -> Vec<Asked<'s>> {
    let known = |word: &str| term(word).filter(|term| known(term));
    let mut asked = Vec::new();
    let mut last: Option<(String, Option<String>)> = None;
    for word in words(question).take(MOST_TERMS) {
        let whole = word.whole().as_deref().and_then(known);
        let weight = if whole.is_some() { PART } else { 1.0 };
        if let Some(whole) = whole {
            ask(&mut asked, whole, 1.0, synonyms, &[]);
        }
        for part in word.parts() {
            let term = term(part);
            let mut others: &[Phrase] = &[];
            if let Some((before, its_term)) = &last {
                // What the question has in two words, and the catalog in one.
                if let Some(joined) = known(&format!("{before}{part}")) {
                    ask(&mut asked, joined, 1.0, synonyms, &[]);
                }
                if let (Some(first), Some(second)) = (its_term, &term) {
                    others = synonyms.of_pair(first, second);
                }
            }
            if let Some(term) = term.clone() {
                ask(&mut asked, term, weight, synonyms, others);
            }
            last = Some((part.clone(), term));
        }
    }
    asked.truncate(MOST_TERMS);
    asked
}

fn ask<'s>(
    asked: &mut Vec<Asked<'s>>,
    term: String,
    weight: f32,
    synonyms: &'s Synonyms,
    others: &'s [Phrase],
) {
    match asked.iter_mut().find(|known| known.term == term) {
        Some(known) => known.others.extend(others),
        None => asked.push(Asked {
            others: synonyms.of(&term).iter().chain(others).collect(),
            term,
            weight,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(question: &str, known: &[&str]) -> Vec<(String, f32)> {
        let synonyms = Synonyms::read("");
        let asked = read(question, &synonyms, |term| known.contains(&term));
        asked.into_iter().map(|it| (it.term, it.weight)).collect()
    }

    #[test]
    fn a_term_is_asked_for_once() {
        let expected = [("list".into(), 1.0), ("user".into(), 1.0)];
        assert_eq!(asked("list users and the lists of a user", &[]), expected);
    }

    #[test]
    fn a_whole_that_the_catalog_knows_counts_before_its_parts() {
        let parts = [("java".into(), 1.0), ("script".into(), 1.0)];
        assert_eq!(asked("JavaScript", &[]), parts);
        let whole = asked("JavaScript", &["javascript"]);
        assert_eq!(whole[0], ("javascript".into(), 1.0));
        assert!(whole[1..].iter().all(|(_, weight)| *weight == PART));
    }

    #[test]
    fn two_words_are_also_asked_for_as_one() {
        let expected = [("oncal".into(), 1.0), ("call".into(), 1.0)];
        assert_eq!(asked("on call", &["oncal"]), expected);
    }

    #[test]
    fn who_asks_wants_to_know_and_who_orders_does_not() {
        assert!(ASKING.is_sorted() && DOING.is_sorted());
        for question in [
            "which issues are open",
            "unpaid invoices",
            "is it deleted?",
            "",
        ] {
            assert!(wants_to_know(question), "{question}");
        }
        for question in [
            "open an issue",
            "please pay back and close it",
            "new invoice",
        ] {
            assert!(!wants_to_know(question), "{question}");
        }
    }

    #[test]
    fn a_question_without_end_is_cut() {
        let many: String = (0..5_000).map(|n| format!("w{n}_x{n} ")).collect();
        assert_eq!(asked(&many, &[]).len(), MOST_TERMS);
    }
}
