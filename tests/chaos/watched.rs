//! What a process holds while it works, looked at again and again.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::process::Holdings;

const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What may come and go with what is just under way, in KiB.
const A_LITTLE: u64 = 16 * 1024;

/// What was seen, in the order of time.
#[derive(Default)]
pub struct Watched(Vec<(Duration, Holdings)>);

impl Watched {
    /// Looks until the time is over.
    pub async fn watch(pid: u32, until: Instant) -> Self {
        let began = Instant::now();
        let mut seen = Self::default();
        while Instant::now() < until {
            seen.0.push((began.elapsed(), Holdings::of(pid)));
            sleep(LOOK_AGAIN).await;
        }
        seen
    }

    /// So many lines of it, evenly spread, for a person to read.
    pub fn print(&self, lines: usize) {
        for (at, held) in self.0.iter().step_by((self.0.len() / lines).max(1)) {
            let Holdings {
                files, resident, ..
            } = held;
            let processes = held.children.len();
            let at = at.as_secs();
            println!("after {at:3} s: {resident} KiB, {files} files, {processes} processes");
        }
    }

    /// That it came to rest: the last third of the time holds no more than the one before
    /// it, at the median, beside `slack` open files.
    pub fn assert_flat(&self, slack: usize) {
        let third = self.0.len() / 3;
        let (middle, last) = (&self.0[third..2 * third], &self.0[2 * third..]);
        let memory = |part| median(part, |held| held.resident);
        let files = |part| median(part, |held| held.files);
        println!("memory: {} KiB, then {} KiB", memory(middle), memory(last));
        println!("files: {}, then {}", files(middle), files(last));
        assert!(memory(last) <= memory(middle) * 11 / 10 + A_LITTLE);
        assert!(files(last) <= files(middle) * 11 / 10 + slack);
    }
}

fn median<T: Ord + Copy>(part: &[(Duration, Holdings)], of: impl Fn(&Holdings) -> T) -> T {
    let mut all: Vec<T> = part.iter().map(|(_, held)| of(held)).collect();
    all.sort_unstable();
    all[all.len() / 2]
}
