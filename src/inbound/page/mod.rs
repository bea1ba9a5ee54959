//! The page at `/` that shows how things stand, and goes on doing so.
//!
//! Owns: what a browser is sent, which is all in the binary and asks for nothing
//! elsewhere; the stream of what changes; and what a child's tools are and cost. It shows
//! what `/status` shows, to whom that shows it.

mod changes;
mod events;
mod tools;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use http::header;

use super::admin::{Desk, Shared};

/// How many may watch at once.
pub(super) const WATCHERS: usize = 32;

/// Nothing but what comes from here: neither by a mistake of ours nor by what a child
/// says of itself can the page ask anybody else, or be shown in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// What the routes of the page know.
#[derive(Clone, Debug)]
struct Here {
    shared: Arc<Shared>,
    desk: Desk,
}

/// A file of the page.
#[derive(Clone, Copy)]
struct Asset {
    kind: &'static str,
    text: &'static str,
}

const PAGE: Asset = Asset {
    kind: "text/html; charset=utf-8",
    text: include_str!("page.html"),
};
const STYLE: Asset = Asset {
    kind: "text/css; charset=utf-8",
    text: include_str!("page.css"),
};
const SCRIPT: Asset = Asset {
    kind: "text/javascript; charset=utf-8",
    text: include_str!("page.js"),
};
const ICON: Asset = Asset {
    kind: "image/svg+xml",
    text: include_str!("icon.svg"),
};

/// The routes of the page.
pub(super) fn router(shared: Arc<Shared>, desk: Desk) -> Router {
    let asset = |asset: Asset| {
        get(
            async move |State(here): State<Here>, head: Parts| match here.refusal(&head) {
                Some(refusal) => refusal,
                None => asset.into_response(),
            },
        )
    };
    Router::new()
        .route("/", asset(PAGE))
        .route("/status/page.css", asset(STYLE))
        .route("/status/page.js", asset(SCRIPT))
        .route("/status/icon.svg", asset(ICON))
        .route("/status/events", get(events::watch))
        .route("/status/tools", get(tools::of_child))
        .with_state(Here { shared, desk })
}

impl Here {
    /// The answer to a request that comes from where none may come from.
    fn refusal(&self, head: &Parts) -> Option<Response> {
        let admitted = self.shared.entrance.admit(&head.headers, &head.uri);
        let reason = admitted.err()?;
        Some((StatusCode::FORBIDDEN, reason).into_response())
    }
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // The next version has others of the same names.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_names_nobody_else() {
        let assets = [PAGE, STYLE, SCRIPT, ICON];
        let size: usize = assets.iter().map(|asset| asset.text.len()).sum();
        assert!(size < 60 * 1024, "{size}");
        for asset in assets {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "//cdn", "@import", "innerHTML"] {
                assert!(!text.contains(foreign), "{foreign} in {}", asset.kind);
            }
        }
    }
}
