//! Keeps an entry's secrets out of what its child says.
//!
//! A child may repeat the token it was given, in an error or on stderr. What
//! operators are shown of its words must not.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{ChildSettings, TransportSettings};

/// Shorter values are flags and numbers; masking those would only garble the text.
const SHORTEST: usize = 6;
const MASK: &str = "[secret]";

/// The values that must not be shown; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Mask(Arc<[SecretString]>);

impl Mask {
    /// Everything in an entry that is given to its child in confidence.
    pub(super) fn of(settings: &ChildSettings) -> Self {
        let mut secrets: Vec<SecretString> = Vec::new();
        match &settings.transport {
            TransportSettings::Stdio(stdio) => {
                secrets.extend(stdio.env.iter().map(|(_, value)| value.clone()));
            }
            TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
                for value in remote.headers.values() {
                    let text = value.to_str().unwrap_or_default();
                    // "Bearer x": the x alone is the secret, too.
                    let parts = std::iter::once(text).chain(text.split(' '));
                    secrets.extend(parts.map(SecretString::from));
                }
                secrets.extend(remote.url.password().map(SecretString::from));
                secrets.extend(remote.url.query().map(SecretString::from));
            }
            TransportSettings::Unusable => {}
        }
        secrets.retain(|secret| secret.expose_secret().len() >= SHORTEST);
        // The longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(secrets.into())
    }

    /// `text` with every secret in it replaced.
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose_secret(), MASK)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_was_given_in_confidence_is_not_shown() {
        let text = r#"{"mcpServers": {
            "a": {"command": "x", "env": {"TOKEN": "hunter2hunter2", "DEBUG": "1"}},
            "b": {"url": "https://u:passw0rd@h/mcp?key=abcdef", "headers": {"Authorization": "Bearer s3cr3t-t0ken"}}
        }}"#;
        let settings = Settings::from_json(Path::new("c.json"), text, &HashMap::new()).unwrap();
        let shown: Vec<_> = settings
            .children
            .iter()
            .map(|child| Mask::of(child).apply("1 hunter2hunter2 s3cr3t-t0ken passw0rd key=abcdef"))
            .collect();
        assert_eq!(
            shown,
            [
                "1 [secret] s3cr3t-t0ken passw0rd key=abcdef",
                "1 hunter2hunter2 [secret] [secret] [secret]"
            ]
        );
    }
}
