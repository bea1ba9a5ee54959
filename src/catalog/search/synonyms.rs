//! Words that stand for each other.

use std::collections::HashMap;

use super::words::terms;

/// Groups of words of the trade: who asks for a `repo` also finds a `repository`.
#[derive(Clone, Debug)]
pub struct Synonyms {
    /// From a term to those of each phrase that may stand for it.
    phrases: HashMap<String, Vec<Vec<String>>>,
    /// From the two terms of a phrase to what may stand for it.
    pairs: HashMap<[String; 2], Vec<Vec<String>>>,
}

impl Synonyms {
    /// Reads groups, one a line with commas between the words. `#` starts a comment.
    pub fn read(text: &str) -> Self {
        let mut synonyms = Self {
            phrases: HashMap::new(),
            pairs: HashMap::new(),
        };
        synonyms.extend(text);
        synonyms
    }

    /// Adds the groups of another text.
    pub fn extend(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let group: Vec<Vec<String>> = line
                .split(',')
                .map(|phrase| terms(phrase).collect())
                .collect();
            for (at, phrase) in group.iter().enumerate() {
                let others = || {
                    let others = group.iter().enumerate().filter(|(other, _)| *other != at);
                    others.map(|(_, phrase)| phrase.clone())
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

    /// What may stand for a term.
    pub(super) fn of(&self, term: &str) -> &[Vec<String>] {
        self.phrases.get(term).map_or(&[], Vec::as_slice)
    }

    /// What may stand for two terms that follow each other.
    pub(super) fn of_pair(&self, first: &str, second: &str) -> &[Vec<String>] {
        let pair = [first.to_owned(), second.to_owned()];
        self.pairs.get(&pair).map_or(&[], Vec::as_slice)
    }
}

impl Default for Synonyms {
    /// The words of the trade that everybody knows.
    fn default() -> Self {
        Self::read(include_str!("synonyms.txt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_words_stand_for_each_other() {
        let synonyms = Synonyms::read("# first\nrepo, repositories # both\npr, pull request");
        assert_eq!(synonyms.of("repo"), [["repositori"]]);
        assert_eq!(synonyms.of("repositori"), [["repo"]]);
        assert_eq!(synonyms.of("pr"), [["pull", "request"]]);
        assert_eq!(synonyms.of_pair("pull", "request"), [["pr"]]);
        assert!(synonyms.of("pull").is_empty());
    }

    #[test]
    fn a_file_adds_to_what_is_known() {
        let mut synonyms = Synonyms::default();
        synonyms.extend("repo, vault");
        assert!(synonyms.of("repo").contains(&vec!["vault".into()]));
        assert!(synonyms.of("repo").contains(&vec!["repositori".into()]));
    }

    #[test]
    fn any_text_can_be_read() {
        for text in ["", ",,,", "a", "\0, #", "one two three, 🦀"] {
            assert!(Synonyms::read(text).of("one").is_empty(), "{text}");
        }
    }
}
