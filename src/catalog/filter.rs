//! Which of a child's tools are offered.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// `enabledTools` and `disabledTools` of one entry: globs on the child's own names.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    enabled: Option<GlobSet>,
    disabled: GlobSet,
}

impl Filter {
    /// An empty `enabled` lets everything through that `disabled` does not name.
    ///
    /// # Errors
    ///
    /// The first pattern that is no glob.
    pub fn new(enabled: &[String], disabled: &[String]) -> Result<Self, globset::Error> {
        Ok(Self {
            enabled: match enabled {
                [] => None,
                patterns => Some(compile(patterns)?),
            },
            disabled: compile(disabled)?,
        })
    }

    /// Whether the tool of this own name is offered.
    pub fn allows(&self, own: &str) -> bool {
        self.enabled.as_ref().is_none_or(|set| set.is_match(own)) && !self.disabled.is_match(own)
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(enabled: &[&str], disabled: &[&str]) -> Filter {
        let owned =
            |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(enabled), &owned(disabled)).unwrap()
    }

    #[test]
    fn without_patterns_everything_is_offered() {
        assert!(filter(&[], &[]).allows("anything"));
    }

    #[test]
    fn disabled_wins_over_enabled() {
        let filter = filter(&["get_*", "list_?"], &["get_secret*"]);
        assert!(filter.allows("get_user") && filter.allows("list_a"));
        assert!(!filter.allows("get_secrets") && !filter.allows("list_ab"));
    }
}
