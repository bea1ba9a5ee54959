//! Settings that are read and checked, and that this version does not act on yet.
//!
//! Silence would let an operator believe in them. Where that is dangerous, the child
//! is disabled.

use crate::config::{AuthSettings, ChildSettings, Settings};

/// Disables the children that cannot do without such a setting.
pub(super) fn sort_out(settings: &mut Settings) {
    for child in usable(&mut settings.children) {
        let cannot = match &child.auth {
            AuthSettings::Exchange(_) => "an \"auth\" with \"tokenExchange\"",
            AuthSettings::Passthrough => "\"auth\": \"passthrough\"",
            AuthSettings::Service | AuthSettings::Own(_) | AuthSettings::None => continue,
        };
        child.disabled = Some(format!(
            "entry {:?} needs {cannot}, which this version does not support yet",
            child.name.as_str()
        ));
    }
}

fn usable(children: &mut [ChildSettings]) -> impl Iterator<Item = &mut ChildSettings> {
    children.iter_mut().filter(|child| child.disabled.is_none())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;

    #[test]
    fn a_child_that_cannot_be_served_is_disabled_with_the_reason() {
        let text = r#"{"mcpServers": {
            "a": {"url": "http://localhost/sse"},
            "b": {"url": "http://localhost/mcp", "auth": "passthrough"},
            "c": {"url": "http://localhost/mcp", "auth": "none"}
        }}"#;
        let mut settings = Settings::from_json(Path::new("c.json"), text, &HashMap::new()).unwrap();
        sort_out(&mut settings);
        let disabled: Vec<_> = settings
            .children
            .iter()
            .map(|c| c.disabled.is_some())
            .collect();
        assert_eq!(disabled, [false, true, false]);
    }
}
