//! Who may call what: policies in Cedar, and what they say of a caller and a thing.
//!
//! Owns: the schema that policies are written against, their reading and checking, and
//! the one answer to "may this caller know of it, and use it?" that lists and calls
//! both ask for. Must never know a request, how a caller has proven who it is, or
//! whether a child lives.

mod any;
mod question;
mod reading;
mod sight;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tracing::{debug, info, warn};

pub use reading::{Policy, PolicyError};
pub use sight::{Sight, Thing, Verdict};

use crate::{config::ConfigStatus, protocol::Subject};

/// The policies that are in force, if any are; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Policies(Arc<InForce>);

#[derive(Debug, Default)]
struct InForce {
    /// Exchanged whole.
    policy: ArcSwapOption<Policy>,
    status: Mutex<Option<ConfigStatus>>,
    changes: watch::Sender<()>,
}

impl Policies {
    /// Those of this file or folder, from now on; without one everybody may do
    /// everything.
    ///
    /// # Errors
    ///
    /// They cannot be used.
    pub fn start(path: Option<&Path>) -> Result<Self, PolicyError> {
        let policies = Self::default();
        if let Some(path) = path {
            policies.enforce(path, Policy::load(path)?);
        }
        Ok(policies)
    }

    /// What a caller may know of and use, by the policies of this moment.
    pub fn sight(&self, subject: Option<&Arc<Subject>>) -> Sight {
        Sight::new(self.0.policy.load_full(), subject.cloned())
    }

    /// Moves when others are in force: lists may be others then.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Puts these in force, that were read from `path`.
    pub fn enforce(&self, path: &Path, policy: Policy) {
        let before = self.0.policy.load();
        let same = before
            .as_ref()
            .is_some_and(|it| it.says_the_same_as(&policy));
        {
            let mut status = self.lock();
            match status.as_mut() {
                Some(status) => {
                    status.is_of(path);
                    status.generation += u64::from(!same);
                    status.read(None);
                }
                None => *status = Some(ConfigStatus::first(path)),
            }
        }
        if same {
            debug!("the policies are what they were");
        } else {
            info!(policies = policy.len(), "policies in force");
            self.0.policy.store(Some(Arc::new(policy)));
            self.0.changes.send_replace(());
        }
    }

    /// What is written cannot be used: what was in force stays so. The same problem is
    /// told once.
    pub fn refuse(&self, error: &PolicyError) {
        let error = error.to_string();
        let mut status = self.lock();
        let Some(status) = status.as_mut() else {
            return;
        };
        if status.error() != Some(&error) {
            warn!(
                ?error,
                "the policies cannot be used, so those before stay in force"
            );
        }
        status.read(Some(error));
    }

    /// What operators see of them.
    pub fn status(&self) -> Option<ConfigStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ConfigStatus>> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
