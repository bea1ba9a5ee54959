//! Whose turn it is to have the issuer asked about a token: so many at a time, and a
//! flood of bad tokens keeps nobody out who was good before, or comes from elsewhere.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use moka::future::Cache;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Questions at a time that are for tokens alone that were good when they were last
/// asked about…
const KNOWN: usize = 8;
/// …that are for all…
const STRANGE: usize = 24;
/// …and of these for those that one sender shows and nobody knows.
const OF_ONE: usize = 6;
/// Requests of one sender that may wait for that.
const WAITING: usize = 1_000;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Senders that are told apart at a time, and how long one is remembered.
const SENDERS: u64 = 10_000;
const REMEMBERED: Duration = Duration::from_secs(60);

/// The turns at one issuer.
pub(super) struct Turns {
    known: Semaphore,
    strange: Semaphore,
    senders: Cache<Option<IpAddr>, Arc<Sender>>,
}

struct Sender {
    line: Semaphore,
    places: Semaphore,
}

/// Whose token it is that the issuer is to be asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// It was good before.
    Known,
    /// It was shown from there, and nothing is known of it.
    Strange(Option<IpAddr>),
}

/// There are too many questions.
#[derive(Debug, PartialEq)]
pub(super) struct TooMany;

impl Default for Turns {
    fn default() -> Self {
        Self {
            known: Semaphore::new(KNOWN),
            strange: Semaphore::new(STRANGE),
            senders: Cache::builder()
                .max_capacity(SENDERS)
                .time_to_idle(REMEMBERED)
                .build(),
        }
    }
}

impl Turns {
    /// Runs `question` when it is its turn.
    ///
    /// # Errors
    ///
    /// That takes too long.
    pub(super) async fn take<F: Future>(
        &self,
        asker: Asker,
        question: F,
    ) -> Result<F::Output, TooMany> {
        match asker {
            Asker::Known => {
                let _turn = tokio::select! {
                    biased;
                    turn = soon(&self.known) => turn?,
                    turn = soon(&self.strange) => turn?,
                };
                Ok(question.await)
            }
            Asker::Strange(from) => {
                let sender = self.sender(from.map(network)).await;
                let _waiting = sender.line.try_acquire().map_err(|_| TooMany)?;
                let _place = soon(&sender.places).await?;
                let _turn = soon(&self.strange).await?;
                Ok(question.await)
            }
        }
    }

    async fn sender(&self, from: Option<IpAddr>) -> Arc<Sender> {
        let new = async {
            Arc::new(Sender {
                line: Semaphore::new(WAITING),
                places: Semaphore::new(OF_ONE),
            })
        };
        self.senders.get_with(from, new).await
    }
}

async fn soon(places: &Semaphore) -> Result<SemaphorePermit<'_>, TooMany> {
    let place = timeout(PATIENCE, places.acquire()).await;
    place.ok().and_then(Result::ok).ok_or(TooMany)
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;

    use super::*;

    fn from(text: &str) -> Asker {
        Asker::Strange(Some(text.parse().unwrap()))
    }

    /// Turns that so many questions of this asker have taken or wait for, for ever.
    async fn flooded(turns: &Arc<Turns>, flood: &[(&str, usize)]) {
        for (address, many) in flood {
            for _ in 0..*many {
                let (turns, asker) = (Arc::clone(turns), from(address));
                tokio::spawn(async move { turns.take(asker, pending::<()>()).await });
            }
        }
        // The clock goes on when all of them wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_one_address_keeps_out_neither_others_nor_who_was_good() {
        let turns = Arc::<Turns>::default();
        flooded(&turns, &[("10.0.0.1", 500), ("2001:db8::1", 500)]).await;
        for asker in [Asker::Known, from("10.0.0.2"), from("2001:db8:0:1::1")] {
            assert_eq!(turns.take(asker, ready(1)).await, Ok(1), "{asker:?}");
        }
        for asker in [
            from("10.0.0.1"),
            from("::ffff:10.0.0.1"),
            from("2001:db8::2"),
        ] {
            assert_eq!(turns.take(asker, ready(1)).await, Err(TooMany), "{asker:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_everywhere_keeps_nobody_out_who_was_good() {
        let turns = Arc::<Turns>::default();
        let flood: Vec<_> = (0..20).map(|n| format!("10.0.0.{n}")).collect();
        let flood: Vec<_> = flood.iter().map(|one| (one.as_str(), 100)).collect();
        flooded(&turns, &flood).await;
        assert_eq!(turns.take(from("10.0.1.1"), ready(1)).await, Err(TooMany));
        let known = (0..KNOWN * 3).map(|_| turns.take(Asker::Known, ready(1)));
        assert!(join_all(known).await.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_flood_all_turns_are_for_those_who_are_known() {
        let turns = Arc::<Turns>::default();
        for _ in 0..KNOWN + STRANGE {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take(Asker::Known, pending::<()>()).await });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(turns.known.available_permits(), 0);
        assert_eq!(turns.strange.available_permits(), 0);
        assert_eq!(turns.take(Asker::Known, ready(1)).await, Err(TooMany));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded_and_the_issuer_is_asked_so_much_at_a_time() {
        let turns = Arc::<Turns>::default();
        flooded(&turns, &[("10.0.0.1", WAITING)]).await;
        let began = tokio::time::Instant::now();
        assert_eq!(
            turns.take(from("10.0.0.1"), ready(1)).await,
            Err(TooMany),
            "at once"
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(turns.strange.available_permits(), STRANGE - OF_ONE);
    }
}
