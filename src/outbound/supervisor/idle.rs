//! A lazy child: stopped while nobody needs it, listed all the same.

use std::{sync::Arc, time::Duration};

use tracing::info;

use super::{Supervisor, change::set_phase, known_to_work};
use crate::outbound::{BreakerState, Child, Phase, demand::Demand};

impl Supervisor {
    /// Whether the child is stopped until somebody needs it.
    pub(super) fn is_idle(&self) -> bool {
        self.child.state.borrow().phase == Phase::Idle
    }

    /// A child whose catalog is kept is listed without being started.
    pub(super) async fn recall(&mut self) {
        let Some(kept) = self.child.keeping.recall().await else {
            return;
        };
        let era = kept.era;
        self.handshake = known_to_work(era);
        let listing = self.child.filtered(kept.listing.clone());
        let tools = listing.tools().len();
        self.child.listing.store(Some(listing.into()));
        self.enter(Phase::Idle, |state| {
            state.attempted = true;
            state.era = Some(era);
        });
        self.tell();
        info!(
            child = %self.child.name(), transport = self.child.transport(), state = "idle",
            era = era.as_str(), tools, "child"
        );
    }

    /// Lets go of a child that nobody has needed for long enough, unless something of
    /// it is still going on. A call that asks for it from then on finds it idle.
    pub(super) fn falls_idle(&self) -> bool {
        // What an open breaker waits for is decided while the child runs.
        let calm = self.breaker.state() == BreakerState::Closed && self.child.own_load() == (0, 0);
        calm && self.lets_go()
    }

    /// The same, whatever is going on.
    pub(super) fn lets_go(&self) -> bool {
        let fell = self.child.lets_go();
        if fell {
            info!(
                child = %self.child.name(), session = self.child.session_number(),
                transport = self.child.transport(), state = "idle", "child"
            );
        }
        fell
    }
}

impl Child {
    /// Becomes idle, unless somebody needs it. Both in one step: who needs it, and looks
    /// for its connection after that, either keeps it or finds it idle.
    fn lets_go(&self) -> bool {
        self.state.send_if_modified(|state| {
            let needed = self.demand.as_ref().is_none_or(Demand::is_some);
            if !needed {
                set_phase(Arc::make_mut(state), Phase::Idle, 0);
            }
            !needed
        })
    }
}

/// Resolves when somebody needs the child; never, if it runs all the time.
pub(super) async fn somebody_needs(demand: Option<Demand>) {
    match demand {
        Some(demand) => demand.wanted().await,
        None => std::future::pending().await,
    }
}

/// Resolves when nobody has needed the child for `long`; never, if it runs all the
/// time.
pub(super) async fn nobody_needs(demand: Option<Demand>, long: Duration) {
    match demand {
        Some(demand) => demand.none_for(long).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::{config::Settings, outbound::child::Role};

    fn child(entry: &str) -> Arc<Child> {
        let text = format!(r#"{{"mcpServers": {{"child": {entry}}}}}"#);
        let settings = Settings::from_json(Path::new("c.json"), &text, &HashMap::new());
        Child::new(settings.unwrap().children.remove(0), Role::default()).0
    }

    #[test]
    fn a_child_that_is_needed_does_not_fall_idle() {
        let child = child(r#"{"command": "x", "lazy": true}"#);
        let need = child.needed();
        assert!(!child.lets_go());
        assert_eq!(child.state().phase, Phase::Connecting);
        drop(need);
        assert!(child.lets_go());
        assert_eq!(child.state().phase, Phase::Idle);
    }

    #[test]
    fn a_child_that_is_not_lazy_never_falls_idle() {
        assert!(!child(r#"{"command": "x"}"#).lets_go());
    }
}
