//! Whether a caller may know of anything of a child that has listed nothing yet: what its
//! things are called, and what they say they do, is unknown, and the policies are asked as
//! far as they can tell without.

use std::collections::HashSet;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, PartialResponse, Policy,
    Request, RestrictedExpression,
};
use serde_json::Value;

use super::{
    question::{Action, as_entity, text, uid},
    reading,
    sight::Thing,
};
use crate::{
    catalog::{Hints, Primitive},
    protocol::ChildName,
};

/// What policies can ask of a thing, beside its child. What is not known may be anything.
const UNKNOWN: [&str; 5] = ["name", "readOnly", "destructive", "idempotent", "openWorld"];

/// Whether these policies may let this caller know of something of the child. What they
/// name is asked for by its name; what they say of names and of what a tool does may
/// hold of something.
pub(super) fn may_show_any(
    policy: &reading::Policy,
    principal: &Entity,
    child: &ChildName,
) -> bool {
    let prefix = format!("{child}/");
    let literals = policy.set.policies().flat_map(|it| it.entity_literals());
    let named: HashSet<EntityUid> = literals
        .filter(|uid| uid.id().unescaped().starts_with(&prefix))
        .collect();
    let kinds = [Primitive::Tool, Primitive::Prompt, Primitive::Resource];
    kinds.into_iter().any(|kind| {
        let unnamed = uid(policy.names.of(kind), &prefix);
        let of_kind = |uid: &&EntityUid| uid.type_name() == unnamed.type_name();
        named
            .iter()
            .filter(of_kind)
            .chain([&unnamed])
            .any(|uid| may_show(policy, principal, child, kind, uid).unwrap_or(false))
    })
}

/// `None` where it cannot be asked, or not be decided.
fn may_show(
    policy: &reading::Policy,
    principal: &Entity,
    child: &ChildName,
    kind: Primitive,
    resource: &EntityUid,
) -> Option<bool> {
    let child_id = uid(&policy.names.child, child.as_str());
    let known = [("child".to_owned(), text(child.as_str()))];
    let unknown = UNKNOWN.map(|key| (key.to_owned(), RestrictedExpression::new_unknown(key)));
    let attributes = known.into_iter().chain(unknown).collect();
    let parents = HashSet::from([child_id.clone()]);
    let entities = [
        principal.clone(),
        as_entity(&policy.names, child)?,
        Entity::new(resource.clone(), attributes, parents).ok()?,
    ];
    let entities = Entities::from_entities(entities, None).ok()?;
    let ask = |action: Action| {
        let action = uid(&policy.names.action, action.as_str());
        let resource = resource.clone();
        let request = Request::new(principal.uid(), action, resource, Context::empty(), None);
        let request = request.ok()?;
        let response = Authorizer::new().is_authorized_partial(&request, &policy.set, &entities);
        let failed = response.definitely_errored().next().is_some();
        (!failed).then_some(response)
    };
    let permits = |policy: &Policy| policy.effect() == Effect::Permit;
    let forbids = |response: &PartialResponse| {
        response.definitely_satisfied().any(|it| !permits(&it))
            || response
                .nontrivial_residuals()
                .any(|it| !permits(&it) && must_hold(&it))
    };
    let may = |response: &PartialResponse| match response.decision() {
        Some(decision) => decision == Decision::Allow,
        None if forbids(response) => false,
        None => {
            response.definitely_satisfied().any(|it| permits(&it))
                || response
                    .nontrivial_residuals()
                    .any(|it| permits(&it) && can_hold(&it))
        }
    };
    let listed = ask(Action::List)?;
    let thing = Thing::of(child, kind, "", Hints::default());
    let used = ask(Action::using(&thing))?;
    // As for a thing that is known: whoever may use it sees it, unless that is forbidden.
    Some(may(&listed) || (may(&used) && !forbids(&listed)))
}

/// Whether what is left of a policy can hold: Cedar leaves also what is false whatever the
/// unknown is, where that stands in front.
fn can_hold(policy: &Policy) -> bool {
    conditions(policy).is_none_or(|all| !all.contains(&Some(false)))
}

/// Whether it holds whatever the unknown is: that is left too.
fn must_hold(policy: &Policy) -> bool {
    conditions(policy).is_some_and(|all| all.iter().all(|met| *met == Some(true)))
}

/// Whether each condition of what is left is met, where that is certain; `None` where
/// they cannot be read.
fn conditions(policy: &Policy) -> Option<Vec<Option<bool>>> {
    let left = policy.to_json().ok()?;
    let met = |condition: &Value| {
        let met = condition["kind"] == "when";
        truth(&condition["body"]).map(|it| it == met)
    };
    Some(left["conditions"].as_array()?.iter().map(met).collect())
}

/// What an expression is, where that is certain.
fn truth(expression: &Value) -> Option<bool> {
    let both = |operator: &str| {
        let sides = expression.get(operator)?;
        Some([truth(&sides["left"]), truth(&sides["right"])])
    };
    if let Some(known) = expression.get("Value") {
        return known.as_bool();
    }
    if let Some(sides) = both("&&") {
        return match sides {
            [Some(true), other] | [other, Some(true)] => other,
            sides => sides.contains(&Some(false)).then_some(false),
        };
    }
    if let Some(sides) = both("||") {
        return match sides {
            [Some(false), other] | [other, Some(false)] => other,
            sides => sides.contains(&Some(true)).then_some(true),
        };
    }
    truth(expression.get("!")?.get("arg")?).map(|it| !it)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{reading::Policy, sight::Sight};
    use crate::protocol::Subject;

    fn may(policies: &str, child: &str) -> bool {
        let policy = Policy::of(vec![("p.cedar".into(), policies.to_owned())]).unwrap();
        let ada = Subject {
            sub: "ada".into(),
            roles: ["dev".to_owned()].into(),
            ..Subject::default()
        };
        let sight = Sight::new(Some(Arc::new(policy)), Some(Arc::new(ada)));
        // Asked twice: what is remembered is the same.
        let first = sight.may_show_any(&child.into());
        assert_eq!(sight.may_show_any(&child.into()), first, "{policies}");
        first
    }

    #[test]
    fn what_policies_name_or_describe_may_be_there() {
        for resource in [
            r#"resource == Tool::"github/get""#,
            r#"resource in Child::"github""#,
            r#"resource == Child::"github""#,
        ] {
            let policy = format!("permit(principal, action, {resource});");
            assert!(may(&policy, "github"), "{resource}");
            assert!(
                !may(&policy, "gitlab") && !may(&policy, "git"),
                "{resource}"
            );
        }
        for condition in [
            r#"resource.name like "get_*""#,
            "resource.readOnly && resource.child != \"gitlab\"",
            r#"[Tool::"slack/get", Tool::"github/get"].contains(resource)"#,
            r#"resource == Tool::"github/get" && principal.roles.contains("dev")"#,
        ] {
            let policy =
                format!("permit(principal, action, resource is Tool) when {{ {condition} }};");
            assert!(may(&policy, "github"), "{condition}");
            assert!(
                !may(&policy, "gitlab") || condition.contains("like"),
                "{condition}"
            );
        }
    }

    #[test]
    fn what_is_permitted_to_others_or_forbidden_is_not_there() {
        for policies in [
            "",
            r#"permit(principal, action, resource is Tool) when { principal.roles.contains("ops") && resource.name like "get_*" };"#,
            r#"permit(principal, action, resource == Tool::"github/get") unless { principal.sub == "ada" };"#,
            r#"permit(principal, action, resource is Tool) when { resource.readOnly };
               forbid(principal, action, resource in Child::"github");"#,
            r#"permit(principal, action == Action::"call", resource is Tool) when { resource.readOnly };
               forbid(principal, action == Action::"list", resource);"#,
            r#"permit(principal, action, resource is Tool);
               forbid(principal, action, resource is Tool)
               unless { resource.readOnly && principal.roles.contains("ops") };"#,
            r#"permit(principal, action, resource is Tool) when { resource.readOnly };
               forbid(principal, action, resource is Tool)
               when { resource.readOnly || resource in Child::"github" };"#,
            r#"permit(principal, action == Action::"call", resource is Tool) when { resource.readOnly };
               forbid(principal, action == Action::"list", resource is Tool)
               when { resource.readOnly || resource in Child::"github" };"#,
        ] {
            assert!(!may(policies, "github"), "{policies}");
        }
        // Of the other things nobody has said that.
        let some = r#"permit(principal, action, resource is Tool) when { resource.readOnly };
            forbid(principal, action, resource) when { resource.name == "drop" };"#;
        assert!(may(some, "github"));
        let unless = r#"permit(principal, action, resource is Tool);
            forbid(principal, action, resource is Tool)
            unless { resource.readOnly && principal.roles.contains("dev") };"#;
        assert!(may(unless, "github"));
    }
}
