//! To whom a token of ours may go.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use url::Url;

use crate::config::{
    environment::{Environment, setting},
    error::ConfigError,
};

const NAME: &str = "MCP_CLIENT_AUTH_HOSTS";

/// `MCP_CLIENT_AUTH_HOSTS`: globs, separated by commas, on a child's host or, where a
/// glob holds a colon, on its `host:port`. `*` stands within one label, `**` for any
/// number of them; an IPv6 address in brackets stands for itself. Letter case does not
/// matter.
#[derive(Clone)]
pub struct TokenHosts {
    written: String,
    hosts: GlobSet,
    with_port: GlobSet,
}

impl TokenHosts {
    pub(super) fn read(env: &dyn Environment) -> Result<Option<Self>, ConfigError> {
        setting(env, NAME).map(|text| Self::new(&text)).transpose()
    }

    /// The hosts that these globs name.
    ///
    /// # Errors
    ///
    /// Which is no glob.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let mut sets = [GlobSetBuilder::new(), GlobSetBuilder::new()];
        let globs = text.split(',').map(str::trim).filter(|g| !g.is_empty());
        for glob in globs {
            let pattern = match glob.split_once(']') {
                Some((address, rest)) if address.starts_with('[') && address.contains(':') => {
                    format!("{}{rest}", globset::escape(&format!("{address}]")))
                }
                // Or else such a class would stand for the end of a label, too.
                _ => glob.replace("[!", "[!.").replace("[^", "[^."),
            };
            let compiled = GlobBuilder::new(&labels(&pattern))
                .case_insensitive(true)
                .literal_separator(true)
                .build()
                .map_err(unusable)?;
            // The colons of an IPv6 address stand in brackets.
            let after_address = glob.rsplit(']').next().unwrap_or(glob);
            sets[usize::from(after_address.contains(':'))].add(compiled);
        }
        let [hosts, with_port] = sets.map(|set| set.build().map_err(unusable));
        Ok(Self {
            written: text.to_owned(),
            hosts: hosts?,
            with_port: with_port?,
        })
    }

    /// Whether a token may go there.
    pub fn allow(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        self.hosts.is_match(labels(host))
            || self.with_port.is_match(labels(&format!("{host}:{port}")))
    }
}

/// With the labels apart as globs have folders apart.
fn labels(host: &str) -> String {
    host.replace('.', "/")
}

fn unusable(error: globset::Error) -> ConfigError {
    ConfigError::Variable {
        problem: format!("{NAME}: not a glob: {}", error.kind()),
    }
}

impl PartialEq for TokenHosts {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl fmt::Debug for TokenHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenHosts").field(&self.written).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(globs: &str, url: &str) -> bool {
        TokenHosts::new(globs)
            .expect("globs")
            .allow(&url.parse().expect("a URL"))
    }

    #[test]
    fn a_glob_is_matched_against_the_host_and_with_a_colon_against_its_port_too() {
        for (globs, url, yes) in [
            ("*.corp.example", "https://a.corp.example/mcp", true),
            ("*.corp.example", "https://A.CORP.EXAMPLE/mcp", true),
            ("*.corp.example", "https://corp.example/mcp", false),
            ("*.corp.example", "https://a.corp.example.evil/mcp", false),
            ("x, agent-*", "http://agent-7:8000/mcp", true),
            ("agent-*:8000", "http://agent-7:8000/mcp", true),
            ("agent-*:8000", "http://agent-7:8001/mcp", false),
            ("agent-*:443", "https://agent-7/mcp", true),
            ("127.0.0.1", "http://127.0.0.1:1/", true),
            ("127.0.0.*", "http://127.0.0.evil.example/", false),
            ("agent-*", "http://agent-x.evil.example/", false),
            ("*.corp.example", "http://a.b.corp.example/", false),
            ("agent-[!x]evil", "http://agent-.evil/", false),
            ("agent-[!x]", "http://agent-y/", true),
            ("[ab]-x", "http://a-x/", true),
            ("**.corp.example", "http://a.b.corp.example/", true),
            ("[::1]", "http://[::1]:8000/", true),
            ("[::1]:8000", "http://[::1]:8000/", true),
            ("[::1]:8001", "http://[::1]:8000/", false),
            (",", "http://h/", false),
        ] {
            assert_eq!(allowed(globs, url), yes, "{globs} {url}");
        }
    }

    #[test]
    fn what_is_no_glob_is_refused_by_the_name_of_the_variable() {
        let error = TokenHosts::new("a[").expect_err("refused");
        assert!(error.to_string().contains(NAME));
    }
}
