//! The rest of a request that was answered before all of it had come.
//!
//! Without its rest a connection of HTTP/1 cannot be used again, and is closed. A client
//! that is not told so sends its next request there, and loses it.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    response::Response,
};
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, EXPECT},
    request::Parts,
};
use http_body_util::{BodyExt, Limited};

/// How much of it is taken in.
const MOST: usize = 64 * 1024;
/// How long that may take: most clients send the body right behind the head.
const SOON: Duration = Duration::from_millis(250);

/// Takes in the body of a request with this head; where it does not come, or is a lot, the
/// answer says that the connection ends (RFC 9112, section 9.6).
pub(super) async fn taken_in(head: &Parts, body: Body, mut response: Response) -> Response {
    let is_of_connection = head.version <= Version::HTTP_11;
    if is_of_connection && !body.is_end_stream() && !comes(&head.headers, body).await {
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
    use http::{Request, StatusCode};

    use super::*;

    type Pieces = Vec<Result<Bytes, std::io::Error>>;

    async fn says_close(head: &Request<()>, body: Body) -> bool {
        let (head, ()) = head.clone().into_parts();
        let response = StatusCode::UNAUTHORIZED.into_response();
        let response = taken_in(&head, body, response).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        response.headers().contains_key(CONNECTION)
    }

    fn pieces(count: usize) -> Pieces {
        let piece = Bytes::from_static(&[b' '; 1024]);
        vec![piece; count].into_iter().map(Ok).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_where_the_rest_does_not_come_and_there_only() {
        let plain = Request::new(());
        assert!(!says_close(&plain, Body::empty()).await);
        let later = stream::once(tokio::time::sleep(SOON / 2)).map(|()| Ok(Bytes::new()));
        let late = later.chain(stream::iter(pieces(64)));
        assert!(!says_close(&plain, Body::from_stream(late)).await);

        let endless = || Body::from_stream(stream::iter(pieces(1)).chain(stream::pending()));
        assert!(says_close(&plain, endless()).await);
        let much = Body::from_stream(stream::iter(pieces(65)));
        assert!(says_close(&plain, much).await);
        assert!(says_close(&plain, Body::from(vec![b' '; MOST + 1])).await);
        let cut: Pieces = vec![Err(std::io::ErrorKind::UnexpectedEof.into())];
        assert!(says_close(&plain, Body::from_stream(stream::iter(cut))).await);
        let mut waits = plain.clone();
        let asks_first = HeaderValue::from_static("100-continue");
        waits.headers_mut().insert(EXPECT, asks_first);
        let never = Body::from_stream(stream::iter(pieces(1)));
        assert!(says_close(&waits, never).await);
        // What belongs to a stream of its own keeps no other from coming.
        *waits.version_mut() = Version::HTTP_2;
        assert!(!says_close(&waits, endless()).await);
    }
}
