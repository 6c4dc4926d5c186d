//! The users' home directories as known to a shard. Each log-in checks that the pathname of its
//! home still leads to the directory known here; a session that is logged in keeps the directory it
//! found.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::auth::{ClientIdentity, UserTable};
use crate::limits::HOMES_PER_SHARD_MAX;
use crate::metrics::Counters;
use crate::protocol::account::{Account, HomeId};
use crate::protocol::session::AuthenticationError;
use crate::runtime::{FileHelpers, Helpers, Owner, number_of};
use crate::tls::ClientCertificate;
use crate::vfs::{Home, Root, RootError};

/// A home, and the directory its pathname led to at the start.
#[derive(Clone, Debug)]
pub struct OpenedHome {
    /// As configured.
    pub home: Arc<Home>,
    /// `None` when it was not there.
    pub root: Option<Arc<Root>>,
}

/// The home a log-in found, on its way to the session.
pub(crate) type FoundHome = Rc<Cell<Option<Arc<Root>>>>;

/// The homes of one shard, by [`HomeId`].
pub(crate) struct Homes {
    known: RefCell<Vec<(Arc<Home>, Known)>>,
    helpers: Helpers,
    counters: Rc<Counters>,
}

/// What a pathname led to when it was last checked.
enum Known {
    Held(Arc<Root>),
    /// Held only while a session uses it. With this many homes, those of the start are opened once
    /// for all shards, and one that was replaced must not cost a descriptor per shard.
    Lent(Weak<Root>),
    Absent,
    /// A reload has brought it; the first log-in opens it.
    Unseen,
}

impl Homes {
    /// The homes as opened at the start; `helpers` check them again.
    pub(crate) fn new(homes: Vec<OpenedHome>, helpers: Helpers, counters: Rc<Counters>) -> Self {
        let known =
            |opened: OpenedHome| (opened.home, opened.root.map_or(Known::Absent, Known::Held));
        let known = RefCell::new(homes.into_iter().map(known).collect());
        Self { known, helpers, counters }
    }

    /// The homes of a reload: those that are as they were keep what is known of them.
    pub(crate) fn succeed(&self, homes: Vec<Arc<Home>>) -> Self {
        let old = self.known.borrow();
        let old: BTreeMap<&Path, _> =
            old.iter().map(|(home, known)| (home.path(), (home, known))).collect();
        let many = homes.len() > HOMES_PER_SHARD_MAX;
        let known = |home: Arc<Home>| {
            let same = old.get(home.path()).filter(|(known, _)| **known == home);
            let known = match same.map(|(_, known)| known) {
                Some(Known::Held(root)) if many => Known::Lent(Arc::downgrade(root)),
                Some(Known::Held(root)) => Known::Held(root.clone()),
                Some(Known::Lent(root)) => Known::Lent(root.clone()),
                Some(Known::Absent) => Known::Absent,
                Some(Known::Unseen) | None => Known::Unseen,
            };
            (home, known)
        };
        let known = RefCell::new(homes.into_iter().map(known).collect());
        Self { known, helpers: self.helpers.clone(), counters: self.counters.clone() }
    }

    /// Whether nobody has looked at it since a reload brought it.
    fn is_unseen(&self, id: HomeId) -> bool {
        let homes = self.known.borrow();
        let known = usize::try_from(id.0).ok().and_then(|index| homes.get(index));
        matches!(known, Some((_, Known::Unseen)))
    }

    /// The helper threads that open a home last seen on `device`. They are apart from those of the
    /// device's users: a mount that has replaced it and does not answer must not cost them their
    /// threads.
    fn files(&self, user: &str, device: u64) -> FileHelpers {
        let device = number_of(&("home", device));
        self.helpers.of(Owner { user: number_of(user), device })
    }

    fn get(&self, id: HomeId) -> Option<(Arc<Home>, Option<Arc<Root>>)> {
        let homes = self.known.borrow();
        let (home, known) = homes.get(usize::try_from(id.0).ok()?)?;
        let root = match known {
            Known::Held(root) => Some(root.clone()),
            Known::Lent(root) => root.upgrade(),
            Known::Absent | Known::Unseen => None,
        };
        Some((home.clone(), root))
    }

    /// Remembers what was found, and returns the handle to use: log-ins that opened the same
    /// directory at once share one.
    fn keep(&self, id: HomeId, found: Root) -> Arc<Root> {
        let known = self.get(id).and_then(|(_, known)| known);
        if let Some(known) = known.filter(|known| known.is_same(&found)) {
            return known;
        }
        let found = Arc::new(found);
        let many = self.known.borrow().len() > HOMES_PER_SHARD_MAX;
        let known =
            if many { Known::Lent(Arc::downgrade(&found)) } else { Known::Held(found.clone()) };
        self.set(id, known);
        found
    }

    /// Forgets a directory that is gone, so that it can be unmounted.
    fn forget(&self, id: HomeId) {
        self.set(id, Known::Absent);
    }

    fn set(&self, id: HomeId, known: Known) {
        let mut homes = self.known.borrow_mut();
        if let Some((_, place)) = usize::try_from(id.0).ok().and_then(|index| homes.get_mut(index))
        {
            *place = known;
        }
    }

    /// Every home, with the device it is on; 0 for a home that is not open.
    pub(crate) fn all(&self) -> Vec<(Arc<Home>, u64)> {
        let count = u32::try_from(self.known.borrow().len()).unwrap_or(u32::MAX);
        let known = (0..count).filter_map(|id| self.get(HomeId(id)));
        known.map(|(home, root)| (home, root.map_or(0, |root| root.device()))).collect()
    }
}

/// The account of `user`, if it needs no proof but `certificate`.
pub(crate) fn account_of(
    users: &UserTable,
    certificate: Option<&ClientCertificate>,
    user: &[u8],
) -> Option<Account> {
    let certificate = certificate?;
    let identity = ClientIdentity {
        sha256: certificate.sha256,
        subject: certificate.subject.clone(),
        chain_verified: certificate.chain_verified,
    };
    users.by_certificate(user, &identity)
}

/// Finds the home of an account whose proof was right.
pub(crate) async fn seek(
    homes: &Homes,
    proved: Result<Account, AuthenticationError>,
    found: &FoundHome,
) -> Result<Account, AuthenticationError> {
    let account = proved?;
    found.set(Some(find(homes, &account).await?));
    Ok(account)
}

/// The directory that the home of `account` is now. Usually the kernel's caches tell; otherwise a
/// helper thread looks it up.
///
/// # Errors
///
/// There is no such directory, for a reason that is logged, or no helper thread was free.
async fn find(homes: &Homes, account: &Account) -> Result<Arc<Root>, AuthenticationError> {
    let id = account.home;
    let Some((home, known)) = homes.get(id) else {
        return Err(AuthenticationError::NoHome);
    };
    if let Some(known) = known.as_ref().filter(|known| home.surely_is(known)) {
        return Ok(known.clone());
    }
    let user = &account.name;
    let path = home.path().display().to_string();
    let device = known.as_ref().map_or(0, |known| known.device());
    let files = homes.files(user, device);
    let (looking, old) = (home.clone(), known.clone());
    let Ok(found) = files.run(move || looking.look(old.as_deref())).await else {
        return Err(AuthenticationError::Overloaded);
    };
    match (found, known) {
        (Ok(None), Some(known)) => Ok(known),
        (Ok(None), None) => Err(AuthenticationError::NoHome),
        (Ok(Some(found)), None) if homes.is_unseen(id) => Ok(homes.keep(id, found)),
        (Ok(Some(found)), known) => {
            homes.counters.homes_replaced.increment();
            let what = if known.is_some() { "another directory" } else { "there" };
            tracing::info!(target: LOG_IN, user, path, "the home is {what} by now");
            Ok(homes.keep(id, found))
        }
        (Err(error), _) => {
            if matches!(error, RootError::Directory { .. }) {
                homes.forget(id);
            }
            homes.counters.logins_without_home.increment();
            tracing::warn!(
                target: LOG_IN, user, %error,
                "log-in refused: the user's home is not there. The next log-in looks again, no \
                 restart is needed"
            );
            Err(AuthenticationError::NoHome)
        }
    }
}

/// The log target of everything about log-ins.
pub(crate) const LOG_IN: &str = "ringftpd::login";
