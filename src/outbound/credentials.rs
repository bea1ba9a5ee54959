//! Who a request to a remote child comes from: this program, or the user whose own
//! connection it goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::Failure;
use crate::{
    identity::{Exchange, ExchangeError, Identity, ServiceToken},
    protocol::{Bearer, Caller},
};

/// How many tokens of a user are kept from being shown.
const REMEMBERED: usize = 4;

/// As whom a child is spoken to; clones are the same.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// As this program, on behalf of all.
    Service(Identity),
    /// As one user.
    User(Arc<UserTokens>),
}

/// What one user has shown, for its own connection to one child.
#[derive(Debug)]
pub(super) struct UserTokens {
    how: How,
    /// What it showed last: what belongs to no call goes with it.
    newest: ArcSwapOption<Shown>,
    /// What the child was given: it may repeat it.
    given: Mutex<Vec<SecretString>>,
}

/// What becomes of what a user shows.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// The child gets it.
    PassedOn,
    /// The child gets what is given in exchange for it.
    Exchanged(Exchange),
    /// The child gets none.
    Withheld,
}

/// A user's token, and when it ends.
#[derive(Clone, Debug)]
pub struct Shown {
    pub(super) bearer: Bearer,
    /// In seconds since 1970, where that is known.
    expires: Option<u64>,
}

impl Shown {
    /// What this caller shows.
    pub(super) fn of(caller: &Caller) -> Option<Self> {
        Some(Self {
            bearer: caller.bearer.clone()?,
            expires: caller.subject.as_ref().and_then(|it| it.expires),
        })
    }
}

impl UserTokens {
    /// Nothing shown yet.
    pub(super) fn new(how: How) -> Self {
        Self {
            how,
            newest: ArcSwapOption::empty(),
            given: Mutex::default(),
        }
    }

    /// The user has come with this.
    pub(super) fn shows(&self, shown: Option<Shown>) {
        if let Some(shown) = &shown
            && !self.has_shown(&shown.bearer)
        {
            self.remember(shown.bearer.secret().clone());
        }
        self.newest.store(shown.map(Arc::new));
    }

    /// Whether that is what it has shown last.
    pub(super) fn has_shown(&self, bearer: &Bearer) -> bool {
        let newest = self.newest.load();
        newest
            .as_ref()
            .is_some_and(|it| it.bearer.fingerprint() == bearer.fingerprint())
    }

    /// Whether the child gets what the user shows, as it is.
    pub(super) fn passes_on(&self) -> bool {
        matches!(self.how, How::PassedOn)
    }

    /// What a request for this goes with; without `shown`, what was shown last.
    ///
    /// # Errors
    ///
    /// `unauthorized`, where it cannot be exchanged.
    pub(super) async fn given(&self, shown: Option<&Shown>) -> Result<Given, Failure> {
        let newest = self.newest.load_full();
        let shown = shown.cloned().or_else(|| newest.as_deref().cloned());
        match (&self.how, shown) {
            (How::Exchanged(exchange), Some(shown)) => {
                let token = exchange.token(&shown.bearer, shown.expires).await;
                Ok(self.exchanged(shown, token.map_err(not_exchanged)?))
            }
            (How::PassedOn, Some(shown)) => Ok(Given {
                header: shown.bearer.header(),
                exchanged: None,
            }),
            (How::Withheld, _) | (_, None) => Ok(Given {
                header: None,
                exchanged: None,
            }),
        }
    }

    /// What to repeat a request with that was refused with this; `None`: nothing better is
    /// to be had.
    ///
    /// # Errors
    ///
    /// As [`given`](Self::given).
    pub(super) async fn renewed(&self, given: &Given) -> Result<Option<Given>, Failure> {
        let (How::Exchanged(exchange), Some((shown, used))) = (&self.how, &given.exchanged) else {
            return Ok(None);
        };
        let token = exchange.renewed(&shown.bearer, shown.expires, used).await;
        let token = token.map_err(not_exchanged)?;
        Ok(token.map(|token| self.exchanged(shown.clone(), token)))
    }

    /// What must not be shown.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.lock().clone()
    }

    fn exchanged(&self, shown: Shown, token: ServiceToken) -> Given {
        let header = token.header().clone();
        let text = header.to_str().unwrap_or_default();
        self.remember(text.rsplit(' ').next().unwrap_or_default().into());
        Given {
            header: Some(header),
            exchanged: Some((shown, token)),
        }
    }

    fn remember(&self, secret: SecretString) {
        let mut given = self.lock();
        given.retain(|known| known.expose_secret() != secret.expose_secret());
        if given.len() >= REMEMBERED {
            given.remove(0);
        }
        given.push(secret);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SecretString>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request of a user's goes with.
pub(super) struct Given {
    /// The value of `Authorization`, if there is any.
    pub(super) header: Option<HeaderValue>,
    exchanged: Option<(Shown, ServiceToken)>,
}

fn not_exchanged(error: ExchangeError) -> Failure {
    Failure {
        blameless: true,
        ..Failure::unauthorized(
            "cannot be called for this user: the identity provider gave no token in exchange \
             for the user's",
        )
    }
    .with_detail(&error.to_string())
}
