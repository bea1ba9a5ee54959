//! How a value that may hold a secret is shown.

use std::fmt;

use url::Url;

/// A URL as it may be shown: without userinfo, with the query and the fragment
/// only hinted at, since keys travel in all three.
///
/// ```
/// use mcp_multiplexer::config::ShownUrl;
///
/// let url = "https://me:secret@host:8443/mcp?key=secret".parse()?;
/// assert_eq!(ShownUrl(&url).to_string(), "https://host:8443/mcp?…");
/// # Ok::<(), url::ParseError>(())
/// ```
#[derive(Clone, Copy)]
pub struct ShownUrl<'a>(
    /// The URL to show.
    pub &'a Url,
);

impl fmt::Display for ShownUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or(""))?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        if url.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ShownUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Longest piece of the file that an error quotes.
const LONGEST_QUOTE: usize = 40;

/// A piece of the file in quotes, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}", format!("{}…", &text[..end])),
    }
}

/// The name in a pair of `env` or `headers`, cut where a value pasted into it
/// would begin (`"Authorization: Bearer …"`, `"TOKEN=…"`).
pub(super) fn pair_name(name: &str) -> &str {
    let end = name
        .char_indices()
        .find(|(at, c)| *at >= LONGEST_QUOTE || matches!(c, ':' | '=') || c.is_whitespace())
        .map_or(name.len(), |(at, _)| at);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_anything_that_could_be_a_key() {
        let url: Url = "http://u:hunter2@[::1]:81/a?k=hunter2#hunter2"
            .parse()
            .expect("a URL");
        assert_eq!(format!("{:?}", ShownUrl(&url)), "http://[::1]:81/a?…");
    }

    #[test]
    fn a_quote_is_escaped_and_cut() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"ä".repeat(50)).chars().count(), 43);
    }

    #[test]
    fn a_value_pasted_into_a_name_is_not_part_of_it() {
        assert_eq!(pair_name("Authorization: Bearer hunter2"), "Authorization");
        assert_eq!(pair_name("TOKEN=hunter2"), "TOKEN");
        assert_eq!(pair_name("X-Key"), "X-Key");
        assert_eq!(pair_name(""), "");
    }
}
