//! A child's process: start, and an end that leaves nothing behind.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use secrecy::ExposeSecret;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{
    stderr::Stderr,
    watchdog::{Watchdog, Watched},
};
use crate::{
    config::StdioSettings,
    outbound::{Failure, mask::Mask},
    protocol::ChildName,
};

/// What a child is given of our environment, beside its entry's `env`.
const INHERITED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];
const INHERITED_PREFIXES: [&str; 3] = ["LC_", "SSL_CERT_", "XDG_"];
/// How long a child may take after its stdin is closed, and again after SIGTERM.
/// Twice this is well under the ten seconds a container runtime waits.
const GRACE: Duration = Duration::from_secs(2);

/// A running child and everything it has started: one process group.
#[derive(Debug)]
pub(in crate::outbound) struct Process {
    child: Child,
    group: Group,
    stderr: Stderr,
}

impl Process {
    /// Starts the process and gives the ends of its pipes. What it says on stderr
    /// goes to the log, masked, at `info` if `loud`.
    ///
    /// # Errors
    ///
    /// When it cannot be started: `not_sent`, with the reason.
    pub(in crate::outbound) fn start(
        name: &ChildName,
        settings: &StdioSettings,
        mask: &Mask,
        loud: bool,
    ) -> Result<(Self, ChildStdin, ChildStdout), Failure> {
        let mut command = Command::new(&settings.command);
        command
            .args(&settings.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if !settings.inherit_env {
            command.env_clear().envs(minimal_environment());
        }
        for (key, value) in &settings.env {
            command.env(key, value.expose_secret());
        }
        if let Some(cwd) = &settings.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn().map_err(|error| {
            let failed = || Failure::not_sent(format!("could not be started: {error}"));
            Failure::out_of_descriptors(&error)
                .unwrap_or_else(failed)
                .with_detail(&format!("command {:?}", settings.command))
        })?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(Failure::not_sent("ended while it was being started"));
        };
        let stderr = Stderr::read(name, stderr, mask, loud);
        let group = Group {
            id: Pid::from_raw(pid),
            _watched: Watchdog::global().watch(Pid::from_raw(pid)),
        };
        let process = Self {
            child,
            group,
            stderr,
        };
        Ok((process, stdin, stdout))
    }

    /// The process id of the direct child.
    pub(in crate::outbound) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end of the direct child, and says how it came about.
    pub(in crate::outbound) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("ended with {}", exit(status)),
            Err(_) => "ended".to_owned(),
        }
    }

    /// Ends what it has started and left behind, once it has ended: that may hold its
    /// pipes open.
    pub(in crate::outbound) fn end_group(&self) {
        self.group.signal(Signal::SIGKILL);
    }

    /// The last it said on stderr, once it has ended.
    pub(in crate::outbound) async fn last_words(&mut self) -> String {
        match self.stderr.last_lines().await {
            lines if lines.is_empty() => String::new(),
            lines => format!("last on stderr: {}", lines.join(" | ")),
        }
    }

    /// Ends the process and everything it has started. Its stdin is closed by
    /// then; it is given time, then SIGTERM, then SIGKILL.
    pub(in crate::outbound) async fn stop(mut self) {
        if tokio::time::timeout(GRACE, self.child.wait())
            .await
            .is_err()
        {
            self.group.signal(Signal::SIGTERM);
            if tokio::time::timeout(GRACE, self.child.wait())
                .await
                .is_err()
            {
                self.group.signal(Signal::SIGKILL);
                // SIGKILL cannot be ignored: this only reaps.
                let _ = self.child.wait().await;
            }
        }
        // The drop of the group ends what the child has left running.
    }
}

/// A process group. Its drop kills whoever is left in it.
#[derive(Debug)]
struct Group {
    id: Pid,
    _watched: Watched<'static>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        // Nobody left in the group is what we want.
        let _ = killpg(self.id, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

fn minimal_environment() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().filter(|(key, _)| {
        key.to_str().is_some_and(|key| {
            INHERITED.contains(&key)
                || INHERITED_PREFIXES
                    .iter()
                    .any(|prefix| key.starts_with(prefix))
        })
    })
}

fn exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => signal.to_string(),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => "an unknown status".to_owned(),
    }
}
