//! Where clients see us: the address of `/mcp` and of its views, as they know it.

use std::net::IpAddr;

use http::{
    HeaderMap, Uri,
    header::{HOST, HeaderName},
    request::Parts,
};
use ipnet::IpNet;
use url::Url;

/// Where a resource's metadata is, before the resource's own path (RFC 9728, 3).
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The same for the authorization server's own (RFC 8414, 3).
pub(super) const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// Where clients are registered: also where those look who find no document at all (MCP
/// 2025-03-26, "Fallbacks for Servers without Metadata Discovery").
pub(super) const REGISTRATION: &str = "/register";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of the connection a request came by.
#[derive(Clone, Copy, Debug)]
pub(in crate::inbound) struct Peer(pub(in crate::inbound) IpAddr);

/// What is looked at of a request.
pub(super) struct Seen<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) uri: &'a Uri,
    pub(super) peer: Option<IpAddr>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(head: &'a Parts) -> Self {
        Self {
            headers: &head.headers,
            uri: &head.uri,
            peer: head.extensions.get::<Peer>().map(|peer| peer.0),
        }
    }
}

/// Where clients see us.
pub(super) struct Place {
    /// As it was configured.
    resource: Option<Url>,
    proxies: Vec<IpNet>,
}

impl Place {
    pub(super) fn new(resource: Option<Url>, proxies: Vec<IpNet>) -> Self {
        Self { resource, proxies }
    }

    /// Whether what is told depends on what a request says of itself.
    pub(super) fn depends_on_request(&self) -> bool {
        self.resource.is_none()
    }

    /// For whom a token may be meant that is shown at this path: for what is asked, or
    /// for all of `/mcp`. Empty where that would be for the sender to say.
    pub(super) fn resources(&self, seen: &Seen<'_>) -> Vec<String> {
        let Some(resource) = &self.resource else {
            return Vec::new();
        };
        let whole = resource.as_str().to_owned();
        match view(seen.uri.path()) {
            Some(view) if !view.is_empty() => vec![format!("{whole}{view}"), whole],
            _ => vec![whole],
        }
    }

    /// The address of `/mcp` and of this view of it.
    pub(super) fn resource(&self, seen: &Seen<'_>, view: &str) -> Option<Url> {
        let mut url = match &self.resource {
            Some(resource) => resource.clone(),
            None => self.by_request(seen)?,
        };
        let path = format!("{}{view}", url.path());
        url.set_path(&path);
        Some(url)
    }

    /// Where the metadata is of what a request asks for.
    pub(super) fn metadata_url(&self, seen: &Seen<'_>) -> Option<String> {
        let mut url = self.resource(seen, view(seen.uri.path())?)?;
        let path = format!("{WELL_KNOWN}{}", url.path());
        url.set_path(&path);
        Some(url.into())
    }

    /// Where clients are registered, as they know it: beside `/mcp`.
    pub(super) fn registration(&self, seen: &Seen<'_>) -> Option<Url> {
        let mut url = self.resource(seen, "")?;
        let beside = url.path().strip_suffix("/mcp").unwrap_or_default();
        let path = format!("{beside}{REGISTRATION}");
        url.set_path(&path);
        Some(url)
    }

    /// The view of which a document is asked for; `None` if there is no such document.
    pub(super) fn view_behind<'p>(&self, well_known: &str, path: &'p str) -> Option<&'p str> {
        let path = path.strip_prefix(well_known)?.trim_end_matches('/');
        if path.is_empty() {
            return Some(path);
        }
        // A proxy may have taken a prefix off, or not.
        let public = self.resource.as_ref().map_or("/mcp", Url::path);
        let view = path.strip_prefix(public).filter(|view| is_view(view));
        view.or_else(|| self::view(path))
    }

    /// The address that a request was sent from: as the last proxy that is not ours to
    /// trust is seen by one that is.
    pub(super) fn sender(&self, seen: &Seen<'_>) -> Option<IpAddr> {
        let peer = seen.peer?;
        if !self.trusts(peer) {
            return Some(peer);
        }
        let headers = seen.headers.get_all(&FORWARDED_FOR).iter().rev();
        let named = headers.filter_map(|header| header.to_str().ok());
        let named = named.flat_map(|header| header.rsplit(','));
        let mut named = named.map_while(|address| address.trim().parse::<IpAddr>().ok());
        Some(named.find(|one| !self.trusts(*one)).unwrap_or(peer))
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|net| net.contains(&peer))
    }

    fn by_request(&self, seen: &Seen<'_>) -> Option<Url> {
        let by_proxy = seen.peer.is_some_and(|peer| self.trusts(peer));
        let forwarded = |name: &HeaderName| {
            let value = by_proxy.then(|| first(seen.headers, name)).flatten()?;
            (!value.is_empty()).then_some(value)
        };
        let scheme = match forwarded(&FORWARDED_PROTO) {
            Some("https") => "https",
            _ => "http",
        };
        let authority = seen.uri.authority().map(|authority| authority.as_str());
        let host = forwarded(&FORWARDED_HOST)
            .or_else(|| first(seen.headers, &HOST))
            .or(authority)
            .unwrap_or_default();
        let mut url = Url::parse(&format!("{scheme}://{host}/"))
            .ok()
            .filter(|url| url.username().is_empty() && url.password().is_none())?;
        url.set_query(None);
        url.set_fragment(None);
        url.set_path("/mcp");
        Some(url)
    }
}

/// The first of the values that stand in a header, those of several proxies apart.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)?
        .to_str()
        .ok()?
        .split(',')
        .next()
        .map(str::trim)
}

/// What follows `/mcp` in a path: nothing, a child's name, or a group's.
fn view(path: &str) -> Option<&str> {
    path.strip_prefix("/mcp").filter(|view| is_view(view))
}

fn is_view(view: &str) -> bool {
    let Some(name) = view.strip_prefix('/') else {
        return view.is_empty();
    };
    let name = name.strip_prefix("group/").unwrap_or(name);
    !name.is_empty() && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let value: HeaderValue = value.parse().unwrap();
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    fn metadata(place: &Place, pairs: &[(&'static str, &str)], uri: &str, peer: &str) -> String {
        let headers = headers(pairs);
        let uri: Uri = uri.parse().unwrap();
        let seen = Seen {
            headers: &headers,
            uri: &uri,
            peer: Some(peer.parse().unwrap()),
        };
        place.metadata_url(&seen).unwrap()
    }

    #[test]
    fn a_configured_address_is_what_is_told_whoever_asks() {
        let place = Place::new(Some("https://h/pre/mcp".parse().unwrap()), Vec::new());
        let pairs = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
        ];
        assert_eq!(
            metadata(&place, &pairs, "/mcp/github?x=1", "10.0.0.1"),
            "https://h/.well-known/oauth-protected-resource/pre/mcp/github"
        );
        let view = |path: &str| place.view_behind(WELL_KNOWN, path).map(str::to_owned);
        let at = |rest: &str| format!("{WELL_KNOWN}{rest}");
        assert_eq!(view(WELL_KNOWN), Some(String::new()));
        for path in ["/pre/mcp", "/mcp", "/mcp/"] {
            assert_eq!(view(&at(path)), Some(String::new()), "{path}");
        }
        for path in ["/pre/mcp/github", "/mcp/github"] {
            assert_eq!(view(&at(path)).as_deref(), Some("/github"), "{path}");
        }
        let group = view(&at("/mcp/group/dev"));
        assert_eq!(group.as_deref(), Some("/group/dev"));
        let headers = headers(&pairs);
        let seen = Seen {
            headers: &headers,
            uri: &Uri::from_static(AUTHORIZATION_SERVER),
            peer: None,
        };
        let registration = place.registration(&seen).unwrap();
        assert_eq!(registration.as_str(), "https://h/pre/register");
        for path in ["/pre", "/mcpx", "/mcp/a/b", "/mcp/group/a/b", "/other"] {
            assert_eq!(view(&at(path)), None, "{path}");
        }
    }

    #[test]
    fn forwarded_headers_are_believed_of_trusted_proxies_only() {
        let place = Place::new(None, vec!["10.0.0.0/8".parse().unwrap()]);
        let pairs = [
            ("host", "inner:8000"),
            ("x-forwarded-host", "outer.example, inner"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(
            metadata(&place, &pairs, "/mcp", "10.1.2.3"),
            "https://outer.example/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(
            metadata(&place, &pairs, "/mcp", "192.168.0.1"),
            "http://inner:8000/.well-known/oauth-protected-resource/mcp"
        );
        let odd = headers(&[("host", "a@b/c?d")]);
        let seen = Seen {
            headers: &odd,
            uri: &Uri::from_static("/mcp"),
            peer: None,
        };
        assert_eq!(place.metadata_url(&seen), None);
    }

    #[test]
    fn a_sender_is_who_a_trusted_proxy_says_and_nobody_hides_behind_a_header() {
        let place = Place::new(None, vec!["10.0.0.0/8".parse().unwrap()]);
        let uri = Uri::from_static("/mcp");
        let sender = |forwarded: &str, peer: &str| {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            let peer = Some(peer.parse().unwrap());
            let seen = Seen {
                headers: &headers,
                uri: &uri,
                peer,
            };
            place.sender(&seen).unwrap().to_string()
        };
        assert_eq!(sender("1.1.1.1", "9.9.9.9"), "9.9.9.9");
        assert_eq!(sender("1.1.1.1", "10.0.0.1"), "1.1.1.1");
        assert_eq!(sender("1.1.1.1", "::ffff:10.0.0.1"), "1.1.1.1");
        assert_eq!(sender("8.8.8.8, 1.1.1.1, 10.0.0.2", "10.0.0.1"), "1.1.1.1");
        for odd in ["", "8.8.8.8, unknown, 10.0.0.2", "10.0.0.3"] {
            assert_eq!(sender(odd, "10.0.0.1"), "10.0.0.1", "{odd}");
        }
    }

    #[test]
    fn a_token_for_the_whole_is_good_at_a_view_and_one_for_a_view_only_there() {
        let place = Place::new(Some("https://h/mcp".parse().unwrap()), Vec::new());
        let headers = HeaderMap::new();
        let resources = |path: &str| {
            let uri: Uri = path.parse().unwrap();
            place.resources(&Seen {
                headers: &headers,
                uri: &uri,
                peer: None,
            })
        };
        assert_eq!(resources("/mcp"), ["https://h/mcp"]);
        assert_eq!(
            resources("/mcp/github"),
            ["https://h/mcp/github", "https://h/mcp"]
        );
    }
}
