//! What the lists of tools cost a client: counted beside the requests, once somebody asks,
//! and again when what is listed has changed.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{Fleet, Snapshot, views::offer};
use crate::{
    catalog::{
        AlwaysListed, META_TOOL_ENTRIES,
        cost::{self, Cost, Tokenizer},
    },
    config::Settings,
    protocol::ChildName,
};

/// What the whole list costs a client that sees all of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListCosts {
    /// In eager mode.
    pub eager: Cost,
    /// In dynamic mode, with nothing loaded.
    pub dynamic: Cost,
}

/// What was counted last.
#[derive(Debug)]
pub(super) struct Counted {
    /// Of which merge.
    changed: u64,
    children: HashMap<ChildName, Cost>,
    all: ListCosts,
}

/// Counts, and keeps what was counted.
#[derive(Debug)]
pub(super) struct Costs {
    always: AlwaysListed,
    counted: ArcSwapOption<Counted>,
    /// One counts at a time.
    counting: Arc<Semaphore>,
}

impl Costs {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            always: AlwaysListed::new(&settings.always_load, &settings.always_on),
            counted: ArcSwapOption::empty(),
            counting: Arc::new(Semaphore::new(1)),
        })
    }

    /// What was counted of this snapshot; `None` until it has been. The first to ask
    /// begins that, and does not wait for it.
    pub(super) fn of(self: &Arc<Self>, snapshot: &Arc<Snapshot>) -> Option<Arc<Counted>> {
        let counted = self.counted.load_full();
        let counted = counted.filter(|counted| counted.changed == snapshot.changed);
        if counted.is_none()
            && let Ok(permit) = Arc::clone(&self.counting).try_acquire_owned()
        {
            let (costs, snapshot) = (Arc::clone(self), Arc::clone(snapshot));
            tokio::task::spawn_blocking(move || {
                let counted = snapshot.count(&costs.always);
                costs.counted.store(Some(Arc::new(counted)));
                drop(permit);
            });
        }
        counted
    }
}

impl Counted {
    /// What the tools of this child cost, if it was there.
    pub(super) fn of_child(&self, name: &ChildName) -> Option<Cost> {
        self.children.get(name).copied()
    }
}

impl Fleet {
    /// What the list costs as it is now; `None` until that has been counted, which the
    /// first to ask begins.
    pub fn costs(&self) -> Option<ListCosts> {
        self.costs.of(&self.snapshot()).map(|counted| counted.all)
    }
}

impl Snapshot {
    fn count(&self, always: &AlwaysListed) -> Counted {
        let tokenizer = Tokenizer::load();
        let children = self.children.iter().zip(&self.listings);
        let offers: Vec<_> = children
            .map(|(child, listing)| offer(child, listing.as_deref()))
            .collect();
        let tools = cost::by_tool(&offers, self.max_name_length(), &tokenizer);
        let mut children: HashMap<ChildName, Cost> = offers
            .iter()
            .map(|offer| (offer.child.clone(), Cost::default()))
            .collect();
        for tool in &tools {
            let so_far = children.entry(tool.child.clone()).or_default();
            *so_far = *so_far + tool.cost;
        }
        let listed = tools.iter().filter(|it| always.holds(&it.name, it.child));
        let dynamic = listed.map(|tool| tool.cost).sum::<Cost>();
        Counted {
            changed: self.changed,
            children,
            all: ListCosts {
                eager: tools.iter().map(|tool| tool.cost).sum(),
                dynamic: dynamic + tokenizer.cost(META_TOOL_ENTRIES),
            },
        }
    }
}
