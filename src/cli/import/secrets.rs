//! Secrets in an entry become variables. No value is ever printed.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::{Captures, Regex};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::translate::{Translated, variable};

/// The variables that stand for secrets now, and what they were.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, SecretString>,
}

/// Words that name a secret, wherever they stand in a key.
const SECRET_WORDS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "apikey",
    "key",
    "credential",
    "credentials",
    "authorization",
    "auth",
    "bearer",
    "pat",
    "cookie",
    "session",
    "dsn",
    "jwt",
];
/// A key that ends so names something else: where the secret is, or what it is for.
const HARMLESS_ENDS: &[&str] = &[
    "url", "uri", "file", "path", "dir", "type", "method", "mode", "name", "host", "port", "id",
    "issuer", "audience", "ttl", "timeout", "limit", "provider", "endpoint",
];

static BY_LOOKS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(sk-|sk_|pk_|rk_|ghp_|gho_|ghu_|ghs_|github_pat_|glpat-|xox[abposr]-|AKIA|AIza|eyJ[A-Za-z0-9_-]+\.)|://[^/@\s]*:[^/@\s]+@").ok()
});
static SCHEME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)^(bearer|basic|token)\s+(\S.*)$").ok());
static QUERY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([?&])([^=&#]+)=([^&#]+)").ok());
static USERINFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"://([^/@:\s]*):([^/@\s]+)@").ok());
/// An address that is a secret itself has a long part that nobody could remember.
static LONG_PART: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"/([A-Za-z0-9_=-]{24,})").ok());
static PAIR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(--?[A-Za-z][\w-]*|[A-Za-z_][\w-]*)(=|:\s*)(.+)$").ok());

impl Variables {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &SecretString)> {
        self.values.iter()
    }

    /// Forgets those that nothing refers to.
    pub(super) fn keep(&mut self, is_used: impl Fn(&str) -> bool) {
        self.values.retain(|name, _| is_used(name));
    }

    /// A variable for a value: the first of these names that is free, or is it already.
    fn named(&mut self, names: [String; 2], value: &str) -> String {
        let [first, second] = names;
        let more = (2..).map(|number| format!("{second}_{number}"));
        let candidates = [first, second.clone()].into_iter().chain(more);
        for name in candidates {
            match self.values.get(&name) {
                Some(taken) if taken.expose_secret() != value => {}
                Some(_) => return reference(&name),
                None => {
                    self.values.insert(name.clone(), value.into());
                    return reference(&name);
                }
            }
        }
        // The candidates have no end.
        String::new()
    }
}

/// How it is written in an entry.
pub(super) fn reference(name: &str) -> String {
    format!("${{{name}}}")
}

/// Puts variables in the place of what looks secret in an entry.
pub(super) fn hide(entry: &str, it: &mut Translated, variables: &mut Variables) {
    for (key, value) in &mut it.members {
        match (*key, value) {
            ("env", Value::Object(env)) => each(env, |name, text| {
                is_secret(name, text).then(|| {
                    let names = [variable(name), variable(&format!("{entry}_{name}"))];
                    variables.named(names, text)
                })
            }),
            ("headers", Value::Object(headers)) => each(headers, |name, text| {
                is_secret(name, text).then(|| header(entry, name, text, variables))
            }),
            ("url", Value::String(url)) => *url = address(entry, url, variables),
            ("args", Value::Array(args)) => arguments(entry, args, variables),
            _ => {}
        }
    }
}

fn each(members: &mut Map<String, Value>, mut hidden: impl FnMut(&str, &str) -> Option<String>) {
    for (name, value) in members {
        if let Value::String(text) = value
            && let Some(put) = hidden(name, text)
        {
            *text = put;
        }
    }
}

/// The scheme of an `Authorization` is no secret.
fn header(entry: &str, name: &str, text: &str, variables: &mut Variables) -> String {
    let names = || {
        let name = variable(&format!("{entry}_{name}"));
        [name.clone(), name]
    };
    match SCHEME.as_ref().and_then(|scheme| scheme.captures(text)) {
        Some(found) => format!("{} {}", &found[1], variables.named(names(), &found[2])),
        None => variables.named(names(), text),
    }
}

fn address(entry: &str, url: &str, variables: &mut Variables) -> String {
    if url.contains("${") {
        return url.to_owned();
    }
    let mut named = |what: &str, value: &str| {
        let name = variable(&format!("{entry}_{what}"));
        variables.named([name.clone(), name], value)
    };
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let host = place.find("://").map_or(0, |at| at + 3);
    let path = place[host..].find('/').map_or(place.len(), |at| host + at);
    let (host, path) = place.split_at(path);
    let host = replaced(&USERINFO, host, |found| {
        format!("://{}:{}@", &found[1], named("password", &found[2]))
    });
    let path = replaced(&LONG_PART, path, |found| {
        match found[1].contains(|c: char| c.is_ascii_digit()) {
            true => format!("/{}", named("url_key", &found[1])),
            false => found[0].to_owned(),
        }
    });
    let query = replaced(&QUERY, query, |found| {
        match is_secret(&found[2], &found[3]) {
            true => format!("{}{}={}", &found[1], &found[2], named(&found[2], &found[3])),
            false => found[0].to_owned(),
        }
    });
    format!("{host}{path}{query}")
}

fn replaced(
    pattern: &LazyLock<Option<Regex>>,
    text: &str,
    by: impl FnMut(&Captures<'_>) -> String,
) -> String {
    match pattern.as_ref() {
        Some(pattern) => pattern.replace_all(text, by).into_owned(),
        None => text.to_owned(),
    }
}

/// `--api-key=x`, `--api-key x`, `API_KEY=x` (docker), `Authorization: Bearer x`
/// (mcp-remote), and what can be known by its looks.
fn arguments(entry: &str, args: &mut [Value], variables: &mut Variables) {
    let mut flag: Option<String> = None;
    for arg in args {
        let Value::String(text) = arg else {
            flag = None;
            continue;
        };
        let before = flag.take();
        let of_flag = before.filter(|flag| !text.starts_with('-') && is_secret(flag, text));
        if let Some(flag) = of_flag {
            let name = variable(&format!("{entry}_{flag}"));
            *text = variables.named([name.clone(), name], text);
        } else if let Some(found) = PAIR.as_ref().and_then(|pair| pair.captures(text))
            && !found[3].starts_with("//")
            && is_secret(&found[1], &found[3])
        {
            let (key, between) = (found[1].to_owned(), found[2].to_owned());
            let value = match between.starts_with(':') {
                true => header(entry, &key, &found[3], variables),
                false => {
                    let own = variable(&key);
                    variables.named([own, variable(&format!("{entry}_{key}"))], &found[3])
                }
            };
            *text = format!("{key}{between}{value}");
        } else if looks_secret(text) {
            let name = variable(&format!("{entry}_argument"));
            *text = variables.named([name.clone(), name], text);
        } else if text.starts_with('-') {
            flag = Some(text.clone());
        }
    }
}

/// By its key, or by its looks; never what is a variable already.
fn is_secret(key: &str, value: &str) -> bool {
    if value.is_empty() || value.contains("${") {
        return false;
    }
    looks_secret(value) || (names_a_secret(key) && !is_harmless(value))
}

fn looks_secret(value: &str) -> bool {
    !value.contains("${") && BY_LOOKS.as_ref().is_some_and(|looks| looks.is_match(value))
}

fn is_harmless(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "false" | "none" | "0" | "1"
    )
}

fn names_a_secret(key: &str) -> bool {
    // `apiKey` has two words as `API_KEY` has.
    let mut words = String::new();
    let mut before = ' ';
    for c in key.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            ' '
        });
        before = c;
    }
    let words: Vec<_> = words.split_whitespace().collect();
    let ends_harmless = words
        .last()
        .is_some_and(|last| HARMLESS_ENDS.contains(last));
    !ends_harmless
        && words.iter().any(|word| {
            SECRET_WORDS.contains(word) || word.ends_with("token") || word.ends_with("apikey")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_secret_becomes_a_variable_and_the_rest_stays() {
        let mut variables = Variables::default();
        let mut it = Translated {
            members: vec![
                (
                    "env",
                    json!({"GITHUB_TOKEN": "hunter2", "LOG": "debug", "MAX_TOKENS": "5", "TOKEN_URL": "https://h", "API_KEY": "${API_KEY}", "X": "sk-hunter2"}),
                ),
                (
                    "headers",
                    json!({"Authorization": "Bearer hunter2", "Accept": "x", "X-Api-Key": "hunter3"}),
                ),
                (
                    "url",
                    json!(
                        "https://me:hunter2@h/s/hunter2hunter2hunter2hunter2/mcp?apiKey=hunter4&v=1"
                    ),
                ),
                (
                    "args",
                    json!([
                        "--api-key=hunter5",
                        "--token",
                        "hunter6",
                        "-e",
                        "SECRET=hunter7",
                        "--header",
                        "Authorization: Bearer hunter8",
                        "-y",
                        "--port",
                        "8080",
                        "postgres://u:hunter9@h/d"
                    ]),
                ),
            ],
            notes: Vec::new(),
        };
        hide("gh", &mut it, &mut variables);
        let text = format!("{:?}", it.members);
        assert!(!text.contains("hunter"), "{text}");
        assert!(!format!("{variables:?}").contains("hunter"));
        let of = |key| it.get(key).expect("a member");
        assert_eq!(
            of("env"),
            &json!({"GITHUB_TOKEN": "${GITHUB_TOKEN}", "LOG": "debug", "MAX_TOKENS": "5", "TOKEN_URL": "https://h", "API_KEY": "${API_KEY}", "X": "${X}"})
        );
        assert_eq!(of("headers")["Authorization"], "Bearer ${GH_AUTHORIZATION}");
        assert_eq!(
            of("url"),
            "https://me:${GH_PASSWORD}@h/s/hunter2hunter2hunter2hunter2/mcp?apiKey=${GH_APIKEY}&v=1"
                .replace("hunter2hunter2hunter2hunter2", "${GH_URL_KEY}")
                .as_str()
        );
        assert_eq!(
            of("args"),
            &json!([
                "--api-key=${API_KEY}",
                "--token",
                "${GH_TOKEN}",
                "-e",
                "SECRET=${SECRET}",
                "--header",
                "Authorization: Bearer ${GH_AUTHORIZATION_2}",
                "-y",
                "--port",
                "8080",
                "${GH_ARGUMENT}"
            ])
        );
    }

    #[test]
    fn two_values_never_share_a_variable() {
        let mut variables = Variables::default();
        for (entry, value, name) in [
            ("a", "one", "${TOKEN}"),
            ("b", "two", "${B_TOKEN}"),
            ("c", "one", "${TOKEN}"),
            ("b", "three", "${B_TOKEN_2}"),
        ] {
            let mut it = Translated {
                members: vec![("env", json!({"TOKEN": value}))],
                notes: Vec::new(),
            };
            hide(entry, &mut it, &mut variables);
            assert_eq!(it.get("env").expect("env")["TOKEN"], name);
        }
    }
}
