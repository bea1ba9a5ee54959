//! Keeps a modern child telling what belongs to no request: that its lists have changed,
//! and the resources that are subscribed to (MCP 2026-07-28, "Subscriptions").

use std::time::Duration;

use rmcp::{
    Peer, RoleClient,
    model::{ErrorCode, ErrorData, SubscriptionFilter},
    service::{ServiceError, Subscription},
};
use tokio::sync::Notify;

use super::{
    Failure,
    control::sent,
    pause::Pause,
    subscriptions::Subscriptions,
    wishes::{Wish, Wishes},
};
use crate::{catalog::Family, config::RestartSettings, telemetry::Outcome};

/// What is listened for, and how.
pub(super) struct Listening<'a> {
    /// The lists whose changes the child tells.
    pub(super) families: Vec<Family>,
    /// The resources whose updates are wanted, if the child tells of any.
    pub(super) subscriptions: Option<&'a Subscriptions>,
    /// Told when lists may have changed unheard.
    pub(super) changed: &'a Notify,
    /// How long the child may take to begin.
    pub(super) patience: Duration,
    /// The pauses before what failed is tried again.
    pub(super) clocks: &'a RestartSettings,
}

/// Keeps asking for as long as the connection lasts. What the child tells is seen by
/// whoever reads the connection. Another set of subscriptions is asked for before the
/// request for the old one is ended, so that nothing is missed. Returns early when there
/// is nothing to be told.
///
/// # Errors
///
/// When the connection is found gone.
pub(super) async fn follow(
    control: &Peer<RoleClient>,
    listening: Listening<'_>,
) -> Result<(), Failure> {
    let mut follower = Follower {
        control,
        wishes: Wishes::new(listening.subscriptions),
        pause: Pause::new(listening.clocks),
        listening,
        offered: false,
        open: None,
    };
    follower.run().await
}

struct Follower<'a> {
    control: &'a Peer<RoleClient>,
    listening: Listening<'a>,
    wishes: Wishes<'a>,
    pause: Pause<'a>,
    /// The child has told before.
    offered: bool,
    /// By what it tells, and of which resources.
    open: Option<(Subscription, Vec<Wish>)>,
}

/// What is to be done when the child has been asked.
enum Next {
    /// Waiting, for what it tells or for the end of a pause.
    Wait,
    /// Asking for another set at once.
    Ask,
    /// Nothing: it does not know how to tell.
    Never(ErrorData),
}

impl Follower<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            let asked = self.wishes.wanted();
            if self.listening.families.is_empty() && asked.is_empty() {
                self.open = None;
                if self.wishes.are_all_refused_anew() {
                    return Err(Failure::session_lost());
                }
                if !self.wishes.another().await {
                    return Ok(());
                }
                continue;
            }
            let stands = self.open.as_ref().is_some_and(|(_, told)| *told == asked);
            if !stands {
                match self.ask(asked).await? {
                    Next::Wait => {}
                    Next::Ask => continue,
                    Next::Never(error) => {
                        self.wishes.never(&error).await;
                        return Ok(());
                    }
                }
            }
            if let Some((subscription, _)) = &mut self.open {
                tokio::select! {
                    () = ended(subscription) => {}
                    true = self.wishes.another() => continue,
                }
                self.open = None;
                self.wishes.interrupted();
            }
            tokio::select! {
                () = self.pause.wait() => {}
                true = self.wishes.another() => {}
            }
        }
    }

    async fn ask(&mut self, asked: Vec<Wish>) -> Result<Next, Failure> {
        let Listening {
            families, patience, ..
        } = &self.listening;
        let begun = self.control.listen(filter(families, &asked));
        let failure = match tokio::time::timeout(*patience, begun).await {
            Ok(Ok(subscription)) => return Ok(self.begins(subscription, asked)),
            Ok(Err(ServiceError::McpError(error))) => return self.refused(&asked, error),
            Ok(Err(ServiceError::TransportSend(error))) => {
                let failure = sent(error);
                // As with a legacy child's stream.
                let refused = failure.outcome == Outcome::Unauthorized && !self.offered;
                if failure.loses_connection() && !refused {
                    return Err(failure);
                }
                failure
            }
            Ok(Err(error)) => Failure::transport(error.to_string()),
            Err(_) => Failure::timeout(*patience),
        };
        self.wishes.failed(&asked, &failure);
        Ok(Next::Wait)
    }

    fn begins(&mut self, subscription: Subscription, asked: Vec<Wish>) -> Next {
        self.offered = true;
        let uris = subscription.acknowledged().resource_subscriptions.as_ref();
        let tells = |own: &str| uris.is_some_and(|uris| uris.iter().any(|uri| uri == own));
        let told = self.wishes.taken(asked, tells);
        if self.open.is_none() {
            self.pause.begins();
            if !self.listening.families.is_empty() {
                self.listening.changed.notify_one();
            }
        }
        self.open = Some((subscription, told));
        match self.wishes.cautious {
            true => Next::Ask,
            false => Next::Wait,
        }
    }

    fn refused(&mut self, asked: &[Wish], error: ErrorData) -> Result<Next, Failure> {
        let unknown = error.code == ErrorCode::METHOD_NOT_FOUND;
        let transient = error.code == ErrorCode::INTERNAL_ERROR;
        if self.open.is_none() {
            if self.offered && (unknown || asked.is_empty() && !transient) {
                // It told before and knows nothing of it now: it is another program, and
                // may speak another era.
                return Err(Failure::session_lost());
            }
            if unknown {
                return Ok(Next::Never(error));
            }
        }
        if self.wishes.refused(asked, &error) {
            return Ok(Next::Ask);
        }
        if self.open.is_none() && !transient {
            self.wishes.doubts();
        }
        Ok(Next::Wait)
    }
}

fn filter(families: &[Family], wanted: &[Wish]) -> SubscriptionFilter {
    let lists = families.iter().fold(
        SubscriptionFilter::builder(),
        |filter, family| match family {
            Family::Tools => filter.tools_list_changed(),
            Family::Prompts => filter.prompts_list_changed(),
            Family::Resources => filter.resources_list_changed(),
        },
    );
    let uris = wanted.iter().map(|(own, _)| own.as_str());
    let filter = match wanted {
        [] => lists,
        _ => lists.resource_subscriptions(uris),
    };
    filter.build()
}

async fn ended(subscription: &mut Subscription) {
    while let Ok(Some(_)) = subscription.next().await {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        task::JoinHandle,
    };

    use super::*;
    use crate::{
        outbound::{
            control::{Control, Handshake, shake_hands},
            link::Link,
            listener::Listener,
            stdio::Pipe,
            subscriptions::{Subscription as Subscribed, Verdict},
            unasked::Unasked,
        },
        telemetry::ChildMetrics,
    };

    /// What the child makes of a request for these resources.
    enum Says {
        Tells,
        Refuses(i64),
        Nothing,
        /// It tells, and ends that at once.
        Ends,
    }

    /// A child that is listened to, and whoever subscribes to it.
    struct House {
        control: Control,
        all: Arc<Subscriptions>,
        listener: Listener,
        /// What it has been asked for, in turn.
        asked: Arc<Mutex<Vec<Vec<String>>>>,
        _child: JoinHandle<()>,
    }

    const CLOCKS: RestartSettings = RestartSettings {
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(60),
        stable: Duration::from_secs(60),
    };

    impl House {
        async fn of(mut says: impl FnMut(&[String]) -> Says + Send + 'static) -> Self {
            let (stdin, child_in) = tokio::io::duplex(1 << 16);
            let (mut child_out, stdout) = tokio::io::duplex(1 << 16);
            let asked: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
            let noted = Arc::clone(&asked);
            let child = tokio::spawn(async move {
                let mut lines = BufReader::new(child_in).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).unwrap();
                    let id = &message["id"];
                    let result = |it: Value| json!({"jsonrpc":"2.0","id":id,"result":it});
                    let mut answers = Vec::new();
                    if message["method"] == "server/discover" {
                        answers.push(result(json!({
                            "resultType": "complete", "supportedVersions": ["2026-07-28"],
                            "capabilities": {"resources": {"subscribe": true}},
                            "ttlMs": 0, "cacheScope": "private",
                            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "c", "version": "1"}},
                        })));
                    } else if message["method"] == "subscriptions/listen" {
                        let filter = &message["params"]["notifications"];
                        let uris = filter["resourceSubscriptions"].as_array();
                        let mut uris: Vec<String> = uris
                            .into_iter()
                            .flatten()
                            .map(|uri| uri.as_str().unwrap().to_owned())
                            .collect();
                        uris.sort();
                        let said = says(&uris);
                        noted.lock().unwrap().push(uris);
                        let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
                        if matches!(said, Says::Tells | Says::Ends) {
                            answers.push(json!({
                                "jsonrpc": "2.0",
                                "method": "notifications/subscriptions/acknowledged",
                                "params": {"_meta": meta, "notifications": filter},
                            }));
                        }
                        match said {
                            Says::Tells | Says::Nothing => {}
                            Says::Ends => answers
                                .push(result(json!({"resultType": "complete", "_meta": meta}))),
                            Says::Refuses(code) => answers.push(json!({
                                "jsonrpc": "2.0", "id": id,
                                "error": {"code": code, "message": "no"},
                            })),
                        }
                    }
                    for answer in answers {
                        let line = format!("{answer}\n");
                        child_out.write_all(line.as_bytes()).await.unwrap();
                    }
                }
            });
            let name: crate::protocol::ChildName = "child".into();
            let metrics = ChildMetrics::new(&name);
            let (messages, _) = tokio::sync::broadcast::channel(16);
            let (unasked, inbox) = Unasked::new(name, Arc::default(), messages, metrics);
            let link = Link::Pipe(Pipe::new(stdin, stdout, unasked));
            let (control, _) = shake_hands(link, inbox, Handshake::Modern).await.unwrap();
            Self {
                control,
                all: Arc::default(),
                listener: Listener::default(),
                asked,
                _child: child,
            }
        }

        fn subscribe(&self, own: &str) -> Subscribed {
            let listener = &self.listener;
            self.all.subscribe(&own.into(), own, listener).unwrap()
        }

        /// Listens until this is done.
        async fn while_listening<T>(
            &self,
            families: &[Family],
            changed: &Notify,
            done: impl Future<Output = T>,
        ) -> T {
            let listening = Listening {
                families: families.to_vec(),
                subscriptions: Some(&self.all),
                changed,
                patience: Duration::from_secs(10),
                clocks: &CLOCKS,
            };
            let peer = self.control.peer().clone();
            tokio::select! {
                ended = follow(&peer, listening) => panic!("it listens no more: {ended:?}"),
                done = done => done,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_cannot_tell_is_no_reason_to_wait_for_it() {
        let house = House::of(|_| Says::Refuses(-32601)).await;
        let changed = Notify::new();
        let lists = [Family::Tools];
        let settled = async {
            while house.asked.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            for _ in 0..2 {
                let verdict = house.subscribe("x:a").settled().await;
                let refused = matches!(&verdict, Verdict::Refused(it) if it.contains("-32601"));
                assert!(refused, "{verdict:?}");
            }
        };
        house.while_listening(&lists, &changed, settled).await;
        assert_eq!(house.asked.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_does_not_begin_is_asked_again() {
        let mut times = 0;
        let house = House::of(move |_| {
            times += 1;
            match times {
                1 => Says::Nothing,
                _ => Says::Tells,
            }
        })
        .await;
        let settled = async {
            let silent = house.subscribe("x:a").settled().await;
            assert!(matches!(silent, Verdict::Failed(_)), "{silent:?}");
            // Another wish cuts the pause short.
            let second = house.subscribe("x:b").settled().await;
            assert!(matches!(second, Verdict::Held), "{second:?}");
        };
        house.while_listening(&[], &Notify::new(), settled).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_child_refuses_is_no_harm_to_the_others() {
        let house = House::of(
            |uris| match uris.iter().any(|uri| uri.starts_with("bad:")) {
                true => Says::Refuses(-32602),
                false => Says::Tells,
            },
        )
        .await;
        let settled = async {
            let good = house.subscribe("x:a");
            assert!(matches!(good.settled().await, Verdict::Held));
            let all = ["bad:1", "x:b", "bad:2", "x:c"].map(|own| house.subscribe(own));
            let mut held = Vec::new();
            for one in &all {
                held.push(matches!(one.settled().await, Verdict::Held));
            }
            assert_eq!(held, [false, true, false, true]);
            assert!(matches!(good.settled().await, Verdict::Held));
        };
        house.while_listening(&[], &Notify::new(), settled).await;
        let asked = house.asked.lock().unwrap();
        let bad = |uris: &&Vec<String>| uris.iter().any(|uri| uri.starts_with("bad:"));
        let good: Vec<_> = asked.iter().filter(|uris| !bad(uris)).collect();
        assert_eq!(*good[good.len() - 1], ["x:a", "x:b", "x:c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_refuses_what_it_told_before_is_another_program() {
        let mut times = 0;
        let house = House::of(move |_| {
            times += 1;
            match times {
                1 => Says::Ends,
                _ => Says::Refuses(-32000),
            }
        })
        .await;
        let _held = house.subscribe("x:a");
        let listening = Listening {
            families: Vec::new(),
            subscriptions: Some(&house.all),
            changed: &Notify::new(),
            patience: Duration::from_secs(10),
            clocks: &CLOCKS,
        };
        let lost = follow(house.control.peer(), listening).await.unwrap_err();
        assert!(lost.session_lost, "{lost:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_changed_while_nobody_listened_is_told() {
        let mut times = 0;
        let house = House::of(move |_| {
            times += 1;
            match times {
                1 => Says::Ends,
                _ => Says::Tells,
            }
        })
        .await;
        let changed = Notify::new();
        let told = async {
            let _held = house.subscribe("x:a");
            house.listener.ready().await;
            let update = house.listener.take().unwrap();
            assert_eq!(update.frame.body(), Some(r#"{"uri":"x:a"}"#));
        };
        house.while_listening(&[], &changed, told).await;
        assert!(house.listener.take().is_none(), "once");
        let unheard = changed.notified();
        tokio::pin!(unheard);
        assert!(futures::poll!(unheard).is_pending(), "no list is followed");
    }
}
