//! The users' directories as one shard knows them. Each log-in looks whether the pathname of its
//! home still leads to the directory that is known here; who is in keeps what was found then.

use std::cell::{Cell, RefCell};
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

/// A home, and what its pathname led to at the start.
#[derive(Clone, Debug)]
pub struct OpenedHome {
    /// As configured.
    pub home: Arc<Home>,
    /// `None` when it was not there.
    pub root: Option<Arc<Root>>,
}

/// What a log-in found, on its way to the session.
pub(crate) type FoundHome = Rc<Cell<Option<Arc<Root>>>>;

/// The homes of one shard, by [`HomeId`].
pub(crate) struct Homes {
    known: RefCell<Vec<(Arc<Home>, Known)>>,
    helpers: Helpers,
    counters: Rc<Counters>,
}

/// What a pathname led to when it was last looked at.
enum Known {
    Held(Arc<Root>),
    /// Only as long as a session has it: so many homes are opened once for all shards, and one
    /// that was replaced must not take a descriptor of each.
    Lent(Weak<Root>),
    Absent,
}

impl Homes {
    /// What was opened at the start; `helpers` look again.
    pub(crate) fn new(homes: Vec<OpenedHome>, helpers: Helpers, counters: Rc<Counters>) -> Self {
        let known =
            |opened: OpenedHome| (opened.home, opened.root.map_or(Known::Absent, Known::Held));
        let known = RefCell::new(homes.into_iter().map(known).collect());
        Self { known, helpers, counters }
    }

    /// The helper threads for a look at a home that was on `device` when it was last seen. What is
    /// mounted there by now, and does not answer, must not cost that device's other users their
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
            Known::Absent => None,
        };
        Some((home.clone(), root))
    }

    /// Remembers what was found, and gives the handle to use: of several that were opened at once,
    /// all log-ins get one.
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

    /// Lets go of a directory that is not there any more, so that it can be unmounted.
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

    /// Every home, with the device it was on when it was last seen; 0 when it was not.
    pub(crate) fn all(&self) -> Vec<(Arc<Home>, u64)> {
        let count = u32::try_from(self.known.borrow().len()).unwrap_or(u32::MAX);
        let known = (0..count).filter_map(|id| self.get(HomeId(id)));
        known.map(|(home, root)| (home, root.map_or(0, |root| root.device()))).collect()
    }
}

/// The account of `user`, if `certificate` is all the proof it takes.
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

/// Looks for the home of an account whose proof was right.
pub(crate) async fn seek(
    homes: &Homes,
    proved: Result<Account, AuthenticationError>,
    found: &FoundHome,
) -> Result<Account, AuthenticationError> {
    let account = proved?;
    found.set(Some(find(homes, &account).await?));
    Ok(account)
}

/// The directory that the home of `account` is by now. The kernel's caches know it most of the
/// time; where they do not, a helper thread looks.
///
/// # Errors
///
/// That there is none, which the log has with the reason, or that nobody could look.
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

/// Of what has to do with log-ins.
pub(crate) const LOG_IN: &str = "ringftpd::login";
