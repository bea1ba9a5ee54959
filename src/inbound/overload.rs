//! What this process itself is short of. It then refuses what is new, and says why,
//! before it dies of it.

use std::{
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{SysconfVar, sysconf},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tracing::{debug, warn};

use crate::telemetry::refused;

/// Where nothing else is said. More clients than that want a second multiplexer.
const CONNECTIONS: usize = 10_000;
/// File descriptors that are kept for children, files and `/health`.
const KEPT_DESCRIPTORS: u64 = 128;
/// As many as a process may need here. Programs that close every file there could be
/// are slow beyond that.
const OPEN_FILES: u64 = 65_536;
/// How often memory is looked at, while a limit is set.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For this long after the system had no file descriptor left, requests are refused.
const DESCRIPTORS_RECOVER: Duration = Duration::from_secs(1);
/// Between two lines in the log about the same shortage.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What there is not enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Connections of clients.
    Connections,
    /// File descriptors of the process.
    FileDescriptors,
    /// Memory of the process.
    Memory,
}

impl Shortage {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::FileDescriptors => "file_descriptors",
            Self::Memory => "memory",
        }
    }

    /// A sentence for whoever is refused, and for who can change it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Connections => {
                "the multiplexer has as many connections as it may have (--max-connections): try \
                 again later"
            }
            Self::FileDescriptors => {
                "the multiplexer has no file descriptor left (ulimit -n): try again later"
            }
            Self::Memory => {
                "the multiplexer uses as much memory as it may use (--max-memory): try again later"
            }
        }
    }
}

/// What the process may use for its clients; clones are the same one.
#[derive(Clone, Debug)]
pub struct Overload(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: Arc<Semaphore>,
    memory: Option<u64>,
    memory_is_short: AtomicBool,
    /// Whether there is a time in the next, which is behind a lock.
    descriptors_were_short: AtomicBool,
    descriptors_short_until: Mutex<Option<Instant>>,
    requests: AtomicUsize,
    told: Mutex<[Option<Instant>; 3]>,
}

/// A request that was let in. Its drop says that it is over, or that it only listens.
#[derive(Debug)]
pub(super) struct Admitted(Arc<Inner>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Overload {
    /// At most so many connections (`None`: as many as the file descriptors allow, up
    /// to 10,000), and requests refused from so much resident memory on, in bytes.
    pub fn new(connections: Option<usize>, memory: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            connections: Arc::new(Semaphore::new(
                connections
                    .unwrap_or_else(default_connections)
                    .min(Semaphore::MAX_PERMITS),
            )),
            memory,
            memory_is_short: AtomicBool::new(false),
            descriptors_were_short: AtomicBool::new(false),
            descriptors_short_until: Mutex::new(None),
            requests: AtomicUsize::new(0),
            told: Mutex::default(),
        }))
    }

    /// Looks at the memory for as long as it is polled; at once done without a limit.
    pub async fn watch(self) {
        let Some(limit) = self.0.memory else { return };
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            match resident() {
                Ok(used) => {
                    debug!(used, limit, "memory");
                    self.0
                        .memory_is_short
                        .store(used > limit, Ordering::Relaxed);
                }
                Err(error) => {
                    return warn!(%error, "memory cannot be measured: --max-memory is not in force");
                }
            }
        }
    }

    /// A place for one connection.
    pub(super) fn connection(&self) -> Result<OwnedSemaphorePermit, Shortage> {
        let free = Arc::clone(&self.0.connections).try_acquire_owned();
        free.map_err(|_| self.refused(Shortage::Connections))
    }

    /// Lets one request in.
    pub(super) fn request(&self) -> Result<Admitted, Shortage> {
        let before = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(Arc::clone(&self.0));
        let short = self
            .descriptors_are_short()
            .then_some(Shortage::FileDescriptors);
        // With nothing else going on it is not requests that take the memory, and to
        // refuse the last one would not give any back.
        let memory = self.0.memory_is_short.load(Ordering::Relaxed) && before > 0;
        match short.or(memory.then_some(Shortage::Memory)) {
            Some(shortage) => Err(self.refused(shortage)),
            None => Ok(admitted),
        }
    }

    /// A connection came, and there was no file descriptor for it.
    pub(super) fn out_of_descriptors(&self) -> Shortage {
        let until = Instant::now() + DESCRIPTORS_RECOVER;
        *lock(&self.0.descriptors_short_until) = Some(until);
        self.0.descriptors_were_short.store(true, Ordering::Release);
        self.refused(Shortage::FileDescriptors)
    }

    fn descriptors_are_short(&self) -> bool {
        let until = || *lock(&self.0.descriptors_short_until);
        self.0.descriptors_were_short.load(Ordering::Acquire)
            && until().is_some_and(|until| Instant::now() < until)
    }

    fn refused(&self, shortage: Shortage) -> Shortage {
        refused(shortage.as_str());
        let told = &mut lock(&self.0.told)[shortage as usize];
        if told.is_none_or(|last| last.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            let (short_of, reason) = (shortage.as_str(), shortage.sentence());
            warn!(short_of, ?reason, "clients are refused");
        }
        shortage
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Raises how many files this process may have open, as far as it may itself: the usual
/// 1024 are there for programs that use `select`, and a thousand children need more.
/// Children inherit it, so it does not go beyond what they can deal with.
pub fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(OPEN_FILES);
        if soft < wanted
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            debug!(%error, soft, hard, "the limit of open files stays");
        }
    }
}

/// Most of the file descriptors there are: a system that allows few of them must not
/// be brought to its end by clients alone.
fn default_connections() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let most = descriptors
        .saturating_sub(KEPT_DESCRIPTORS)
        .max(descriptors / 2);
    usize::try_from(most).unwrap_or(usize::MAX).min(CONNECTIONS)
}

/// The memory this process has resident, in bytes (proc(5), `statm`).
fn resident() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    let pages: u64 = pages.ok_or_else(|| io::Error::other("statm has another shape"))?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?;
    let page = page.and_then(|size| u64::try_from(size).ok());
    Ok(pages * page.unwrap_or(4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_beyond_the_limit_is_refused_until_one_ends() {
        let overload = Overload::new(Some(1), None);
        let first = overload.connection().unwrap();
        assert_eq!(overload.connection().unwrap_err(), Shortage::Connections);
        drop(first);
        assert!(overload.connection().is_ok());
    }

    #[test]
    fn short_of_memory_it_does_one_thing_at_a_time() {
        let overload = Overload::new(None, Some(1));
        overload.0.memory_is_short.store(true, Ordering::Relaxed);
        let only = overload.request().unwrap();
        assert_eq!(overload.request().unwrap_err(), Shortage::Memory);
        drop(only);
        assert!(overload.request().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn short_of_descriptors_it_refuses_for_a_moment() {
        let overload = Overload::new(None, None);
        overload.out_of_descriptors();
        assert_eq!(overload.request().unwrap_err(), Shortage::FileDescriptors);
        tokio::time::sleep(DESCRIPTORS_RECOVER).await;
        assert!(overload.request().is_ok());
    }

    #[test]
    fn memory_can_be_measured() {
        let used = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&used), "{used}");
    }
}
