//! Which tools dynamic mode lists without being asked to.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::protocol::{ChildName, PublicName};

/// The tools that every client sees listed in dynamic mode.
#[derive(Clone, Debug, Default)]
pub struct AlwaysListed {
    tools: GlobSet,
    children: GlobSet,
}

impl AlwaysListed {
    /// Those whose public names, or the names of whose children, fit one of these globs.
    /// What is no glob fits nothing.
    pub fn new(tools: &[String], children: &[String]) -> Self {
        Self {
            tools: compile(tools),
            children: compile(children),
        }
    }

    /// Whether this tool is one of them.
    pub fn holds(&self, name: &PublicName, child: &ChildName) -> bool {
        self.tools.is_match(name.as_str()) || self.children.is_match(child.as_str())
    }
}

fn compile(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in patterns.iter().filter_map(|it| Glob::new(it).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_listed_for_its_own_name_or_for_its_child() {
        let always = AlwaysListed::new(&["git__*_issue".into()], &["clock".into(), "s*".into()]);
        let holds = |name: &str, child: &str| always.holds(&name.into(), &child.into());
        assert!(holds("git__get_issue", "git"));
        assert!(!holds("git__get_issues", "git"));
        assert!(holds("now", "clock") && holds("a__b", "search"));
        assert!(!holds("clock__now", "other"));
        assert!(!AlwaysListed::default().holds(&"a".into(), &"b".into()));
    }
}
