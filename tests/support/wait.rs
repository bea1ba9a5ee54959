//! Waiting for events, never for time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// When a test gives up. Long, because a loaded machine is no reason to fail, and
/// harmless, because only a test that fails anyway waits for it.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often a state that cannot be subscribed to is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, look).await
}

/// The same for what takes long by itself.
pub async fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        sleep(LOOK_AGAIN).await;
    }
}

/// What `event` brings, which has to come before the deadline.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    within(DEADLINE, what, event).await
}

/// The same for what is promised to come sooner: with this limit, generously.
pub async fn within<T>(limit: Duration, what: &str, event: impl Future<Output = T>) -> T {
    match timeout(limit, event).await {
        Ok(came) => came,
        Err(_) => panic!("did not happen within {limit:?}: {what}"),
    }
}

/// Limit for a call that finds no token: it may wait 2 s for a mint in progress, and not
/// for all the 10 s that a mint may take.
pub const WITHOUT_TOKEN: Duration = Duration::from_secs(6);
