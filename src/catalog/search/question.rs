//! What a question asks for.

use super::{
    synonyms::Synonyms,
    words::{term, words},
};

/// What a part of a word counts if the catalog knows the whole: who writes `JavaScript`
/// hardly asks for a script.
const PART: f32 = 0.1;
/// A question has no more terms; what comes after is not read.
const MOST_TERMS: usize = 64;

/// A term of a question.
#[derive(Debug, PartialEq)]
pub(super) struct Asked<'s> {
    pub term: String,
    /// What it counts beside the others.
    pub weight: f32,
    /// Phrases that may stand for it.
    pub others: Vec<&'s Vec<String>>,
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
            let mut others: &[Vec<String>] = &[];
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
    others: &'s [Vec<String>],
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
    fn a_question_without_end_is_cut() {
        let many: String = (0..5_000).map(|n| format!("w{n}_x{n} ")).collect();
        assert_eq!(asked(&many, &[]).len(), MOST_TERMS);
    }
}
