//! Settings that are read and checked, and that this version does not act on yet.
//!
//! Silence would let an operator believe in them. Where that is dangerous, the child
//! is disabled or the start refused.

use tracing::warn;

use super::CliError;
use crate::config::{AuthSettings, ChildSettings, Mode, SessionMode, Settings, TransportSettings};

/// Tells of every such setting, and disables the children that cannot do without.
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
    let top = [
        ("mode: dynamic", settings.mode == Mode::Dynamic),
        ("metaTools", settings.meta_tools),
        ("alwaysLoad", !settings.always_load.is_empty()),
        ("groups", !settings.groups.is_empty()),
    ];
    for (key, _) in top.into_iter().filter(|(_, set)| *set) {
        warn!(key, "this setting is not in force yet");
    }
    for child in &mut settings.children {
        sort_out_child(child);
    }
    Ok(())
}

fn sort_out_child(child: &mut ChildSettings) {
    if child.disabled.is_some() {
        return;
    }
    let cannot = match (&child.transport, &child.auth) {
        (TransportSettings::Sse(_), _) => Some("the transport \"sse\""),
        (_, AuthSettings::Custom(_)) => Some("an \"auth\" of its own"),
        (_, AuthSettings::Passthrough) => Some("\"auth\": \"passthrough\""),
        (_, AuthSettings::Service | AuthSettings::None) => None,
    };
    if let Some(what) = cannot {
        child.disabled = Some(format!(
            "entry {:?} needs {what}, which this version does not support yet",
            child.name.as_str()
        ));
        return;
    }
    let waiting = [
        (
            "session: dedicated",
            child.session == SessionMode::Dedicated,
        ),
        ("lazy", child.lazy),
    ];
    for (key, _) in waiting.into_iter().filter(|(_, set)| *set) {
        warn!(child = %child.name, key, "this setting is not in force yet");
    }
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
        assert_eq!(disabled, [true, true, false]);
    }
}
