//! Processes from outside: are they there, and signals to those a test started.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait::eventually;

/// Whether the process runs. One that has ended and that nobody has collected
/// yet does not.
pub fn alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything; the state follows the last of them.
    let state = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest.trim_start());
    !state.starts_with(['Z', 'X'])
}

/// Waits until none of these processes runs.
pub async fn until_gone(pids: &[u32]) {
    eventually(&format!("the end of all of {pids:?}"), async || {
        pids.iter().all(|pid| !alive(*pid)).then_some(())
    })
    .await;
}

/// Sends a signal to a process the test started.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}
