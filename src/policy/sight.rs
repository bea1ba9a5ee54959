//! What one caller may know of, and use.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::{
    any::may_show_any,
    question::{Action, Question, principal},
    reading::Policy,
};
use crate::{
    catalog::{Hints, Primitive, Route},
    protocol::{ChildName, Subject},
};
use cedar_policy::Entity;

/// A longer name is not remembered: callers make up URIs.
const LONGEST: usize = 512;

/// Something of a child, or a child as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Thing<'a> {
    pub(super) child: &'a ChildName,
    /// `None`: the child as a whole.
    pub(super) primitive: Option<Primitive>,
    pub(super) own: &'a str,
    pub(super) hints: Hints,
}

impl<'a> Thing<'a> {
    /// A child as a whole.
    pub fn child(child: &'a ChildName) -> Self {
        Self {
            child,
            primitive: None,
            own: "",
            hints: Hints::default(),
        }
    }

    /// What the child itself calls `own`.
    pub fn of(child: &'a ChildName, primitive: Primitive, own: &'a str, hints: Hints) -> Self {
        Self {
            child,
            primitive: Some(primitive),
            own,
            hints,
        }
    }

    /// What a route leads to.
    pub fn routed(child: &'a ChildName, primitive: Primitive, route: &'a Route) -> Self {
        Self::of(child, primitive, route.own.as_str(), route.hints)
    }
}

/// What a caller may do with a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Know of it, and use it.
    Usable,
    /// Know of it; and why not use it, as the end of a sentence.
    Shown(Arc<str>),
    /// Nothing.
    Hidden,
}

/// Which answer it is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    who: [u8; 32],
    child: ChildName,
    primitive: Option<Primitive>,
    own: Box<str>,
    hints: Hints,
}

/// What one caller may know of and use.
#[derive(Debug)]
pub struct Sight {
    /// `None`: everything.
    policy: Option<Arc<Policy>>,
    subject: Option<Arc<Subject>>,
    who: OnceLock<[u8; 32]>,
    /// The same as policies see it.
    principal: OnceLock<Option<Entity>>,
}

impl Sight {
    pub(super) fn new(policy: Option<Arc<Policy>>, subject: Option<Arc<Subject>>) -> Self {
        Self {
            policy,
            subject,
            who: OnceLock::new(),
            principal: OnceLock::new(),
        }
    }

    /// Whether it is of everything.
    pub fn is_open(&self) -> bool {
        self.policy.is_none()
    }

    /// Whether the caller may know of a thing.
    pub fn shows(&self, thing: &Thing<'_>) -> bool {
        self.verdict(thing) != Verdict::Hidden
    }

    /// What the caller may do with a thing.
    pub fn verdict(&self, thing: &Thing<'_>) -> Verdict {
        let Some(policy) = &self.policy else {
            return Verdict::Usable;
        };
        if thing.own.len() > LONGEST {
            return self.decide(policy, thing);
        }
        let key = Key {
            who: self.who(),
            child: thing.child.clone(),
            primitive: thing.primitive,
            own: thing.own.into(),
            hints: thing.hints,
        };
        if let Some(known) = policy.answers.get(&key) {
            return known;
        }
        let verdict = self.decide(policy, thing);
        policy.answers.insert(key, verdict.clone());
        verdict
    }

    /// Whether a policy keeps the caller from using a thing, or from knowing of it; not
    /// whether any permits that.
    pub fn forbids(&self, thing: &Thing<'_>) -> bool {
        let Some(policy) = &self.policy else {
            return false;
        };
        let question = self
            .principal(policy)
            .and_then(|principal| Question::new(policy, principal, thing));
        question.is_none_or(|question| {
            [Action::List, Action::using(thing)]
                .into_iter()
                .any(|action| question.forbids(action))
        })
    }

    /// Whether the caller may know of a child that has listed nothing, or may know of
    /// something that it lists.
    pub fn may_show_any(&self, child: &ChildName) -> bool {
        let Some(policy) = &self.policy else {
            return true;
        };
        if self.shows(&Thing::child(child)) {
            return true;
        }
        let key = (self.who(), child.clone());
        if let Some(known) = policy.may_show.get(&key) {
            return known;
        }
        let may = self
            .principal(policy)
            .is_some_and(|principal| may_show_any(policy, principal, child));
        policy.may_show.insert(key, may);
        may
    }

    fn who(&self) -> [u8; 32] {
        *self
            .who
            .get_or_init(|| fingerprint(self.subject.as_deref()))
    }

    fn principal(&self, policy: &Policy) -> Option<&Entity> {
        self.principal
            .get_or_init(|| principal(&policy.names, self.subject.as_deref()))
            .as_ref()
    }

    /// Whoever may use a thing sees it, unless a policy forbids that; and what is not
    /// seen is not used.
    fn decide(&self, policy: &Policy, thing: &Thing<'_>) -> Verdict {
        let question = self
            .principal(policy)
            .and_then(|principal| Question::new(policy, principal, thing));
        let Some(question) = question else {
            return Verdict::Hidden;
        };
        let listed = question.ask(Action::List);
        let used = question.ask(Action::using(thing));
        let forbidden = !listed.allowed && !listed.by.is_empty();
        match (listed.allowed, used.allowed) {
            (_, true) if !forbidden => Verdict::Usable,
            (true, false) => Verdict::Shown(why(&used.by)),
            _ => Verdict::Hidden,
        }
    }
}

fn why(forbidding: &[String]) -> Arc<str> {
    match forbidding {
        [] => "no policy permits it".into(),
        [one] => format!("the policy {one:?} forbids it").into(),
        several => format!("the policies {} forbid it", several.join(", ")).into(),
    }
}

/// All that policies can ask of a caller, in a few bytes that are nobody else's.
fn fingerprint(subject: Option<&Subject>) -> [u8; 32] {
    let Some(subject) = subject else {
        return [0; 32];
    };
    let mut hash = Sha256::new();
    // Lengths in front: no two callers are written alike.
    let mut write = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    write(if subject.acts_for_itself { "1" } else { "0" });
    write(&subject.issuer);
    write(&subject.sub);
    write(subject.client.as_deref().unwrap_or_default());
    for words in [&subject.scopes, &subject.roles, &subject.groups] {
        write(&words.len().to_string());
        words.iter().for_each(|word| write(word));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: &str = "permit(principal, action == Action::\"call\", resource is Tool) \
                          when { resource.readOnly };";

    fn subject(roles: &[&str]) -> Option<Arc<Subject>> {
        Some(Arc::new(Subject {
            issuer: "https://i".into(),
            sub: "ada".into(),
            client: Some("cli".into()),
            scopes: ["mcp".to_owned()].into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            groups: ["/staff".to_owned()].into(),
            expires: None,
            acts_for_itself: false,
            nameless: None,
        }))
    }

    fn sight(policies: &str, subject: Option<Arc<Subject>>) -> Sight {
        let policy = Policy::of(vec![("p.cedar".into(), policies.to_owned())]).unwrap();
        Sight::new(Some(Arc::new(policy)), subject)
    }

    fn tool(sight: &Sight, own: &str, read_only: bool) -> Verdict {
        let hints = Hints {
            read_only,
            ..Hints::default()
        };
        sight.verdict(&Thing::of(&"github".into(), Primitive::Tool, own, hints))
    }

    #[test]
    fn without_policies_everything_is_usable() {
        let sight = Sight::new(None, None);
        assert!(sight.is_open());
        assert_eq!(tool(&sight, "drop", false), Verdict::Usable);
    }

    #[test]
    fn what_may_be_used_is_seen_and_the_rest_is_not() {
        let sight = sight(READER, subject(&[]));
        // Asked twice: what is remembered is the same.
        for _ in 0..2 {
            assert_eq!(tool(&sight, "get", true), Verdict::Usable);
            assert_eq!(tool(&sight, "drop", false), Verdict::Hidden);
        }
        let child = sight.verdict(&Thing::child(&"github".into()));
        assert_eq!(child, Verdict::Hidden);
    }

    #[test]
    fn what_may_be_listed_alone_is_shown_with_the_reason_why_not_used() {
        let shown = "permit(principal, action == Action::\"list\", resource);";
        let all = "permit(principal, action, resource);\n\
                   @id(\"no-drop\") forbid(principal, action == Action::\"call\", \
                   resource == Tool::\"github/drop\");";
        let nobody = tool(&sight(shown, None), "drop", false);
        assert_eq!(nobody, Verdict::Shown("no policy permits it".into()));
        let forbidden = tool(&sight(all, None), "drop", false);
        assert_eq!(
            forbidden,
            Verdict::Shown("the policy \"no-drop\" forbids it".into())
        );
        assert_eq!(tool(&sight(all, None), "get", false), Verdict::Usable);
    }

    #[test]
    fn what_may_not_be_listed_is_not_used() {
        let policies = "permit(principal, action, resource);\n\
                        forbid(principal, action == Action::\"list\", resource) \
                        when { resource.name like \"admin_*\" };";
        let sight = sight(policies, subject(&[]));
        assert_eq!(tool(&sight, "admin_drop", true), Verdict::Hidden);
        assert_eq!(tool(&sight, "get", true), Verdict::Usable);
    }

    #[test]
    fn everything_a_token_says_can_be_asked_for() {
        for (condition, good) in [
            ("principal.roles.contains(\"dev\")", true),
            ("principal.roles.contains(\"ops\")", false),
            ("principal.scopes.contains(\"mcp\")", true),
            ("principal.groups.contains(\"/staff\")", true),
            (
                "principal.client == \"cli\" && principal.issuer == \"https://i\"",
                true,
            ),
            (
                "principal is User && principal == User::\"https://i|ada\"",
                true,
            ),
            ("principal is Anonymous || principal is Client", false),
            ("resource in Child::\"github\"", true),
            ("resource in Child::\"git\"", false),
        ] {
            let policy = format!("permit(principal, action, resource) when {{ {condition} }};");
            let verdict = tool(&sight(&policy, subject(&["dev"])), "get", false);
            assert_eq!(verdict == Verdict::Usable, good, "{condition}");
        }
    }

    #[test]
    fn one_answer_is_not_given_to_another_caller() {
        let policy =
            "permit(principal, action, resource) when { principal.roles.contains(\"dev\") };";
        let dev = sight(policy, subject(&["dev"]));
        assert_eq!(tool(&dev, "get", true), Verdict::Usable);
        for other in [None, subject(&[]), subject(&["d", "ev"])] {
            let other = Sight::new(dev.policy.clone(), other);
            assert_eq!(tool(&other, "get", true), Verdict::Hidden);
        }
    }

    #[test]
    fn each_kind_of_thing_is_used_by_an_action_of_its_own() {
        let child = ChildName::from("c");
        for (action, primitive) in [
            ("call", Some(Primitive::Tool)),
            ("call", None),
            ("get", Some(Primitive::Prompt)),
            ("read", Some(Primitive::Resource)),
            ("read", Some(Primitive::Template)),
        ] {
            let policy = format!("permit(principal, action == Action::\"{action}\", resource);");
            let sight = sight(&policy, None);
            for asked in Primitive::ALL.map(Some).into_iter().chain([None]) {
                let thing = match asked {
                    Some(asked) => Thing::of(&child, asked, "x", Hints::default()),
                    None => Thing::child(&child),
                };
                let same = Action::using(&thing) == {
                    let thing = Thing { primitive, ..thing };
                    Action::using(&thing)
                };
                assert_eq!(sight.shows(&thing), same, "{action} {asked:?}");
            }
        }
    }

    #[test]
    fn a_client_that_acts_for_itself_is_no_user() {
        let policy = "permit(principal is Client, action, resource);";
        let mut service = (*subject(&[]).unwrap()).clone();
        assert_eq!(
            tool(&sight(policy, subject(&[])), "get", true),
            Verdict::Hidden
        );
        service.acts_for_itself = true;
        let service = Some(Arc::new(service));
        assert_eq!(tool(&sight(policy, service), "get", true), Verdict::Usable);
    }
}
