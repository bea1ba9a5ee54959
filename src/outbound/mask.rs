//! Keeps an entry's secrets out of what its child says.
//!
//! A child may repeat the token it was given, in an error or on stderr. What
//! operators are shown of its words must not.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use base64::{Engine, prelude::BASE64_STANDARD};
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, credentials::UserTokens};
use crate::{
    config::{ChildSettings, TransportSettings},
    identity::Identity,
};

/// Shorter values are flags and numbers; masking those would only garble the text.
const SHORTEST: usize = 6;
const MASK: &str = "[secret]";

/// A JWT, wherever it stands (RFC 7519: its header is a JSON object in base64url).
static JWT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"eyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]+){1,4}").ok());

/// The values that must not be shown; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// What the entry itself holds.
    own: Arc<[SecretString]>,
    /// Whose token the child is given.
    identity: Arc<ArcSwapOption<Identity>>,
    /// What the user has shown whose own connection it is.
    user: Option<Arc<UserTokens>>,
}

impl Mask {
    /// Everything in an entry that is given to its child in confidence.
    pub(super) fn of(settings: &ChildSettings, user: Option<Arc<UserTokens>>) -> Self {
        let mut secrets: Vec<SecretString> = Vec::new();
        match &settings.transport {
            TransportSettings::Stdio(stdio) => {
                for (_, value) in &stdio.env {
                    // A key file's lines come one by one on stderr.
                    let lines = value.expose_secret().lines();
                    secrets.extend(lines.map(SecretString::from));
                    secrets.push(value.clone());
                }
            }
            TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
                for value in remote.headers.values() {
                    let text = value.to_str().unwrap_or_default();
                    // "Bearer x": the x alone is the secret, too.
                    let parts = std::iter::once(text).chain(text.split(' '));
                    secrets.extend(parts.map(SecretString::from));
                }
                let url = &remote.url;
                let (user, password) = (url.username(), url.password().unwrap_or_default());
                let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
                let parts = [user, password, &basic, url.query().unwrap_or_default()];
                secrets.extend(parts.map(SecretString::from));
            }
            TransportSettings::Unusable => {}
        }
        secrets.retain(|secret| secret.expose_secret().len() >= SHORTEST);
        // The longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self {
            own: secrets.into(),
            identity: Arc::default(),
            user,
        }
    }

    /// From now on the child is given the token of this identity; `None`: of none.
    pub(super) fn hides(&self, identity: Option<Identity>) {
        self.identity.store(identity.map(Arc::new));
    }

    /// `text` with every secret in it replaced, and whatever looks like a token.
    pub(super) fn apply(&self, text: &str) -> String {
        let identity = self.identity.load();
        let given = identity.as_ref().map(|identity| identity.credentials());
        let mut given = given.unwrap_or_default();
        given.extend(self.user.iter().flat_map(|user| user.secrets()));
        let long_enough = |secret: &&SecretString| secret.expose_secret().len() >= SHORTEST;
        let given = given.iter().filter(long_enough);
        let secrets = self.own.iter().chain(given);
        let text = secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose_secret(), MASK)
        });
        let text = match &*JWT {
            Some(jwt) => jwt.replace_all(&text, MASK).into_owned(),
            // It is a fixed expression; without it nothing could be told apart.
            None => MASK.to_owned(),
        };
        let mut after_bearer = false;
        let words = text.split_inclusive(char::is_whitespace).map(|word| {
            let bare = word.trim();
            let token = bare.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_token = token.len() >= SHORTEST && after_bearer && token != "secret";
            after_bearer = token.eq_ignore_ascii_case("bearer");
            if is_token {
                word.replace(token, MASK)
            } else {
                word.to_owned()
            }
        });
        words.collect()
    }

    /// A child's own words as operators may see them: masked, bounded, and without
    /// control characters, which could forge log lines or drive a terminal.
    pub(super) fn shown(&self, text: &str) -> String {
        const SHOWN: usize = 300;
        let masked = self.apply(text);
        let mut rest = masked.chars().filter(|c| !c.is_control());
        let mut shown: String = rest.by_ref().take(SHOWN).collect();
        if rest.next().is_some() {
            shown.push('…');
        }
        shown
    }

    /// Reason and detail of a failure, for operators.
    pub(super) fn told_in_full(&self, failure: &Failure) -> String {
        match &failure.detail {
            Some(detail) => format!("{} ({})", failure.reason, self.shown(detail)),
            None => failure.reason.clone(),
        }
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
            .map(|child| {
                Mask::of(child, None).apply("1 hunter2hunter2 s3cr3t-t0ken passw0rd key=abcdef")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1 [secret] s3cr3t-t0ken passw0rd key=abcdef",
                "1 hunter2hunter2 [secret] [secret] [secret]"
            ]
        );
    }

    #[test]
    fn what_looks_like_a_token_is_not_shown_and_the_rest_is_bounded() {
        let mask = Mask {
            own: Arc::new([]),
            identity: Arc::default(),
            user: None,
        };
        assert_eq!(
            mask.shown("bad \"eyJhbGciOi.eyJpc3Mi.c2ln\"\n Bearer abc123def, said \u{1b}[31mit"),
            "bad \"[secret]\" Bearer [secret], said [31mit"
        );
        for around in ["token={}", r#"{"token":"{}"}"#, "<jwt:{}>"] {
            let said = around.replace("{}", "eyJhbGciOi.eyJpc3Mi.c2ln");
            assert_eq!(mask.shown(&said), around.replace("{}", "[secret]"));
        }
        assert_eq!(mask.shown(&"x".repeat(999)).chars().count(), 301);
    }
}
