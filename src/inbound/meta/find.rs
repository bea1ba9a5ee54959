//! `find_tools`: tools by what they are for.

use serde::Serialize;

use super::{Asked, Said, input, offers::no_child, structured};
use crate::{
    catalog::{
        Primitive,
        search::{Filters, Hit, Tool},
    },
    fleet::standing,
};

/// What was found.
#[derive(Serialize)]
struct Found<'a> {
    tools: Vec<FoundTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundTool<'a> {
    name: &'a str,
    child: &'a str,
    score: f64,
    description: &'a str,
    parameters: &'a str,
    /// Whether its child can answer at this moment.
    ready: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

impl<'a> FoundTool<'a> {
    fn of(hit: &Hit<'a>) -> Self {
        Self {
            name: hit.tool.name.as_str(),
            child: hit.tool.child.as_str(),
            // Of use beside the others only: more digits would tell nothing.
            score: (f64::from(hit.score) * 100.0).round() / 100.0,
            description: &hit.tool.summary,
            parameters: &hit.tool.parameters,
            ready: hit.ready,
            read_only: hit.tool.read_only,
        }
    }
}

impl Asked<'_> {
    pub(super) async fn find_tools(&self) -> Said {
        let asked: input::Find = self.input()?;
        self.everything_listed().await;
        let caller = &self.requester.caller;
        let (snapshot, index) = self.dispatch.fleet.index_for(caller).await;
        let sight = self.sight(&snapshot)?;
        let shown = sight.shown;
        if let Some(child) = &asked.child
            && sight.position(child).is_none()
        {
            return Err(no_child(&sight, child));
        }
        let callable = |tool: &Tool| {
            let name = tool.name.as_str();
            let route = sight.permitted.route(Primitive::Tool, name);
            let child = route.and_then(|route| shown.child(route.child));
            child.is_some_and(|child| *child.name() == tool.child)
        };
        let filters = Filters {
            child: asked.child.as_deref(),
            read_only: asked.read_only,
            callable: &callable,
            ready: &|name| {
                let at = shown.position(name);
                let child = at.and_then(|at| shown.children().nth(at));
                child.is_some_and(|(child, listing)| standing(child, listing.is_some()).1)
            },
        };
        let hits = index.search(&asked.query, &snapshot.synonyms, &filters, asked.limit);
        structured(&Found {
            note: hits
                .is_empty()
                .then_some("Nothing fits: say it in other words, or see list_catalog."),
            tools: hits.iter().map(FoundTool::of).collect(),
        })
    }
}
