//! What children declare beyond the specification.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Offer;

/// The extensions of all children.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// By their identifiers, with their settings. Where two children say different
    /// things of one, the first in the file is believed.
    pub settings: Map<String, Value>,
    /// The same of what is experimental.
    pub experimental: Map<String, Value>,
    /// The children that declare any, with the identifiers.
    declared: Vec<(usize, HashSet<String>)>,
}

/// Whose a method is that the specification does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// Nobody declares anything.
    Nobody,
    /// The child at this position among the offers.
    Child(usize),
    /// Nobody can say which of several.
    Several,
}

impl Extensions {
    /// Merges them, in the children's order.
    pub fn merge(offers: &[Offer<'_>]) -> Self {
        let mut all = Self::default();
        for (child, offer) in offers.iter().enumerate() {
            let Some(profile) = offer.listing.map(|listing| &listing.profile) else {
                continue;
            };
            let mut declared = HashSet::new();
            for (id, settings) in profile.extensions() {
                declared.insert(id.clone());
                let settings = || settings.clone();
                all.settings.entry(id.as_str()).or_insert_with(settings);
            }
            for (id, settings) in profile.experimental() {
                declared.insert(id.clone());
                let settings = || settings.clone();
                all.experimental.entry(id.as_str()).or_insert_with(settings);
            }
            if !declared.is_empty() {
                all.declared.push((child, declared));
            }
        }
        all
    }

    /// Whether this child declares any.
    pub fn has(&self, child: usize) -> bool {
        self.declared
            .iter()
            .any(|(declaring, _)| *declaring == child)
    }

    /// Whether this child declares that it may make a task of a call (SEP-2663).
    pub fn has_tasks(&self, child: usize) -> bool {
        const TASKS: &str = "io.modelcontextprotocol/tasks";
        self.declared
            .iter()
            .any(|(declaring, ids)| *declaring == child && ids.contains(TASKS))
    }

    /// Whose `method` is: of the child that declares an extension of its name (`skills`
    /// or `vendor/skills` for `skills/list`), else of the one that declares any.
    pub fn taker(&self, method: &str) -> Taker {
        let subject = subject(method);
        match self.named(|name| name == subject) {
            Taker::Nobody => one(self.declared.iter()),
            taker => taker,
        }
    }

    /// Whether `method` may be about something of this child: where any child declares an
    /// extension of the method's name, only that of those.
    pub fn may_take(&self, method: &str, child: usize) -> bool {
        let subject = subject(method);
        let mut named = self.declaring(|name| name == subject).peekable();
        named.peek().is_none() || named.any(|(declaring, _)| *declaring == child)
    }

    /// Whose a URI of this scheme is that nobody lists: of the child that declares an
    /// extension of that name (`ui:`), or of its plural (`skill:`).
    pub(super) fn brings(&self, scheme: &str) -> Option<usize> {
        let brings = |name: &str| name.strip_suffix('s').unwrap_or(name) == scheme;
        match self.named(|name| name == scheme || brings(name)) {
            Taker::Child(child) => Some(child),
            Taker::Nobody | Taker::Several => None,
        }
    }

    /// The child that declares an extension of such a name, its vendor left out.
    fn named(&self, wanted: impl Fn(&str) -> bool) -> Taker {
        one(self.declaring(wanted))
    }

    fn declaring(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &(usize, HashSet<String>)> {
        let is_wanted = move |id: &String| id.rsplit('/').next().is_some_and(&wanted);
        self.declared
            .iter()
            .filter(move |(_, ids)| ids.iter().any(&is_wanted))
    }
}

/// What a method is about, by its own name.
fn subject(method: &str) -> &str {
    let method = method.strip_prefix("notifications/").unwrap_or(method);
    method.split('/').next().unwrap_or_default()
}

fn one<'a>(mut children: impl Iterator<Item = &'a (usize, HashSet<String>)>) -> Taker {
    match (children.next(), children.next()) {
        (None, _) => Taker::Nobody,
        (Some((child, _)), None) => Taker::Child(*child),
        (Some(_), Some(_)) => Taker::Several,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{catalog::Listing, protocol::ChildName};

    fn merged(capabilities: &[Value]) -> Extensions {
        let listings: Vec<Listing> = capabilities
            .iter()
            .map(|capabilities| {
                let mut listing = Listing::default();
                listing.profile.capabilities = capabilities.as_object().unwrap().clone();
                listing
            })
            .collect();
        let child = ChildName::from("child");
        let offers: Vec<_> = listings
            .iter()
            .map(|listing| Offer {
                child: &child,
                prefix: "",
                enabled: true,
                listing: Some(listing),
            })
            .collect();
        Extensions::merge(&offers)
    }

    #[test]
    fn the_first_in_the_file_is_believed() {
        let all = merged(&[
            json!({"extensions": {"a/x": {"n": 1}}}),
            json!({"extensions": {"a/x": {"n": 2}, "a/y": {}}, "experimental": {"z": {}}}),
        ]);
        assert_eq!(
            Value::from(all.settings),
            json!({"a/x": {"n": 1}, "a/y": {}})
        );
        assert_eq!(Value::from(all.experimental), json!({"z": {}}));
    }

    #[test]
    fn a_method_is_of_the_one_child_that_can_mean_it() {
        let plain = || json!({"tools": {}});
        let skills = || json!({"extensions": {"io.modelcontextprotocol/skills": {}}});
        let ui = || json!({"extensions": {"io.modelcontextprotocol/ui": {}}});
        for (children, method, taker) in [
            (vec![plain()], "skills/list", Taker::Nobody),
            (vec![plain(), ui()], "vendor/any", Taker::Child(1)),
            (vec![ui(), skills()], "skills/list", Taker::Child(1)),
            (
                vec![ui(), skills()],
                "notifications/skills/new",
                Taker::Child(1),
            ),
            (vec![ui(), skills()], "vendor/any", Taker::Several),
            (vec![skills(), skills()], "skills/list", Taker::Several),
        ] {
            assert_eq!(merged(&children).taker(method), taker, "{method}");
        }
    }

    #[test]
    fn what_a_method_names_is_of_a_child_that_can_mean_the_method() {
        let plain = json!({"tools": {}});
        let skills = json!({"extensions": {"io.modelcontextprotocol/skills": {}}});
        let ui = json!({"extensions": {"io.modelcontextprotocol/ui": {}}});
        let all = merged(&[plain, ui, skills.clone(), skills]);
        let takers = |method| Vec::from([0, 1, 2, 3].map(|child| all.may_take(method, child)));
        assert_eq!(takers("skills/get"), [false, false, true, true]);
        assert_eq!(takers("notifications/skills/new"), takers("skills/get"));
        assert_eq!(takers("vendor/any"), [true; 4]);
    }
}
