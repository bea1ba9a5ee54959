//! Which URIs a template stands for (RFC 6570).

use regex::Regex;

/// More than any honest template has.
const LONGEST: usize = 2_048;

/// Recognizes the URIs of one template.
#[derive(Clone, Debug)]
pub(super) struct Template(Regex);

impl Template {
    /// `None` where the text is no template: then it stands for no URI.
    pub(super) fn new(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut pattern = String::from("^");
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (expression, after) = after.split_once('}')?;
            pattern.push_str(&regex::escape(literal));
            pattern.push_str(expansion(expression)?);
            rest = after;
        }
        if rest.contains('}') {
            return None;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        Regex::new(&pattern).ok().map(Self)
    }

    pub(super) fn matches(&self, uri: &str) -> bool {
        self.0.is_match(uri)
    }
}

/// What an expression may become (RFC 6570, 2.2), a little wider than the letter of it:
/// servers do not encode every reserved character, and write `{path*}` for a whole path.
fn expansion(expression: &str) -> Option<&'static str> {
    let variables = expression.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
    if variables.is_empty() {
        return None;
    }
    Some(match expression.chars().next()? {
        '+' => ".*",
        '#' => "(?:#.*)?",
        '.' => r"(?:\.[^/?#]*)?",
        '/' => "(?:/[^?#]*)?",
        ';' => "(?:;[^/?#]*)?",
        '?' => r"(?:\?[^#]*)?",
        '&' => "(?:&[^#]*)?",
        _ if expression.ends_with('*') => "[^?#]*",
        _ => "[^/?#]*",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_stands_for_what_it_expands_to() {
        for (template, uri, yes) in [
            (
                "test://template/{id}/data",
                "test://template/123/data",
                true,
            ),
            (
                "test://template/{id}/data",
                "test://template/1/2/data",
                false,
            ),
            ("file:///{path*}", "file:///a/b.txt", true),
            ("file://{+path}", "file:///a/b?c#d", true),
            ("db://t{/table,row}", "db://t/users/7", true),
            ("db://t{?limit,offset}", "db://t", true),
            ("db://t{?limit,offset}", "db://t?limit=1", true),
            ("db://t{?limit}", "db://t/x?limit=1", false),
            ("a.b://{x}", "aXb://1", false),
            ("x://plain", "x://plain", true),
        ] {
            let template = Template::new(template).unwrap();
            assert_eq!(template.matches(uri), yes, "{template:?} {uri}");
        }
    }

    #[test]
    fn what_is_no_template_stands_for_nothing() {
        for text in [
            "a://{",
            "a://}",
            "a://{}",
            "a://{+}",
            &"x".repeat(LONGEST + 1),
        ] {
            assert!(Template::new(text).is_none(), "{text}");
        }
    }
}
