//! `synonyms`: a file with words that mean the same to those who search for tools.

use std::{
    fs,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::reader::Reader;

/// No list of words is larger; a file that is was named by mistake.
const MAX_FILE: u64 = 1024 * 1024;

/// Words, or phrases of two, that may stand for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordGroup {
    /// In the order of the line, in small letters.
    pub phrases: Vec<String>,
    /// Whether they are spellings of the same, and not only similar.
    pub same: bool,
}

/// Why a line is no group of words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct BadGroup {
    /// Which line, the first being 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl WordGroup {
    /// Reads groups, one a line: similar words with commas between them, or spellings of
    /// the same with `=`. `#` starts a comment.
    ///
    /// # Errors
    ///
    /// The first line that is no group.
    pub fn read_all(text: &str) -> Result<Vec<Self>, BadGroup> {
        let mut groups = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let group = Self::read(line).map_err(|what| BadGroup { line: at + 1, what });
                groups.push(group?);
            }
        }
        Ok(groups)
    }

    fn read(line: &str) -> Result<Self, String> {
        let same = line.contains('=');
        if same && line.contains(',') {
            return Err("either \",\" or \"=\" between the words, not both".to_owned());
        }
        let phrases = line.split(if same { '=' } else { ',' }).map(|phrase| {
            let phrase = phrase.trim();
            match phrase.split_whitespace().count() {
                _ if !phrase.contains(char::is_alphanumeric) => Err("a word is missing".to_owned()),
                1 | 2 => Ok(phrase.to_lowercase()),
                _ => Err(format!("{phrase:?} has more than two words")),
            }
        });
        let phrases: Vec<String> = phrases.collect::<Result<_, _>>()?;
        match phrases.len() {
            1 => Err(format!("{line:?} stands alone: a group has two words")),
            _ => Ok(Self { phrases, same }),
        }
    }
}

/// Reads the file that `synonyms` names, beside the configuration if the name is relative.
pub(super) fn read(top: &mut Reader<'_>, config: &Path) -> Vec<WordGroup> {
    let Some(name) = top.text("synonyms") else {
        return Vec::new();
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    let path = folder.join(PathBuf::from(name));
    let groups = contents(&path)
        .and_then(|text| WordGroup::read_all(&text).map_err(|error| error.to_string()));
    groups.unwrap_or_else(|why| {
        let written = top.spelling("synonyms");
        top.refuse(written, &format!("{}: {why}", path.display()));
        Vec::new()
    })
}

fn contents(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    let about = fs::metadata(path).map_err(told)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err("is not a file of words".to_owned());
    }
    fs::read_to_string(path).map_err(told)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_line_is_a_group() {
        let groups = WordGroup::read_all("# ours\n\nVault, repo, code base # all\npr = review\n");
        let groups = groups.unwrap();
        assert_eq!(groups[0].phrases, ["vault", "repo", "code base"]);
        assert_eq!(groups[1].phrases, ["pr", "review"]);
        assert_eq!((groups[0].same, groups[1].same), (false, true));
    }

    #[test]
    fn a_line_that_is_no_group_is_told() {
        for (text, line, told) in [
            ("repo", 1, "stands alone"),
            ("a1, b1\n\nrepo, vault = safe", 3, "not both"),
            ("a1, b1\nrepo,", 2, "missing"),
            ("repo, place of code", 1, "more than two"),
            (",,,", 1, "missing"),
            ("\0\u{7}, x", 1, "missing"),
        ] {
            let failed = WordGroup::read_all(text).unwrap_err();
            assert_eq!(failed.line, line, "{text}");
            assert!(failed.to_string().contains(told), "{failed}");
        }
    }

    #[test]
    fn the_file_lies_beside_the_configuration_and_a_mistake_in_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp_config.json");
        fs::write(&path, r#"{"mcpServers": {}, "synonyms": "words.txt"}"#).unwrap();
        let load = || Settings::load(&path, &HashMap::<String, String>::new());
        let missing = load().unwrap_err().to_string();
        assert!(
            missing.contains("\"synonyms\"") && missing.contains("words.txt: cannot be read"),
            "{missing}"
        );
        let words = folder.path().join("words.txt");
        fs::write(&words, "repo, vault\n").unwrap();
        let before = load().unwrap();
        assert_eq!(before.synonyms.len(), 1);
        fs::write(&words, "repo, vault\nvault\n").unwrap();
        let wrong = load().unwrap_err().to_string();
        assert!(wrong.contains("words.txt: line 2: \"vault\""), "{wrong}");
        fs::write(&words, "repo, vault\nsafe, vault\n").unwrap();
        assert!(!load().unwrap().says_the_same_as(&before));
    }
}
