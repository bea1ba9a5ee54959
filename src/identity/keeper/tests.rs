//! The life of the token, with a scripted minter under paused time.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::join_all};
use http::{HeaderValue, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{advance, sleep};

use super::*;
use crate::identity::{Identity, IdentityStatus, Terms, provider::ProviderError};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the provider does at one mint.
enum Step {
    Token { after: Duration, life: Duration },
    Error(MintError),
    Silence,
}

fn token(life: u64) -> Step {
    Step::Token {
        after: Duration::ZERO,
        life: secs(life),
    }
}

fn slow_token(after: Duration, life: u64) -> Step {
    Step::Token {
        after,
        life: secs(life),
    }
}

fn failure() -> Step {
    Step::Error(MintError::NoToken)
}

/// When each mint began.
#[derive(Clone, Default)]
struct Mints(Arc<Mutex<Vec<Instant>>>);

impl Mints {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn gaps(&self) -> Vec<f64> {
        let mints = self.0.lock().unwrap();
        mints
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect()
    }
}

struct Scripted<F> {
    mints: Mints,
    script: F,
    changes: mpsc::UnboundedReceiver<()>,
}

impl<F: FnMut(usize) -> Step + Send + 'static> Minter for Scripted<F> {
    async fn mint(&mut self) -> Result<Minted, MintError> {
        self.mints.0.lock().unwrap().push(Instant::now());
        match (self.script)(self.mints.count()) {
            Step::Token { after, life } => {
                sleep(after).await;
                let text = format!("Bearer canary-token-{}", self.mints.count());
                let mut header = HeaderValue::from_str(&text).unwrap();
                header.set_sensitive(true);
                Ok(Minted {
                    header,
                    life: Some(life),
                })
            }
            Step::Error(error) => Err(error),
            Step::Silence => pending().await,
        }
    }

    fn token_url(&self) -> Option<String> {
        Some("https://kc/token".into())
    }

    async fn changed(&mut self) {
        match self.changes.recv().await {
            Some(()) => {}
            None => pending().await,
        }
    }
}

/// An identity whose n-th mint, from 1, goes as `script(n)` says.
fn identity(script: impl FnMut(usize) -> Step + Send + 'static) -> (Identity, Mints) {
    identity_until(CancellationToken::new(), script)
}

fn identity_until(
    shutdown: CancellationToken,
    script: impl FnMut(usize) -> Step + Send + 'static,
) -> (Identity, Mints) {
    let (identity, mints, _) = identity_with_file(shutdown, script);
    (identity, mints)
}

/// The same, and what is told when a file it mints from has changed.
fn identity_with_file(
    shutdown: CancellationToken,
    script: impl FnMut(usize) -> Step + Send + 'static,
) -> (Identity, Mints, mpsc::UnboundedSender<()>) {
    let mints = Mints::default();
    let (change, changes) = mpsc::unbounded_channel();
    let minter = Scripted {
        mints: mints.clone(),
        script,
        changes,
    };
    let terms = Terms {
        mode: "oidc-client-credentials",
        client_id: Some("mcp-multiplexer".into()),
        ..Terms::default()
    };
    let about = IdentityStatus::new("service", terms);
    (Identity::keep(minter, about, shutdown), mints, change)
}

async fn generation(identity: &Identity) -> Option<u64> {
    identity.header().await.map(|token| token.generation())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_cause_one_mint() {
    let (identity, mints) = identity(|_| slow_token(Duration::from_millis(300), 300));

    let tokens = join_all((0..1000).map(|_| identity.header())).await;

    assert!(
        tokens
            .iter()
            .all(|token| token.as_ref().is_some_and(|token| token.generation() == 1))
    );
    assert_eq!(mints.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_a_valid_token_no_await_point_is_taken_even_while_it_is_refreshed() {
    let (identity, mints) = identity(|n| if n == 1 { token(100) } else { Step::Silence });
    identity.header().await.unwrap();

    sleep(secs(90)).await;

    assert_eq!(mints.count(), 2, "the refresh is under way");
    assert!(identity.header().now_or_never().flatten().is_some());
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_caller_waits_two_seconds_at_most_and_starts_no_mint() {
    let (identity, mints) = identity(|_| slow_token(secs(8), 300));

    let began = Instant::now();
    assert!(identity.header().await.is_none());

    assert_eq!(began.elapsed(), secs(2));
    assert_eq!(mints.count(), 1);
    sleep(secs(7)).await;
    assert_eq!(
        generation(&identity).await,
        Some(1),
        "a second after it came"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_mint_callers_go_without_at_once() {
    let (identity, mints) = identity(|_| failure());
    assert!(identity.header().await.is_none());

    let began = Instant::now();
    assert!(identity.header().await.is_none());

    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(mints.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_in_the_background_at_four_fifths_of_its_life() {
    let (identity, mints) = identity(|_| slow_token(secs(1), 100));
    assert_eq!(generation(&identity).await, Some(1));

    sleep(secs(1000)).await;

    assert!(mints.gaps().len() >= 11);
    for gap in mints.gaps() {
        assert!((74.0..=85.0).contains(&gap), "{gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_refresh_fails_serves_until_it_expires_and_a_recovery_heals() {
    let (identity, mints) = identity(|n| match n {
        1 => token(100),
        2..=7 => failure(),
        _ => token(100),
    });
    assert_eq!(generation(&identity).await, Some(1));

    sleep(Duration::from_millis(99_900)).await;
    assert!(mints.count() > 2, "refreshes have failed");
    assert_eq!(generation(&identity).await, Some(1));
    assert!(identity.status().unwrap().last_error.is_some());

    sleep(Duration::from_millis(200)).await;
    assert_eq!(generation(&identity).await, None);
    assert_eq!(identity.status().unwrap().expires_in_seconds, None);

    sleep(secs(60)).await;
    assert_eq!(generation(&identity).await, Some(2));
    assert_eq!(identity.status().unwrap().failures, 6);
    assert_eq!(identity.status().unwrap().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn the_pause_after_failures_doubles_to_a_minute() {
    let (_identity, mints) = identity(|_| failure());

    sleep(secs(400)).await;

    let bases = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
    for (gap, base) in mints.gaps().into_iter().zip(bases) {
        assert!((base * 0.8..=base + 0.01).contains(&gap), "{gap} of {base}");
    }
    assert!(mints.gaps().len() >= bases.len());
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_honoured_up_to_a_minute() {
    for (asked, pause) in [(20, 20.0), (3600, 60.0)] {
        let (_identity, mints) = identity(move |_| {
            Step::Error(MintError::Provider(ProviderError::Status {
                status: StatusCode::TOO_MANY_REQUESTS,
                retry_after: Some(secs(asked)),
            }))
        });
        sleep(secs(70)).await;
        let gap = mints.gaps()[0];
        assert!((pause..pause + 0.01).contains(&gap), "{gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mint_that_never_ends_is_given_up_and_the_next_one_heals() {
    let (identity, _) = identity(|n| if n == 1 { Step::Silence } else { token(300) });

    sleep(secs(29)).await;
    assert!(identity.header().await.is_none());
    sleep(Duration::from_millis(1100)).await;
    assert!(
        identity
            .status()
            .unwrap()
            .last_error
            .unwrap()
            .contains("30 s")
    );

    sleep(secs(2)).await;
    assert_eq!(generation(&identity).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_a_second_is_minted_once_a_second_and_callers_get_one() {
    let (identity, mints) = identity(|_| slow_token(Duration::from_millis(10), 1));

    for _ in 0..100 {
        assert!(identity.header().await.is_some());
        sleep(Duration::from_millis(97)).await;
    }

    assert!((8..=11).contains(&mints.count()), "{}", mints.count());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_by_one_mint_for_all_who_held_it() {
    let (identity, mints) = identity(|_| slow_token(Duration::from_millis(100), 300));
    let used = identity.header().await.unwrap();

    let tokens = join_all((0..1000).map(|_| identity.renew(Some(&used)))).await;

    assert!(
        tokens
            .iter()
            .all(|token| token.as_ref().is_some_and(|token| token.generation() == 2))
    );
    assert_eq!(mints.count(), 2);
    assert_eq!(generation(&identity).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn who_held_an_older_token_gets_the_current_one_without_a_mint() {
    let (identity, mints) = identity(|_| token(300));
    let first = identity.header().await.unwrap();
    identity.renew(Some(&first)).await.unwrap();

    for used in [Some(&first), None] {
        let token = identity.renew(used).now_or_never().flatten();
        assert_eq!(token.unwrap().generation(), 2);
    }
    assert_eq!(mints.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_refuses_every_token_forces_one_mint_in_five_seconds() {
    let (identity, mints) = identity(|_| token(3000));
    let mut used = identity.header().await.unwrap();

    let began = Instant::now();
    while began.elapsed() < secs(20) {
        if let Some(token) = identity.renew(Some(&used)).await {
            used = token;
        }
        sleep(Duration::from_millis(50)).await;
    }

    assert_eq!(mints.count(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_401_does_not_shorten_the_pause_after_a_failure() {
    let (identity, mints) = identity(|n| if n == 1 { token(3000) } else { failure() });
    let used = identity.header().await.unwrap();

    assert!(identity.renew(Some(&used)).await.is_none());
    assert!(identity.renew(Some(&used)).await.is_none());

    assert_eq!(mints.count(), 2);
    assert_eq!(
        generation(&identity).await,
        Some(1),
        "still the best there is"
    );
}

#[tokio::test(start_paused = true)]
async fn who_went_without_a_token_has_waited_for_one_and_waits_no_more() {
    let (identity, mints) = identity(|_| slow_token(secs(4), 300));
    assert!(identity.header().await.is_none());

    let again = identity.renew(None).now_or_never();
    assert!(again.unwrap().is_none(), "there is none yet");
    sleep(secs(3)).await;
    let again = identity.renew(None).now_or_never();

    assert_eq!(again.unwrap().unwrap().generation(), 1);
    assert_eq!(mints.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_follow_each_other_wait_for_one_mint_together_no_longer_than_one() {
    let (identity, _) = identity(|_| slow_token(secs(8), 300));
    let began = Instant::now();
    for _ in 0..5 {
        assert!(identity.header().await.is_none());
    }
    assert_eq!(began.elapsed(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_all_the_time_is_a_mint_a_second() {
    let (identity, mints, change) = identity_with_file(CancellationToken::new(), |_| failure());
    for _ in 0..100 {
        change.send(()).unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!((8..=11).contains(&mints.count()), "{}", mints.count());
    drop(identity);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_five_seconds_at_most() {
    let (identity, _) = identity(|n| if n == 1 { token(300) } else { Step::Silence });
    let used = identity.header().await.unwrap();

    let began = Instant::now();
    assert!(identity.renew(Some(&used)).await.is_none());

    assert_eq!(began.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_ends_a_pause_and_a_rest() {
    let script = |n| if n == 1 { failure() } else { token(1000) };
    let (identity, mints, change) = identity_with_file(CancellationToken::new(), script);
    assert!(identity.header().await.is_none());

    change.send(()).unwrap();
    identity.available().await;
    assert_eq!(generation(&identity).await, Some(1));
    change.send(()).unwrap();
    sleep(secs(2)).await;

    assert_eq!(generation(&identity).await, Some(2));
    assert_eq!(mints.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_given_again_is_no_answer_to_a_401() {
    let minter = || Scripted {
        mints: Mints::default(),
        script: |_| token(1000),
        changes: mpsc::unbounded_channel().1,
    };
    struct Same<F>(Scripted<F>);
    impl<F: FnMut(usize) -> Step + Send + 'static> Minter for Same<F> {
        async fn mint(&mut self) -> Result<Minted, MintError> {
            let minted = self.0.mint().await?;
            Ok(Minted {
                header: HeaderValue::from_static("Bearer canary-token"),
                ..minted
            })
        }

        async fn changed(&mut self) {
            pending().await
        }
    }
    let about = IdentityStatus::default();
    let identity = Identity::keep(Same(minter()), about, CancellationToken::new());
    let refused = identity.header().await.unwrap();

    assert!(identity.renew(Some(&refused)).await.is_none());
    assert_eq!(identity.status().unwrap().mints, 2, "it was asked for anew");
    assert_eq!(generation(&identity).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_token_is_woken_by_the_first_one() {
    let (identity, _) = identity(|n| if n < 4 { failure() } else { token(100) });
    assert!(identity.header().await.is_none());
    assert!(!identity.has_token());

    identity.available().await;

    assert!(identity.has_token());
    assert!(identity.available().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_of_a_mint_leaves_nobody_waiting() {
    let shutdown = CancellationToken::new();
    let (identity, mints) = identity_until(shutdown.clone(), |_| Step::Silence);
    let callers = join_all((0..10).map(|_| {
        let identity = identity.clone();
        tokio::spawn(async move { (identity.header().await, identity.renew(None).await) })
    }));
    sleep(secs(1)).await;

    let began = Instant::now();
    shutdown.cancel();

    for caller in callers.await {
        assert!(matches!(caller.unwrap(), (None, None)));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(Arc::strong_count(&mints.0), 1, "the task is gone");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    for script in [|_| token(300), |_| failure(), |_| Step::Silence] {
        let (identity, mints) = identity(script);
        let other = identity.clone();
        advance(Duration::from_millis(10)).await;
        drop(identity);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(Arc::strong_count(&mints.0), 2, "one handle is left");
        drop(other);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(Arc::strong_count(&mints.0), 1);
    }
}

#[tokio::test]
async fn no_identity_is_no_header_and_no_wait() {
    let identity = Identity::off();
    assert!(!identity.is_on());
    assert!(identity.header().now_or_never().unwrap().is_none());
    assert!(identity.renew(None).now_or_never().unwrap().is_none());
    assert!(identity.status().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_status_says_what_an_operator_may_know() {
    let (identity, _) = identity(|_| token(300));
    identity.header().await.unwrap();
    sleep(secs(40)).await;

    assert_eq!(
        serde_json::to_value(identity.status()).unwrap(),
        serde_json::json!({
            "name": "service",
            "mode": "oidc-client-credentials",
            "tokenUrl": "https://kc/token",
            "clientId": "mcp-multiplexer",
            "expiresInSeconds": 260,
            "ageSeconds": 40,
            "mints": 1,
            "failures": 0,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn the_token_is_in_no_debug_output() {
    let (identity, _) = identity(|_| token(300));
    let token = identity.header().await.unwrap();
    assert!(token.header().is_sensitive());
    for shown in [format!("{token:?}"), format!("{identity:#?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn mints_and_expiry_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();

    metrics::with_local_recorder(&recorder, || {
        series::describe();
        runtime.block_on(async {
            let (identity, _) = identity(|n| if n == 1 { failure() } else { token(300) });
            sleep(secs(2)).await;
            identity.header().await.unwrap();
            identity.write_gauges();
        });
    });

    let text = recorder.handle().render();
    for line in [
        r#"mcp_multiplexer_token_mints_total{identity="service",outcome="invalid_answer"} 1"#,
        r#"mcp_multiplexer_token_mints_total{identity="service",outcome="ok"} 1"#,
        "# HELP mcp_multiplexer_token_expiry_timestamp_seconds",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let expiry = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(
                r#"mcp_multiplexer_token_expiry_timestamp_seconds{identity="service"} "#,
            )
        })
        .unwrap();
    let in_seconds =
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs_f64(expiry.parse().unwrap());
    let left = in_seconds
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!((290..=300).contains(&left.as_secs()), "{left:?}");
}
