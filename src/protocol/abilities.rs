//! What a client has declared that a server may ask of it.

use serde_json::{Map, Value, json};

use super::{
    Frame,
    json::{self, Object},
};

/// The kinds of requests a client answers (MCP, "Client Features"). Whoever has said
/// nothing may be asked nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    roots: bool,
    sampling: bool,
    sampling_tools: bool,
    sampling_context: bool,
    form: bool,
    url: bool,
}

impl Abilities {
    /// Reads a client's `capabilities` (JSON text). What cannot be read is not there.
    pub fn read(capabilities: &str) -> Self {
        let members = Object::read(capabilities).ok();
        let part = |name| {
            let raw = members.as_ref()?.get(name)?;
            Object::read(raw).ok()
        };
        let has = |object: &Option<Object<'_>>, key| {
            let value = object.as_ref().and_then(|object| object.get(key));
            value.is_some_and(json::is_object)
        };
        let (roots, sampling, elicitation) = (part("roots"), part("sampling"), part("elicitation"));
        let url = has(&elicitation, "url");
        Self {
            roots: roots.is_some(),
            sampling: sampling.is_some(),
            sampling_tools: has(&sampling, "tools"),
            sampling_context: has(&sampling, "context"),
            // From before there were modes: nothing said means forms.
            form: has(&elicitation, "form") || elicitation.is_some() && !url,
            url,
        }
    }

    /// Whether a client of these abilities may be asked this.
    pub fn allow(self, request: &Frame) -> bool {
        match request.method().as_deref() {
            Some("roots/list") => self.roots,
            // What else may be included is a wish only, and older than its ability.
            Some("sampling/createMessage") => {
                self.sampling && (self.sampling_tools || !brings_tools(request))
            }
            Some("elicitation/create") => match mode(request).as_deref() {
                Some("url") => self.url,
                _ => self.form,
            },
            _ => false,
        }
    }

    /// As a modern request says it to a child in its `_meta`.
    pub fn to_json(self) -> Value {
        let object = |members: &[(&str, bool)]| -> Value {
            let present = members.iter().filter(|(_, present)| *present);
            let members = present.map(|(name, _)| ((*name).to_owned(), json!({})));
            members.collect::<Map<_, _>>().into()
        };
        let mut all = object(&[("roots", self.roots)]);
        if self.sampling {
            all["sampling"] = object(&[
                ("tools", self.sampling_tools),
                ("context", self.sampling_context),
            ]);
        }
        if self.form || self.url {
            all["elicitation"] = object(&[("form", self.form), ("url", self.url)]);
        }
        all
    }
}

/// Whether a model is to be given tools.
fn brings_tools(sampling: &Frame) -> bool {
    let params = sampling.body_object();
    let has = |key| params.as_ref().is_some_and(|it| it.get(key).is_some());
    has("tools") || has("toolChoice")
}

/// The mode of an elicitation, if it says one.
fn mode(elicitation: &Frame) -> Option<String> {
    let params = elicitation.body_object()?;
    Some(json::unquote(params.get("mode")?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(method: &str, params: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ))
    }

    #[test]
    fn nothing_may_be_asked_that_was_not_declared() {
        let nothing = Abilities::read("{}");
        for method in [
            "roots/list",
            "sampling/createMessage",
            "elicitation/create",
            "x/y",
        ] {
            assert!(!nothing.allow(&asks(method, "{}")), "{method}");
        }
        let all = Abilities::read(r#"{"roots":{},"sampling":{},"elicitation":{}}"#);
        for method in ["roots/list", "sampling/createMessage", "elicitation/create"] {
            assert!(all.allow(&asks(method, "{}")), "{method}");
        }
        assert!(!all.allow(&asks("x/y", "{}")));
        assert_eq!(
            Abilities::read(r#"{"roots":true,"sampling":[],"elicitation":null}"#),
            nothing
        );
        assert_eq!(Abilities::read("no JSON"), nothing);
    }

    #[test]
    fn an_elicitation_by_url_has_to_be_declared_by_name() {
        let url = asks("elicitation/create", r#"{"mode":"url"}"#);
        let form = asks("elicitation/create", r#"{"mode":"form"}"#);
        for (declared, forms, urls) in [
            (r#"{"elicitation":{}}"#, true, false),
            (r#"{"elicitation":{"form":{}}}"#, true, false),
            (r#"{"elicitation":{"url":{}}}"#, false, true),
            (r#"{"elicitation":{"form":{},"url":{}}}"#, true, true),
        ] {
            let abilities = Abilities::read(declared);
            assert_eq!(abilities.allow(&form), forms, "{declared}");
            assert_eq!(abilities.allow(&url), urls, "{declared}");
        }
    }

    #[test]
    fn tools_for_a_model_have_to_be_declared_by_name() {
        let plain = Abilities::read(r#"{"sampling":{}}"#);
        let tools = Abilities::read(r#"{"sampling":{"tools":{}}}"#);
        for (params, plainly) in [
            (r#"{"messages":[]}"#, true),
            (r#"{"includeContext":"thisServer"}"#, true),
            (r#"{"tools":[]}"#, false),
            (r#"{"toolChoice":{"mode":"none"}}"#, false),
        ] {
            let asked = asks("sampling/createMessage", params);
            assert_eq!(plain.allow(&asked), plainly, "{params}");
            assert!(tools.allow(&asked), "{params}");
        }
        let none = Abilities::read(r#"{"roots":{}}"#);
        assert!(!none.allow(&asks("sampling/createMessage", "{}")));
    }

    #[test]
    fn what_is_said_to_a_child_is_what_was_declared() {
        let declared = r#"{"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{},"experimental":{"x":1}}"#;
        let abilities = Abilities::read(declared);
        let told = abilities.to_json();
        assert_eq!(
            told,
            json!({"roots": {}, "sampling": {"tools": {}}, "elicitation": {"form": {}}})
        );
        assert_eq!(Abilities::read(&told.to_string()), abilities);
        assert_eq!(Abilities::default().to_json(), json!({}));
    }
}
