//! The policies' file or folder: read at the start, when it has changed, and when the
//! configuration names another one.

use std::path::{Path, PathBuf};

use tracing::warn;

use crate::{
    config::FileWatch,
    policy::{Policies, Policy, PolicyError},
};

/// Where the policies that are in force come from.
#[derive(Debug)]
pub(super) struct PolicyFile {
    policies: Policies,
    /// `None`: there are none.
    path: Option<PathBuf>,
    /// `None` where the system watches no files.
    watch: Option<FileWatch>,
}

/// Policies that have been read, to be put in force.
pub(super) struct Read {
    path: PathBuf,
    watch: Option<FileWatch>,
    policy: Policy,
}

impl PolicyFile {
    /// Reads the policies for the first time, and watches from before that on.
    pub(super) fn start(path: Option<&Path>) -> Result<Self, PolicyError> {
        let watch = path.and_then(watched);
        Ok(Self {
            policies: Policies::start(path)?,
            path: path.map(Path::to_owned),
            watch,
        })
    }

    /// What they say.
    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Resolves when what is written may have changed.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Reads again what is in force. What is wrong changes nothing.
    pub(super) async fn read_again(&self) {
        let Some(path) = &self.path else {
            return;
        };
        match load(path.clone()).await {
            Some(Ok(policy)) => {
                self.policies.enforce(path, policy);
            }
            Some(Err(error)) => self.policies.refuse(&error),
            None => {}
        }
    }

    /// Reads what the configuration names now, if that is another file than before. The
    /// policies are not lifted by a file that was written in a hurry.
    pub(super) async fn named_now(&self, path: Option<&Path>) -> Result<Option<Read>, PolicyError> {
        let path = match path {
            Some(path) if self.path.as_deref() != Some(path) => path.to_owned(),
            None if self.path.is_some() => {
                warn!("the policies stay in force: restart to lift them");
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let watch = watched(&path);
        let policy = load(path.clone()).await.transpose()?;
        Ok(policy.map(|policy| Read {
            path,
            watch,
            policy,
        }))
    }

    /// Puts other ones in force.
    pub(super) fn become_those(&mut self, read: Read) {
        self.policies.enforce(&read.path, read.policy);
        (self.path, self.watch) = (Some(read.path), read.watch);
    }
}

fn watched(path: &Path) -> Option<FileWatch> {
    FileWatch::new(path)
        .inspect_err(|error| warn!(%error, "send SIGHUP after a change"))
        .ok()
}

/// `None` at the end of the program.
async fn load(path: PathBuf) -> Option<Result<Policy, PolicyError>> {
    tokio::task::spawn_blocking(move || Policy::load(&path))
        .await
        .ok()
}
