//! How an entry says where its child is: a command or a URL.

use std::path::PathBuf;

use http::HeaderMap;
use secrecy::SecretString;
use url::Url;

use super::{
    child::{HttpSettings, StdioSettings, TransportSettings},
    headers,
    reader::Reader,
    shown::pair_name,
};

/// The keys of an entry that concern its transport, as far as they are set.
#[derive(Clone, Default)]
pub(super) struct TransportLayer {
    kind: Option<Kind>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<Vec<(String, SecretString)>>,
    cwd: Option<PathBuf>,
    inherit_env: Option<bool>,
    url: Option<Url>,
    headers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stdio,
    Http,
    Sse,
}

const KINDS: &[(&str, Kind)] = &[
    ("stdio", Kind::Stdio),
    ("http", Kind::Http),
    ("streamable-http", Kind::Http),
    ("streamableHttp", Kind::Http),
    ("streamable_http", Kind::Http),
    ("sse", Kind::Sse),
];

impl TransportLayer {
    /// Reads and checks each key by itself.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            kind: read_kind(reader),
            command: read_command(reader),
            args: read_args(reader),
            env: read_env(reader),
            cwd: read_cwd(reader),
            inherit_env: reader.flag("inheritEnv"),
            url: read_url(reader),
            headers: headers::read(reader),
        }
    }

    /// These keys where they are set, else those of the layer below. A command
    /// or URL of its own hides both of the layer below: the two exclude each other.
    pub(super) fn over(self, lower: Self) -> Self {
        let own_place = self.command.is_some() || self.url.is_some();
        let (command, url, kind) = if own_place {
            let fits = match self.command {
                Some(_) => lower.kind == Some(Kind::Stdio),
                None => lower.kind != Some(Kind::Stdio),
            };
            let kind = self.kind.or(lower.kind.filter(|_| fits));
            (self.command, self.url, kind)
        } else {
            (lower.command, lower.url, self.kind.or(lower.kind))
        };
        Self {
            kind,
            command,
            args: self.args.or(lower.args),
            env: self.env.or(lower.env),
            cwd: self.cwd.or(lower.cwd),
            inherit_env: self.inherit_env.or(lower.inherit_env),
            url,
            headers: self.headers.or(lower.headers),
        }
    }

    /// The keys that are set and mean nothing for this transport.
    pub(super) fn unused(&self, transport: &TransportSettings) -> Vec<&'static str> {
        let stdio_only = [
            ("args", self.args.is_some()),
            ("env", self.env.is_some()),
            ("cwd", self.cwd.is_some()),
            ("inheritEnv", self.inherit_env.is_some()),
        ];
        let remote_only = [("headers", self.headers.is_some())];
        let candidates: &[(&str, bool)] = match transport {
            TransportSettings::Stdio(_) => &remote_only,
            TransportSettings::Http(_) | TransportSettings::Sse(_) => &stdio_only,
            TransportSettings::Unusable => &[],
        };
        let set = candidates.iter().filter(|(_, set)| *set);
        set.map(|(key, _)| *key).collect()
    }

    /// The transport all keys together describe, or why they describe none.
    pub(super) fn resolve(self) -> Result<TransportSettings, &'static str> {
        match (self.command, self.url) {
            (Some(_), Some(_)) => Err("\"command\" and \"url\" are both set; keep one of them"),
            (None, None) => Err("neither \"command\" nor \"url\" is set; one of them is needed"),
            (Some(command), None) => match self.kind {
                None | Some(Kind::Stdio) => Ok(TransportSettings::Stdio(StdioSettings {
                    command,
                    args: self.args.unwrap_or_default(),
                    env: self.env.unwrap_or_default(),
                    cwd: self.cwd,
                    inherit_env: self.inherit_env.unwrap_or(false),
                })),
                Some(Kind::Http | Kind::Sse) => Err(
                    "\"type\" names a remote transport, which needs \"url\" and not \"command\"",
                ),
            },
            (None, Some(url)) => {
                let remote = HttpSettings {
                    headers: self.headers.unwrap_or_default(),
                    url,
                };
                match self.kind {
                    Some(Kind::Sse) => Ok(TransportSettings::Sse(remote)),
                    None if remote.url.path().ends_with("/sse") => {
                        Ok(TransportSettings::Sse(remote))
                    }
                    None | Some(Kind::Http) => Ok(TransportSettings::Http(remote)),
                    Some(Kind::Stdio) => {
                        Err("\"type\" is \"stdio\", which needs \"command\" and not \"url\"")
                    }
                }
            }
        }
    }
}

/// `type` and `transport` mean the same; files written for several clients have both.
fn read_kind(reader: &mut Reader<'_>) -> Option<Kind> {
    let by_type = reader.choice("type", KINDS);
    let by_transport = reader.choice("transport", KINDS);
    if let (Some(a), Some(b)) = (by_type, by_transport)
        && a != b
    {
        reader.refuse("transport", "it contradicts \"type\"; keep one of them");
    }
    by_type.or(by_transport)
}

fn read_command(reader: &mut Reader<'_>) -> Option<String> {
    let command = reader.text("command")?;
    if command.trim().is_empty() {
        reader.refuse("command", "it is empty");
        return None;
    }
    if command.contains('\0') {
        reader.refuse("command", "it holds a NUL character");
        return None;
    }
    Some(command)
}

fn read_args(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let args = reader.texts("args")?;
    if args.iter().any(|arg| arg.contains('\0')) {
        reader.refuse("args", "an argument holds a NUL character");
        return None;
    }
    Some(args)
}

/// A blank one, such as `${DIR:-}` leaves, is none.
fn read_cwd(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let cwd = reader.text("cwd")?;
    if cwd.contains('\0') {
        reader.refuse("cwd", "it holds a NUL character");
        return None;
    }
    (!cwd.trim().is_empty()).then(|| cwd.into())
}

fn read_env(reader: &mut Reader<'_>) -> Option<Vec<(String, SecretString)>> {
    let pairs = reader.pairs("env")?;
    let mut env = Vec::with_capacity(pairs.len());
    let mut sound = true;
    for (name, value) in pairs {
        let why = if name.is_empty() || name.contains(['=', '\0']) {
            "the name is not one that a variable can have"
        } else if value.contains('\0') {
            "the value holds a NUL character"
        } else {
            env.push((name, value.into()));
            continue;
        };
        reader.refuse(&format!("env.{}", pair_name(&name).escape_debug()), why);
        sound = false;
    }
    sound.then_some(env)
}

/// Reads `url`; no sentence shows it, since keys travel in URLs.
fn read_url(reader: &mut Reader<'_>) -> Option<Url> {
    let text = reader.text("url")?;
    match web_url(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            reader.refuse("url", &why);
            None
        }
    }
}

/// An absolute `http` or `https` URL, or what is wrong with it.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    let expected = "expected a URL that starts with http:// or https://";
    let url: Url = text
        .trim()
        .parse()
        .map_err(|error| format!("{expected} ({error})"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(format!("{expected}, found another scheme")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::{
        document::{Node, parse},
        keys,
    };

    fn layer(text: &str) -> Result<TransportLayer, String> {
        let env: HashMap<String, String> = HashMap::new();
        let Ok(Node::Object(pairs)) = parse(Path::new("c"), text) else {
            panic!("an object was expected");
        };
        let mut reader = Reader::open(String::new(), &pairs, keys::ENTRY, &env);
        let layer = TransportLayer::read(&mut reader);
        match reader.finish().problems {
            problems if problems.is_empty() => Ok(layer),
            problems => Err(problems.join("; ")),
        }
    }

    fn resolved(text: &str) -> Result<TransportSettings, String> {
        Ok(layer(text)?.resolve()?)
    }

    fn kind(text: &str) -> &'static str {
        match resolved(text).expect("usable") {
            TransportSettings::Stdio(_) => "stdio",
            TransportSettings::Http(_) => "http",
            TransportSettings::Sse(_) => "sse",
            TransportSettings::Unusable => "unusable",
        }
    }

    #[test]
    fn the_transport_follows_from_command_url_and_type() {
        assert_eq!(kind(r#"{"command": "npx"}"#), "stdio");
        assert_eq!(kind(r#"{"command": "npx", "type": "stdio"}"#), "stdio");
        assert_eq!(kind(r#"{"url": "http://h/mcp"}"#), "http");
        assert_eq!(kind(r#"{"url": "http://h/sse"}"#), "sse");
        assert_eq!(kind(r#"{"url": "http://h/x", "type": "sse"}"#), "sse");
        for name in ["http", "streamable-http", "streamableHttp"] {
            let text = format!(r#"{{"url": "http://h/sse", "transport": "{name}"}}"#);
            assert_eq!(kind(&text), "http");
        }
        assert_eq!(
            kind(r#"{"url": "http://h", "type": "http", "transport": "streamable-http"}"#),
            "http"
        );
    }

    #[test]
    fn what_describes_no_transport_is_refused() {
        let cases = [
            (r#"{}"#, "neither"),
            (r#"{"command": "a", "url": "http://h"}"#, "both set"),
            (r#"{"command": "a", "type": "http"}"#, "needs \"url\""),
            (
                r#"{"url": "http://h", "type": "stdio"}"#,
                "needs \"command\"",
            ),
            (r#"{"url": "http://h", "type": "grpc"}"#, "found \"grpc\""),
            (
                r#"{"url": "http://h", "type": "sse", "transport": "http"}"#,
                "contradicts",
            ),
            (r#"{"command": " "}"#, "empty"),
            (r#"{"command": "a\u0000"}"#, "NUL"),
            (r#"{"command": "a", "args": ["a\u0000"]}"#, "NUL"),
            (r#"{"command": "a", "env": {"A=B": "x"}}"#, "\"env.A\""),
            (r#"{"command": "a", "env": {"A": "\u0000"}}"#, "\"env.A\""),
        ];
        for (text, part) in cases {
            let problem = resolved(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        for url in [
            "hunter2",
            "ftp://me:hunter2@h",
            "http://me:hunter2@",
            "https://",
        ] {
            let problem = resolved(&format!(r#"{{"url": "{url}"}}"#)).expect_err(url);
            assert!(problem.contains("\"url\": expected a URL"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_place_of_its_own_hides_the_place_below() {
        let below = layer(r#"{"command": "a", "type": "stdio", "args": ["x"]}"#).expect("valid");
        let own = layer(r#"{"url": "http://h"}"#).expect("valid");
        assert!(matches!(
            own.over(below.clone()).resolve(),
            Ok(TransportSettings::Http(_))
        ));
        let none = layer("{}").expect("valid");
        assert!(matches!(
            none.over(below).resolve(),
            Ok(TransportSettings::Stdio(_))
        ));
    }
}
