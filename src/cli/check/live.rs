//! `check --live`: every child started or connected once, as `serve` would.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    names::planned,
    report::{Offers, Report, Row, Shortened, Taken},
};
use crate::{
    catalog::{
        Catalog, Listing, Offer, Primitive,
        cost::{self, Cost, Tokenizer},
    },
    cli::{CliError, patience::Patience, started::Started},
    config::{Finding, Settings, TransportSettings},
    fleet::Fleet,
    outbound::{Child, Phase},
    protocol::ChildName,
    telemetry::Outcome,
};

/// Between the two attempts that a process is given. One that dies of a question of the
/// newer era is asked in the older one the second time.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked again, where nothing is told.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Connects to every child, and notes in the report what came of it.
pub(super) async fn look(settings: &Settings, report: &mut Report) -> Result<(), CliError> {
    let mut settings = settings.clone();
    for child in &mut settings.children {
        child.restart.backoff = PAUSE;
    }
    let began = Instant::now();
    let started = Started::of(&settings)?;
    let took = until_decided(&started.fleet, began).await;
    let children = started.fleet.snapshot().children.clone();
    let seen: Vec<_> = children
        .iter()
        .map(|child| (Arc::clone(child), child.listing()))
        .collect();
    let offers: Vec<_> = seen
        .iter()
        .map(|(child, listing)| offer(child, listing.as_deref()))
        .collect();
    names(&offers, &settings, report);
    // Making it takes a while: others may go on.
    let tokenizer = tokio::task::spawn_blocking(Tokenizer::load)
        .await
        .map_err(|error| CliError::Broken(error.to_string()))?;
    let costs: HashMap<&ChildName, Cost> =
        cost::of_tools(&offers, settings.max_name_length, &tokenizer)
            .into_iter()
            .collect();
    for (child, listing) in &seen {
        let tokens = costs.get(child.name()).map_or(0, |cost| cost.tokens);
        let ms = took.get(child.name()).copied();
        let row = row(child, listing.as_deref(), tokens, ms, &settings);
        if row.state == Phase::Down.as_str() {
            let reason = row.reason.as_deref().unwrap_or("it is not connected");
            let cause = child.state().cause;
            let hint = what_to_try(child, cause);
            let found = Finding::new(child.name().as_str(), reason, Some(&hint));
            report.problems.push(found);
        }
        report.children.push(row);
    }
    started.end().await;
    Ok(())
}

/// Waits until every child is ready or has failed for good; gives how long each took.
async fn until_decided(fleet: &Fleet, began: Instant) -> HashMap<ChildName, u64> {
    let mut news = fleet.merges();
    let mut took = HashMap::new();
    let mut patience = Patience::new();
    loop {
        let snapshot = fleet.snapshot();
        let mut waiting = Vec::new();
        for child in &snapshot.children {
            if !is_decided(child, began) {
                waiting.push(child.name().as_str());
            } else if !took.contains_key(child.name()) {
                let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                took.insert(child.name().clone(), ms);
            }
        }
        if waiting.is_empty() {
            patience.over();
            return took;
        }
        patience.wait_for(&format!("waiting for {}", waiting.join(", ")));
        // A look without news is one too.
        let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
    }
}

fn is_decided(child: &Child, began: Instant) -> bool {
    let state = child.state();
    match state.phase {
        Phase::Ready | Phase::Idle => child.listing().is_some(),
        Phase::Disabled => true,
        Phase::Connecting | Phase::Down => {
            let is_process = matches!(child.settings.transport, TransportSettings::Stdio(_));
            let attempts = if is_process { 2 } else { 1 };
            let failed = state.phase == Phase::Down && state.attempt >= attempts;
            // Starts wait for each other: what is given is given to each attempt.
            let patience = (child.settings.timeout + PAUSE) * (2 * attempts);
            failed || (state.attempted && began.elapsed() > patience)
        }
    }
}

fn offer<'a>(child: &'a Child, listing: Option<&'a Listing>) -> Offer<'a> {
    Offer {
        child: child.name(),
        prefix: &child.settings.prefix,
        enabled: child.settings.disabled.is_none(),
        listing,
    }
}

fn row(
    child: &Child,
    listing: Option<&Listing>,
    tokens: usize,
    ms: Option<u64>,
    settings: &Settings,
) -> Row {
    let state = child.state();
    let row = planned(&child.settings, settings);
    if state.phase == Phase::Disabled {
        return row;
    }
    // Tried again in the meantime.
    let phase = match (state.phase, listing) {
        (Phase::Connecting, None) => Phase::Down,
        (phase, _) => phase,
    };
    Row {
        state: phase.as_str(),
        reason: state.told_in_full(),
        era: state.era,
        offers: listing.map(|listing| Offers {
            tools: listing.tools().len(),
            resources: listing.of(Primitive::Resource).len(),
            prompts: listing.of(Primitive::Prompt).len(),
            tokens,
        }),
        ms,
        ..row
    }
}

/// Which names are cut, which are taken, and which tools cannot be called.
fn names(offers: &[Offer<'_>], settings: &Settings, report: &mut Report) {
    for offer in offers {
        let Some(listing) = offer.listing else {
            continue;
        };
        for entry in listing.tools() {
            let own = entry.own.as_str();
            let name = crate::catalog::public_name(offer.prefix, own, settings.max_name_length);
            if !offer.prefix.is_empty() && name.as_str() != format!("{}__{own}", offer.prefix) {
                report.shortened.push(Shortened {
                    child: offer.child.to_string(),
                    tool: own.to_owned(),
                    name: name.to_string(),
                });
            }
        }
        for unfit in &listing.unfit {
            report.warnings.push(Finding::new(
                offer.child.as_str(),
                &format!(
                    "the tool {:?} cannot be called: {}",
                    unfit.own.as_str(),
                    unfit.why
                ),
                None,
            ));
        }
    }
    let catalog = Catalog::merge(offers, settings.max_name_length);
    for collision in catalog.collisions() {
        report.collisions.push(Taken {
            name: collision.name.to_string(),
            kept: collision.kept.to_string(),
            left_out: collision.left_out.to_string(),
        });
        report.warnings.push(Finding::new(
            collision.left_out.as_str(),
            &format!(
                "{:?} is left out: {} has that name",
                collision.name.as_str(),
                collision.kept
            ),
            Some("set another \"prefix\" for one of them"),
        ));
    }
}

/// What an operator could look at first.
fn what_to_try(child: &Child, cause: Option<Outcome>) -> String {
    let name = child.name();
    match (cause, &child.settings.transport) {
        (Some(Outcome::Unauthorized | Outcome::Denied), _) => format!(
            "see what it is sent: mcp-multiplexer token --child {name:?}; or give it a token of its own in \"headers\""
        ),
        (Some(Outcome::Timeout), _) => {
            "if it is only slow to start, set a longer \"timeout\"".to_owned()
        }
        (_, TransportSettings::Stdio(stdio)) => format!(
            "run its command by hand: {:?} must be found in PATH and speak MCP on stdin and stdout; --log-level info shows what it writes to stderr",
            stdio.command
        ),
        (Some(Outcome::Protocol | Outcome::RpcError), _) => {
            "the URL must be its MCP endpoint, often …/mcp; an older server may need \"type\": \"sse\""
                .to_owned()
        }
        _ => "see whether it runs, and whether its host and port can be reached from here".to_owned(),
    }
}
