//! Calls that wait for their client: a legacy child has asked it something, a modern
//! client has been told so, and its retry with the answers resumes the call, once.
//!
//! A call that is held belongs to a task of its own, which listens to the child, so that
//! nobody else waits behind it. What the client is given to come back with names the
//! call and the process that holds it, signed; whoever has it may resume the call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use uuid::Uuid;

use super::{
    Method,
    places::{Places, Room, Who},
    running::Running,
    settle::Settlement,
};
use crate::{
    outbound::Child,
    protocol::{
        Caller, Signer, Subject, SubjectKey, View,
        error::{RpcError, code},
    },
};

/// How long a client may stay away.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// What the words that clients come back with are signed for.
const PURPOSE: &str = "held call";

/// The calls that are held.
#[derive(Debug)]
pub(super) struct HeldCalls {
    /// The first signs, each verifies. None where the system has no random numbers: then
    /// no call is held.
    signers: Vec<Signer>,
    /// This process, among its replicas.
    here: Uuid,
    places: Arc<Places>,
    all: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    calls: HashMap<u64, Entry>,
}

/// Which call it is: only its own retry resumes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    method: Method,
    name: String,
    view: View,
    /// The session of the client, where it has one.
    session: Option<u64>,
    /// Who the client is, where that is known.
    subject: Option<SubjectKey>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    /// In whose share it is.
    who: Who,
    wanted: oneshot::Sender<()>,
    keeper: JoinHandle<Option<Held>>,
}

/// A call that is held. Its drop gives it up.
pub(super) struct Held {
    pub(super) running: Running,
    pub(super) settlement: Settlement,
    pub(super) child: Arc<Child>,
}

/// What a retry names.
pub(super) enum Resumed {
    Held(Box<Held>),
    /// What it gives back is not ours: a child's own, perhaps.
    Foreign,
}

impl HeldCalls {
    /// None yet.
    pub(super) fn new(signers: Vec<Signer>) -> Arc<Self> {
        Arc::new(Self {
            signers,
            here: Uuid::new_v4(),
            places: Arc::default(),
            all: Mutex::default(),
        })
    }

    /// A place for one more call of this caller's; `None` when there is none. Where it is
    /// another's, the call that had it is given up.
    pub(super) fn room(&self, caller: &Caller) -> Option<Room> {
        self.signers.first()?;
        let who = Who::of(caller);
        if let Some(room) = self.places.take(&who) {
            return Some(room);
        }
        let given_up = {
            let mut table = self.lock();
            let held = table.calls.iter().map(|(number, it)| (*number, &it.who));
            let number = self.places.given_up(&who, held)?;
            table.calls.remove(&number)?
        };
        given_up.keeper.abort();
        Some(self.places.take_over(&who))
    }

    /// Holds a call until its client comes back. Gives what it has to come back with.
    pub(super) fn hold(
        self: &Arc<Self>,
        mut held: Held,
        method: Method,
        name: &str,
        caller: &Caller,
    ) -> String {
        let owner = owner(method, name, caller);
        let session = caller.session.clone();
        let abilities = caller.abilities;
        held.settlement.waits();
        let until = held.running.deadline.end().min(Instant::now() + LONGEST);
        let (wanted, comes_back) = oneshot::channel();
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        let all = Arc::clone(self);
        let keeper = tokio::spawn(async move {
            let over = async {
                match &session {
                    Some(session) => session.over().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = comes_back => return Some(held),
                () = held.running.keep(abilities) => {}
                () = over => {}
                () = tokio::time::sleep_until(until) => {}
            }
            all.lock().calls.remove(&number);
            None
        });
        let entry = Entry {
            owner,
            who: Who::of(caller),
            wanted,
            keeper,
        };
        table.calls.insert(number, entry);
        drop(table);
        self.state(number)
    }

    /// The call that a retry names by its `requestState`.
    ///
    /// # Errors
    ///
    /// The call is not there, or it is another one.
    pub(super) async fn resume(
        &self,
        state: &str,
        method: Method,
        name: &str,
        caller: &Caller,
    ) -> Result<Resumed, RpcError> {
        let mut opened = self
            .signers
            .iter()
            .map(|signer| signer.open(PURPOSE, state));
        let Some(named) = opened.find_map(|named| named) else {
            return Ok(Resumed::Foreign);
        };
        let (here, number) = named.split_at_checked(16).unwrap_or_default();
        if here != self.here.as_bytes() {
            return Err(refused(
                "this call is held by another replica: send the retry there, or begin the call \
                 again",
            ));
        }
        let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
        let entry = self.take(number, &owner(method, name, caller))?;
        // One that has just expired is not there to be told.
        let _ = entry.wanted.send(());
        match entry.keeper.await {
            Ok(Some(held)) => Ok(Resumed::Held(Box::new(held))),
            _ => Err(gone()),
        }
    }

    fn take(&self, number: u64, owner: &Owner) -> Result<Entry, RpcError> {
        let mut table = self.lock();
        match table.calls.get(&number) {
            Some(entry) if entry.owner == *owner => table.calls.remove(&number).ok_or_else(gone),
            Some(_) => Err(refused("params.requestState belongs to another request")),
            None => Err(gone()),
        }
    }

    fn state(&self, number: u64) -> String {
        let named = [&self.here.as_bytes()[..], &number.to_be_bytes()].concat();
        let signer = self.signers.first();
        signer.map_or_else(String::new, |signer| signer.sign(PURPOSE, &named))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("settlement", &self.settlement)
            .finish_non_exhaustive()
    }
}

fn owner(method: Method, name: &str, caller: &Caller) -> Owner {
    Owner {
        method,
        name: name.to_owned(),
        view: caller.view.clone(),
        session: caller.session.as_ref().map(|session| session.number()),
        subject: caller.subject.as_deref().map(Subject::key),
    }
}

fn gone() -> RpcError {
    refused(
        "this call is no longer held: it was resumed before, has expired, or was given up; begin \
         it again",
    )
}

/// A retry that gives back what was not given here.
pub(super) fn foreign() -> RpcError {
    refused("params.requestState was not given here, or has been changed: begin the call again")
}

/// A retry that resumes nothing.
pub(super) fn refused(sentence: &str) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Era;

    fn caller() -> Caller {
        Caller::nobody(Era::Modern, View::All)
    }

    fn calls(key: &[u8]) -> Arc<HeldCalls> {
        HeldCalls::new(vec![Signer::from_key(key)])
    }

    async fn resumed(calls: &HeldCalls, state: &str) -> Result<Resumed, String> {
        let caller = caller();
        let resumed = calls.resume(state, Method::CallTool, "tool", &caller);
        resumed.await.map_err(|error| error.message)
    }

    #[test]
    fn without_random_numbers_there_is_no_room() {
        assert!(calls(b"key").room(&caller()).is_some());
        assert!(HeldCalls::new(Vec::new()).room(&caller()).is_none());
    }

    #[tokio::test]
    async fn a_state_says_whose_it_is() {
        let (here, replica, stranger) = (calls(b"key"), calls(b"key"), calls(b"other"));
        let gone = resumed(&here, &here.state(1)).await.err().unwrap();
        assert!(gone.contains("no longer held"), "{gone}");
        let elsewhere = resumed(&here, &replica.state(1)).await.err().unwrap();
        assert!(elsewhere.contains("another replica"), "{elsewhere}");
        for foreign in [stranger.state(1), "a child's own".to_owned()] {
            let resumed = resumed(&here, &foreign).await;
            assert!(matches!(resumed, Ok(Resumed::Foreign)), "{foreign}");
        }
    }
}
