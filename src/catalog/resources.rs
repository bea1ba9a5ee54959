//! Whose a URI is. URIs stay as children gave them, since they stand in results too,
//! which nobody rewrites.

use std::collections::HashMap;

use super::{Family, Hints, Offer, Primitive, Route, list::List, template::Template};
use crate::protocol::OwnName;

/// The resources and templates of all children.
#[derive(Debug, Default)]
pub(super) struct Resources {
    exact: HashMap<OwnName, Route>,
    /// `mux+{prefix}://`, and the child whose URIs stand behind it.
    aliases: Vec<(String, usize)>,
    templates: Vec<(Template, Route)>,
    /// The one child that has URIs of a scheme; `None`: several do.
    schemes: HashMap<String, Option<usize>>,
    /// The one child that can have what nobody lists.
    only: Option<usize>,
    /// The entries as they stand in lists.
    pub(super) lists: [List; 2],
}

impl Resources {
    /// Every URI is this child's.
    pub(super) fn of_one(child: usize) -> Self {
        Self {
            only: Some(child),
            ..Self::default()
        }
    }

    /// Merges them, in the children's order.
    pub(super) fn merge(offers: &[Offer<'_>]) -> Self {
        let mut all = Self {
            aliases: aliases(offers),
            only: only(offers),
            ..Self::default()
        };
        for (child, offer) in offers.iter().enumerate() {
            let Some(listing) = offer.listing else {
                continue;
            };
            for entry in listing.of(Primitive::Resource) {
                let own = &entry.own;
                let public = match all.exact.get(own) {
                    None => own.to_string(),
                    // The same URI a second time from one child is listed once.
                    Some(taken) if taken.child == child => continue,
                    Some(_) => all.alias(child, own),
                };
                all.own(own, child);
                let name = public.as_str().into();
                all.lists[0].append((child, entry), name, |out| entry.write_as(&public, out));
            }
            for entry in listing.of(Primitive::Template) {
                let same = |(_, route): &&(Template, Route)| route.own == entry.own;
                let public = match all.templates.iter().find(same) {
                    None => entry.own.to_string(),
                    Some((_, taken)) if taken.child == child => continue,
                    Some(_) => all.alias(child, &entry.own),
                };
                if let Some(template) = Template::new(entry.own.as_str()) {
                    all.templates.push((template, route(&entry.own, child)));
                }
                all.has_scheme(&entry.own, child);
                let name = public.as_str().into();
                all.lists[1].append((child, entry), name, |out| entry.write_as(&public, out));
            }
        }
        all
    }

    /// A tool of `child` shows itself with this resource, listed or not. Gives the URI
    /// under which a client finds it.
    pub(super) fn shows(&mut self, uri: &OwnName, child: usize) -> Option<String> {
        match self.exact.get(uri) {
            Some(owner) if owner.child != child => Some(self.alias(child, uri)),
            Some(_) => None,
            None => {
                self.own(uri, child);
                None
            }
        }
    }

    /// Whose this URI is, and what its owner calls it: one that is listed, one behind an
    /// alias, one that a template stands for; at last one of a scheme that only one
    /// child has, or any that only one child can have, for children give out URIs in
    /// their results that they do not list.
    pub(super) fn owner(&self, uri: &str) -> Option<Route> {
        if let Some(route) = self.exact.get(uri) {
            return Some(route.clone());
        }
        let behind = self.aliases.iter().find_map(|(alias, child)| {
            let own = uri.strip_prefix(alias.as_str())?;
            Some(route(&own.into(), *child))
        });
        behind
            .or_else(|| {
                let mut templates = self.templates.iter();
                let (_, found) = templates.find(|(template, _)| template.matches(uri))?;
                Some(route(&uri.into(), found.child))
            })
            .or_else(|| {
                let child = (*self.schemes.get(scheme(uri)?)?)?;
                Some(route(&uri.into(), child))
            })
            .or_else(|| Some(route(&uri.into(), self.only?)))
    }

    fn own(&mut self, uri: &OwnName, child: usize) {
        self.exact
            .entry(uri.clone())
            .or_insert_with(|| route(uri, child));
        self.has_scheme(uri, child);
    }

    fn has_scheme(&mut self, uri: &OwnName, child: usize) {
        if let Some(scheme) = scheme(uri.as_str()) {
            self.schemes
                .entry(scheme.to_owned())
                .and_modify(|owner| *owner = owner.filter(|owner| *owner == child))
                .or_insert(Some(child));
        }
    }

    fn alias(&self, child: usize, own: &OwnName) -> String {
        let alias = self.aliases.iter().find(|(_, of)| *of == child);
        let alias = alias.map_or("", |(alias, _)| alias.as_str());
        format!("{alias}{own}")
    }
}

pub(super) fn route(own: &OwnName, child: usize) -> Route {
    Route {
        child,
        own: own.clone(),
        repeatable: true,
        hints: Hints::default(),
        mirrors: None,
    }
}

/// The one child that has resources at all.
fn only(offers: &[Offer<'_>]) -> Option<usize> {
    let offers = offers.iter().enumerate();
    let mut offering = offers.filter(|(_, offer)| {
        let listing = offer.listing;
        listing.is_some_and(|listing| listing.offers(Family::Resources))
    });
    let (child, _) = offering.next()?;
    offering.next().is_none().then_some(child)
}

pub(super) fn scheme(uri: &str) -> Option<&str> {
    uri.split_once(':').map(|(scheme, _)| scheme)
}

/// For each child a scheme of its own (RFC 3986, 3.1).
fn aliases(offers: &[Offer<'_>]) -> Vec<(String, usize)> {
    let mut aliases: Vec<(String, usize)> = Vec::with_capacity(offers.len());
    for (child, offer) in offers.iter().enumerate() {
        let name = match offer.prefix {
            "" => offer.child.as_str(),
            prefix => prefix,
        };
        let legal = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = name.chars().map(legal).collect();
        let mut alias = format!("mux+{name}://");
        if aliases.iter().any(|(taken, _)| *taken == alias) {
            alias = format!("mux+{name}.{child}://");
        }
        aliases.push((alias, child));
    }
    aliases
}
