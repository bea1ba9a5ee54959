//! BM25 over documents that have fields of unequal worth (BM25F).
//!
//! A term's occurrences are weighted by the field they stand in and by how long that
//! field is, summed, and only then saturated: a term that stands in the name, the
//! description and a parameter counts once, and more. What a term adds to a document is
//! known when the index is built, so that a search only adds up.
//!
//! A word the catalog does not know is taken for the nearest that it does.
//!
//! It is our own because no crate is both this and small: `bm25` knows one field and
//! reads all of a document for each term of a question, `probly-search` saturates each
//! field alone and takes every prefix for a word, `tantivy` is larger than all of us.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    question::{self, Asked},
    synonyms::Synonyms,
    words::{term, words},
};

/// How soon more of the same term adds nothing.
const K1: f32 = 1.2;
/// What a word counts that is taken for another.
const MISSPELT: f32 = 0.5;
/// Shorter words are not taken for others, and from the longer on two letters may differ.
const SHORTEST: usize = 4;
const LONG: usize = 8;
/// So many words of a question at most are compared with all that the catalog knows.
const MOST_GUESSES: usize = 4;
/// How much of a score is kept by a document that has almost nothing of the question.
const UNCOVERED: f32 = 0.2;
/// A field has no more words.
const MOST_WORDS: usize = 4_000;

/// What a field is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// One occurrence in it, beside one in another field.
    pub weight: f32,
    /// How far a long field takes worth from each of its words: 0 not at all, 1 wholly.
    pub by_length: f32,
    /// Whether its terms count nowhere else. What the child is called, some of its tools
    /// repeat and some do not, which says nothing of them.
    pub alone: bool,
}

/// What a term adds to the score of one document.
#[derive(Debug)]
struct Posting {
    document: u32,
    score: f32,
}

/// The documents in which a term stands, in their order.
#[derive(Debug, Default)]
struct List {
    postings: Vec<Posting>,
    /// The most that it adds to any.
    most: f32,
}

/// The documents in which each term stands.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    terms: HashMap<String, u32>,
    lists: Vec<List>,
    documents: usize,
}

/// A question's term, with the documents that have it or what may stand for it.
struct Wanted<'a> {
    /// Lists of documents, one for each term of a phrase, and what a place in each is
    /// worth.
    alternatives: Vec<(f32, Vec<&'a List>)>,
    /// The most that it can add.
    worth: f32,
}

impl Ranking {
    /// Ranks documents, each with as many texts as there are fields.
    pub(super) fn build<const N: usize>(fields: [Field; N], documents: &[[&str; N]]) -> Self {
        let mut lexicon = Lexicon::default();
        let read: Vec<[Counted; N]> = documents
            .iter()
            .map(|texts| {
                let mut counted = texts.map(|text| lexicon.count(text));
                count_alone(&fields, &mut counted);
                counted
            })
            .collect();
        let average: [f32; N] = std::array::from_fn(|field| {
            let total: usize = read.iter().map(|texts| texts[field].length).sum();
            (total as f32 / read.len().max(1) as f32).max(1.0)
        });
        let mut lists: Vec<List> = Vec::new();
        lists.resize_with(lexicon.terms.len(), List::default);
        for (document, texts) in (0_u32..).zip(&read) {
            let mut weights: HashMap<u32, f32> = HashMap::new();
            for ((field, text), average) in fields.iter().zip(texts).zip(average) {
                let length = text.length as f32 / average;
                let one = field.weight / (1.0 - field.by_length + field.by_length * length);
                for (term, count) in &text.counts {
                    *weights.entry(*term).or_default() += one * *count as f32;
                }
            }
            for (term, weight) in weights {
                let score = weight * (K1 + 1.0) / (weight + K1);
                let list = &mut lists[term as usize];
                list.postings.push(Posting { document, score });
                list.most = list.most.max(score);
            }
        }
        for list in &mut lists {
            let with = list.postings.len() as f32;
            let rarity = ((read.len() as f32 - with + 0.5) / (with + 0.5)).ln_1p();
            for posting in &mut list.postings {
                posting.score *= rarity;
            }
            list.most *= rarity;
        }
        Self {
            terms: lexicon.terms,
            lists,
            documents: documents.len(),
        }
    }

    /// The documents that `keep` lets through and that have anything of the question,
    /// the best first; of equals the earlier. `favour` multiplies a document's score.
    pub(super) fn search(
        &self,
        question: &str,
        synonyms: &Synonyms,
        keep: impl Fn(usize) -> bool,
        favour: impl Fn(usize) -> f32,
        limit: usize,
    ) -> Vec<(usize, f32)> {
        let wanted = self.wanted(question, synonyms);
        let most: f32 = wanted.iter().map(|it| it.worth).sum();
        let mut scores = vec![0.0_f32; self.documents];
        let mut covered = vec![0.0_f32; self.documents];
        let mut best = vec![0.0_f32; self.documents];
        let mut phrase = HashMap::new();
        for it in &wanted {
            let mut touched = Vec::new();
            let mut offer = |document: u32, score: f32| {
                let document = document as usize;
                if best[document] == 0.0 {
                    touched.push(document);
                }
                best[document] = best[document].max(score);
            };
            for (weight, lists) in &it.alternatives {
                if let [list] = lists.as_slice() {
                    for posting in &list.postings {
                        offer(posting.document, weight * posting.score);
                    }
                    continue;
                }
                for posting in lists.iter().flat_map(|list| &list.postings) {
                    *phrase.entry(posting.document).or_default() += weight * posting.score;
                }
                for (document, score) in phrase.drain() {
                    offer(document, score);
                }
            }
            for document in touched {
                scores[document] += best[document];
                covered[document] += it.worth;
                best[document] = 0.0;
            }
        }
        let mut found: Vec<(usize, f32)> = scores
            .into_iter()
            .zip(covered)
            .enumerate()
            .filter(|(document, (score, _))| *score > 0.0 && keep(*document))
            .map(|(document, (score, covered))| {
                let covered = UNCOVERED + (1.0 - UNCOVERED) * covered / most;
                (document, score * covered * favour(document))
            })
            .collect();
        let better = |(first, a): &(usize, f32), (second, b): &(usize, f32)| {
            b.total_cmp(a).then(first.cmp(second))
        };
        if limit < found.len() {
            found.select_nth_unstable_by(limit, better);
            found.truncate(limit);
        }
        found.sort_unstable_by(better);
        found
    }

    fn wanted(&self, question: &str, synonyms: &Synonyms) -> Vec<Wanted<'_>> {
        let mut guesses = MOST_GUESSES;
        question::read(question, synonyms, |term| self.terms.contains_key(term))
            .iter()
            .map(|asked| self.want(asked, &mut guesses))
            .filter(|wanted| !wanted.alternatives.is_empty())
            .collect()
    }

    fn want(&self, asked: &Asked<'_>, guesses: &mut usize) -> Wanted<'_> {
        let itself = self
            .list(&asked.term)
            .map(|list| (asked.weight, vec![list]));
        let others = asked.others.iter().filter_map(|phrase| {
            let lists: Vec<_> = phrase.terms.iter().filter_map(|it| self.list(it)).collect();
            (!lists.is_empty()).then_some((asked.weight * phrase.weight, lists))
        });
        let mut alternatives: Vec<_> = itself.into_iter().chain(others).collect();
        if alternatives.is_empty() && *guesses > 0 {
            *guesses -= 1;
            let nearest = self.nearest(&asked.term);
            alternatives.extend(nearest.map(|list| (asked.weight * MISSPELT, vec![list])));
        }
        let most = |lists: &[&List]| lists.iter().map(|list| list.most).sum::<f32>();
        let worth = alternatives
            .iter()
            .map(|(weight, lists)| weight * most(lists))
            .fold(0.0, f32::max);
        Wanted {
            alternatives,
            worth,
        }
    }

    /// The documents of the term that is most like this one: it begins so, or few letters
    /// differ, the first not, which seldom is the wrong one. Of two the one that more
    /// documents have.
    fn nearest(&self, term: &str) -> Option<&List> {
        let letters = term.chars().count();
        if letters < SHORTEST {
            return None;
        }
        let most = if letters < LONG { 1 } else { 2 };
        let first = term.chars().next();
        let distance = |known: &str| match known.starts_with(term) {
            true => 1,
            false if known.len().abs_diff(term.len()) > most => usize::MAX,
            false => strsim::osa_distance(known, term),
        };
        self.terms
            .iter()
            .filter(|(known, _)| known.chars().next() == first)
            .filter_map(|(known, at)| {
                let list = self.lists.get(*at as usize)?;
                let distance = Some(distance(known)).filter(|distance| *distance <= most)?;
                Some(((distance, Reverse(list.postings.len()), known), list))
            })
            .min_by_key(|(order, _)| *order)
            .map(|(_, list)| list)
    }

    fn list(&self, term: &str) -> Option<&List> {
        self.lists.get(*self.terms.get(term)? as usize)
    }
}

/// Takes the terms of those fields whose terms count nowhere else out of the others.
fn count_alone(fields: &[Field], counted: &mut [Counted]) {
    for (at, _) in fields.iter().enumerate().filter(|(_, field)| field.alone) {
        let terms: Vec<u32> = counted[at].counts.keys().copied().collect();
        let others = counted
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != at);
        for (_, other) in others {
            for term in &terms {
                if let Some(count) = other.counts.remove(term) {
                    other.length -= count as usize;
                }
            }
        }
    }
}

/// One text, counted.
struct Counted {
    length: usize,
    counts: HashMap<u32, u32>,
}

/// The numbers of the terms, and which word is found by which.
#[derive(Default)]
struct Lexicon {
    terms: HashMap<String, u32>,
    words: HashMap<String, Option<u32>>,
}

impl Lexicon {
    fn count(&mut self, text: &str) -> Counted {
        let mut counts = HashMap::new();
        let mut length = 0;
        for word in words(text).take(MOST_WORDS) {
            let whole = word.whole();
            for part in word.parts().iter().chain(&whole) {
                if let Some(term) = self.term(part) {
                    *counts.entry(term).or_default() += 1;
                    length += 1;
                }
            }
        }
        Counted { length, counts }
    }

    fn term(&mut self, word: &str) -> Option<u32> {
        if let Some(known) = self.words.get(word) {
            return *known;
        }
        let number = term(word).and_then(|term| {
            let next = u32::try_from(self.terms.len()).ok()?;
            Some(*self.terms.entry(term).or_insert(next))
        });
        self.words.insert(word.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Field = Field {
        weight: 1.0,
        by_length: 0.5,
        alone: false,
    };

    fn found(documents: &[&str], question: &str) -> Vec<usize> {
        let documents: Vec<[&str; 1]> = documents.iter().map(|text| [*text]).collect();
        let synonyms = Synonyms::read("repo, repository\npr = pull request");
        let hits =
            Ranking::build([ONE], &documents).search(question, &synonyms, |_| true, |_| 1.0, 99);
        hits.into_iter().map(|(document, _)| document).collect()
    }

    #[test]
    fn the_rarer_word_and_the_shorter_text_weigh_more() {
        let documents = [
            "list code",
            "list people",
            "list all of the people you know well",
        ];
        assert_eq!(found(&documents, "list people"), [1, 2, 0]);
        assert_eq!(found(&documents, "listing codes"), [0, 1, 2]);
    }

    #[test]
    fn of_equals_the_earlier_stands_first() {
        assert_eq!(
            found(&["same text"; 50], "text"),
            (0..50).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_synonym_is_found_after_the_word_itself() {
        let documents = [
            "a repository",
            "a repo",
            "merge pull request",
            "another thing",
        ];
        assert_eq!(found(&documents, "repo"), [1, 0]);
        assert_eq!(found(&documents, "PR"), [2]);
        assert_eq!(found(&["a pr"], "pull request"), [0]);
    }

    #[test]
    fn a_word_that_nobody_knows_is_taken_for_the_nearest() {
        let documents = ["send emails", "list calendars", "a kubernetes pod"];
        for (question, found_at) in [
            ("emial", vec![0]),
            ("calender", vec![1]),
            ("kube", vec![2]),
            ("pot", vec![]),
            ("mountain", vec![]),
        ] {
            assert_eq!(found(&documents, question), found_at, "{question}");
        }
        // The word itself, though rare, is nobody's mistake.
        assert_eq!(found(&["cart", "card", "card"], "cart"), [0]);
    }

    #[test]
    fn a_phrase_counts_most_where_all_of_it_stands() {
        let documents = ["request a thing", "pull request", "pull a thing"];
        assert_eq!(found(&documents, "PR")[0], 1);
    }

    #[test]
    fn two_words_are_found_as_one_and_one_as_two() {
        assert_eq!(found(&["oncall users", "call users"], "on call"), [0, 1]);
        assert_eq!(found(&["send e-mail"], "email"), [0]);
        assert_eq!(found(&["a script", "JavaScript"], "JavaScript"), [1, 0]);
    }

    #[test]
    fn what_stands_in_a_field_that_is_alone_counts_nowhere_else() {
        let owner = Field { alone: true, ..ONE };
        let documents = [
            ["list of git, git and git", "git"],
            ["commits of git", "git"],
        ];
        let ranking = Ranking::build([ONE, owner], &documents);
        let hits = ranking.search("git", &Synonyms::read(""), |_| true, |_| 1.0, 9);
        assert_eq!(hits[0].1, hits[1].1);
    }

    #[test]
    fn odd_questions_are_answered() {
        let long = "people code 🦀 ".repeat(1_000);
        let many: String = (0..5_000).map(|n| format!("w{n}_x{n} ")).collect();
        let documents = ["list people", &many];
        assert_eq!(found(&documents, &long), [0]);
        assert_eq!(found(&documents, &many), [1]);
        for nothing in ["", " ", "who is it?", "🦀", "\0\n\u{202e}", "unheard"] {
            assert!(found(&documents, nothing).is_empty(), "{nothing}");
        }
        assert!(found(&[], "people").is_empty());
    }
}
