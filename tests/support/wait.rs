//! Waiting for events, never for time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// When a test gives up. Long, because a loaded machine is no reason to fail, and
/// harmless, because only a test that fails anyway waits for it.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often a state that cannot be subscribed to is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
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
    match timeout(DEADLINE, event).await {
        Ok(came) => came,
        Err(_) => panic!("did not happen: {what}"),
    }
}
