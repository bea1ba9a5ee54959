//! The token that a request shows (RFC 6750, 2): in one `Authorization` header, and
//! nowhere else.

use http::header::AUTHORIZATION;
use url::form_urlencoded;

use super::{
    place::Seen,
    refusal::{Reason, Refusal},
};

/// No token of an issuer we know of is half as long, hundreds of roles included.
const LONGEST: usize = 16 * 1024;

/// The token of a request.
pub(super) fn token<'a>(seen: &Seen<'a>) -> Result<&'a str, Refusal> {
    // URLs are kept in logs and histories: a token in one is as good as published.
    let query = seen.uri.query().unwrap_or_default();
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token") {
        return Err(Refusal::new(Reason::Request, "a token in the URL"));
    }
    let mut headers = seen.headers.get_all(AUTHORIZATION).iter();
    let header = match (headers.next(), headers.next()) {
        (None, _) => return Err(Refusal::new(Reason::NoToken, "no Authorization header")),
        (Some(header), None) => header.as_bytes(),
        (Some(_), Some(_)) => {
            return Err(Refusal::new(
                Reason::Request,
                "more than one Authorization header",
            ));
        }
    };
    let (scheme, rest) = match header.iter().position(|byte| *byte == b' ') {
        Some(at) => header.split_at(at),
        None => (header, &b""[..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::new(
            Reason::NotBearer,
            "the Authorization header is not of the scheme Bearer",
        ));
    }
    let token = rest.trim_ascii_start();
    if token.len() > LONGEST {
        return Err(Refusal::new(
            Reason::Malformed,
            format!("the token has {} bytes", token.len()),
        ));
    }
    match std::str::from_utf8(token) {
        Ok(token) if is_token68(token) => Ok(token),
        _ => Err(Refusal::new(
            Reason::Malformed,
            "the token holds what no token can hold, or nothing",
        )),
    }
}

/// Whether it is a token by its characters (RFC 9110, 11.2).
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Uri};

    use super::*;

    fn of(values: &[&[u8]], uri: &str) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let seen = Seen {
            headers: &headers,
            uri: &uri,
            peer: None,
        };
        token(&seen)
            .map(str::to_owned)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_token_comes_in_one_header_and_nowhere_else() {
        let good = Ok("a.b-c_d~e+/==".to_owned());
        for header in ["Bearer", "bearer", "BEARER", "Bearer  "] {
            let value = format!("{header} a.b-c_d~e+/==");
            assert_eq!(of(&[value.as_bytes()], "/mcp"), good, "{header}");
        }
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        let cases: &[(&[&[u8]], &str, Reason)] = &[
            (&[], "/mcp", Reason::NoToken),
            (&[], "/mcp?access_token=a", Reason::Request),
            (&[], "/mcp?%61ccess_token=a", Reason::Request),
            (&[b"Bearer a"], "/mcp?access_token=a", Reason::Request),
            (&[b"Bearer a", b"Bearer a"], "/mcp", Reason::Request),
            (&[b"Basic YTpi"], "/mcp", Reason::NotBearer),
            (&[b"a.b.c"], "/mcp", Reason::NotBearer),
            (&[b"Bearera"], "/mcp", Reason::NotBearer),
            (&[b"Bearer\ta"], "/mcp", Reason::NotBearer),
            (&[b""], "/mcp", Reason::NotBearer),
            (&[b"Bearer"], "/mcp", Reason::Malformed),
            (&[b"Bearer ="], "/mcp", Reason::Malformed),
            (&[b"Bearer a b"], "/mcp", Reason::Malformed),
            (&[b"Bearer a, Bearer b"], "/mcp", Reason::Malformed),
            (&[b"Bearer \"a\""], "/mcp", Reason::Malformed),
            (&["Bearer gr\u{fc}n".as_bytes()], "/mcp", Reason::Malformed),
            (&[b"Bearer \xff"], "/mcp", Reason::Malformed),
            (&[long.as_bytes()], "/mcp", Reason::Malformed),
        ];
        for (values, uri, reason) in cases {
            assert_eq!(of(values, uri), Err(*reason), "{values:?} {uri}");
        }
    }
}
