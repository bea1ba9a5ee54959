//! How far away an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where what is sent to an address can be read on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On this machine only.
    Loopback,
    /// In a private network (RFC 1918, RFC 4193), as far as the address tells.
    Private,
    /// Anywhere.
    Public,
}

/// Endings of names that the public DNS does not have (RFC 6762, RFC 8375, and what
/// orchestrators use).
const PRIVATE_ENDINGS: [&str; 6] = [".local", ".internal", ".lan", ".svc", ".home.arpa", ".test"];

impl Reach {
    /// How far the host of `url` is; it is not looked up.
    pub fn of(url: &Url) -> Self {
        match url.host() {
            Some(Host::Domain(name)) => of_name(name),
            Some(Host::Ipv4(ip)) => of_ipv4(ip),
            Some(Host::Ipv6(ip)) => of_ipv6(ip),
            None => Self::Public,
        }
    }

    /// Whether what is sent there can be read by strangers.
    pub fn is_clear_text(url: &Url) -> bool {
        url.scheme() == "http" && Self::of(url) == Self::Public
    }
}

fn of_name(name: &str) -> Reach {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return Reach::Loopback;
    }
    // A bare word is a service of an orchestrator, or a machine next door.
    let is_private = !name.contains('.') || PRIVATE_ENDINGS.iter().any(|end| name.ends_with(end));
    if is_private {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn of_ipv4(ip: Ipv4Addr) -> Reach {
    if ip.is_loopback() {
        Reach::Loopback
    } else if ip.is_private() || ip.is_link_local() {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn of_ipv6(ip: Ipv6Addr) -> Reach {
    if let IpAddr::V4(ip) = ip.to_canonical() {
        return of_ipv4(ip);
    }
    if ip.is_loopback() {
        Reach::Loopback
    } else if ip.is_unique_local() || ip.is_unicast_link_local() {
        Reach::Private
    } else {
        Reach::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_how_far_it_is() {
        for (url, reach) in [
            ("http://localhost:1/", Reach::Loopback),
            ("http://kc.localhost/", Reach::Loopback),
            ("http://127.8.0.1/", Reach::Loopback),
            ("http://[::1]:8080/", Reach::Loopback),
            ("http://[::ffff:127.0.0.1]/", Reach::Loopback),
            ("http://keycloak:8080/", Reach::Private),
            ("http://kc.auth.svc.cluster.local/", Reach::Private),
            ("http://10.0.0.1/", Reach::Private),
            ("http://[fd00::1]/", Reach::Private),
            ("http://localhost.example.com/", Reach::Public),
            ("http://172.32.0.1/", Reach::Public),
            ("http://[2001:db8::1]/", Reach::Public),
        ] {
            assert_eq!(Reach::of(&url.parse().expect("a URL")), reach, "{url}");
        }
    }
}
