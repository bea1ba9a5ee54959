//! How text becomes the terms by which it is found.

use heck::ToSnakeCase;
use rust_stemmers::{Algorithm, Stemmer};

/// A longer word is none: it is data, or somebody tries what happens.
const LONGEST_WORD: usize = 64;
/// So many parts of a word are read.
const MOST_PARTS: usize = 16;

/// English words that say how a thing is said and not what it is about. Rare as some of
/// them are in a catalog, they would otherwise weigh most.
const STOP_WORDS: &[&str] = &[
    "about",
    "again",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "anybody",
    "anyone",
    "anything",
    "are",
    "as",
    "at",
    "be",
    "been",
    "before",
    "being",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "don",
    "done",
    "during",
    "each",
    "either",
    "else",
    "even",
    "ever",
    "every",
    "everybody",
    "everyone",
    "everything",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "help",
    "her",
    "here",
    "him",
    "his",
    "how",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "let",
    "ll",
    "many",
    "may",
    "me",
    "might",
    "mine",
    "more",
    "most",
    "much",
    "must",
    "my",
    "need",
    "no",
    "nobody",
    "not",
    "of",
    "off",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "out",
    "over",
    "own",
    "please",
    "re",
    "same",
    "several",
    "shall",
    "she",
    "should",
    "so",
    "some",
    "somebody",
    "someone",
    "something",
    "still",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "this",
    "those",
    "to",
    "too",
    "under",
    "up",
    "upon",
    "us",
    "use",
    "used",
    "using",
    "ve",
    "very",
    "via",
    "want",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "would",
    "yet",
    "you",
    "your",
];

/// What is written as one word, in small letters: `code`, or `get_file`, `getFile`,
/// `e-mail`, `GitHub`, which have parts.
pub(super) struct Word {
    parts: Vec<String>,
}

impl Word {
    /// Its parts; of a plain word itself.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// If it has parts, all of it without what stands between: `email`, `github`.
    pub(super) fn whole(&self) -> Option<String> {
        (self.parts.len() > 1).then(|| self.parts.concat())
    }
}

/// The words of a text, in order.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
        .filter(|run| !run.is_empty() && run.len() <= LONGEST_WORD)
        .map(|run| Word {
            parts: run
                .to_snake_case()
                .split('_')
                .filter(|part| !part.is_empty())
                .take(MOST_PARTS)
                .map(str::to_owned)
                .collect(),
        })
}

/// The term a word is found by; none for one that says nothing.
pub(super) fn term(word: &str) -> Option<String> {
    let says_nothing =
        (word.len() == 1 && word.is_ascii()) || STOP_WORDS.binary_search(&word).is_ok();
    (!says_nothing).then(|| stem(word))
}

fn stem(word: &str) -> String {
    Stemmer::create(Algorithm::English).stem(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All terms by which a text is found.
    fn terms(text: &str) -> Vec<String> {
        let parts = words(text).flat_map(|mut word| {
            let whole = word.whole();
            word.parts.extend(whole);
            word.parts
        });
        parts.filter_map(|part| term(&part)).collect()
    }

    #[test]
    fn the_stop_words_stand_in_order() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn a_name_is_split_where_its_parts_meet() {
        for (name, parts) in [
            ("search_code", vec!["search", "code", "searchcod"]),
            ("getNowPlaying", vec!["get", "now", "play", "getnowplay"]),
            ("list-collections", vec!["list", "collect", "listcollect"]),
            ("HTTPServer", vec!["http", "server", "httpserver"]),
            ("s3", vec!["s3"]),
        ] {
            assert_eq!(terms(name), parts, "{name}");
        }
    }

    #[test]
    fn one_word_is_found_however_it_is_written() {
        for (one, other) in [
            ("e-mail", "emails"),
            ("GitHub", "github's"),
            ("on-call", "oncalls"),
            ("repositories", "repository"),
        ] {
            let (one, other) = (terms(one), terms(other));
            assert!(one.iter().any(|term| other.contains(term)), "{one:?}");
        }
    }

    #[test]
    fn what_says_nothing_has_no_term() {
        for text in [
            "",
            "who is it for?",
            "🦀 🎉",
            "_ - __",
            "a b c",
            &"x".repeat(10_000),
        ] {
            assert_eq!(terms(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn words_of_other_scripts_are_words() {
        assert_eq!(terms("Größe 検索"), ["größe", "検索"]);
    }
}
