//! Words of ours that clients carry for a while and give back: signed, so that nothing
//! comes back that was not given.
//!
//! They are not sealed: whoever holds one can read it.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};

/// The length of a tag, in bytes.
const TAG: usize = 32;

/// Signs, and knows its own signature.
#[derive(Clone)]
pub struct Signer(hmac::Key);

/// Without the key.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Whoever has the same key knows this one's signature.
    pub fn from_key(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// With a key that nobody else has. `None` if the system gives no random numbers.
    pub fn random() -> Option<Self> {
        let mut key = [0; TAG];
        // From the system: the library's own source takes milliseconds to get going.
        OsRng.try_fill_bytes(&mut key).ok()?;
        Some(Self::from_key(&key))
    }

    /// `payload` and its signature, in characters that headers and URLs take as they
    /// are. What is signed for one purpose is nothing for another.
    pub fn sign(&self, purpose: &str, payload: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &signed(purpose, payload));
        BASE64_URL_SAFE_NO_PAD.encode([tag.as_ref(), payload].concat())
    }

    /// The signature alone, for a payload that whoever looks at it knows.
    pub fn tag(&self, purpose: &str, payload: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &signed(purpose, payload));
        BASE64_URL_SAFE_NO_PAD.encode(tag)
    }

    /// Whether that is this one's signature of it.
    pub fn has_tagged(&self, purpose: &str, payload: &[u8], tag: &str) -> bool {
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag);
        tag.is_ok_and(|tag| hmac::verify(&self.0, &signed(purpose, payload), &tag).is_ok())
    }

    /// What was signed; `None` if it was not by this key and for this purpose.
    pub fn open(&self, purpose: &str, token: &str) -> Option<Vec<u8>> {
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tag, payload) = token.split_at_checked(TAG)?;
        hmac::verify(&self.0, &signed(purpose, payload), tag).ok()?;
        Some(payload.to_vec())
    }
}

/// The zero keeps apart where a purpose ends and what it is for begins.
fn signed(purpose: &str, payload: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), &[0], payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_comes_back() {
        let signer = Signer::from_key(b"key");
        let token = signer.sign("call", b"\x00payload\xff");
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        let same = Signer::from_key(b"key");
        assert_eq!(same.open("call", &token).unwrap(), b"\x00payload\xff");
        assert_eq!(
            signer.open("call", &signer.sign("call", b"")),
            Some(Vec::new())
        );
    }

    #[test]
    fn a_tag_is_of_one_payload() {
        let signer = Signer::from_key(b"key");
        let tag = signer.tag("task", b"payload");
        assert!(signer.has_tagged("task", b"payload", &tag));
        for (purpose, payload) in [("task", &b"other"[..]), ("call", b"payload")] {
            assert!(!signer.has_tagged(purpose, payload, &tag));
        }
        assert!(!Signer::from_key(b"other").has_tagged("task", b"payload", &tag));
        assert!(!signer.has_tagged("task", b"payload", ""));
    }

    #[test]
    fn another_key_another_purpose_and_another_word_are_refused() {
        let signer = Signer::from_key(b"key");
        let token = signer.sign("call", b"payload");
        assert_eq!(Signer::from_key(b"other").open("call", &token), None);
        assert_eq!(Signer::random().unwrap().open("call", &token), None);
        assert_eq!(signer.open("session", &token), None);
        for at in 0..token.len() - 1 {
            let mut bent = token.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert_eq!(signer.open("call", &bent), None, "{bent}");
        }
        for token in ["", "AAAA", "not base64!", &token[..40]] {
            assert_eq!(signer.open("call", token), None, "{token}");
        }
    }
}
