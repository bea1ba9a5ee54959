//! Words that stand for each other.

use std::collections::HashMap;

use super::words::{term, words};

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

/// Groups of words of the trade: who asks for a `repo` also finds a `repository`.
#[derive(Clone, Debug, PartialEq)]
pub struct Synonyms {
    /// From a term to what may stand for it.
    phrases: HashMap<String, Vec<Phrase>>,
    /// From the two terms of a phrase to what may stand for it.
    pairs: HashMap<[String; 2], Vec<Phrase>>,
}

/// Why a text holds no synonyms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadSynonyms {
    /// Which line, of the first as 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl Synonyms {
    /// No words at all.
    fn none() -> Self {
        Self {
            phrases: HashMap::new(),
            pairs: HashMap::new(),
        }
    }

    /// Adds the groups of a text, one a line: similar words with commas between them, or
    /// two and more spellings of the same with `=`. `#` starts a comment.
    ///
    /// # Errors
    ///
    /// The first line that is not a group; then nothing is added.
    pub fn extend(&mut self, text: &str) -> Result<(), BadSynonyms> {
        let mut groups = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let group = group(line).map_err(|what| BadSynonyms { line: at + 1, what })?;
            groups.extend(group);
        }
        for (phrases, weight) in groups {
            self.add(&phrases, weight);
        }
        Ok(())
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

    /// What may stand for a term.
    pub(super) fn of(&self, term: &str) -> &[Phrase] {
        self.phrases.get(term).map_or(&[], Vec::as_slice)
    }

    /// What may stand for two terms that follow each other.
    pub(super) fn of_pair(&self, first: &str, second: &str) -> &[Phrase] {
        let pair = [first.to_owned(), second.to_owned()];
        self.pairs.get(&pair).map_or(&[], Vec::as_slice)
    }
}

/// The phrases of one line, and what one counts for another; none of a line that is empty.
fn group(line: &str) -> Result<Option<(Vec<Vec<String>>, f32)>, String> {
    let line = line.split('#').next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (between, weight) = match (line.contains('='), line.contains(',')) {
        (true, true) => return Err("either `,` or `=` between the words, not both".to_owned()),
        (true, false) => ('=', SAME),
        (false, true) => (',', SIMILAR),
        (false, false) => return Err(format!("`{line}` stands alone: a group has two words")),
    };
    let phrases = line.split(between).map(|phrase| {
        let phrase = phrase.trim().to_lowercase();
        let terms: Vec<String> = words(&phrase)
            .filter_map(|word| term(&word.whole().unwrap_or_else(|| word.parts().concat())))
            .collect();
        match terms.len() {
            0 => Err(format!("`{phrase}` holds no word that is searched for")),
            1 | 2 => Ok(terms),
            _ => Err(format!("`{phrase}` has more than two words")),
        }
    });
    Ok(Some((phrases.collect::<Result<_, _>>()?, weight)))
}

impl Default for Synonyms {
    /// The words of the trade that everybody knows.
    fn default() -> Self {
        let mut synonyms = Self::none();
        // Ours are held to be right by a test.
        let _ = synonyms.extend(include_str!("synonyms.txt"));
        synonyms
    }
}

#[cfg(test)]
impl Synonyms {
    /// Those of a text alone.
    pub(super) fn read(text: &str) -> Self {
        let mut synonyms = Self::none();
        synonyms.extend(text).unwrap();
        synonyms
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
        let mut synonyms = Synonyms::default();
        synonyms.extend("repo, vault").unwrap();
        let known = terms(synonyms.of("repo"));
        assert!(known.contains(&vec!["vault"]) && known.contains(&vec!["repositori"]));
    }

    #[test]
    fn ours_can_be_read() {
        let ours = Synonyms::read(include_str!("synonyms.txt"));
        assert_eq!(ours, Synonyms::default());
    }

    #[test]
    fn a_line_that_is_no_group_is_told_and_nothing_is_added() {
        for (text, line, told) in [
            ("repo", 1, "stands alone"),
            ("a1, b1\n\nrepo, vault = safe", 3, "not both"),
            ("repo, the", 1, "no word"),
            ("a1, b1\nrepo,", 2, "no word"),
            ("repo, place of all code", 1, "more than two"),
            (",,,", 1, "no word"),
            ("\0\u{7}, 🦀", 1, "no word"),
        ] {
            let mut synonyms = Synonyms::none();
            let failed = synonyms.extend(text).unwrap_err();
            assert_eq!(failed.line, line, "{text}");
            assert!(failed.to_string().contains(told), "{failed}");
            assert_eq!(synonyms, Synonyms::none());
        }
    }
}
