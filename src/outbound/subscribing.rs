//! Making the subscriptions on one connection to a legacy child those of the set (MCP
//! 2025-11-25, "Subscriptions").

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::OptionFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{
    Connection, Failure,
    subscriptions::{Subscriptions, Verdict},
};
use crate::{
    config::RestartSettings,
    protocol::{Frame, Kind, OwnName, json::quote},
};

/// Requests that may be under way at once: after a child has come back all its
/// subscriptions are asked for.
const AT_ONCE: usize = 16;

/// Keeps the child's subscriptions those of the set, for as long as the connection lasts.
/// Each request has `patience`.
///
/// # Errors
///
/// When the connection is found gone.
pub(super) async fn keep(
    connection: &Connection,
    subscriptions: &Subscriptions,
    patience: Duration,
    clocks: &RestartSettings,
) -> Result<(), Failure> {
    subscriptions.interrupted();
    let mut changes = subscriptions.changes();
    changes.mark_changed();
    let mut standing = Standing::default();
    let mut steps = VecDeque::new();
    let mut under_way = FuturesUnordered::new();
    let mut again = None;
    loop {
        while under_way.len() < AT_ONCE
            && let Some(step) = steps.pop_front()
        {
            under_way.push(async move {
                let answer = take(connection, &step, patience).await;
                (step, answer)
            });
        }
        tokio::select! {
            Some((step, answer)) = under_way.next() => {
                let verdict = match answer {
                    Err(failure) if failure.loses_connection() => return Err(failure),
                    Err(failure) => {
                        debug!(%failure, "a subscription got no answer");
                        again.get_or_insert_with(|| Instant::now() + clocks.max_backoff);
                        Verdict::Failed(failure)
                    }
                    Ok(verdict) => verdict,
                };
                standing.taken(&step, &verdict);
                if let Step::Subscribe(own, wish) = step {
                    subscriptions.decided(&own, wish, verdict);
                }
            }
            _ = changes.changed() => {}
            Some(()) = OptionFuture::from(again.map(sleep_until)) => {
                again = None;
                standing.forget_failures();
            }
        }
        if steps.is_empty() {
            steps.extend(standing.steps_to(&subscriptions.all()));
        }
    }
}

async fn take(
    connection: &Connection,
    step: &Step,
    patience: Duration,
) -> Result<Verdict, Failure> {
    let (method, own) = match step {
        Step::Subscribe(own, _) => ("resources/subscribe", own),
        Step::Unsubscribe(own) => ("resources/unsubscribe", own),
    };
    let uri = format!(r#""uri":{}"#, quote(own.as_str()));
    let asked = connection.ask(method, vec![uri]);
    let answer = tokio::time::timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Err(Failure::timeout(patience)))?;
    Ok(verdict(&answer))
}

fn verdict(answer: &Frame) -> Verdict {
    match (answer.kind(), answer.body()) {
        (Kind::Error, error) => Verdict::Refused(Arc::from(error.unwrap_or("{}"))),
        _ => Verdict::Held,
    }
}

/// How the resources stand on one connection.
#[derive(Debug, Default)]
struct Standing(HashMap<OwnName, Here>);

/// How one of them stands, and for which wish that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// A request for it, or for its end, is under way.
    Open,
    /// The child tells.
    Held(u64),
    /// The child does not.
    Refused(u64),
    /// Nobody knows: it is to be asked again.
    Failed(u64),
}

/// One step towards the set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Subscribe(OwnName, u64),
    Unsubscribe(OwnName),
}

impl Standing {
    /// The steps that lead to this set; those under way are not repeated.
    fn steps_to(&mut self, all: &[(OwnName, u64)]) -> Vec<Step> {
        let wanted: HashSet<&OwnName> = all.iter().map(|(own, _)| own).collect();
        let mut steps = Vec::new();
        self.0.retain(|own, here| match here {
            _ if wanted.contains(own) => true,
            Here::Open => true,
            Here::Refused(_) => false,
            // What failed may have been done all the same.
            Here::Held(_) | Here::Failed(_) => {
                *here = Here::Open;
                steps.push(Step::Unsubscribe(own.clone()));
                true
            }
        });
        for (own, wish) in all {
            let asks = match self.0.get(own) {
                None => true,
                Some(Here::Open) => false,
                Some(Here::Held(of) | Here::Refused(of) | Here::Failed(of)) => of != wish,
            };
            if asks {
                self.0.insert(own.clone(), Here::Open);
                steps.push(Step::Subscribe(own.clone(), *wish));
            }
        }
        steps
    }

    fn taken(&mut self, step: &Step, verdict: &Verdict) {
        match step {
            Step::Unsubscribe(own) => {
                self.0.remove(own);
            }
            Step::Subscribe(own, wish) => {
                let here = match verdict {
                    Verdict::Held => Here::Held(*wish),
                    Verdict::Refused(_) => Here::Refused(*wish),
                    Verdict::Failed(_) => Here::Failed(*wish),
                };
                self.0.insert(own.clone(), here);
            }
        }
    }

    fn forget_failures(&mut self) {
        self.0.retain(|_, here| !matches!(here, Here::Failed(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(all: &[(&str, u64)]) -> Vec<(OwnName, u64)> {
        all.iter()
            .map(|(own, wish)| ((*own).into(), *wish))
            .collect()
    }

    fn subscribe(own: &str, wish: u64) -> Step {
        Step::Subscribe(own.into(), wish)
    }

    #[test]
    fn each_resource_is_asked_for_once_and_ended_once() {
        let mut standing = Standing::default();
        let one = wishes(&[("a:1", 1)]);
        assert_eq!(standing.steps_to(&one), [subscribe("a:1", 1)]);
        assert_eq!(standing.steps_to(&one), [], "it is under way");
        standing.taken(&subscribe("a:1", 1), &Verdict::Held);
        assert_eq!(standing.steps_to(&one), []);
        assert_eq!(standing.steps_to(&[]), [Step::Unsubscribe("a:1".into())]);
        assert_eq!(standing.steps_to(&[]), [], "it is under way");
        standing.taken(&Step::Unsubscribe("a:1".into()), &Verdict::Held);
        assert_eq!(
            standing.steps_to(&wishes(&[("a:1", 2)])),
            [subscribe("a:1", 2)]
        );
    }

    #[test]
    fn a_wish_that_comes_while_the_last_is_ended_waits_for_that() {
        let mut standing = Standing::default();
        standing.steps_to(&wishes(&[("a:1", 1)]));
        standing.taken(&subscribe("a:1", 1), &Verdict::Held);
        let end = standing.steps_to(&[]).remove(0);
        let anew = wishes(&[("a:1", 2)]);
        assert_eq!(standing.steps_to(&anew), []);
        standing.taken(&end, &Verdict::Held);
        assert_eq!(standing.steps_to(&anew), [subscribe("a:1", 2)]);
    }

    #[test]
    fn what_was_refused_is_asked_for_again_by_another_wish_only() {
        let mut standing = Standing::default();
        let first = standing.steps_to(&wishes(&[("a:1", 1)])).remove(0);
        standing.taken(&first, &Verdict::Refused("{}".into()));
        assert_eq!(standing.steps_to(&wishes(&[("a:1", 1)])), []);
        assert_eq!(
            standing.steps_to(&wishes(&[("a:1", 2)])),
            [subscribe("a:1", 2)]
        );
    }

    #[test]
    fn what_failed_is_asked_for_again_later() {
        let mut standing = Standing::default();
        let all = wishes(&[("a:1", 1)]);
        let first = standing.steps_to(&all).remove(0);
        let failed = Verdict::Failed(Failure::timeout(Duration::from_secs(1)));
        standing.taken(&first, &failed);
        assert_eq!(standing.steps_to(&all), []);
        standing.forget_failures();
        assert_eq!(standing.steps_to(&all), [subscribe("a:1", 1)]);
    }
}
