//! The rest of a request that was answered before all of it had come.
//!
//! Without its rest a connection cannot be used again, and is closed. A client that is not
//! told so sends its next request there, and loses it.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    response::Response,
};
use http::{
    HeaderMap, HeaderValue,
    header::{CONNECTION, EXPECT},
};
use http_body_util::{BodyExt, Limited};

/// How much of it is taken in.
const MOST: usize = 64 * 1024;
/// How long that may take: most clients send the body right behind the head.
const SOON: Duration = Duration::from_millis(250);

/// Takes in what is left of a request with these headers; where it does not come, or is a
/// lot, the answer says that the connection ends (RFC 9112, section 9.6).
pub(super) async fn taken_in(all: &HeaderMap, body: Body, mut response: Response) -> Response {
    if !body.is_end_stream() && !comes(all, body).await {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Takes in a body; whether all of it has come.
async fn comes(all: &HeaderMap, body: Body) -> bool {
    // Who waits to be asked for it may never send it.
    let waits = all.contains_key(EXPECT);
    let is_long = body.size_hint().lower() > MOST as u64;
    if waits || is_long {
        return false;
    }
    let mut rest = Limited::new(body, MOST);
    let ended = async {
        while let Some(part) = rest.frame().await {
            if part.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(SOON, ended).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use bytes::Bytes;
    use futures::{StreamExt, stream};
    use http::StatusCode;

    use super::*;

    type Parts = Vec<Result<Bytes, std::io::Error>>;

    async fn says_close(all: &HeaderMap, body: Body) -> bool {
        let response = StatusCode::UNAUTHORIZED.into_response();
        let response = taken_in(all, body, response).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        response.headers().contains_key(CONNECTION)
    }

    fn parts(count: usize) -> Parts {
        let part = Bytes::from_static(&[b' '; 1024]);
        vec![part; count].into_iter().map(Ok).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_where_the_rest_does_not_come_and_there_only() {
        let none = HeaderMap::new();
        assert!(!says_close(&none, Body::empty()).await);
        let later = stream::once(tokio::time::sleep(SOON / 2)).map(|()| Ok(Bytes::new()));
        let late = later.chain(stream::iter(parts(64)));
        assert!(!says_close(&none, Body::from_stream(late)).await);

        let endless = stream::iter(parts(1)).chain(stream::pending());
        assert!(says_close(&none, Body::from_stream(endless)).await);
        assert!(says_close(&none, Body::from_stream(stream::iter(parts(65)))).await);
        assert!(says_close(&none, Body::from(vec![b' '; MOST + 1])).await);
        let cut = vec![Err(std::io::ErrorKind::UnexpectedEof.into())];
        let cut: Parts = cut;
        assert!(says_close(&none, Body::from_stream(stream::iter(cut))).await);
        let waits = HeaderMap::from_iter([(EXPECT, HeaderValue::from_static("100-continue"))]);
        assert!(says_close(&waits, Body::from_stream(stream::iter(parts(1)))).await);
    }
}
