//! Who we say we are: the multiplexer, or the one child that is seen alone.

use rmcp::model::{
    Implementation, JsonObject, PromptsCapability, ResourcesCapability, ServerCapabilities,
    ToolsCapability,
};
use serde_json::{Map, Value};

use crate::{
    catalog::{Catalog, Extensions, Family, Profile},
    fleet::{Permitted, Shown},
};

/// What a client is told of us when it comes.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) capabilities: ServerCapabilities,
    pub(super) server_info: Implementation,
    pub(super) instructions: Option<String>,
}

impl Introduction {
    /// For a handshake, which cannot be amended: everything that can ever be carried,
    /// whatever the children offer at this moment. A child that is seen alone, and is
    /// known, speaks for itself.
    pub(super) fn lasting(shown: &Shown<'_>, permitted: &Permitted<'_>) -> Self {
        Self::seen(shown, permitted, |_| everything())
    }

    /// For who asks again: what is offered now.
    pub(super) fn of_now(shown: &Shown<'_>, permitted: &Permitted<'_>) -> Self {
        Self::seen(shown, permitted, offered)
    }

    /// A child speaks only to who may know of it.
    fn seen(
        shown: &Shown<'_>,
        permitted: &Permitted<'_>,
        ours: impl FnOnce(&Catalog) -> ServerCapabilities,
    ) -> Self {
        match shown.alone() {
            Some((child, Some(listing))) if permitted.knows(child) => {
                Self::of_child(&listing.profile, shown.catalog, permitted)
            }
            _ => Self::ours(ours(shown.catalog), permitted),
        }
    }

    fn ours(capabilities: ServerCapabilities, permitted: &Permitted<'_>) -> Self {
        Self {
            capabilities: extended(capabilities, &permitted.extensions()),
            server_info: Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
                .with_title("MCP Multiplexer"),
            instructions: permitted.instructions(),
        }
    }

    /// As the child itself says it, as far as we can carry it.
    fn of_child(profile: &Profile, catalog: &Catalog, permitted: &Permitted<'_>) -> Self {
        let mut capabilities = offered(catalog);
        let declares = |capability: &str| profile.capabilities.contains_key(capability);
        if !catalog.offers(Family::Tools) {
            capabilities.tools = None;
        }
        if !declares("logging") {
            capabilities.logging = None;
        }
        let ours = Self::ours(capabilities, permitted);
        let said = profile.server_info.clone();
        let server_info = said.and_then(|said| serde_json::from_value(said).ok());
        Self {
            server_info: server_info.unwrap_or(ours.server_info),
            instructions: profile.instructions.clone(),
            ..ours
        }
    }
}

/// Everything that can ever be carried.
fn everything() -> ServerCapabilities {
    let mut tools = ToolsCapability::default();
    tools.list_changed = Some(true);
    let mut prompts = PromptsCapability::default();
    prompts.list_changed = Some(true);
    let mut resources = ResourcesCapability::default();
    resources.list_changed = Some(true);
    resources.subscribe = Some(true);
    let mut capabilities = ServerCapabilities::default();
    capabilities.tools = Some(tools);
    capabilities.prompts = Some(prompts);
    capabilities.resources = Some(resources);
    capabilities.completions = Some(JsonObject::default());
    capabilities.logging = Some(JsonObject::default());
    capabilities
}

/// The same without what no child offers.
fn offered(catalog: &Catalog) -> ServerCapabilities {
    let mut capabilities = everything();
    if !catalog.offers(Family::Prompts) {
        capabilities.prompts = None;
    }
    match &mut capabilities.resources {
        Some(resources) if catalog.offers(Family::Resources) => {
            resources.subscribe = catalog.subscribes().then_some(true);
        }
        resources => *resources = None,
    }
    if !catalog.completes() {
        capabilities.completions = None;
    }
    capabilities
}

/// The same with what the children declare beyond the specification.
fn extended(mut capabilities: ServerCapabilities, by: &Extensions) -> ServerCapabilities {
    let all = |declared: &Map<String, Value>| {
        let settings =
            |(id, settings): (&String, &Value)| Some((id.clone(), settings.as_object()?.clone()));
        (!declared.is_empty()).then(|| declared.iter().filter_map(settings).collect())
    };
    capabilities.extensions = all(&by.settings);
    capabilities.experimental = all(&by.experimental);
    capabilities
}
