//! Policies, read from a file or from all files of a folder, and checked.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use moka::sync::Cache;
use thiserror::Error;
use tracing::warn;

use super::{
    question::Names,
    sight::{Key, Verdict},
};
use crate::protocol::ChildName;

const SCHEMA: &str = include_str!("schema.cedarschema");
/// What the name of a policy file ends in.
const EXTENSION: &str = "cedar";
/// How many answers are remembered.
const REMEMBERED: u64 = 1 << 16;

/// Policies that can be put in force.
pub struct Policy {
    pub(super) set: PolicySet,
    pub(super) names: Names,
    /// Answers that were given: they stay true for as long as these are the policies.
    pub(super) answers: Cache<Key, Verdict>,
    /// Whether this caller may know of anything of this child; as long true.
    pub(super) may_show: Cache<([u8; 32], ChildName), bool>,
    /// What stands in each file.
    texts: Vec<(PathBuf, String)>,
}

/// Why policies cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// They cannot be read.
    #[error("the policies in {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder without any.
    #[error("there is no file in {} whose name ends in .cedar", .0.display())]
    Empty(PathBuf),
    /// What is written is wrong.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The character in it, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// Ours: the schema.
    #[error("the schema of policies cannot be used: {0}")]
    Schema(String),
}

impl Policy {
    /// Reads a file, or all files of a folder whose names end in `.cedar`, in the order
    /// of their names.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let mut texts = Vec::new();
        for file in files(path)? {
            let text = fs::read_to_string(&file).map_err(unreadable(&file))?;
            texts.push((file, text));
        }
        Self::of(texts)
    }

    /// Checks these texts.
    pub(super) fn of(texts: Vec<(PathBuf, String)>) -> Result<Self, PolicyError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| PolicyError::Schema(error.to_string()))?;
        let names = Names::read().map_err(|error| PolicyError::Schema(error.to_string()))?;
        let validator = Validator::new(schema);
        let mut set = PolicySet::new();
        for (path, text) in &texts {
            let wrong = |at: usize, what: String| {
                let (line, column) = place(text, at);
                let path = path.clone();
                PolicyError::Wrong {
                    path,
                    line,
                    column,
                    what,
                }
            };
            let read = PolicySet::from_str(text).map_err(|error| {
                wrong(
                    error.iter().next().map_or(0, |first| begin(first)),
                    error.to_string(),
                )
            })?;
            if read.templates().next().is_some() {
                let slot = text.find("?principal").or_else(|| text.find("?resource"));
                let what = "templates with ?principal or ?resource are not supported";
                return Err(wrong(slot.unwrap_or(0), what.to_owned()));
            }
            let checked = validator.validate(&read, ValidationMode::Strict);
            if let Some(error) = checked.validation_errors().next() {
                return Err(wrong(begin(error), told(error)));
            }
            for warning in checked.validation_warnings() {
                let (line, column) = place(text, begin(warning));
                warn!(file = %path.display(), line, column, warning = told(warning), "a policy is odd");
            }
            let mut policies: Vec<_> = read.policies().collect();
            // Those of one file have been numbered in its order.
            policies.sort_by_key(|policy| number(policy.id()));
            for policy in policies {
                let id = policy.annotation("id").filter(|id| !id.is_empty());
                let name = id.map_or_else(
                    || {
                        let file = path.file_name().unwrap_or_default().to_string_lossy();
                        format!("{file}#{}", number(policy.id()) + 1)
                    },
                    str::to_owned,
                );
                set.add(policy.new_id(PolicyId::new(&name))).map_err(|_| {
                    let again = format!("@id(\"{name}\")");
                    wrong(
                        text.rfind(&again).unwrap_or(0),
                        format!("another policy has the id {name:?} too"),
                    )
                })?;
            }
        }
        Ok(Self {
            set,
            names,
            answers: Cache::new(REMEMBERED),
            may_show: Cache::new(REMEMBERED),
            texts,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.set.num_of_policies()
    }

    /// Whether there are none: then nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the same is written there.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("policies", &self.len())
            .finish_non_exhaustive()
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let file = entry.map_err(unreadable(path))?.path();
        if file.extension().is_some_and(|it| it == EXTENSION) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(PolicyError::Empty(path.to_owned()));
    }
    files.sort_unstable();
    Ok(files)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> PolicyError {
    let path = path.to_owned();
    move |source| PolicyError::Unreadable { path, source }
}

/// What it says, and what it advises.
fn told(diagnostic: &dyn Diagnostic) -> String {
    match diagnostic.help() {
        Some(help) => format!("{diagnostic} ({help})"),
        None => diagnostic.to_string(),
    }
}

/// Where in its text something is that Cedar complains of.
fn begin(diagnostic: &dyn Diagnostic) -> usize {
    let mut labels = diagnostic.labels().into_iter().flatten();
    labels.next().map_or(0, |label| label.offset())
}

/// The line and the character in it, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(begin..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Cedar calls those of one text `policy0`, `policy1` and so on.
fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy")
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, String> {
        Policy::of(vec![("p.cedar".into(), text.to_owned())]).map_err(|error| error.to_string())
    }

    fn refused(text: &str) -> String {
        read(text).expect_err("it is wrong")
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error =
            refused("permit(principal, action, resource);\npermit(principal, action resource);");
        assert!(error.starts_with("p.cedar:2:26: "), "{error}");
        let error = refused(
            "// ü\n  permit(principal, action, resource) when { principal.role == \"x\" };",
        );
        assert!(error.starts_with("p.cedar:2:"), "{error}");
        assert!(error.contains("role"), "{error}");
    }

    #[test]
    fn what_the_schema_does_not_know_is_refused() {
        for text in [
            "permit(principal, action == Action::\"write\", resource);",
            "permit(principal is Group, action, resource);",
            "permit(principal, action == Action::\"list\", resource) when { resource.readOnly };",
            "permit(principal, action, resource) when { principal.sub == 1 };",
            "permit(principal == ?principal, action, resource);",
        ] {
            refused(text);
        }
        let fine = "permit(principal is User, action in [Action::\"list\", Action::\"call\"], resource is Tool)
            when { resource.readOnly && principal.roles.contains(\"dev\") };";
        assert_eq!(read(fine).unwrap().len(), 1);
    }

    #[test]
    fn two_policies_of_one_id_are_refused_and_a_text_without_any_is_not() {
        let one = "@id(\"a\") permit(principal, action, resource);\n";
        let error = refused(&one.repeat(2));
        assert!(error.starts_with("p.cedar:2:1: "), "{error}");
        assert!(read("// nobody").unwrap().is_empty());
    }

    #[test]
    fn a_folder_is_read_file_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Policy::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("whose name ends in .cedar"), "{error}");
        for name in ["a.cedar", "b.cedar", "c.txt"] {
            fs::write(
                folder.path().join(name),
                "permit(principal, action, resource);",
            )
            .unwrap();
        }
        let policy = Policy::load(folder.path()).unwrap();
        let mut ids: Vec<_> = policy
            .set
            .policies()
            .map(|it| it.id().to_string())
            .collect();
        ids.sort();
        assert_eq!(ids, ["a.cedar#1", "b.cedar#1"]);
    }
}
