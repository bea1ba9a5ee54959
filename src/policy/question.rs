//! One question to the policies: may this caller do that with this thing?

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, ParseErrors, Request, RestrictedExpression,
};

use super::{reading::Policy, sight::Thing};
use crate::{
    catalog::{Hints, Primitive},
    protocol::{ChildName, Subject},
};

/// What can be done with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Call,
    Read,
    Get,
}

impl Action {
    /// How a thing is used.
    pub(super) fn using(thing: &Thing<'_>) -> Self {
        match thing.primitive {
            Some(Primitive::Tool) | None => Self::Call,
            Some(Primitive::Prompt) => Self::Get,
            Some(Primitive::Resource | Primitive::Template) => Self::Read,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Call => "call",
            Self::Read => "read",
            Self::Get => "get",
        }
    }
}

/// What the policies say.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// The ids of the policies that decided it, in order; empty where none permits it.
    pub(super) by: Vec<String>,
}

/// The names in the schema, read once: reading costs more than an answer does.
pub(super) struct Names {
    user: EntityTypeName,
    client: EntityTypeName,
    anonymous: EntityTypeName,
    pub(super) child: EntityTypeName,
    tool: EntityTypeName,
    prompt: EntityTypeName,
    resource: EntityTypeName,
    pub(super) action: EntityTypeName,
}

impl Names {
    pub(super) fn read() -> Result<Self, Box<ParseErrors>> {
        Ok(Self {
            user: "User".parse()?,
            client: "Client".parse()?,
            anonymous: "Anonymous".parse()?,
            child: "Child".parse()?,
            tool: "Tool".parse()?,
            prompt: "Prompt".parse()?,
            resource: "Resource".parse()?,
            action: "Action".parse()?,
        })
    }

    /// The kind of a child's things.
    pub(super) fn of(&self, primitive: Primitive) -> &EntityTypeName {
        match primitive {
            Primitive::Tool => &self.tool,
            Primitive::Prompt => &self.prompt,
            Primitive::Resource | Primitive::Template => &self.resource,
        }
    }
}

/// One caller, and one thing.
pub(super) struct Question<'a> {
    policy: &'a Policy,
    principal: EntityUid,
    resource: EntityUid,
    entities: Entities,
}

impl<'a> Question<'a> {
    /// `None` where it cannot be put.
    pub(super) fn new(policy: &'a Policy, principal: &Entity, thing: &Thing<'_>) -> Option<Self> {
        let names = &policy.names;
        let child_id = uid(&names.child, thing.child.as_str());
        let child = as_entity(names, thing.child)?;
        let mut entities = vec![principal.clone(), child];
        let resource = match thing.primitive {
            None => child_id,
            Some(primitive) => {
                let hints = (primitive == Primitive::Tool).then_some(thing.hints);
                let id = uid(
                    names.of(primitive),
                    &format!("{}/{}", thing.child, thing.own),
                );
                let attributes = described(thing, thing.own, hints);
                let parents = HashSet::from([child_id]);
                entities.push(Entity::new(id.clone(), attributes, parents).ok()?);
                id
            }
        };
        Some(Self {
            policy,
            principal: principal.uid(),
            resource,
            entities: Entities::from_entities(entities, None).ok()?,
        })
    }

    /// Whether the policies let the caller do this. What cannot be decided is denied.
    pub(super) fn ask(&self, action: Action) -> Decision {
        self.decide(action).unwrap_or_else(|| Decision {
            allowed: false,
            by: Vec::new(),
        })
    }

    /// Whether a policy forbids this. What cannot be decided is forbidden.
    pub(super) fn forbids(&self, action: Action) -> bool {
        self.decide(action)
            .is_none_or(|it| !it.allowed && !it.by.is_empty())
    }

    fn decide(&self, action: Action) -> Option<Decision> {
        let request = Request::new(
            self.principal.clone(),
            uid(&self.policy.names.action, action.as_str()),
            self.resource.clone(),
            Context::empty(),
            None,
        )
        .ok()?;
        let response = Authorizer::new().is_authorized(&request, &self.policy.set, &self.entities);
        // A policy that fails would be passed over, a forbidding one too.
        let failed: Vec<_> = response.diagnostics().errors().collect();
        if !failed.is_empty() {
            tracing::warn!(?failed, "a policy cannot be evaluated");
            return None;
        }
        let mut by: Vec<_> = response
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .collect();
        by.sort_unstable();
        Some(Decision {
            allowed: response.decision() == Verdict::Allow,
            by,
        })
    }
}

/// Who asks; `None` where policies cannot be told of it.
pub(super) fn principal(names: &Names, subject: Option<&Subject>) -> Option<Entity> {
    let nobody = Subject::default();
    let (kind, id) = match subject {
        None => (&names.anonymous, "anonymous".to_owned()),
        Some(subject) => match (&subject.client, subject.acts_for_itself) {
            (Some(client), true) => (&names.client, format!("{}|{client}", subject.issuer)),
            _ => (&names.user, format!("{}|{}", subject.issuer, subject.sub)),
        },
    };
    let subject = subject.unwrap_or(&nobody);
    let client = subject.client.as_deref().unwrap_or_default();
    let attributes = HashMap::from([
        ("issuer".to_owned(), text(&subject.issuer)),
        ("sub".to_owned(), text(&subject.sub)),
        ("client".to_owned(), text(client)),
        ("scopes".to_owned(), set(&subject.scopes)),
        ("roles".to_owned(), set(&subject.roles)),
        ("groups".to_owned(), set(&subject.groups)),
    ]);
    Entity::new(uid(kind, &id), attributes, HashSet::new()).ok()
}

/// A child as a whole.
pub(super) fn as_entity(names: &Names, child: &ChildName) -> Option<Entity> {
    let attributes = described(&Thing::child(child), child.as_str(), Some(Hints::default()));
    Entity::new(
        uid(&names.child, child.as_str()),
        attributes,
        HashSet::new(),
    )
    .ok()
}

fn described(
    thing: &Thing<'_>,
    name: &str,
    hints: Option<Hints>,
) -> HashMap<String, RestrictedExpression> {
    let mut attributes = HashMap::from([
        ("name".to_owned(), text(name)),
        ("child".to_owned(), text(thing.child.as_str())),
    ]);
    if let Some(hints) = hints {
        let says = [
            ("readOnly", hints.read_only),
            ("destructive", hints.destructive),
            ("idempotent", hints.idempotent),
            ("openWorld", hints.open_world),
        ];
        attributes
            .extend(says.map(|(key, said)| (key.to_owned(), RestrictedExpression::new_bool(said))));
    }
    attributes
}

pub(super) fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn set(words: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(words.iter().map(|word| text(word)))
}

pub(super) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
