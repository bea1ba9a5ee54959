use std::time::Duration;

use futures::{StreamExt, stream as streams};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::{
    log::{KEPT_BYTES, KEPT_EVENTS},
    task::GRACE,
    *,
};

/// Work that is done when the test says so, and tells when it is dropped before.
struct Bench {
    streams: Streams,
    asides: mpsc::Sender<Bytes>,
    answer: oneshot::Sender<Option<Reply>>,
    dropped: oneshot::Receiver<()>,
}

fn begin_in(streams: &Streams, primed: bool) -> (Bench, Body) {
    let (asides, heard) = mpsc::channel(64);
    let (answer, answered) = oneshot::channel();
    let (guard, dropped) = oneshot::channel::<()>();
    let beginning = Beginning {
        primed,
        ..Beginning::default()
    };
    let work = Box::pin(async move {
        let _guard = guard;
        answered.await.ok().flatten()
    });
    let body = streams.begin(beginning, work, heard);
    let streams = streams.clone();
    let bench = Bench {
        streams,
        asides,
        answer,
        dropped,
    };
    (bench, body)
}

fn begin(primed: bool) -> (Bench, Body) {
    begin_in(&Streams::default(), primed)
}

impl Bench {
    async fn says(&self, text: &str) {
        self.asides.send(text.to_owned().into()).await.unwrap();
    }

    fn answers(self, text: &str) -> (Streams, oneshot::Receiver<()>) {
        let reply = Reply::Whole(text.to_owned().into());
        assert!(self.answer.send(Some(reply)).is_ok());
        (self.streams, self.dropped)
    }
}

/// What there is for a client that comes back to its request.
fn back(streams: &Streams, last_event: &str) -> Option<Body> {
    match streams.resume(last_event) {
        Resumed::Rest(body) => Some(body),
        Resumed::Nothing => None,
        Resumed::Anew => panic!("{last_event} is of a request"),
    }
}

async fn piece(body: &mut Body) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// The next event's id and data.
async fn event(body: &mut Body) -> Option<(String, String)> {
    loop {
        let text = piece(body).await?;
        let line = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.map(|found| found.trim().to_owned())
        };
        if let (Some(id), Some(data)) = (line("id:"), line("data:")) {
            return Some((id, data));
        }
        assert_eq!(text, ":\n\n");
    }
}

async fn rest(body: Body) -> Vec<String> {
    let mut body = body;
    let mut all = Vec::new();
    while let Some((_, data)) = event(&mut body).await {
        all.push(data);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_is_told_what_it_missed() {
    let (bench, mut body) = begin(true);
    let (primed, nothing) = event(&mut body).await.unwrap();
    assert_eq!(nothing, "");
    bench.says("one").await;
    let (first, one) = event(&mut body).await.unwrap();
    assert_eq!(one, "one");
    bench.says("lost").await;
    drop(body);
    tokio::time::sleep(GRACE / 2).await;
    bench.says("missed").await;
    let mut body = back(&bench.streams, &first).unwrap();
    assert_eq!(event(&mut body).await.unwrap().1, "lost");
    bench.says("live").await;
    let (streams, _) = bench.answers("done");
    assert_eq!(rest(body).await, ["missed", "live", "done"]);
    let all = back(&streams, &primed).unwrap();
    assert_eq!(rest(all).await, ["one", "lost", "missed", "live", "done"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_takes_the_stream_from_the_connection_it_had() {
    let (bench, mut dead) = begin(true);
    let (primed, _) = event(&mut dead).await.unwrap();
    let back = back(&bench.streams, &primed).unwrap();
    bench.answers("done");
    assert_eq!(rest(back).await, ["done"]);
    assert!(dead.frame().await.unwrap().is_err(), "cut");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_away_is_given_up() {
    let (bench, body) = begin(true);
    drop(body);
    let Bench {
        mut dropped,
        answer,
        ..
    } = bench;
    tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
    assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        dropped.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    );
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up_and_a_slow_one_is_not() {
    let (bench, mut body) = begin(false);
    for _ in 0..3 {
        for _ in 0..64 {
            bench.says("x").await;
        }
        tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
        for _ in 0..64 {
            event(&mut body).await.unwrap();
        }
    }
    for _ in 0..64 {
        bench.says("x").await;
    }
    let Bench {
        dropped, answer, ..
    } = bench;
    assert!(dropped.await.is_err());
    drop((body, answer));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_a_while_and_no_longer() {
    let (bench, mut body) = begin(false);
    bench.says("one").await;
    let (first, _) = event(&mut body).await.unwrap();
    let (streams, _) = bench.answers("done");
    let (last, done) = event(&mut body).await.unwrap();
    assert_eq!(done, "done");
    assert!(event(&mut body).await.is_none());
    tokio::time::sleep(GRACE / 2).await;
    assert!(
        back(&streams, &last).is_none(),
        "nothing is left to be told"
    );
    assert_eq!(rest(back(&streams, &first).unwrap()).await, ["done"]);
    tokio::time::sleep(GRACE + Duration::from_secs(1)).await;
    assert!(back(&streams, &first).is_none());
    assert!(streams.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_is_not_kept() {
    let (bench, mut body) = begin(true);
    let (primed, _) = event(&mut body).await.unwrap();
    assert!(bench.answer.send(None).is_ok());
    assert!(event(&mut body).await.is_none());
    assert!(back(&bench.streams, &primed).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_ends_the_work_of_a_client_that_is_away() {
    let (bench, body) = begin(true);
    drop(body);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.streams.end();
    let before = Instant::now();
    assert!(bench.dropped.await.is_err());
    assert_eq!(before.elapsed(), Duration::ZERO);
    drop(bench.answer);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_not_all_is_kept_while_a_client_is_away() {
    let (bench, mut body) = begin(true);
    let (primed, _) = event(&mut body).await.unwrap();
    drop(body);
    let sender = bench.asides.clone();
    let said = tokio::spawn(async move {
        for number in 0..1000 {
            sender.send(number.to_string().into()).await.unwrap();
        }
    });
    tokio::time::sleep(GRACE / 2).await;
    assert!(!said.is_finished(), "there is an end to what is kept");
    let mut body = back(&bench.streams, &primed).unwrap();
    for number in 0..1000 {
        let (_, data) = event(&mut body).await.unwrap();
        assert_eq!(data, number.to_string());
    }
    // The oldest have been let go of: what is left begins somewhere.
    let (streams, _) = bench.answers("done");
    assert_eq!(rest(body).await, ["done"]);
    let kept = rest(back(&streams, &primed).unwrap()).await;
    assert!((KEPT_EVENTS / 2..=KEPT_EVENTS).contains(&kept.len()));
    assert_eq!(kept.last().unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_only_the_newest_streams() {
    let streams = Streams::default();
    let mut firsts = Vec::new();
    for _ in 0..=MOST_OVER {
        let (bench, mut body) = begin_in(&streams, true);
        firsts.push(event(&mut body).await.unwrap().0);
        bench.answers("done");
        assert_eq!(rest(body).await, ["done"]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let kept = firsts.iter().map(|first| back(&streams, first).is_some());
    let mut expected = vec![true; MOST_OVER];
    expected.insert(0, false);
    assert_eq!(kept.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_long_to_be_kept_waits_for_the_client_and_is_told_once() {
    let (bench, mut body) = begin(true);
    let (primed, _) = event(&mut body).await.unwrap();
    drop(body);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pieces = [Ok("{\n".into()), Ok("}".into())];
    let long = Reply::Long(streams::iter(pieces).boxed());
    assert!(bench.answer.send(Some(long)).is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut body = back(&bench.streams, &primed).unwrap();
    let mut all = String::new();
    while let Some(more) = piece(&mut body).await {
        all.push_str(&more);
    }
    assert!(all.ends_with("data: { }\n\n"), "{all:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(back(&bench.streams, &primed).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_comment_comes_when_nothing_else_has_for_fifteen_seconds() {
    let (bench, mut body) = begin(false);
    let began = Instant::now();
    let mut came = Vec::new();
    let says = bench.asides.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let _ = says.send("x".into()).await;
    });
    for _ in 0..4 {
        let piece = piece(&mut body).await.unwrap();
        came.push((began.elapsed().as_secs(), piece == ":\n\n"));
    }
    assert_eq!(came, [(0, true), (10, false), (25, true), (40, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_is_there_until_it_was_given_and_not_kept() {
    let (bench, mut body) = begin(true);
    let (primed, _) = event(&mut body).await.unwrap();
    bench.says("one").await;
    drop(body);
    let streams = bench.streams.clone();
    let large = "x".repeat(KEPT_BYTES);
    bench.answers(&large);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = rest(back(&streams, &primed).unwrap()).await;
    assert_eq!(all, ["one", &large]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(back(&streams, &primed).is_none());
}

#[tokio::test]
async fn whoever_comes_back_to_what_is_unknown_hears_what_belongs_to_no_request() {
    let streams = Streams::default();
    for id in [
        "",
        "-",
        "1-1",
        "x-y",
        "r",
        "r1",
        "r-1",
        "rffffffffffffffffff-1",
        "r1-1-1",
        "s1-1",
        "ü1-1",
    ] {
        assert!(matches!(streams.resume(id), Resumed::Anew), "{id}");
    }
    // A request is not answered there; waiting for it would take the stream from others.
    assert!(matches!(streams.resume("r1-1"), Resumed::Nothing));
}
