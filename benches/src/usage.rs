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
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        let began = cpu(me).unwrap();
        while cpu(me).unwrap() <= began {}
        assert!(memory(me).unwrap() > 100_000);
    }
}
