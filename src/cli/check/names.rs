//! What children will be called and how they are reached, as far as the file says it.

use super::report::Row;
use crate::config::{
    AuthSettings, ChildSettings, DISABLED_IN_CONFIG, Finding, ServiceSettings, Settings, ShownUrl,
    TransportSettings,
};

/// With less than this for a tool's own name, most are cut.
const ROOM: usize = 20;

/// What is known of a child before anybody connects to it.
pub(super) fn planned(child: &ChildSettings, settings: &Settings) -> Row {
    let (transport, target) = match &child.transport {
        TransportSettings::Stdio(stdio) => ("stdio", Some(stdio.command.clone())),
        TransportSettings::Http(remote) => ("http", Some(ShownUrl(&remote.url).to_string())),
        TransportSettings::Sse(remote) => ("sse", Some(ShownUrl(&remote.url).to_string())),
        TransportSettings::Unusable => ("?", None),
    };
    let state = match child.disabled.as_deref() {
        None => "used",
        Some(DISABLED_IN_CONFIG) => "off",
        Some(_) => "disabled",
    };
    Row {
        name: child.name.to_string(),
        prefix: child.prefix.clone(),
        transport,
        target,
        auth: auth(child, settings),
        state,
        reason: child.disabled.clone(),
        era: None,
        offers: None,
        ms: None,
    }
}

/// Who the child is told we are.
fn auth(child: &ChildSettings, settings: &Settings) -> &'static str {
    let (TransportSettings::Http(remote) | TransportSettings::Sse(remote)) = &child.transport
    else {
        return "none";
    };
    match &child.auth {
        _ if remote.has_own_authorization() => "header",
        AuthSettings::Service if settings.identity.service == ServiceSettings::None => "none",
        AuthSettings::Service => "service",
        AuthSettings::Own(_) => "own token",
        AuthSettings::None => "none",
        AuthSettings::Passthrough => "passthrough",
        AuthSettings::Exchange(_) => "exchange",
    }
}

/// Prefixes that leave little of a tool's own name.
pub(super) fn long_prefixes(settings: &Settings) -> Vec<Finding> {
    let used = settings
        .children
        .iter()
        .filter(|child| child.disabled.is_none());
    used.filter_map(|child| {
        let prefix = child.prefix.len();
        let room = settings.max_name_length.saturating_sub(prefix + 2);
        (prefix > 0 && room < ROOM).then(|| {
            Finding::new(
                child.name.as_str(),
                &format!(
                    "the prefix {:?} leaves {room} characters for a tool's own name; a longer one is cut",
                    child.prefix
                ),
                Some("set a shorter \"prefix\""),
            )
        })
    })
    .collect()
}
