//! A process that outlives us by a moment, to end our children if we were killed.
//!
//! `SIGKILL` cannot be caught, and a parent-death signal reaches only the direct
//! child, not what it has started. The watchdog is this program again: it holds
//! the reading end of a pipe on which it is told the process groups there are. The
//! end of that pipe means that we are gone, however that came about.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tracing::warn;

/// The hidden command that runs [`watch`].
pub const COMMAND: &str = "watchdog";

/// The process groups that must not outlive us.
#[derive(Debug, Default)]
pub struct Watchdog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<i32>,
    process: Option<(Child, ChildStdin)>,
}

/// A watched group. Its drop ends the watch.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    watchdog: &'a Watchdog,
    group: Pid,
}

impl Watchdog {
    /// The one of this process. It starts with the first group it is told.
    pub(super) fn global() -> &'static Self {
        static WATCHDOG: std::sync::LazyLock<Watchdog> =
            std::sync::LazyLock::new(Watchdog::default);
        &WATCHDOG
    }

    /// Watches a group until the value is dropped.
    pub(super) fn watch(&self, group: Pid) -> Watched<'_> {
        self.tell(group, true);
        Watched {
            watchdog: self,
            group,
        }
    }

    fn tell(&self, group: Pid, alive: bool) {
        let mut state = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if alive {
            state.groups.insert(group.as_raw());
        } else {
            state.groups.remove(&group.as_raw());
        }
        if let Err(error) = state.tell(group, alive) {
            warn!(%error, "no watchdog: children would survive a SIGKILL of this process");
        }
    }
}

impl State {
    fn tell(&mut self, group: Pid, alive: bool) -> io::Result<()> {
        let sign = if alive { '+' } else { '-' };
        if let Some((_, pipe)) = &mut self.process
            && writeln!(pipe, "{sign}{group}").is_ok()
        {
            return Ok(());
        }
        // None yet, or somebody has ended it: a new one learns all groups.
        let mut process = Command::new(ourselves()?)
            .arg(COMMAND)
            // It needs none of our secrets.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal goes to the whole foreground group.
            .spawn_in_own_group()?;
        let mut pipe = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        for group in &self.groups {
            writeln!(pipe, "+{group}")?;
        }
        if let Some((mut old, _)) = self.process.replace((process, pipe)) {
            old.wait()?;
        }
        Ok(())
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watchdog.tell(self.group, false);
    }
}

/// This program, also if its file has been replaced since it was started.
fn ourselves() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        Ok(running)
    } else {
        std::env::current_exe()
    }
}

trait SpawnInOwnGroup {
    fn spawn_in_own_group(&mut self) -> io::Result<Child>;
}

impl SpawnInOwnGroup for Command {
    fn spawn_in_own_group(&mut self) -> io::Result<Child> {
        use std::os::unix::process::CommandExt;
        self.process_group(0).spawn()
    }
}

/// What the watchdog process does: follows the groups told on `told` until its end,
/// then kills those that are left.
///
/// # Errors
///
/// When reading fails; the groups are killed all the same.
pub fn watch(told: impl BufRead) -> io::Result<()> {
    let mut groups = BTreeSet::new();
    let mut read = Ok(());
    for line in told.lines() {
        match line {
            Ok(line) => follow(&mut groups, &line),
            Err(error) => {
                read = Err(error);
                break;
            }
        }
    }
    for group in groups {
        // Gone already is as good.
        let _: Result<(), Errno> = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    read
}

fn follow(groups: &mut BTreeSet<i32>, line: &str) {
    let told = line
        .split_at_checked(1)
        .map(|(sign, group)| (sign, group.parse()));
    match told {
        // 0 and 1 are our own group and everybody's.
        Some(("+", Ok(group))) if group > 1 => {
            groups.insert(group);
        }
        Some(("-", Ok(group))) => {
            groups.remove(&group);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_and_go_and_odd_lines_do_nothing() {
        let mut groups = BTreeSet::new();
        for line in ["+10", "+11", "-10", "", "+", "+x", "+0", "+1", "+-5", "é"] {
            follow(&mut groups, line);
        }
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [11]);
    }
}
