//! What is odd in the configuration and yet no reason to stop.

use std::fmt;

/// Something the operator should look at; the program runs all the same.
///
/// `Display` gives one plain sentence that names the entry and the key. It
/// never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(String);

impl Warning {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
