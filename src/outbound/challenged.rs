//! What a child demands of a user whom it does not let in: it goes to that user's client
//! as it is, which knows what to do with it (MCP, "Authorization").

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

/// More than any server sends.
const MOST: usize = 8;
/// In bytes.
const LONGEST: usize = 8 * 1024;

/// A child's 401 or 403, and its `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenged {
    /// 401 or 403.
    pub status: StatusCode,
    /// As the child sent them; there is one at least.
    pub demands: Arc<[HeaderValue]>,
}

impl Challenged {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let all = headers.get_all(WWW_AUTHENTICATE).iter();
        let mut demands: Vec<_> = all
            .filter(|value| value.len() <= LONGEST)
            .take(MOST)
            .cloned()
            .collect();
        if demands.is_empty() {
            // A 401 must have one (RFC 9110, 15.5.2).
            demands.push(HeaderValue::from_static("Bearer"));
        }
        Self {
            status,
            demands: demands.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_demands_is_bounded_and_never_nothing() {
        let mut headers = HeaderMap::new();
        let told = |headers: &HeaderMap| Challenged::of(StatusCode::UNAUTHORIZED, headers).demands;
        assert_eq!(*told(&headers), ["Bearer"]);
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer a=\"b\""));
        let long = "x".repeat(LONGEST + 1);
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(&long).unwrap());
        assert_eq!(*told(&headers), ["Bearer a=\"b\""]);
        for _ in 0..99 {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        assert_eq!(told(&headers).len(), MOST);
    }
}
