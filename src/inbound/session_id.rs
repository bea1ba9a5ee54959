//! The ids of sessions. Without a key they are random, and known to this process alone.
//! With one they are self-contained: they say what the client said in its handshake,
//! signed, so that any process with the key can go on with the session.
//!
//! An id gives no right to anything; it only says which session is meant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    config::SessionKeys,
    protocol::{Abilities, Signer, View},
};

/// For how long after its beginning a session can be gone on with elsewhere.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// What ids are signed for.
const PURPOSE: &str = "session";
/// No id of ours is longer.
const LONGEST: usize = 1024;
/// Sessions that ended here and are remembered to have ended.
const MOST_ENDED: usize = 100_000;

/// Makes ids, and reads them.
#[derive(Debug, Default)]
pub(super) struct SessionIds {
    /// The first signs. None: ids are random.
    signers: Vec<Signer>,
    /// Those that the client has ended, and until when they would be good otherwise.
    ended: DashMap<Box<str>, u64>,
}

/// What a session begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Begun {
    /// What its client may be asked.
    pub(super) abilities: Abilities,
    /// Where it is begun, and used.
    pub(super) view: View,
}

/// What a self-contained id says.
#[derive(Serialize, Deserialize)]
struct Told {
    id: Box<str>,
    /// In seconds since 1970.
    began: u64,
    abilities: Value,
    view: View,
}

impl SessionIds {
    /// Ids that say all there is to know, if there are keys to sign them with.
    pub(super) fn new(keys: Option<&SessionKeys>) -> Self {
        let keys = keys.into_iter().flat_map(SessionKeys::iter);
        Self {
            signers: keys.map(Signer::from_key).collect(),
            ended: DashMap::new(),
        }
    }

    /// An id that nobody can guess: 122 random bits.
    pub(super) fn make(&self, begun: &Begun) -> String {
        self.make_at(begun, now())
    }

    fn make_at(&self, begun: &Begun, began: u64) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let told = Told {
            id: id.as_str().into(),
            began,
            abilities: begun.abilities.to_json(),
            view: begun.view.clone(),
        };
        let signed = match (self.signers.first(), serde_json::to_vec(&told)) {
            (Some(signer), Ok(told)) => Some(signer.sign(PURPOSE, &told)),
            _ => None,
        };
        // With a name of hundreds of letters it stays here.
        signed.filter(|id| id.len() <= LONGEST).unwrap_or(id)
    }

    /// What this session began with, if it is one to go on with.
    pub(super) fn open(&self, id: &str) -> Option<Begun> {
        let told = self.read(id)?;
        let goes_on = told.expires() > now() && !self.ended.contains_key(&told.id);
        goes_on.then(|| Begun {
            abilities: Abilities::read(&told.abilities.to_string()),
            view: told.view,
        })
    }

    /// The session is not to be gone on with here.
    pub(super) fn end(&self, id: &str) {
        // More than this end sessions for the sake of it: theirs are forgotten when idle.
        if let Some(told) = self.read(id)
            && self.ended.len() < MOST_ENDED
        {
            let expires = told.expires();
            self.ended.insert(told.id, expires);
        }
    }

    /// Forgets what has expired by now.
    pub(super) fn sweep(&self) {
        let now = now();
        self.ended.retain(|_, expires| *expires > now);
    }

    fn read(&self, id: &str) -> Option<Told> {
        if id.len() > LONGEST {
            return None;
        }
        let mut opened = self.signers.iter().map(|signer| signer.open(PURPOSE, id));
        serde_json::from_slice(&opened.find_map(|told| told)?).ok()
    }
}

impl Told {
    fn expires(&self) -> u64 {
        self.began.saturating_add(LIFE.as_secs())
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::Settings;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn ids(keys: &str) -> SessionIds {
        let env = HashMap::from([("MCP_SESSION_KEY".to_owned(), keys.to_owned())]);
        let settings = Settings::from_json(Path::new("c.json"), r#"{"mcpServers":{}}"#, &env);
        SessionIds::new(settings.unwrap().session_keys.as_ref())
    }

    fn begun() -> Begun {
        let abilities = r#"{"roots":{},"sampling":{"tools":{},"context":{}},
            "elicitation":{"form":{},"url":{}},"experimental":{"x":"much"}}"#;
        Begun {
            abilities: Abilities::read(abilities),
            view: View::Group("a group of servers with a long name".into()),
        }
    }

    #[test]
    fn an_id_is_good_wherever_the_key_is() {
        let id = ids(A).make(&begun());
        assert_eq!(ids(A).open(&id), Some(begun()));
        assert_eq!(ids(&format!("{B},{A}")).open(&id), Some(begun()));
        assert_eq!(ids(B).open(&id), None);
        assert_eq!(ids("").open(&id), None);
        assert!(id.len() < LONGEST && id.bytes().all(|b| (0x21..0x7f).contains(&b)));
    }

    #[test]
    fn an_id_without_a_key_says_nothing() {
        let random = ids("");
        let id = random.make(&begun());
        assert_eq!(id.len(), 32);
        assert_eq!(random.open(&id), None);
        assert_ne!(id, random.make(&begun()));
        assert_ne!(ids(A).make(&begun()), ids(A).make(&begun()));
    }

    #[test]
    fn an_old_id_is_good_no_more() {
        let ids = ids(A);
        let day = LIFE.as_secs();
        let fresh = ids.make_at(&begun(), now() - day + 60);
        let old = ids.make_at(&begun(), now() - day);
        assert!(ids.open(&fresh).is_some() && ids.open(&old).is_none());
    }

    #[test]
    fn what_was_ended_is_remembered_until_it_would_have_expired() {
        let ids = ids(A);
        let (id, other) = (ids.make(&begun()), ids.make(&begun()));
        ids.end(&id);
        ids.end("nonsense");
        ids.sweep();
        assert!(ids.open(&id).is_none() && ids.open(&other).is_some());
        ids.end(&ids.make_at(&begun(), 0));
        assert_eq!(ids.ended.len(), 2);
        ids.sweep();
        assert_eq!(ids.ended.len(), 1);
    }
}
