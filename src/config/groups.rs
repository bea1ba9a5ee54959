//! `groups`: names for several children that are served together.

use std::collections::HashSet;

use super::{child::ChildSettings, collections::Text, keys, reader::Reader, shown::quoted};
use crate::protocol::names::ChildName;

/// Reads `groups` in file order. A member that is no entry is left out with a
/// warning: an entry that was removed must not stop the others.
pub(super) fn read(
    reader: &mut Reader<'_>,
    children: &[ChildSettings],
) -> Vec<(String, Vec<ChildName>)> {
    let known: HashSet<&str> = children.iter().map(|child| child.name.as_str()).collect();
    let Some(lists) = reader.lists("groups") else {
        return Vec::new();
    };
    let mut groups = Vec::with_capacity(lists.len());
    for (group, members) in lists {
        let mut names = Vec::with_capacity(members.len());
        let mut seen = HashSet::new();
        for member in &members {
            let name = member.expanded.as_str();
            if !known.contains(name) {
                reader.warn(&unknown(group, member, &known));
            } else if seen.insert(name) {
                names.push(ChildName::from(name));
            }
        }
        groups.push((group.to_owned(), names));
    }
    groups
}

fn unknown(group: &str, member: &Text<'_>, known: &HashSet<&str>) -> String {
    let nearest = keys::nearest(known.iter().copied(), &member.expanded);
    let nearest = nearest.map_or(String::new(), |name| {
        format!("; the nearest one is {name:?}")
    });
    format!(
        "the group {} names {}, which is no entry of \"mcpServers\" and is left out{nearest}",
        quoted(group),
        quoted(member.raw)
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::Settings;

    fn settings(text: &str) -> Settings {
        let env: HashMap<String, String> = HashMap::new();
        Settings::from_json(Path::new("c.json"), text, &env).expect("valid")
    }

    #[test]
    fn a_group_keeps_its_known_members_and_warns_about_the_others() {
        let text = r#"{
            "mcpServers": {"github-mcp": {"command": "a"}, "b": {"command": "a"}},
            "groups": {"z": ["b", "github-mcp", "b"], "dev": ["github"]}
        }"#;
        let settings = settings(text);
        let groups = &settings.groups;
        assert_eq!(groups[0].0, "z");
        assert_eq!(groups[0].1, [ChildName::from("b"), "github-mcp".into()]);
        assert_eq!(groups[1], ("dev".into(), vec![]));
        assert!(
            settings.warnings[0]
                .to_string()
                .contains(r#"the nearest one is "github-mcp""#)
        );
    }
}
