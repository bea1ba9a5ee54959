//! Who may come in over HTTP: the checks against DNS rebinding.
//!
//! A page in a browser can make the browser send requests to any address, also to
//! a name of its own that points at loopback. The `Host` and the `Origin` tell
//! (MCP, "Security Warning" of Streamable HTTP).

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};

/// The hosts and origins that may come in.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Entrance {
    /// Loopback names, and these: `host` or `host:port`; `scheme://host[:port]` for
    /// origins. `*` lets everybody in.
    pub fn new(hosts: Vec<String>, origins: Vec<String>) -> Self {
        let lower = |all: Vec<String>| {
            all.iter()
                .map(|one| one.trim().to_ascii_lowercase())
                .filter(|one| !one.is_empty())
                .collect()
        };
        Self {
            hosts: lower(hosts),
            origins: lower(origins),
        }
    }

    /// Checks the headers of one request.
    ///
    /// # Errors
    ///
    /// The sentence that says which setting would let it in.
    pub(super) fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
        self.admit_host(headers, uri)?;
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        if !self.knows_origin(origin) {
            return Err(format!(
                "Origin {0:?} is not allowed; start with --allowed-origin {0} (or set MCP_ALLOWED_ORIGINS) to let it in",
                shown(origin),
            ));
        }
        Ok(())
    }

    /// Checks the host alone: for what a page of any origin may read.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub(super) fn admit_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
        // HTTP/2 has no Host header, but an authority.
        let host = match headers.get(header::HOST) {
            Some(host) => host.to_str().unwrap_or_default(),
            None => uri.authority().map_or("", |authority| authority.as_str()),
        };
        if !self.knows_host(host) {
            return Err(format!(
                "Host {:?} is not allowed; start with --allowed-host {} (or set MCP_ALLOWED_HOSTS) to let it in",
                shown(host),
                shown(name_of(host).unwrap_or(host)),
            ));
        }
        Ok(())
    }

    fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some(name) = name_of(&host) else {
            return false;
        };
        is_loopback(name)
            || self.hosts.iter().any(|allowed| {
                allowed == "*" || *allowed == host || allowed.trim_matches(BRACKETS) == name
            })
    }

    fn knows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let of_loopback = origin
            .split_once("://")
            .and_then(|(_, host)| name_of(host))
            .is_some_and(is_loopback);
        let allowed = self.origins.iter();
        of_loopback || allowed.into_iter().any(|one| one == "*" || *one == origin)
    }
}

const BRACKETS: [char; 2] = ['[', ']'];

/// A host without its port, and an IPv6 address without its brackets. `None` for what
/// is no host: half of one must not pass for the whole.
fn name_of(host: &str) -> Option<&str> {
    let authority: Authority = host.parse().ok()?;
    let name = authority.host();
    let with_port = authority.port().map(|port| format!("{name}:{port}"));
    // No user, and nothing behind the port.
    let whole = host == name || Some(host) == with_port.as_deref();
    whole.then(|| {
        let start = usize::from(name.starts_with('['));
        &host[start..name.len() - start]
    })
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(entrance: &Entrance, host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        entrance.admit(&headers, &Uri::from_static("/mcp"))
    }

    #[test]
    fn loopback_comes_in_by_any_of_its_names() {
        let entrance = Entrance::default();
        for host in ["localhost:8000", "127.0.0.1", "[::1]:9", "LOCALHOST"] {
            assert_eq!(admit(&entrance, host, None), Ok(()), "{host}");
        }
        assert_eq!(
            admit(&entrance, "localhost", Some("http://localhost:6274")),
            Ok(())
        );
    }

    #[test]
    fn others_are_told_which_setting_would_let_them_in() {
        let entrance = Entrance::default();
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
            "[::2]",
            "[::1]evil.example",
            "u@localhost",
        ] {
            let refused = admit(&entrance, host, None).unwrap_err();
            assert!(refused.contains("--allowed-host"), "{refused}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost.evil.example",
            "localhost",
        ] {
            let refused = admit(&entrance, "localhost", Some(origin)).unwrap_err();
            assert!(refused.contains("--allowed-origin"), "{refused}");
        }
    }

    #[test]
    fn what_is_allowed_comes_in() {
        let entrance = Entrance::new(
            vec!["mcp.example".into(), "other.example:81".into()],
            vec!["https://app.example".into()],
        );
        assert!(admit(&entrance, "mcp.example:8000", Some("https://app.example")).is_ok());
        assert!(admit(&entrance, "other.example:81", None).is_ok());
        assert!(admit(&entrance, "other.example:82", None).is_err());
        assert!(admit(&entrance, "mcp.example", Some("http://app.example")).is_err());
        let everybody = Entrance::new(vec!["*".into()], vec!["*".into()]);
        assert!(admit(&everybody, "any.example", Some("null")).is_ok());
    }
}
