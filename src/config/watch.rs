//! Watches one file, or the files of one folder, for changes, however they are changed.
//!
//! Editors write a new file and rename it over the old one; Kubernetes swaps a link
//! to the folder the file lies in. So what is watched is the folder of the file and
//! of every link on the way to it, and after each change the way is walked anew. The
//! file itself is watched too: one that is mounted alone is written in another
//! folder than its own.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use thiserror::Error;
use tokio::{sync::Notify, time::Instant};
use tracing::warn;

/// A change is over when nothing has happened for this long…
const QUIET: Duration = Duration::from_millis(100);
/// …or after this long, for a file that is written without end.
const LONGEST: Duration = Duration::from_secs(1);
/// Before a watch that the system refuses to renew is asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// As many links as the system follows before it sees a loop.
const LINKS: usize = 40;
/// How often the way may change while it is being looked at.
const SWAPS: usize = 16;

/// A file cannot be watched for changes.
#[derive(Debug, Error)]
#[error("cannot watch {} for changes: {source}", path.display())]
pub struct WatchError {
    /// The file.
    path: PathBuf,
    /// What the system said.
    source: notify::Error,
}

/// A watch on one file, or on a folder and the files in it, which need not exist.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    /// `None` from a change until the way to the file has been walked anew.
    armed: Option<Armed>,
    /// Something has happened that [`FileWatch::changed`] has not told of.
    stirred: bool,
}

#[derive(Debug)]
struct Armed {
    touched: Arc<Notify>,
    #[expect(dead_code, reason = "watches until it is dropped")]
    watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Watches from now on: what is read after this is never older than what
    /// [`FileWatch::changed`] tells of. Blocks for a few looks at the file system.
    ///
    /// # Errors
    ///
    /// The system refuses: it has a limit of watches, or the folder may not be read.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, WatchError> {
        let path = path.into();
        Ok(Self {
            armed: Some(Armed::new(&path)?),
            path,
            stirred: false,
        })
    }

    /// Resolves when the file may have changed, appeared or vanished since the last
    /// call. Many changes in a short time are told of once. May be dropped and called
    /// again; nothing is lost.
    pub async fn changed(&mut self) {
        if let Some(armed) = &self.armed {
            if !self.stirred {
                armed.touched.notified().await;
                self.stirred = true;
            }
            armed.quiet().await;
        }
        (self.armed, self.stirred) = (None, false);
        let mut told = false;
        while self.armed.is_none() {
            let path = self.path.clone();
            match tokio::task::spawn_blocking(move || Armed::new(&path)).await {
                Ok(Ok(armed)) => self.armed = Some(armed),
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!("{error}");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                // The runtime ends.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

impl Armed {
    fn new(path: &Path) -> Result<Self, WatchError> {
        let refused = |source| WatchError {
            path: path.to_owned(),
            source,
        };
        let mut way = Way::to(path).map_err(|error| refused(notify::Error::io(error)))?;
        for _ in 0..SWAPS {
            let armed = Self::on(way.clone());
            // What was swapped before the watch stood would never be seen.
            let now = Way::to(path).map_err(|error| refused(notify::Error::io(error)))?;
            if way == now {
                return armed.map_err(refused);
            }
            way = now;
        }
        Err(refused(notify::Error::generic("it never stands still")))
    }

    fn on(way: Way) -> notify::Result<Self> {
        let touched = Arc::new(Notify::new());
        let (teller, steps) = (Arc::clone(&touched), way.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !steps.is_touched_by(&event)) {
                return;
            }
            teller.notify_one();
        })?;
        for folder in &way.folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        if let Some(file) = &way.file {
            // Its folder is watched: this is for what the folder does not see.
            let _ = watcher.watch(file, RecursiveMode::NonRecursive);
        }
        Ok(Self { touched, watcher })
    }

    async fn quiet(&self) {
        let latest = Instant::now() + LONGEST;
        while tokio::time::timeout(QUIET, self.touched.notified())
            .await
            .is_ok()
            && Instant::now() < latest
        {}
    }
}

/// What a path leads through.
#[derive(Clone, Debug, Default, PartialEq)]
struct Way {
    /// The links, and the file or the first thing that is missing: what changes the
    /// file changes one of these.
    steps: BTreeSet<PathBuf>,
    /// The folders they stand in.
    folders: BTreeSet<PathBuf>,
    /// The file, or the folder in its place, if it is there.
    file: Option<PathBuf>,
}

impl Way {
    fn to(path: &Path) -> io::Result<Self> {
        let mut way = Self::default();
        let mut links = 0;
        let mut here = PathBuf::new();
        let mut ahead = parts(&std::path::absolute(path)?);
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            let step = here.join(part);
            match fs::read_link(&step) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    ahead.extend(parts(&target));
                    way.watch(step, &here);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    way.watch(step, &here);
                    return Ok(way);
                }
                _ if ahead.is_empty() => {
                    way.watch(step.clone(), &here);
                    way.file = Some(step);
                    return Ok(way);
                }
                _ => here = step,
            }
        }
        // The path ends in `..`: a folder, which the reader will complain of.
        way.folders.insert(here);
        Ok(way)
    }

    fn watch(&mut self, step: PathBuf, folder: &Path) {
        self.steps.insert(step);
        self.folders.insert(folder.to_owned());
    }

    /// Reading the file is no change of it, nor is what happens to its neighbours.
    fn is_touched_by(&self, event: &Event) -> bool {
        let read_only = match event.kind {
            EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
            _ => false,
        };
        let within = |path: &PathBuf| self.file.is_some() && path.parent() == self.file.as_deref();
        let ours = |path: &PathBuf| {
            self.steps.contains(path) || self.folders.contains(path) || within(path)
        };
        !read_only && (event.need_rescan() || event.paths.iter().any(ours))
    }
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().map(|part| part.as_os_str().to_owned());
    parts.rev().collect()
}

#[cfg(test)]
mod tests;
