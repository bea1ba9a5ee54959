//! A JSON file of somebody else's, edited in place: what we do not touch stays as it is,
//! its comments, its order and its line breaks among it.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::Utc;
use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstObject, CstRootNode},
};
use serde_json::Value;
use similar::TextDiff;
use tempfile::NamedTempFile;

use super::CliError;

/// A value to be written.
pub(super) type Input = CstInputValue;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// An object of these members, in this order.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Input)>) -> Input {
    let members = members.into_iter();
    Input::Object(
        members
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// What clients of today read: JSON, where they allow it with comments.
pub(super) fn with_comments() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// A file that is being edited.
pub(super) struct Document {
    /// Where it really is: a link is followed.
    path: PathBuf,
    /// What stood there; `None`: there is no such file.
    before: Option<String>,
    root: CstRootNode,
}

impl Document {
    /// Reads a file, or begins one where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let refused = || CliError::io(path.display().to_string());
        let (path, before) = match fs::canonicalize(path) {
            Ok(real) => {
                let text = fs::read_to_string(&real).map_err(refused())?;
                (real, Some(text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(refused()(error)),
        };
        let text = before.as_deref().unwrap_or_default();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        let root = CstRootNode::parse(text, &with_comments()).map_err(|error| {
            // Its own words may quote the file.
            CliError::Broken(format!(
                "{}:{}:{}: not valid JSON; nothing is written",
                path.display(),
                error.line_display(),
                error.column_display()
            ))
        })?;
        Ok(Self { path, before, root })
    }

    /// The object at a key of the top; made if it is not there.
    pub(super) fn object(&self, key: &str) -> Result<CstObject, CliError> {
        let top = self.root.object_value_or_create();
        let found = top.and_then(|top| top.object_value_or_create(key));
        found.ok_or_else(|| {
            CliError::Broken(format!(
                "{}: {key:?} is no object; nothing is written",
                self.path.display()
            ))
        })
    }

    /// Sets a member of an object, unless it says the same already.
    pub(super) fn set(within: &CstObject, key: &str, value: Input) {
        match within.get(key) {
            Some(member)
                if member.value().and_then(|now| now.to_serde_value()) == Some(plain(&value)) => {}
            Some(member) => member.set_value(value),
            None => {
                within.append(key, value);
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it would be.
    pub(super) fn text(&self) -> String {
        let mut text = self.root.to_string();
        if !text.ends_with('\n')
            && self
                .before
                .as_ref()
                .is_none_or(|text| text.trim().is_empty())
        {
            text.push('\n');
        }
        match self
            .before
            .as_ref()
            .is_some_and(|text| text.starts_with(BYTE_ORDER_MARK))
        {
            true => format!("{BYTE_ORDER_MARK}{text}"),
            false => text,
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.text())
    }

    /// The lines that change when `ours` stands in it. Those of others, which move or are
    /// broken anew, are not shown: their secrets are none of our business.
    pub(super) fn difference(&self, ours: &Input) -> String {
        let after = self.text();
        let path = self.path.display().to_string();
        let ours = pretty(ours);
        let ours: Vec<_> = ours.lines().map(bare).collect();
        let is_shown = |line: &str| {
            let line = bare(line);
            ours.contains(&line) || line.chars().all(|c| "{}[]".contains(c))
        };
        let lines = TextDiff::from_lines(self.before.as_deref().unwrap_or_default(), &after);
        let text = lines
            .unified_diff()
            .context_radius(0)
            .header(&path, &path)
            .to_string();
        let lines = text.lines().enumerate().map(|(at, line)| {
            let is_heading = at < 2 || line.starts_with("@@");
            match line.chars().next() {
                Some(sign @ ('+' | '-')) if !is_heading && !is_shown(&line[1..]) => {
                    format!("{sign}(a line that is not ours)")
                }
                _ => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Writes it, whole or not at all. Gives the copy that was made of what stood there.
    pub(super) fn write(&self) -> Result<Option<PathBuf>, CliError> {
        let refused = || CliError::io(self.path.display().to_string());
        let now = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused()(error)),
        };
        if now != self.before {
            return Err(CliError::Broken(format!(
                "{} has been changed by somebody else in the meantime; nothing is written\n\
                 hint: end the client, and try again",
                self.path.display()
            )));
        }
        let backup = match &self.before {
            Some(_) => Some(self.back_up().map_err(refused())?),
            None => None,
        };
        let permissions = fs::metadata(&self.path).ok().map(|it| it.permissions());
        replace(&self.path, self.text().as_bytes(), permissions).map_err(refused())?;
        Ok(backup)
    }

    fn back_up(&self) -> io::Result<PathBuf> {
        let time = Utc::now().format("%Y%m%d-%H%M%S%.3f");
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{time}.bak"));
        let backup = PathBuf::from(name);
        // With its mode, which may be what keeps others out.
        fs::copy(&self.path, &backup)?;
        Ok(backup)
    }
}

/// Puts a file in another's place, so that nobody ever reads half of it. Without
/// permissions it is for its owner alone.
pub(super) fn replace(
    path: &Path,
    contents: &[u8],
    permissions: Option<Permissions>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(contents)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A line without what depends on where it stands.
fn bare(line: &str) -> &str {
    line.trim().trim_end_matches(',')
}

/// A value as it will be read.
pub(super) fn plain(value: &Input) -> Value {
    match value {
        Input::Null => Value::Null,
        Input::Bool(flag) => (*flag).into(),
        Input::Number(number) => serde_json::from_str(number).unwrap_or_default(),
        Input::String(text) => text.as_str().into(),
        Input::Array(items) => items.iter().map(plain).collect(),
        Input::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
    }
}

/// A value as it will be written.
pub(super) fn pretty(value: &Input) -> String {
    let root = CstRootNode::parse("{}", &with_comments()).ok();
    root.map_or_else(String::new, |root| {
        root.set_value(value.clone());
        root.to_string()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ours() -> Input {
        object([(
            "servers",
            object([("us", object([("command", "x".into())]))]),
        )])
    }

    fn edited(text: &str) -> (tempfile::TempDir, Document) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let document = Document::open(&path).unwrap();
        let servers = document.object("servers").unwrap();
        Document::set(&servers, "us", object([("command", "x".into())]));
        (folder, document)
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let text = "// mine\n{\n\t\"z\": 1, // first\n\t\"servers\": {\n\t\t\"a\": {\"b\": [1,2]},\n\t},\n\t\"a\": 1e2\n}\n";
        let (_folder, document) = edited(text);
        let after = document.text();
        for line in text.lines().filter(|line| !line.contains("\"a\": {")) {
            assert!(after.contains(line), "{line:?} in\n{after}");
        }
        assert!(after.contains("\"a\": {\"b\": [1,2]}"), "{after}");
        assert!(
            after.contains("\t\t\"us\": {\n\t\t\t\"command\": \"x\",\n\t\t},"),
            "{after}"
        );
    }

    #[test]
    fn it_is_written_with_a_copy_of_what_stood_there_and_the_same_mode() {
        let (_folder, document) = edited("{\"servers\": {}}");
        let backup = document.write().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), "{\"servers\": {}}");
        for path in [&backup, &document.path] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{}", path.display());
        }
        let again = Document::open(&document.path).unwrap();
        let servers = again.object("servers").unwrap();
        Document::set(&servers, "us", object([("command", "x".into())]));
        assert!(!again.is_changed(), "{}", again.difference(&ours()));
    }

    #[test]
    fn what_changed_in_the_meantime_is_not_lost() {
        let (_folder, document) = edited("{}");
        fs::write(&document.path, "{\"new\": 1}").unwrap();
        document.write().unwrap_err();
        assert_eq!(fs::read_to_string(&document.path).unwrap(), "{\"new\": 1}");
    }

    #[test]
    fn what_is_no_json_or_no_object_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        for text in [
            "{\"a\": hunter2}",
            "{'a': 1}",
            "[1]",
            "{\"servers\": \"hunter2\"}",
        ] {
            fs::write(&path, text).unwrap();
            let refused = Document::open(&path).and_then(|it| it.object("servers").map(drop));
            let told = refused.unwrap_err().to_string();
            assert!(
                !told.contains("hunter2") && told.contains("nothing is written"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_difference_shows_no_neighbours() {
        let (_folder, document) = edited(
            "{\n  \"servers\": {\n    \"a\": {\n      \"env\": \"hunter2\"\n    }\n  }\n}\n",
        );
        let shown = document.difference(&ours());
        assert!(shown.contains("+    \"us\": {"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let one_line = format!("{{\"servers\": {{\"a\": \"{}\"}}}}", "hunter2".repeat(100));
        let shown = edited(&one_line).1.difference(&ours());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
