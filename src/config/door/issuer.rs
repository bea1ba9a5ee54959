//! One issuer of tokens: its name, its keys, what they may sign and for whom.

use std::{fmt, path::PathBuf, str::FromStr};

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use url::Url;

use crate::config::{
    document::Node, expand::expand, keys, reach::Reach, reader::Reader, shown::ShownUrl,
    transport::web_url,
};

/// An issuer whose tokens are let in.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerSettings {
    /// What stands in its tokens as `iss`.
    pub name: String,
    /// For whom a token must be meant; `None`: for the resource.
    pub audiences: Option<Vec<String>>,
    /// Where its keys are.
    pub keys: KeysSource,
    /// What its keys may sign with: all that is asymmetric, or fewer.
    pub algorithms: Vec<Algorithm>,
}

/// Where the keys of an issuer are.
#[derive(Clone, PartialEq)]
pub enum KeysSource {
    /// Where its discovery document says.
    Discovery(Url),
    /// Here.
    Url(Url),
    /// In this file, which is read again when it changes.
    File(PathBuf),
    /// A JWK set (RFC 7517, 5), or one key in PEM.
    Inline(String),
}

impl fmt::Debug for KeysSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(url) => write!(f, "Discovery({})", ShownUrl(url)),
            Self::Url(url) => write!(f, "Url({})", ShownUrl(url)),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Inline(_) => f.write_str("Inline"),
        }
    }
}

/// What stands in the file, or in variables.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) audiences: Option<Vec<String>>,
    pub(super) keys: Option<KeysSource>,
    pub(super) algorithms: Option<Vec<Algorithm>>,
}

impl Layer {
    pub(super) fn resolve(self, audiences: Option<&Vec<String>>) -> Result<IssuerSettings, String> {
        let keys = match self.keys {
            Some(keys) => keys,
            None => KeysSource::Discovery(safe_url(&self.name).map_err(|why| {
                format!("the issuer {:?} needs \"jwks\", since its keys cannot be found by its name: {why}", shown(&self.name))
            })?),
        };
        Ok(IssuerSettings {
            name: self.name,
            audiences: self.audiences.or_else(|| audiences.cloned()),
            keys,
            algorithms: self.algorithms.unwrap_or_else(asymmetric),
        })
    }
}

/// Reads `issuer`: one, or a list of them, each a name or an object. `jwks` and
/// `algorithms` beside it are for all that have none of their own.
pub(super) fn read(auth: &mut Reader<'_>) -> Option<Vec<Layer>> {
    let keys = read_keys(auth);
    let algorithms = read_algorithms(auth);
    let field = auth.field("issuer")?;
    let items = match field.value {
        Node::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.is_empty() {
        auth.refuse(field.written, "it names nobody");
        return None;
    }
    let mut layers: Vec<Layer> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = match field.value {
            Node::List(_) => format!("{}[{at}]", field.written),
            _ => field.written.to_owned(),
        };
        let mut layer = read_one(auth, &place, item)?;
        layer.keys = layer.keys.or_else(|| keys.clone());
        layer.algorithms = layer.algorithms.or_else(|| algorithms.clone());
        if layers.iter().any(|other| other.name == layer.name) {
            auth.refuse(&place, "the same issuer stands there already");
            return None;
        }
        layers.push(layer);
    }
    Some(layers)
}

fn read_one(auth: &mut Reader<'_>, place: &str, item: &Node) -> Option<Layer> {
    match item {
        Node::String(raw) => Some(Layer {
            name: named(auth, place, raw)?,
            audiences: None,
            keys: None,
            algorithms: None,
        }),
        Node::Object(pairs) => {
            let mut inner = auth.within(place, pairs, keys::AUTH_ISSUER);
            let name = inner.text("issuer").map(|name| name.trim().to_owned());
            let layer = name.filter(|name| !name.is_empty()).map(|name| Layer {
                name,
                audiences: read_audiences(&mut inner),
                keys: read_keys(&mut inner),
                algorithms: read_algorithms(&mut inner),
            });
            if layer.is_none() {
                inner.refuse("issuer", "it is needed: what stands in tokens as \"iss\"");
            }
            auth.absorb(inner);
            layer
        }
        other => {
            let why = format!(
                "expected the name of an issuer or an object, found {}",
                other.kind()
            );
            auth.refuse(place, &why);
            None
        }
    }
}

fn named(auth: &mut Reader<'_>, place: &str, raw: &str) -> Option<String> {
    let name = match expand(raw, auth.env) {
        Ok(name) => name.trim().to_owned(),
        Err(error) => {
            auth.refuse(place, &crate::config::reader::expand_sentence(&error));
            return None;
        }
    };
    if name.is_empty() {
        auth.refuse(place, "it is empty");
        return None;
    }
    Some(name)
}

/// A list that names somebody: an empty one would let nobody in, or everybody.
pub(super) fn read_audiences(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let audiences = reader.texts("audiences")?;
    if audiences.is_empty() || audiences.iter().any(|one| one.trim().is_empty()) {
        let written = reader.spelling("audiences");
        reader.refuse(written, "it names nobody, or a blank");
        return None;
    }
    Some(audiences)
}

/// `jwks`: a URL, or an object with one of `url`, `file`, `inline`.
fn read_keys(reader: &mut Reader<'_>) -> Option<KeysSource> {
    let field = reader.field("jwks")?;
    if let Node::String(_) = field.value {
        let text = reader.text("jwks")?;
        return checked_url(reader, "jwks", &text).map(KeysSource::Url);
    }
    let mut inner = reader.inner("jwks", keys::AUTH_JWKS)?;
    let url = inner.text("url").and_then(|text| {
        let url = checked_url(&mut inner, "url", &text);
        url.map(KeysSource::Url)
    });
    let file = inner
        .text("file")
        .map(|path| KeysSource::File(PathBuf::from(path)));
    let inline = read_inline(&mut inner).map(KeysSource::Inline);
    let mut given: Vec<_> = [url, file, inline].into_iter().flatten().collect();
    let alone = given.len() == 1;
    let sound = inner.findings.problems.is_empty();
    reader.absorb(inner);
    if alone {
        return given.pop();
    }
    if sound {
        reader.refuse(
            field.written,
            "it needs one of \"url\", \"file\" and \"inline\"",
        );
    }
    None
}

/// A JWK set as an object, or as its text; or a key in PEM.
fn read_inline(inner: &mut Reader<'_>) -> Option<String> {
    let field = inner.field("inline")?;
    let text = match field.value {
        Node::String(_) => inner.text("inline")?,
        _ => inner.json("inline")?.to_string(),
    };
    let is_set = serde_json::from_str::<serde_json::Value>(&text)
        .is_ok_and(|value| value.get("keys").is_some_and(serde_json::Value::is_array));
    if !is_set && !text.trim_start().starts_with("-----BEGIN") {
        inner.refuse(
            field.written,
            "expected a JWK set, an object with \"keys\", or a public key in PEM",
        );
        return None;
    }
    Some(text)
}

fn checked_url(reader: &mut Reader<'_>, key: &'static str, text: &str) -> Option<Url> {
    match safe_url(text) {
        Ok(url) => Some(url),
        Err(why) => {
            let written = reader.spelling(key);
            reader.refuse(written, &why);
            None
        }
    }
}

/// An address that keys may come from: nobody on the way may exchange them.
pub(super) fn safe_url(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    if Reach::is_clear_text(&url) {
        return Err(
            "expected https://: on the way from a public address anybody could exchange what is sent in the clear"
                .into(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or a password".into());
    }
    Ok(url)
}

fn read_algorithms(reader: &mut Reader<'_>) -> Option<Vec<Algorithm>> {
    let words = reader.texts("algorithms")?;
    let written = reader.spelling("algorithms");
    let mut algorithms = Vec::with_capacity(words.len());
    for word in &words {
        match Algorithm::from_str(word.trim()) {
            Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => {
                algorithms.push(algorithm);
            }
            _ => {
                let known: Vec<_> = asymmetric()
                    .iter()
                    .map(|known| format!("{known:?}"))
                    .collect();
                let why = format!("expected some of {}", known.join(", "));
                reader.refuse(written, &why);
                return None;
            }
        }
    }
    if algorithms.is_empty() {
        reader.refuse(written, "it names none");
        return None;
    }
    Some(algorithms)
}

fn asymmetric() -> Vec<Algorithm> {
    let families = [
        AlgorithmFamily::Rsa,
        AlgorithmFamily::Ec,
        AlgorithmFamily::Ed,
    ];
    let all = families.iter().flat_map(|family| family.algorithms());
    all.copied().collect()
}

/// An issuer's name in a sentence: it may be a URL, and URLs may hold secrets.
fn shown(name: &str) -> &str {
    name.split(['?', '#']).next().unwrap_or_default()
}
