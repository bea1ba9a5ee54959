//! The prefix of a child: which one it gets, and who owns it.

use std::collections::HashMap;

use crate::protocol::names::ChildName;

use super::child::ChildSettings;

/// Words that half of all entries carry and that tell nothing.
const NOISE: [&str; 2] = ["mcp", "server"];

/// The prefix that follows from an entry's name alone, so that adding a server
/// never renames another's tools.
pub(super) fn derived(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !NOISE.contains(word))
        .collect();
    if words.is_empty() {
        return lower.chars().map(as_name_character).collect();
    }
    words.join("_")
}

fn as_name_character(c: char) -> char {
    if c.is_ascii_alphanumeric() { c } else { '_' }
}

/// Whether a prefix an operator chose can stand in a public name.
pub(super) fn is_valid(prefix: &str) -> bool {
    prefix
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Gives each prefix to the first usable child in file order and disables the
/// later ones. A child that is disabled already claims nothing: two variants of
/// a server, one switched off, are no collision.
pub(super) fn claim(children: &mut [ChildSettings]) {
    let mut owners: HashMap<String, ChildName> = HashMap::new();
    for child in children.iter_mut() {
        if child.prefix.is_empty() || child.disabled.is_some() {
            continue;
        }
        match owners.get(&child.prefix) {
            None => {
                owners.insert(child.prefix.clone(), child.name.clone());
            }
            Some(owner) => {
                child.disabled = Some(format!(
                    "entry {:?} has the same prefix {:?} as entry {:?}, which stands before it; set \"prefix\" in one of them",
                    child.name, child.prefix, owner
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_words_are_dropped_and_other_characters_become_underscores() {
        let cases = [
            ("github-mcp", "github"),
            ("container-manager-mcp", "container_manager"),
            ("MCP Server for Jira", "for_jira"),
            ("@scope/mcp-server-time", "scope_time"),
            ("mcpanel", "mcpanel"),
            ("servers", "servers"),
            ("a..b--c", "a_b_c"),
            ("Größe", "gr_e"),
        ];
        for (name, prefix) in cases {
            assert_eq!(derived(name), prefix, "{name}");
        }
    }

    #[test]
    fn a_name_of_noise_alone_stays_whole() {
        assert_eq!(derived("mcp"), "mcp");
        assert_eq!(derived("MCP-server"), "mcp_server");
        assert_eq!(derived("日本"), "__");
        assert_eq!(derived("--"), "__");
    }

    #[test]
    fn a_chosen_prefix_may_hold_what_a_public_name_may() {
        assert!(is_valid("gh.v2-x_Y"));
        assert!(is_valid(""));
        assert!(!is_valid("a b"));
        assert!(!is_valid("ü"));
        assert!(!is_valid("a/b"));
    }

    #[test]
    fn a_derived_prefix_is_always_a_valid_one() {
        for name in ["", "ẞ", "a\nb", "İstanbul", "🦀-mcp"] {
            assert!(is_valid(&derived(name)), "{name:?}");
        }
    }
}
