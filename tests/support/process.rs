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

/// The same to a process that may have ended meanwhile.
pub fn signal_if_alive(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    // Nobody there is what may be.
    let _ = kill(pid, signal);
}

/// What a process holds, to be compared with what it held before.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// Open files of any kind, sockets and pipes among them.
    pub files: usize,
    /// Its children, those that have ended and were not collected among them.
    pub children: Vec<u32>,
    /// Memory in use, in KiB.
    pub resident: u64,
    /// The most memory that was ever in use, in KiB.
    pub peak: u64,
}

impl Holdings {
    /// What the process holds now.
    pub fn of(pid: u32) -> Self {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|number| number.parse().ok())
        };
        Self {
            files: files.count(),
            children: children(pid),
            resident: kib("VmRSS:").expect("VmRSS in KiB"),
            peak: kib("VmHWM:").expect("VmHWM in KiB"),
        }
    }

    /// Waits until the process holds no more than it did: as many children, none of
    /// them ended and uncollected, and at most `slack` open files more, for connections
    /// that are kept for the next request.
    pub async fn until_back(pid: u32, before: &Self, slack: usize) -> Self {
        eventually(
            &format!("{pid} holds what it held: {before:?}"),
            async || {
                let now = Self::of(pid);
                let back = now.files <= before.files + slack
                    && now.children.len() == before.children.len()
                    && now.children.iter().all(|child| alive(*child));
                back.then_some(now)
            },
        )
        .await
    }
}

/// The children of a process.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
