//! Who sent a request, as a token that was checked tells it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// The bearer of a token. Nothing in it is a secret, and all of it was vouched for by
/// the issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Who vouches.
    pub issuer: String,
    /// Whom the token is about; empty where it only names a client.
    pub sub: String,
    /// The client that was given it.
    pub client: Option<String>,
    /// What it was given for.
    pub scopes: BTreeSet<String>,
    /// Whether it is that client itself, and nobody it acts for.
    pub acts_for_itself: bool,
    /// Its roles; those in one client of the issuer's as `client/role`.
    pub roles: BTreeSet<String>,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// When the token ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// The hash of its token, where that is a user's and does not say which one's: then
    /// nobody is the same somebody but by the same token.
    pub nameless: Option<[u8; 32]>,
}

/// Which somebody it is, by whichever token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubjectKey {
    issuer: Box<str>,
    sub: Box<str>,
    client: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nameless: Option<[u8; 32]>,
}

/// Who uses a connection that nobody else may use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// Somebody whom the door knows.
    Subject(SubjectKey),
    /// Whoever has this token: the door does not ask who that is.
    Token(Fingerprint),
    /// Those who have shown no token.
    Nobody,
}

impl Subject {
    /// Who it is.
    pub fn key(&self) -> SubjectKey {
        SubjectKey {
            issuer: self.issuer.as_str().into(),
            sub: self.sub.as_str().into(),
            client: self.client.as_deref().map(Into::into),
            nameless: self.nameless,
        }
    }
}
