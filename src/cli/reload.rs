//! The configuration, read again when its file has changed or SIGHUP asks for it.
//!
//! What is wrong changes nothing. What the command line and the environment say stays
//! as it was at the start; a file of variables is read again too.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{debug, info, warn};
use url::Url;

use super::{CliError, policy_file::PolicyFile};
use crate::{
    config::{ConfigStatus, DoorSettings, FileWatch, Mode, ProcessEnvironment, Settings},
    fleet::Fleet,
    inbound::{Guard, GuardError},
};

/// What asks for the configuration to be read again.
#[derive(Debug)]
pub(super) struct Reloads {
    path: PathBuf,
    /// Where variables are that the environment does not have.
    env_file: Option<PathBuf>,
    /// Both files, where the system watches any.
    watched: Vec<FileWatch>,
    hangup: Signal,
}

/// What is to be reloaded.
#[derive(Debug)]
pub(super) struct Target {
    /// What is in force.
    pub(super) settings: Settings,
    /// What the command line says in the file's place.
    pub(super) mode: Option<Mode>,
    /// Where we listen, if over HTTP.
    pub(super) own: Option<SocketAddr>,
    /// Whose children they are.
    pub(super) fleet: Arc<Fleet>,
    /// Who asks callers for their tokens, if over HTTP.
    pub(super) guard: Option<Guard>,
    /// Who may call what.
    pub(super) policy: PolicyFile,
    /// What operators see of it.
    pub(super) status: watch::Sender<ConfigStatus>,
}

impl Reloads {
    /// From now on: to be called before the files are read for the first time.
    pub(super) fn of(path: &Path, env_file: Option<&Path>) -> Result<Self, CliError> {
        let files = [Some(path), env_file].into_iter().flatten();
        let watched = files.filter_map(|file| {
            FileWatch::new(file)
                .inspect_err(|error| warn!(%error, "send SIGHUP after a change"))
                .ok()
        });
        Ok(Self {
            path: path.to_owned(),
            env_file: env_file.map(Path::to_owned),
            watched: watched.collect(),
            hangup: signal(SignalKind::hangup()).map_err(CliError::io("SIGHUP"))?,
        })
    }

    /// Reloads until the end of the program.
    pub(super) async fn run(mut self, mut target: Target) {
        // What can only be changed by a restart is compared with what it was then.
        let started = target.settings.clone();
        loop {
            tokio::select! {
                () = self.asked_for() => {}
                () = target.policy.changed() => {
                    debug!("the policies may have changed");
                    target.policy.read_again().await;
                    continue;
                }
            }
            target.policy.read_again().await;
            let (path, env_file) = (self.path.clone(), self.env_file.clone());
            let (mode, own) = (target.mode, target.own);
            let before = started.clone();
            let read = tokio::task::spawn_blocking(move || {
                let environment = ProcessEnvironment::with(env_file.as_deref())?;
                let read = before.load_again(&path, &environment);
                read.map(|settings| checked(settings, mode, own))
            });
            match read.await {
                Ok(Ok(settings)) => target.take(settings, &started).await,
                Ok(Err(error)) => target.refuse(error.to_string()),
                Err(_) => target.refuse("reading it has failed; the log says where".to_owned()),
            }
        }
    }

    async fn asked_for(&mut self) {
        let watched = self.watched.iter_mut();
        let mut changed: FuturesUnordered<_> = watched.map(FileWatch::changed).collect();
        tokio::select! {
            Some(()) = changed.next() => debug!("the configuration may have changed"),
            Some(()) = self.hangup.recv() => info!("SIGHUP: the configuration is read again"),
        }
    }
}

impl Target {
    async fn take(&mut self, settings: Settings, started: &Settings) {
        if self.settings.says_the_same_as(&settings) {
            debug!("the configuration is what it was");
            self.status.send_modify(|status| status.read(None));
            return;
        }
        warn_of(&settings);
        let keys = settings.differs_at_start(started);
        if !keys.is_empty() {
            warn!(
                ?keys,
                "these settings are only read at the start: restart for them"
            );
        }
        let policy = match self.policy.named_now(settings.door.policy.as_deref()).await {
            Ok(policy) => policy,
            Err(error) => return self.refuse(error.to_string()),
        };
        if let Err(error) = self.lock(&settings, started) {
            return self.refuse(error.to_string());
        }
        if let Some(policy) = policy {
            self.policy.become_those(policy);
        }
        let Some(changes) = self.fleet.reload(settings.clone()).await else {
            return;
        };
        self.status.send_modify(|status| status.took(&settings));
        self.settings = settings;
        info!(
            generation = self.status.borrow().generation,
            added = changes.added,
            removed = changes.removed,
            changed = changes.changed,
            unchanged = changes.unchanged,
            "configuration reloaded"
        );
    }

    /// Puts the door's new settings in force; but a lock is not taken off by a file that
    /// was written in a hurry.
    fn lock(&self, settings: &Settings, started: &Settings) -> Result<(), GuardError> {
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        if self.settings.door == settings.door {
            return Ok(());
        }
        if guard.is_strict() && !settings.door.is_locked() {
            warn!("the door stays locked as it is: restart to take the lock off");
            return Ok(());
        }
        guard.renew(&DoorSettings {
            resource: started.door.resource.clone(),
            ..settings.door.clone()
        })
    }

    /// The same problem is told once, however often the file is read.
    fn refuse(&self, error: String) {
        if self.status.borrow().error() == Some(&error) {
            debug!(?error, "the configuration still cannot be used");
        } else {
            warn!(
                ?error,
                "the configuration cannot be used, so the one before stays in force"
            );
        }
        self.status.send_modify(|status| status.read(Some(error)));
    }
}

/// Settings as this process can put them in force: the one way from a file to them, at
/// the start and later.
pub(super) fn checked(
    mut settings: Settings,
    mode: Option<Mode>,
    own: Option<SocketAddr>,
) -> Settings {
    settings.mode = mode.unwrap_or(settings.mode);
    if let Some(own) = own {
        let public = settings.public_url.clone();
        settings.disable_self(|url| is_own(url, own) || public.as_ref() == Some(url));
    }
    settings
}

/// Tells of what is odd in settings that come into force.
pub(super) fn warn_of(settings: &Settings) {
    for warning in &settings.warnings {
        warn!("{warning}");
    }
}

/// Whether an entry's URL is our own endpoint.
fn is_own(url: &Url, own: SocketAddr) -> bool {
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || IpAddr::V4(ip) == own.ip(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || IpAddr::V6(ip) == own.ip(),
        None => false,
    };
    here && url.port_or_known_default() == Some(own.port()) && url.path().starts_with("/mcp")
}
