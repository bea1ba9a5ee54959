//! What a process has used, as Linux tells it.

use std::{fs, io, time::Duration};

/// CPU time of all threads of a process, in user and kernel mode.
///
/// `/proc/PID/stat` has the same number in steps of 10 ms, which is too coarse for
/// less than a second. Threads that have ended are not counted, also one that ends
/// while its file is being read.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(stat) => stat,
            Err(err) if ended(&err) => continue,
            Err(err) => return Err(err),
        };
        let first = stat.split_whitespace().next();
        nanos += first
            .and_then(|ns| ns.parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// What a proxy has used and holds: its process and all that it has started, but for its
/// child, which is a process of this program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu: Duration,
    /// In bytes.
    pub memory: u64,
}

impl Used {
    /// By the proxy with this process.
    pub fn by(proxy: u32) -> io::Result<Self> {
        let child = std::env::current_exe()?;
        let parents = parents()?;
        let mut used = Self::default();
        let mut waiting = vec![proxy];
        while let Some(pid) = waiting.pop() {
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            if pid != proxy && program.is_ok_and(|program| program == child) {
                continue;
            }
            // One that has just ended holds nothing.
            used.cpu += cpu(pid).unwrap_or_default();
            used.memory += memory(pid).unwrap_or_default();
            let its = parents.iter().filter(|(_, parent)| *parent == pid);
            waiting.extend(its.map(|(pid, _)| pid));
        }
        Ok(used)
    }
}

/// All processes, each with the one that started it.
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it, in brackets, may hold anything.
        let after = stat.rsplit_once(") ").map(|(_, after)| after);
        let parent = after.and_then(|after| after.split(' ').nth(1)?.parse().ok());
        all.extend(parent.map(|parent| (pid, parent)));
    }
    Ok(all)
}

/// Whether a thread's file could not be read because the thread is gone.
fn ended(err: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    err.kind() == io::ErrorKind::NotFound || err.raw_os_error() == Some(ESRCH)
}

/// The memory a process holds, in bytes.
pub fn memory(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or_default() * 1024)
}

/// How often threads of a process have gone to sleep: what wakes up in vain, wakes up.
pub fn sleeps(pid: u32) -> io::Result<u64> {
    let mut sleeps = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = match fs::read_to_string(thread?.path().join("status")) {
            Ok(status) => status,
            Err(err) if ended(&err) => continue,
            Err(err) => return Err(err),
        };
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sleeps += line
            .and_then(|line| line.trim().parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(sleeps)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        let began = cpu(me).unwrap();
        while cpu(me).unwrap() <= began {}
        assert!(memory(me).unwrap() > 100_000);
    }

    #[test]
    fn a_process_is_counted_with_what_it_started() {
        let mut shell = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = shell.stdin.take().unwrap();
        let mut from = BufReader::new(shell.stdout.take().unwrap());
        to.write_all(b"there\n").unwrap();
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        // What answers is what the shell has started; from now on both wait.
        assert_eq!(line, "there\n");
        let used = Used::by(shell.id()).unwrap();
        assert!(used.memory > memory(shell.id()).unwrap());
        drop(to);
        shell.wait().unwrap();
    }
}
