//! Who sent a request, as a token that was checked tells it.

use std::collections::BTreeSet;

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
    /// Its roles; those in one client of the issuer's as `client/role`.
    pub roles: BTreeSet<String>,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// When the token ends, in seconds since 1970.
    pub expires: Option<u64>,
}

impl Subject {
    /// Whether both are the same somebody, by whichever token.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.sub == other.sub && self.client == other.client
    }
}
