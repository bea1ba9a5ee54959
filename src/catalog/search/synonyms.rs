//! Words that stand for each other.

use std::{collections::HashMap, sync::OnceLock};

use super::words::{term, words};
use crate::config::WordGroup;

/// What one of a group of similar words counts for another, beside the word itself.
const SIMILAR: f32 = 0.55;
/// What another spelling of the same counts.
const SAME: f32 = 0.9;

/// What may stand for a term.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phrase {
    /// Its terms, in order.
    pub terms: Vec<String>,
    /// What it counts, beside what it stands for.
    pub weight: f32,
}

/// Groups of words of the trade: who asks for a `repo` also finds a `repository`. They
/// are made ready when somebody first searches.
#[derive(Debug, Default)]
pub struct Synonyms {
    /// What there is beside the words that everybody knows.
    groups: Vec<WordGroup>,
    known: OnceLock<Known>,
}

/// What is known of words, ready to be looked up.
#[derive(Debug, Default)]
struct Known {
    /// From a term to what may stand for it.
    phrases: HashMap<String, Vec<Phrase>>,
    /// From the two terms of a phrase to what may stand for it.
    pairs: HashMap<[String; 2], Vec<Phrase>>,
}

impl Synonyms {
    /// These groups, beside the words of the trade that everybody knows.
    pub fn with(groups: &[WordGroup]) -> Self {
        Self {
            groups: groups.to_vec(),
            known: OnceLock::new(),
        }
    }

    /// What may stand for a term.
    pub(super) fn of(&self, term: &str) -> &[Phrase] {
        self.known().phrases.get(term).map_or(&[], Vec::as_slice)
    }

    /// What may stand for two terms that follow each other.
    pub(super) fn of_pair(&self, first: &str, second: &str) -> &[Phrase] {
        let pair = [first.to_owned(), second.to_owned()];
        self.known().pairs.get(&pair).map_or(&[], Vec::as_slice)
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| {
            let mut known = Known::default();
            // That ours can be read is held by a test.
            let ours = WordGroup::read_all(include_str!("synonyms.txt"));
            known.extend(&ours.unwrap_or_default());
            known.extend(&self.groups);
            known
        })
    }
}

impl Known {
    fn extend(&mut self, groups: &[WordGroup]) {
        for WordGroup { phrases, same } in groups {
            let phrases = phrases.iter().map(|phrase| terms(phrase));
            // What says nothing is never asked for.
            let phrases: Vec<_> = phrases.filter(|terms| !terms.is_empty()).collect();
            self.add(&phrases, if *same { SAME } else { SIMILAR });
        }
    }

    fn add(&mut self, group: &[Vec<String>], weight: f32) {
        for phrase in group {
            let others = || {
                let others = group.iter().filter(|other| *other != phrase);
                others.map(|other| Phrase {
                    terms: other.clone(),
                    weight,
                })
            };
            match phrase.as_slice() {
                [term] => self
                    .phrases
                    .entry(term.clone())
                    .or_default()
                    .extend(others()),
                [first, second] => {
                    let pair = [first.clone(), second.clone()];
                    self.pairs.entry(pair).or_default().extend(others());
                }
                _ => {}
            }
        }
    }
}

/// The terms of a phrase, words with a hyphen being one.
fn terms(phrase: &str) -> Vec<String> {
    words(phrase)
        .filter_map(|word| term(&word.whole().unwrap_or_else(|| word.parts().concat())))
        .collect()
}

#[cfg(test)]
impl Synonyms {
    /// Those of a text alone.
    pub(super) fn read(text: &str) -> Self {
        let mut known = Known::default();
        known.extend(&WordGroup::read_all(text).unwrap());
        Self {
            groups: Vec::new(),
            known: known.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(phrases: &[Phrase]) -> Vec<Vec<&str>> {
        phrases
            .iter()
            .map(|it| it.terms.iter().map(String::as_str).collect())
            .collect()
    }

    #[test]
    fn a_groups_words_stand_for_each_other() {
        let synonyms = Synonyms::read("# first\n\nrepo, repositories # both\npr = pull request");
        assert_eq!(terms(synonyms.of("repo")), [["repositori"]]);
        assert_eq!(terms(synonyms.of("repositori")), [["repo"]]);
        assert_eq!(terms(synonyms.of("pr")), [["pull", "request"]]);
        assert_eq!(terms(synonyms.of_pair("pull", "request")), [["pr"]]);
        assert!(synonyms.of("pull").is_empty());
        assert!(synonyms.of("pr")[0].weight > synonyms.of("repo")[0].weight);
    }

    #[test]
    fn a_file_adds_to_what_is_known() {
        let groups = WordGroup::read_all("repo, vault, the, On-Call").unwrap();
        let synonyms = Synonyms::with(&groups);
        let known = terms(synonyms.of("repo"));
        for word in ["vault", "repositori", "oncal"] {
            assert!(known.contains(&vec![word]), "{word}: {known:?}");
        }
    }

    #[test]
    fn all_of_ours_says_something() {
        for group in WordGroup::read_all(include_str!("synonyms.txt")).unwrap() {
            for phrase in &group.phrases {
                assert!(!super::terms(phrase).is_empty(), "{phrase}");
            }
        }
    }
}
