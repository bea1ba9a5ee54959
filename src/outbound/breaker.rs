//! The circuit breaker of one child.
//!
//! Built on `failsafe`, which half-open lets every call through and has no getter
//! for its state. So calls read an atomic that its instrument sets, and only the
//! child's task ever asks the machine for permission: for its own probe. The machine
//! tells its instrument after it has released its own lock; one lock around it keeps
//! what is told in the order in which it happened.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use failsafe::{FailurePolicy, Instrument, StateMachine, backoff, failure_policy};
use rand::Rng;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use tracing::{info, warn};

use crate::{config::BreakerSettings, protocol::ChildName, telemetry::ChildMetrics};

/// The requests in a window below which a failure rate says nothing.
const RATE_NEEDS: u32 = 10;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BreakerState {
    /// Calls pass.
    Closed = 0,
    /// Calls are refused while one background probe is on its way.
    HalfOpen = 1,
    /// Calls are refused.
    Open = 2,
}

impl BreakerState {
    /// The word used in metrics, status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The breaker; clones are the same one.
#[derive(Clone, Debug)]
pub struct Breaker {
    machine: Option<Arc<Mutex<StateMachine<Policy, Gauge>>>>,
    gauge: Gauge,
    reopens: watch::Receiver<Option<Instant>>,
}

impl Breaker {
    /// A closed breaker. `failures: 0` makes one that never opens. Closed for `stable`,
    /// it begins with the first cool-down again.
    pub fn new(
        child: &ChildName,
        settings: &BreakerSettings,
        stable: Duration,
        metrics: ChildMetrics,
    ) -> Self {
        let gauge = Gauge {
            child: child.clone(),
            state: Arc::new(AtomicU8::new(BreakerState::Closed as u8)),
            metrics,
        };
        let (opened, reopens) = watch::channel(None);
        let machine = (settings.failures > 0).then(|| {
            let policy = Policy {
                inner: policy(settings),
                rests: Rests::of(settings, stable),
                opened,
            };
            Arc::new(Mutex::new(StateMachine::new(policy, gauge.clone())))
        });
        Self {
            machine,
            gauge,
            reopens,
        }
    }

    /// Where it stands now: one atomic load.
    pub fn state(&self) -> BreakerState {
        match self.gauge.state.load(Ordering::Acquire) {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }

    /// When an open breaker lets its probe through; `None` while one is on its way.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state() {
            BreakerState::Open => *self.reopens.borrow(),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        }
    }

    /// A call has succeeded. A late answer to a call from before the breaker opened
    /// decides nothing.
    pub fn succeeded(&self) {
        self.with(|machine| {
            if self.state() == BreakerState::Closed {
                machine.on_success();
            }
        });
    }

    /// A call, or an attempt to connect, has failed in a way that counts.
    pub fn failed(&self) {
        self.with(|machine| {
            // Asked again under the lock: another failure may have opened it.
            if self.state() == BreakerState::Closed {
                machine.on_error();
            }
        });
    }

    /// The child is connected anew: whatever was, is over.
    pub fn reset(&self) {
        self.with(StateMachine::reset);
    }

    /// Waits until a probe is due and turns half-open. For the child's task alone.
    /// Never returns while the breaker is closed.
    pub async fn probe_due(&mut self) {
        loop {
            let due = *self.reopens.borrow_and_update();
            match due {
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    if self.with(StateMachine::is_call_permitted) == Some(true) {
                        return;
                    }
                    // The machine's own clock is a hair behind ours.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                None => {
                    if self.reopens.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// The probe has failed, or has come to nothing: open again, for longer. One that
    /// succeeds is a new connection, which [`Breaker::reset`]s it.
    pub fn probe_failed(&self) {
        self.with(|machine| {
            if self.state() == BreakerState::HalfOpen {
                machine.on_error();
            }
        });
    }

    fn with<T>(&self, told: impl FnOnce(&StateMachine<Policy, Gauge>) -> T) -> Option<T> {
        let machine = self.machine.as_ref()?.lock();
        Some(told(
            &machine.unwrap_or_else(|poisoned| poisoned.into_inner()),
        ))
    }
}

/// Keeps the state where calls can read it, and tells metrics of changes.
#[derive(Clone, Debug)]
struct Gauge {
    child: ChildName,
    state: Arc<AtomicU8>,
    metrics: ChildMetrics,
}

impl Gauge {
    fn set(&self, state: BreakerState) {
        if self.state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.metrics.breaker_transition(state.as_str());
            match state {
                BreakerState::Open => warn!(child = %self.child, breaker = "open", "breaker"),
                _ => info!(child = %self.child, breaker = state.as_str(), "breaker"),
            }
        }
    }
}

impl Instrument for Gauge {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.set(BreakerState::Open);
    }

    fn on_half_open(&self) {
        self.set(BreakerState::HalfOpen);
    }

    fn on_closed(&self) {
        self.set(BreakerState::Closed);
    }
}

/// Their own cool-downs are not asked for: both would step on at once, and neither
/// says one for a probe that failed.
type Inner = failure_policy::OrElse<
    failure_policy::ConsecutiveFailures<backoff::Constant>,
    failure_policy::SuccessRateOverTimeWindow<backoff::Constant>,
>;

/// `failsafe`'s policies decide when it opens; for how long, and when the probe is
/// due, is decided here: the machine keeps that to itself.
#[derive(Debug)]
struct Policy {
    inner: Inner,
    rests: Rests,
    /// When the probe is due, from the opening to the closing.
    opened: watch::Sender<Option<Instant>>,
}

impl FailurePolicy for Policy {
    fn record_success(&mut self) {
        self.inner.record_success();
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        // The machine asks while it is closed or half-open. A probe that failed opens
        // it again, whatever was counted.
        let half_open = self.opened.borrow().is_some();
        if !half_open {
            self.inner.mark_dead_on_failure()?;
        }
        let rest = self.rests.next();
        self.opened.send_replace(Some(Instant::now() + rest));
        Some(rest)
    }

    fn revived(&mut self) {
        self.inner.revived();
        self.opened.send_replace(None);
    }
}

fn policy(settings: &BreakerSettings) -> Inner {
    let rate = settings.failure_rate.unwrap_or(1.0).clamp(0.0, 1.0);
    let unused = backoff::constant(Duration::ZERO);
    failure_policy::consecutive_failures(settings.failures, unused.clone()).or_else(
        failure_policy::success_rate_over_time_window(
            // A rate of 1 can never be exceeded: it turns this half off.
            1.0 - rate,
            RATE_NEEDS,
            // The window is counted in whole seconds.
            settings.window.max(Duration::from_secs(1)),
            unused,
        ),
    )
}

/// The cool-downs: doubling up to the longest, each up to a tenth longer, so that
/// children that failed together are not probed together. They go on where they were
/// when the breaker has closed in between: a child that answers its probe and fails its
/// calls would get no longer rest.
#[derive(Debug)]
struct Rests {
    first: Duration,
    longest: Duration,
    /// Closed for this long, it begins with the first rest again.
    stable: Duration,
    /// The last rest given, and when it was over.
    last: Option<(Duration, Instant)>,
}

impl Rests {
    fn of(settings: &BreakerSettings, stable: Duration) -> Self {
        Self {
            first: settings.cooldown,
            longest: settings.max_cooldown.max(settings.cooldown),
            stable,
            last: None,
        }
    }

    fn next(&mut self) -> Duration {
        let now = Instant::now();
        let rest = match self.last {
            Some((rest, over)) if now < over + self.stable => {
                rest.saturating_mul(2).min(self.longest)
            }
            _ => self.first,
        };
        self.last = Some((rest, now + rest));
        rest.mul_f64(1.0 + rand::rng().random_range(0.0..0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failures: u32, cooldown_ms: u64) -> Breaker {
        let settings = BreakerSettings {
            failures,
            cooldown: Duration::from_millis(cooldown_ms),
            ..BreakerSettings::default()
        };
        let child = "child".into();
        let minute = Duration::from_secs(60);
        Breaker::new(&child, &settings, minute, ChildMetrics::new(&child))
    }

    #[test]
    fn it_opens_at_the_last_of_n_failures_in_a_row() {
        let breaker = breaker(3, 1000);
        for _ in 0..2 {
            breaker.failed();
        }
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.probe_at().is_some());
    }

    #[test]
    fn a_late_answer_does_not_close_an_open_breaker() {
        let breaker = breaker(1, 1000);
        breaker.failed();
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test]
    async fn the_probe_alone_decides() {
        let mut breaker = breaker(1, 5);
        breaker.failed();
        breaker.probe_due().await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.probe_at(), None);
        breaker.failed();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.probe_failed();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.probe_due().await;
        breaker.reset();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.probe_at(), None);
    }

    #[test]
    fn zero_failures_turns_it_off() {
        let breaker = breaker(0, 5);
        for _ in 0..100 {
            breaker.failed();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_child_that_answers_probes_and_fails_calls_rests_longer_each_time() {
        let breaker = breaker(1, 10_000);
        let mut rests = Vec::new();
        for _ in 0..3 {
            breaker.failed();
            rests.push(
                breaker
                    .probe_at()
                    .unwrap()
                    .saturating_duration_since(Instant::now())
                    .as_secs_f64(),
            );
            breaker.reset();
        }
        for (rest, base) in rests.iter().zip([10.0, 20.0, 40.0]) {
            assert!(
                (base * 0.9..=base * 1.1).contains(rest),
                "{rest} for {base}"
            );
        }
    }

    /// By the time of the probe the window holds nothing any more.
    #[tokio::test]
    async fn opened_by_its_rate_it_rests_longer_after_a_probe_that_fails() {
        const COOLDOWN: Duration = Duration::from_millis(1500);
        let settings = BreakerSettings {
            failures: 1000,
            failure_rate: Some(0.5),
            window: Duration::from_secs(1),
            cooldown: COOLDOWN,
            ..BreakerSettings::default()
        };
        let child = "child".into();
        let minute = Duration::from_secs(60);
        let mut breaker = Breaker::new(&child, &settings, minute, ChildMetrics::new(&child));
        while breaker.state() == BreakerState::Closed {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let opened = breaker.probe_at().unwrap();
        assert!(opened < Instant::now() + COOLDOWN.mul_f64(1.1), "one step");

        breaker.probe_due().await;
        breaker.probe_failed();

        assert_eq!(breaker.state(), BreakerState::Open);
        let again = breaker.probe_at().unwrap();
        assert!(again >= opened + 2 * COOLDOWN, "{:?}", again - opened);
    }

    #[test]
    fn few_requests_are_no_rate() {
        let settings = BreakerSettings {
            failures: 1000,
            failure_rate: Some(0.5),
            window: Duration::from_secs(1),
            ..BreakerSettings::default()
        };
        let mut policy = policy(&settings);
        std::thread::sleep(Duration::from_secs(1));
        for _ in 1..RATE_NEEDS {
            assert_eq!(policy.mark_dead_on_failure(), None);
        }
        assert!(policy.mark_dead_on_failure().is_some());
    }

    #[test]
    fn rests_double_up_to_the_longest() {
        let mut rests = Rests {
            first: Duration::from_secs(15),
            longest: Duration::from_secs(300),
            stable: Duration::from_secs(60),
            last: None,
        };
        let whole: Vec<_> = (0..7).map(|_| rests.next().as_secs_f64()).collect();
        for (rest, base) in whole
            .iter()
            .zip([15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0])
        {
            assert!((base..=base * 1.1).contains(rest), "{rest} for {base}");
        }
    }
}
