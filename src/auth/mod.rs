//! Who may log in, and with what proof. Owns the table of users, the password hashes and their
//! bounds; reads no file and knows no connection. What a user may *do* is
//! [`Permissions`], a type of `protocol`.

mod network;
mod password;
mod proofs;

use std::collections::BTreeMap;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::limits::PASSWORD_BYTES_MAX;
use crate::protocol::account::{Account, HomeId, Permissions};
use crate::protocol::distinguished_name::DistinguishedName;

pub use network::ClientNetwork;
pub use password::{HashError, Password, PasswordHash};
pub use proofs::{PasswordProof, Proofs};

/// Every user of the server. Immutable once built, and common to all shards.
#[derive(Debug)]
pub struct UserTable {
    users: BTreeMap<Vec<u8>, User>,
    anonymous: Option<Anonymous>,
    /// From which generation of the configuration on each account is as it is, by its name; 0, the
    /// start's, for those that are not here.
    since: BTreeMap<Vec<u8>, u64>,
    /// What an unknown name is checked against: every hash of the table, or one fresh hash when
    /// there is none.
    decoys: Vec<PasswordHash>,
    /// Chooses the decoy of a name; secret, and the same as long as the hashes are the same.
    decoy_key: [u8; 32],
}

/// One configured user.
#[derive(Clone, Debug)]
pub struct User {
    /// The name USER has to give, compared octet by octet.
    pub name: String,
    /// The hash PASS is checked against; without one only the certificate logs in.
    pub password: Option<PasswordHash>,
    /// What the client certificate must be for a log-in without password (232).
    pub certificate: Option<CertificateRule>,
    /// Which storage root the user sees.
    pub home: HomeId,
    /// What the user may do there.
    pub permissions: Permissions,
    /// See [`Account::lax_upload_eof`].
    pub lax_upload_eof: Option<bool>,
}

/// Which client certificates stand for a user. At least one field is set; all that are set must
/// match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRule {
    /// SHA-256 of the whole DER certificate. Pins the certificate itself, so its issuer is of no
    /// interest.
    pub sha256: Option<[u8; 32]>,
    /// Subject. Only a certificate whose chain was verified against the configured authorities can
    /// match.
    pub subject: Option<DistinguishedName>,
}

/// The user without password; exists only when configured. Its names are in
/// [`ANONYMOUS_NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// Which storage root it sees.
    pub home: HomeId,
    /// What it may do there.
    pub permissions: Permissions,
    /// See [`Account::lax_upload_eof`].
    pub lax_upload_eof: Option<bool>,
}

/// What the TLS handshake proved about the client: it holds the key of this certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the DER certificate.
    pub sha256: [u8; 32],
    /// Its subject.
    pub subject: DistinguishedName,
    /// Whether its chain ends at a configured authority (`tls.client_ca`).
    pub chain_verified: bool,
}

/// A log-in was refused. One value for every reason: neither client nor log may learn from it
/// whether the name exists (RFC 2577 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log-in refused")]
pub struct AuthError;

/// How the accounts of one table differ from those of an earlier one: numbers of accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountChanges {
    /// That are new.
    pub added: usize,
    /// That are gone.
    pub removed: usize,
    /// That are others under the same name.
    pub changed: usize,
}

/// Two users answer to one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user \"{0}\" is configured twice")]
pub struct DuplicateUser(pub String);

/// Names of the anonymous user, in any case of letters; the first is the account's name.
pub const ANONYMOUS_NAMES: [&str; 2] = ["anonymous", "ftp"];

/// Whether `name` means the anonymous user when there is one.
#[must_use]
pub fn is_anonymous_name(name: &[u8]) -> bool {
    ANONYMOUS_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

impl UserTable {
    /// Builds the table.
    ///
    /// # Errors
    ///
    /// [`DuplicateUser`] when two users share a name, or one has a name of the anonymous user
    /// while `anonymous` is given.
    pub fn new(users: Vec<User>, anonymous: Option<Anonymous>) -> Result<Self, DuplicateUser> {
        let mut table = BTreeMap::new();
        let mut decoys = Vec::new();
        let mut key = Sha256::new();
        for user in users {
            let taken = anonymous.is_some() && is_anonymous_name(user.name.as_bytes());
            if taken || table.contains_key(user.name.as_bytes()) {
                return Err(DuplicateUser(user.name));
            }
            if let Some(hash) = &user.password {
                key.update(hash.as_str());
                decoys.push(hash.clone());
            }
            table.insert(user.name.clone().into_bytes(), user);
        }
        if decoys.is_empty() {
            decoys.push(PasswordHash::decoy());
        }
        let (since, decoy_key) = (BTreeMap::new(), key.finalize().into());
        Ok(Self { users: table, anonymous, since, decoys, decoy_key })
    }

    /// Makes this table the one of `generation`, after `old`: accounts that are the same in both
    /// are as old as they were, all others begin now. `same_home` compares a home of this table
    /// with one of the old, whose numbers mean nothing here.
    pub fn succeed(
        &mut self,
        old: &Self,
        generation: u64,
        same_home: impl Fn(HomeId, HomeId) -> bool,
    ) -> AccountChanges {
        let mut changes = AccountChanges::default();
        let mut since = BTreeMap::new();
        for name in self.names() {
            let before = old.account(name);
            let same = before.zip(self.account(name)).is_some_and(|(before, now)| {
                same_home(now.home(), before.home()) && now.is_same_but_home(before)
            });
            if !same {
                since.insert(name.to_vec(), generation);
            } else if let Some(generation) = old.since.get(name) {
                since.insert(name.to_vec(), *generation);
            }
            changes.added += usize::from(before.is_none());
            changes.changed += usize::from(before.is_some() && !same);
        }
        changes.removed = old.names().filter(|name| self.account(name).is_none()).count();
        self.since = since;
        changes
    }

    /// The generation of the configuration since which the account `name` is as it is; `None` when
    /// there is none. `name` is that of an [`Account`].
    #[must_use]
    pub fn since(&self, name: &str) -> Option<u64> {
        self.account(name.as_bytes())?;
        Some(self.since.get(name.as_bytes()).copied().unwrap_or(0))
    }

    /// The names of all accounts.
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let anonymous = self.anonymous.is_some().then_some(ANONYMOUS_NAMES[0].as_bytes());
        self.users.keys().map(Vec::as_slice).chain(anonymous)
    }

    fn account(&self, name: &[u8]) -> Option<Entry<'_>> {
        let anonymous = || {
            let anonymous = self.anonymous.as_ref();
            anonymous.filter(|_| name == ANONYMOUS_NAMES[0].as_bytes()).map(Entry::Anonymous)
        };
        self.users.get(name).map(Entry::User).or_else(anonymous)
    }

    /// Whether a password for `name` costs a hash, so that the caller must take the helper
    /// thread's queue. False only for the anonymous user, whose existence is public: the answer
    /// tells nothing about other names.
    #[must_use]
    pub fn needs_hashing(&self, name: &[u8]) -> bool {
        self.anonymous.is_none() || !is_anonymous_name(name)
    }

    /// Checks a password. CPU-heavy unless [`Self::needs_hashing`] says otherwise: up to seconds
    /// at the bounds of [`PasswordHash`], so never call it on a shard's thread.
    ///
    /// A name that does not exist, or that has no password, costs what a real one costs: it is
    /// checked against the hash of some user, always the same for the same name, and refused
    /// whatever the outcome. With hashes of different costs in the table the costs seen for
    /// unknown names are thus distributed like those of known ones.
    ///
    /// # Errors
    ///
    /// [`AuthError`], for every reason.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Result<Account, AuthError> {
        if let Some(account) = self.anonymous_account(name) {
            return Ok(account);
        }
        // Bounds the work of hashes whose cost grows with the password (SHA-crypt). The length is
        // the client's own doing, so refusing early reveals nothing.
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(AuthError);
        }
        let user = self.users.get(name);
        let hash = user.and_then(|user| user.password.as_ref());
        let verified = hash.unwrap_or_else(|| self.decoy(name)).verify(password);
        match (user, hash, verified) {
            (Some(user), Some(_), true) => Ok(user.account()),
            _ => Err(AuthError),
        }
    }

    /// The proof that `password` would be for `name` at `network`, and the account when `proofs`
    /// remembers it at `now`. No proof when none are kept. Takes as long for a name that does not
    /// exist: its proof is made of the hash that [`Self::verify`] would check, and is never
    /// remembered.
    #[must_use]
    pub fn recall(
        &self,
        (network, name, password): (ClientNetwork, &[u8], &[u8]),
        proofs: &mut Proofs,
        now: Instant,
    ) -> (Option<PasswordProof>, Option<Account>) {
        if password.len() > PASSWORD_BYTES_MAX {
            return (None, None);
        }
        let user = self.users.get(name);
        let hash = user.and_then(|user| user.password.as_ref());
        let checked = hash.unwrap_or_else(|| self.decoy(name)).as_str();
        let proof = proofs.proof(network, name, password, checked);
        let known = proof.is_some_and(|proof| proofs.is_known(&proof, now));
        (proof, user.filter(|_| known && hash.is_some()).map(User::account))
    }

    /// The account that `identity` opens without a password (RFC 2228 §3, reply 232), if the
    /// certificate is the one configured for `name`.
    #[must_use]
    pub fn by_certificate(&self, name: &[u8], identity: &ClientIdentity) -> Option<Account> {
        let user = self.users.get(name)?;
        let rule = user.certificate.as_ref()?;
        rule.matches(identity).then(|| user.account())
    }

    /// Whether some user logs in by certificate, so that the TLS handshake has to ask for one
    /// even without `tls.client_ca`.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.users.values().any(|user| user.certificate.is_some())
    }

    /// The users, ordered by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// The anonymous user, if there is one.
    #[must_use]
    pub fn anonymous(&self) -> Option<Anonymous> {
        self.anonymous
    }

    fn anonymous_account(&self, name: &[u8]) -> Option<Account> {
        let anonymous = self.anonymous?;
        is_anonymous_name(name).then(|| Account {
            name: ANONYMOUS_NAMES[0].to_owned(),
            home: anonymous.home,
            permissions: anonymous.permissions,
            lax_upload_eof: anonymous.lax_upload_eof,
        })
    }

    fn decoy(&self, name: &[u8]) -> &PasswordHash {
        let digest = Sha256::new().chain_update(self.decoy_key).chain_update(name).finalize();
        let number = digest[..8].iter().fold(0u64, |number, &octet| number << 8 | u64::from(octet));
        let index = number % self.decoys.len() as u64;
        usize::try_from(index).map_or(&self.decoys[0], |index| &self.decoys[index])
    }
}

/// An account of a table, of either kind.
#[derive(Clone, Copy)]
enum Entry<'a> {
    User(&'a User),
    Anonymous(&'a Anonymous),
}

impl Entry<'_> {
    fn home(self) -> HomeId {
        match self {
            Self::User(user) => user.home,
            Self::Anonymous(anonymous) => anonymous.home,
        }
    }

    fn is_same_but_home(self, other: Self) -> bool {
        match (self, other) {
            (Self::User(one), Self::User(other)) => {
                one.password == other.password
                    && one.certificate == other.certificate
                    && one.permissions == other.permissions
                    && one.lax_upload_eof == other.lax_upload_eof
            }
            (Self::Anonymous(one), Self::Anonymous(other)) => {
                one.permissions == other.permissions && one.lax_upload_eof == other.lax_upload_eof
            }
            (Self::User(_), Self::Anonymous(_)) | (Self::Anonymous(_), Self::User(_)) => false,
        }
    }
}

impl User {
    fn account(&self) -> Account {
        Account {
            name: self.name.clone(),
            home: self.home,
            permissions: self.permissions,
            lax_upload_eof: self.lax_upload_eof,
        }
    }
}

impl CertificateRule {
    fn matches(&self, identity: &ClientIdentity) -> bool {
        let sha256 = self.sha256.is_none_or(|sha256| sha256 == identity.sha256);
        let subject = self
            .subject
            .as_ref()
            .is_none_or(|subject| identity.chain_verified && *subject == identity.subject);
        (self.sha256.is_some() || self.subject.is_some()) && sha256 && subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// SHA-crypt with the fewest rounds: the cheapest hash the table accepts.
    const CHEAP: &str = "$5$rounds=1000$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA";

    fn user(name: &str, password: Option<&str>, certificate: Option<CertificateRule>) -> User {
        User {
            name: name.to_owned(),
            password: password.map(|hash| PasswordHash::parse(hash).unwrap()),
            certificate,
            home: HomeId(1),
            permissions: Permissions::ALL,
            lax_upload_eof: None,
        }
    }

    fn table(anonymous: bool) -> UserTable {
        let hash = PasswordHash::parse(CHEAP).unwrap();
        assert!(hash.verify(b"secret"));
        let rule = CertificateRule { sha256: Some([7; 32]), subject: None };
        let users = vec![user("alice", Some(CHEAP), None), user("robot", None, Some(rule))];
        let anonymous = anonymous.then_some(Anonymous {
            home: HomeId(0),
            permissions: Permissions::READ_ONLY,
            lax_upload_eof: None,
        });
        UserTable::new(users, anonymous).unwrap()
    }

    #[track_caller]
    fn check(table: &UserTable, name: &str, password: &str, expected: Option<&str>) {
        let account = table.verify(name.as_bytes(), password.as_bytes()).ok();
        assert_eq!(account.as_ref().map(|account| account.name.as_str()), expected);
    }

    /// Whoever is the same keeps the age, whatever number its home has got.
    #[test]
    fn accounts_are_as_old_as_they_are_the_same() {
        let build = |users: &[(&str, u32, Permissions)], anonymous: Option<u32>| {
            let users = users.iter().map(|&(name, home, permissions)| User {
                home: HomeId(home),
                permissions,
                ..user(name, Some(CHEAP), None)
            });
            let permissions = Permissions::READ_ONLY;
            let anonymous = anonymous.map(|home| Anonymous {
                home: HomeId(home),
                permissions,
                lax_upload_eof: None,
            });
            UserTable::new(users.collect(), anonymous).unwrap()
        };
        let (all, some) = (Permissions::ALL, Permissions::READ_ONLY);
        let shifted = |now: HomeId, before: HomeId| now.0 == before.0 + 10;
        let first = build(&[("a", 1, all), ("b", 2, all), ("c", 3, all)], Some(4));
        assert_eq!((first.since("a"), first.since("anonymous")), (Some(0), Some(0)));
        assert_eq!(first.since("d"), None);
        let users = [("a", 11, all), ("b", 12, some), ("d", 14, all)];
        let mut second = build(&users, Some(14));
        let changes = second.succeed(&first, 5, shifted);
        assert_eq!(changes, AccountChanges { added: 1, removed: 1, changed: 1 });
        let since =
            |table: &UserTable| ["a", "b", "c", "d", "anonymous"].map(|name| table.since(name));
        assert_eq!(since(&second), [Some(0), Some(5), None, Some(5), Some(0)]);
        // Another home under the same permissions; the ages of the others are carried on.
        let mut third = build(&[("a", 1, all), ("b", 2, some), ("d", 4, all)], None);
        let changes = third.succeed(&second, 6, |now, before| now.0 + 10 == before.0 && now.0 != 1);
        assert_eq!(changes, AccountChanges { added: 0, removed: 1, changed: 1 });
        assert_eq!(since(&third), [Some(6), Some(5), None, Some(5), None]);
        // A password, and a user in the place of the anonymous one.
        let hash = "$5$rounds=1000$otherstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA";
        let mut other = user("anonymous", Some(hash), None);
        other.home = HomeId(4);
        let mut fourth = UserTable::new(vec![other], None).unwrap();
        fourth.succeed(&first, 7, |_, _| true);
        assert_eq!(fourth.since("anonymous"), Some(7));
    }

    #[test]
    fn verifies_passwords() {
        let table = table(false);
        check(&table, "alice", "secret", Some("alice"));
        check(&table, "alice", "wrong", None);
        check(&table, "alice", "", None);
        check(&table, "Alice", "secret", None);
        check(&table, "nobody", "secret", None); // the decoy's own password opens nothing
        check(&table, "robot", "secret", None);
        check(&table, "anonymous", "me@example.org", None);
        check(&table, "alice", &"x".repeat(PASSWORD_BYTES_MAX + 1), None);
    }

    /// A remembered password opens what it opened, for the account as it is.
    #[test]
    fn recalls_passwords() {
        let (now, mut proofs) = (crate::clock::now(), Proofs::new(Duration::from_secs(60)));
        let network = ClientNetwork::of([192, 0, 2, 1].into());
        let before = table(false);
        let recall = |table: &UserTable, proofs: &mut Proofs, name: &str, password: &str| {
            let asked = (network, name.as_bytes(), password.as_bytes());
            let (proof, account) = table.recall(asked, proofs, now);
            (proof, account.map(|account| account.name))
        };
        let (proof, account) = recall(&before, &mut proofs, "alice", "secret");
        assert_eq!(account, None);
        proofs.remember(&proof.unwrap(), now);
        let known = recall(&before, &mut proofs, "alice", "secret");
        assert_eq!(known.1.as_deref(), Some("alice"));
        for (user, password) in [("alice", "wrong"), ("nobody", "secret"), ("robot", "secret")] {
            assert_eq!(recall(&before, &mut proofs, user, password).1, None, "{user}");
        }
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        let (proof, account) = recall(&before, &mut proofs, "alice", &long);
        assert!(proof.is_none() && account.is_none());
        let changed = CHEAP.replace("$saltstring$", "$saltstrinh$");
        let after = UserTable::new(vec![user("alice", Some(&changed), None)], None).unwrap();
        assert_eq!(recall(&after, &mut proofs, "alice", "secret").1, None);
        let gone = UserTable::new(Vec::new(), None).unwrap();
        assert_eq!(recall(&gone, &mut proofs, "alice", "secret").1, None);
    }

    #[test]
    fn anonymous_needs_no_hash_and_any_password() {
        let with = table(true);
        for name in ["anonymous", "ftp", "FTP", "Anonymous"] {
            assert!(!with.needs_hashing(name.as_bytes()));
            check(&with, name, "", Some("anonymous"));
            check(&with, name, &"x".repeat(8000), Some("anonymous"));
        }
        assert_eq!(with.verify(b"ftp", b"").unwrap().permissions, Permissions::READ_ONLY);
        // Known and unknown names take the same way.
        assert!(with.needs_hashing(b"alice") && with.needs_hashing(b"nobody"));
        assert!(table(false).needs_hashing(b"anonymous"));
    }

    #[test]
    fn decoys_are_stable_and_spread() {
        let users = (0..8u32)
            .map(|n| {
                let hash = CHEAP.replace("rounds=1000", &format!("rounds={}", 1000 + n));
                user(&format!("user{n}"), Some(&hash), None)
            })
            .collect();
        let table = UserTable::new(users, None).unwrap();
        let chosen: std::collections::BTreeSet<_> = (0..200)
            .map(|n| table.decoy(format!("unknown{n}").as_bytes()).as_str().to_owned())
            .collect();
        assert_eq!(chosen.len(), 8);
        assert_eq!(table.decoy(b"x").as_str(), table.decoy(b"x").as_str());
        // An empty table still has something to spend the time on.
        assert_eq!(UserTable::new(Vec::new(), None).unwrap().decoys.len(), 1);
    }

    #[test]
    fn refuses_two_users_of_one_name() {
        let pair = |a, b| vec![user(a, Some(CHEAP), None), user(b, Some(CHEAP), None)];
        let anonymous = Anonymous {
            home: HomeId(0),
            permissions: Permissions::READ_ONLY,
            lax_upload_eof: None,
        };
        let twice = UserTable::new(pair("a", "a"), None).unwrap_err();
        assert_eq!(twice.to_string(), "user \"a\" is configured twice");
        assert!(UserTable::new(pair("a", "A"), None).is_ok());
        assert!(UserTable::new(pair("a", "Ftp"), Some(anonymous)).is_err());
        assert!(UserTable::new(pair("a", "ftp"), None).is_ok());
    }

    #[test]
    fn certificates() {
        let dn = |text: &str| text.parse::<DistinguishedName>().unwrap();
        let both = CertificateRule { sha256: Some([7; 32]), subject: Some(dn("CN=a")) };
        let subject = CertificateRule { sha256: None, subject: Some(dn("CN=a,O=b")) };
        let users = vec![
            user("pinned", None, Some(CertificateRule { sha256: Some([7; 32]), subject: None })),
            user("both", Some(CHEAP), Some(both)),
            user("subject", None, Some(subject)),
            user("plain", Some(CHEAP), None),
            user("empty", None, Some(CertificateRule::default())),
        ];
        let table = UserTable::new(users, None).unwrap();
        let check = |name: &str, sha256: u8, subject: &str, chain_verified, expected: bool| {
            let identity =
                ClientIdentity { sha256: [sha256; 32], subject: dn(subject), chain_verified };
            let account = table.by_certificate(name.as_bytes(), &identity);
            assert_eq!(account.is_some(), expected, "{name} {identity:?}");
        };
        check("pinned", 7, "CN=z", false, true);
        check("pinned", 8, "CN=z", true, false);
        check("both", 7, "CN=a", true, true);
        check("both", 7, "CN=a", false, false);
        check("both", 8, "CN=a", true, false);
        check("subject", 0, "cn = a, O=b", true, true);
        check("subject", 0, "O=b,CN=a", true, false);
        check("subject", 0, "CN=a,O=b", false, false);
        check("subject", 0, "CN=a", true, false);
        check("subject", 0, "CN=a\\, O=b", true, false);
        check("plain", 7, "CN=a", true, false);
        check("empty", 7, "CN=a", true, false);
        check("nobody", 7, "CN=a", true, false);
        assert!(table.asks_for_certificates());
    }

    #[test]
    fn the_table_crosses_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<UserTable>();
    }
}
