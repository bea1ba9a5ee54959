//! The token that a client has shown, for children that check their users themselves.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// A client's own token; clones are the same one. Shown nowhere.
#[derive(Clone)]
pub struct Bearer(Arc<Shown>);

struct Shown {
    token: SecretString,
    fingerprint: OnceLock<Fingerprint>,
}

/// Which token it is, without being it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Bearer {
    /// The token as it stands in a header, after the scheme.
    pub fn new(token: &str) -> Self {
        Self(Arc::new(Shown {
            token: token.into(),
            fingerprint: OnceLock::new(),
        }))
    }

    /// The token itself.
    pub fn secret(&self) -> &SecretString {
        &self.0.token
    }

    /// Which one it is.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = || Fingerprint(Sha256::digest(self.0.token.expose_secret()).into());
        *self.0.fingerprint.get_or_init(hash)
    }

    /// The value of `Authorization`, marked sensitive; `None` for what no header can hold.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = SecretString::from(format!("Bearer {}", self.0.token.expose_secret()));
        let mut header = HeaderValue::from_str(text.expose_secret()).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

/// Whoever has a hash of a token can tell whose a token is.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_fingerprint_and_shown_nowhere() {
        let bearer = Bearer::new("hunter2");
        assert_eq!(bearer.fingerprint(), Bearer::new("hunter2").fingerprint());
        assert_ne!(bearer.fingerprint(), Bearer::new("hunter3").fingerprint());
        let header = bearer.header().unwrap();
        assert_eq!(header, "Bearer hunter2");
        let shown = format!("{bearer:?} {:?} {header:?}", bearer.fingerprint());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
