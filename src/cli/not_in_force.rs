//! Settings that are read and checked, and that this version does not act on yet.
//!
//! Silence would let an operator believe in them. Where that is dangerous, the child
//! is disabled or the start refused.

use super::CliError;
use crate::config::{AuthSettings, ChildSettings, Settings};

/// Disables the children that cannot do without such a setting.
///
/// # Errors
///
/// A top-level `auth`: whoever wrote it believes that callers are authenticated.
pub(super) fn sort_out(settings: &mut Settings) -> Result<(), CliError> {
    if settings.auth.is_some() {
        return Err(CliError::Usage(
            "the configuration's top-level \"auth\" asks that callers be authenticated, which this \
             version cannot do: take it out, and keep the address private"
                .to_owned(),
        ));
    }
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
    Ok(())
}

fn usable(children: &mut [ChildSettings]) -> impl Iterator<Item = &mut ChildSettings> {
    children.iter_mut().filter(|child| child.disabled.is_none())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;

    fn sorted_out(text: &str) -> Result<Settings, CliError> {
        let mut settings = Settings::from_json(Path::new("c.json"), text, &HashMap::new()).unwrap();
        sort_out(&mut settings).map(|()| settings)
    }

    #[test]
    fn a_lock_that_would_not_lock_stops_the_start() {
        let text = r#"{"mcpServers": {}, "auth": {"mode": "strict"}}"#;
        assert!(sorted_out(text).is_err());
    }

    #[test]
    fn a_child_that_cannot_be_served_is_disabled_with_the_reason() {
        let text = r#"{"mcpServers": {
            "a": {"url": "http://localhost/sse"},
            "b": {"url": "http://localhost/mcp", "auth": "passthrough"},
            "c": {"url": "http://localhost/mcp", "auth": "none"}
        }}"#;
        let settings = sorted_out(text).unwrap();
        let disabled: Vec<_> = settings
            .children
            .iter()
            .map(|c| c.disabled.is_some())
            .collect();
        assert_eq!(disabled, [false, true, false]);
    }
}
