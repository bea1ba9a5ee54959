//! `list_catalog`: everything there is, server by server.

use serde::Serialize;

use super::{Asked, Said, Sight, input, structured};
use crate::{
    catalog::{Listing, Placed, Primitive},
    fleet::{about, standing},
    outbound::{Child, Phase},
    protocol::json::{self, Object},
};

/// So many tools are told of at once.
const PAGE: usize = 100;
/// So many characters of a description are told.
const SUMMARY: usize = 120;
/// So many names are told to who misses one.
const SOME: usize = 30;

#[derive(Serialize)]
struct Children<'a> {
    children: Vec<OneChild<'a>>,
}

#[derive(Serialize)]
struct OneChild<'a> {
    name: &'a str,
    tools: usize,
    ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

#[derive(Serialize)]
struct Tools<'a> {
    child: &'a str,
    tools: Vec<OneTool>,
    /// Where to go on, if this is not the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<usize>,
}

#[derive(Serialize)]
struct OneTool {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

impl Asked<'_> {
    pub(super) async fn list_catalog(&self) -> Said {
        let asked: input::Catalog = self.input()?;
        self.everything_listed().await;
        let snapshot = self.dispatch.fleet.snapshot_for(&self.requester.caller);
        let sight = self.sight(&snapshot)?;
        match &asked.child {
            None => children(&sight),
            Some(child) => tools(&sight, child, asked.offset),
        }
    }
}

fn children(sight: &Sight<'_>) -> Said {
    let counts = sight.counts();
    let told = |(child, listing, tools): (_, Option<&_>, usize)| {
        let child: &Child = child;
        OneChild {
            name: child.name().as_str(),
            tools,
            ready: standing(child, listing.is_some()).1,
            description: listing
                .filter(|_| sight.permitted.knows(child))
                .map(|it: &Listing| summary(&about(it)))
                .unwrap_or_default(),
        }
    };
    structured(&Children {
        children: counts.into_iter().map(told).collect(),
    })
}

fn tools(sight: &Sight<'_>, child: &str, offset: usize) -> Said {
    let Some(place) = sight.position(child) else {
        return Err(no_child(sight, child));
    };
    let its_own =
        |tool: &Placed<'_>| tool.child == place && sight.permitted.shows(Primitive::Tool, tool);
    let mut all = sight.shown.catalog.tools().filter(its_own).skip(offset);
    let tools: Vec<OneTool> = all.by_ref().take(PAGE).map(|it| one_tool(&it)).collect();
    structured(&Tools {
        child,
        next: all.next().map(|_| offset + PAGE),
        tools,
    })
}

fn one_tool(tool: &Placed<'_>) -> OneTool {
    let text = String::from_utf8_lossy(tool.entry);
    let entry = Object::read(&text).ok();
    let described = entry.and_then(|entry| entry.get("description"));
    let described = described.filter(|raw| json::is_string(raw));
    OneTool {
        name: tool.name.to_string(),
        description: described
            .map(|raw| summary(&json::unquote(raw)))
            .unwrap_or_default(),
    }
}

impl<'a> Sight<'a> {
    /// Where this child stands among the view's, if it is one that the caller may know of.
    pub(super) fn position(&self, child: &str) -> Option<usize> {
        let place = self.shown.position(&child.into())?;
        let child = self.shown.child(place)?;
        self.permitted.knows_of(child).then_some(place)
    }

    /// Every child that is not disabled and that the caller may know of, with what it was listed with and how many tools
    /// of it there are for this caller.
    pub(super) fn counts(&self) -> Vec<(&'a Child, Option<&'a Listing>, usize)> {
        let mut counts = vec![0; self.shown.children().count()];
        for tool in self.shown.catalog.tools() {
            if self.permitted.shows(Primitive::Tool, &tool) {
                counts[tool.child] += 1;
            }
        }
        let children = self.shown.children().zip(counts);
        children
            .filter(|((child, _), tools)| {
                child.state().phase != Phase::Disabled
                    && (*tools > 0 || self.permitted.knows_of(child))
            })
            .map(|((child, listing), tools)| (&**child, listing.map(|it| &**it), tools))
            .collect()
    }
}

/// There is no such child; these are there.
pub(super) fn no_child(sight: &Sight<'_>, name: &str) -> String {
    let name: String = name.chars().take(SOME).collect();
    let counts = sight.counts();
    let known: Vec<&str> = counts
        .iter()
        .map(|(child, ..)| child.name().as_str())
        .collect();
    let more = match known.len() {
        0..=SOME => "",
        _ => ", …: list_catalog tells all",
    };
    let known: Vec<&str> = known.into_iter().take(SOME).collect();
    format!(
        "There is no child {name:?}. There are {}{more}.",
        known.join(", ")
    )
}

/// The first line that says something, cut with a mark.
fn summary(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    match line.char_indices().nth(SUMMARY) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}
