//! The accounts of a configuration: `[[users]]` and `[anonymous]`, their homes and permissions,
//! from the configuration file, the users file or the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::document::{Document, Problem, Section};
use super::files::check_directory;
use super::key::{Change, Key, KeyTable, Row, key_table};
use super::value::{boolean, string};
use crate::auth::{
    ANONYMOUS_NAMES, Anonymous, CertificateRule, DuplicateUser, PasswordHash, User, UserTable,
    is_anonymous_name,
};
use crate::protocol::account::{HomeId, Permissions};
use crate::protocol::distinguished_name::DistinguishedName;
use crate::protocol::hexadecimal;

/// Who may log in, and the directories they see.
#[derive(Debug)]
pub struct Accounts {
    /// The users.
    pub users: Arc<UserTable>,
    /// Home directories; a [`HomeId`] is an index into them.
    pub homes: Vec<PathBuf>,
}

/// The keys of `[anonymous]`.
pub(super) const ANONYMOUS: KeyTable = key_table! {
    /// The user "anonymous", also "ftp", with any password; exists only when this table does.
    "[anonymous]";
    /// The directory it sees as /.
    home: String, example "\"/srv/ftp\"", since "0.1.0", change Reload;
    /// As in [[users]].
    permissions: Vec<String>,
        unset "[\"read\", \"list\"]", example "[\"read\", \"list\"]",
        since "0.1.0", change Reload;
    /// As in [[users]].
    lax_upload_eof: bool,
        unset "policy.lax_upload_eof", example "false", since "0.1.0", change Reload;
};

/// The keys of `[[users]]`.
pub(super) const USERS: KeyTable = key_table! {
    /// One table a user. `ringftpd user add` writes them.
    "[[users]]";
    /// The name.
    name: String, example "\"alice\"", since "0.1.0", change Reload;
    /// The directory alice sees as /. Each log-in looks where this pathname leads: a directory made
    /// anew, a mount or a symbolic link that was turned is seen by the next log-in, and sessions
    /// that are in keep what they have. While nothing is there, log-ins get 530 and the log says
    /// why. Who may rename in the directories above it, or turn a link on the way, decides what
    /// alice sees.
    home: String, example "\"/srv/alice\"", since "0.1.0", change Reload;
    /// All there are:
    ///   read       RETR, HASH
    ///   list       LIST, NLST, MLSD, MLST
    ///   create     STOR and STOU under names that nobody has
    ///   overwrite  STOR over an existing file
    ///   append     APPE, also to a new name; with create or overwrite REST and STOR as well
    ///   delete     DELE, RMD
    ///   rename     RNFR and RNTO; over an existing file only with overwrite or delete
    ///   mkdir      MKD, SITE MKDIR
    ///   chmod      SITE CHMOD and the like; never set-user-id, set-group-id only of directories
    ///   mtime      MFMT and the like
    ///   write      create, overwrite, chmod and mtime together
    /// A drop box, where people leave files and neither see nor change any: permissions =
    /// ["create"]. Without storage.failed_upload = "keep", for nobody could replace the part of a
    /// file there.
    permissions: Vec<String>,
        unset "[\"read\", \"list\"]",
        example "[\"read\", \"list\", \"write\", \"append\", \"delete\", \"rename\", \"mkdir\"]",
        since "0.1.0", change Reload;
    /// In place of policy.lax_upload_eof, for this user.
    lax_upload_eof: bool,
        unset "policy.lax_upload_eof", example "false", since "0.1.0", change Reload;
    /// A hash: argon2id, bcrypt ($2b$), scrypt ($scrypt$) or SHA-crypt ($5$, $6$).
    password: String,
        example concat!(
            "\"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""
        ),
        since "0.1.0", change Reload;
    /// Log-in without password by client certificate: its SHA-256 fingerprint, or its subject; with
    /// both, both must match.
    certificate_sha256: String,
        example concat!(
            "\"e3:b0:c4:42:98:fc:1c:14:9a:fb:f4:c8:99:6f:b9:24:",
            "27:ae:41:e4:64:9b:93:4c:a4:95:99:1b:78:52:b8:55\""
        ),
        since "0.1.0", change Reload;
    /// The subject of such a certificate, which needs tls.client_ca. It is RFC 4514 text, most
    /// specific part first, all of its parts: `openssl x509 -noout -subject -nameopt RFC2253 -in
    /// FILE` prints it. Values are compared exactly; spaces around "," "+" "=" and the case of
    /// types do not matter.
    certificate_subject: String, example "\"CN=alice,O=Example\"", since "0.1.0", change Reload;
};

/// A permission's word and its field.
type PermissionWord = (&'static str, fn(&mut Permissions) -> &mut bool);

/// The words of `permissions`, in the order they are printed.
const PERMISSIONS: [PermissionWord; 10] = [
    ("read", |permissions| &mut permissions.read),
    ("list", |permissions| &mut permissions.list),
    ("create", |permissions| &mut permissions.create),
    ("overwrite", |permissions| &mut permissions.overwrite),
    ("append", |permissions| &mut permissions.append),
    ("delete", |permissions| &mut permissions.delete),
    ("rename", |permissions| &mut permissions.rename),
    ("mkdir", |permissions| &mut permissions.mkdir),
    ("chmod", |permissions| &mut permissions.chmod),
    ("mtime", |permissions| &mut permissions.mtime),
];

/// What `lax_upload_eof` risks.
pub(super) const LAX_UPLOAD_EOF_RISK: &str =
    "a truncated upload cannot be told from a complete one";

/// The word for four of them together: everything that is done to files but appending, deleting and
/// renaming.
const WRITE: &str = "write";

/// What [`WRITE`] stands for.
const WRITTEN: Permissions =
    Permissions { create: true, overwrite: true, chmod: true, mtime: true, ..Permissions::NONE };

/// Longest user name, octets.
const NAME_BYTES_MAX: usize = 255;

/// Accounts as they are found, before they become a table.
#[derive(Debug, Default)]
pub(super) struct Found {
    users: Vec<FoundUser>,
    anonymous: Option<Anonymous>,
    homes: Vec<PathBuf>,
    /// Whether errors may have hidden accounts, so that their absence is no error of its own.
    pub(super) doubtful: bool,
}

#[derive(Debug)]
struct FoundUser {
    user: User,
    file: PathBuf,
    line: usize,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.anonymous.is_none()
    }

    pub(super) fn has_passwords(&self) -> bool {
        self.users.iter().any(|found| found.user.password.is_some())
    }

    /// Reads `[[users]]`; certificate subjects are good only with `has_client_ca`.
    pub(super) fn read_users(
        &mut self,
        document: &Document<'_>,
        root: &Section<'_, '_>,
        has_client_ca: bool,
    ) {
        for section in root.tables("users", "name") {
            let name = section.get("name", |value| user_name(&string(value)?));
            if !section.has("name") {
                section.error("name", "is missing");
            }
            let password = section.get("password", |value| {
                // Never quoted back: it may be a password put here by mistake.
                let text = value.as_str().ok_or("expected a password hash in quotes")?;
                PasswordHash::parse(text).map_err(|error| error.to_string())
            });
            let certificate = read_certificate(&section, has_client_ca);
            let proof = ["password", "certificate_sha256", "certificate_subject"];
            if !proof.iter().any(|key| section.has(key)) {
                section.error("", format!("cannot log in: give one of {}", proof.join(", ")));
            }
            let home = self.read_home(&section);
            let permissions = read_permissions(&section);
            let lax_upload_eof = read_lax_upload_eof(&section);
            let line = section.line_of("name");
            if let (Some(name), Some(home)) = (name, home) {
                self.check_name(&section, &name);
                let user = User { name, password, certificate, home, permissions, lax_upload_eof };
                self.users.push(FoundUser { user, file: document.path().to_owned(), line });
            }
            section.finish();
        }
    }

    /// Reads `[anonymous]`; before the users, so that their names can be checked against it.
    pub(super) fn read_anonymous(&mut self, root: &Section<'_, '_>) {
        let section = root.section("anonymous");
        if section.is_present() {
            let home = self.read_home(&section);
            let permissions = read_permissions(&section);
            if changes_what_others_see(permissions) {
                section.warn("permissions", "anybody can change what others see");
            } else if permissions.create && permissions.read {
                section.warn("permissions", "anybody can fetch what anybody stored");
            }
            let lax_upload_eof = read_lax_upload_eof(&section);
            self.anonymous = home.map(|home| Anonymous { home, permissions, lax_upload_eof });
            section.finish();
        } else {
            // Named, so that the keys are known even without the table.
            section.get("home", string);
            section.get("permissions", string);
            section.get("lax_upload_eof", boolean);
            section.finish();
        }
    }

    /// The anonymous user of a server without configuration: reads `home`.
    pub(super) fn add_anonymous(&mut self, home: &Path) {
        let home = self.home_id(home);
        let permissions = Permissions::READ_ONLY;
        self.anonymous = Some(Anonymous { home, permissions, lax_upload_eof: None });
    }

    /// The one user of the command line, with every permission on `home`.
    pub(super) fn add_user(&mut self, name: String, password: PasswordHash, home: &Path) {
        let home = self.home_id(home);
        let permissions = Permissions::ALL;
        let user = User {
            name,
            password: Some(password),
            certificate: None,
            home,
            permissions,
            lax_upload_eof: None,
        };
        self.users.push(FoundUser { user, file: PathBuf::new(), line: 0 });
    }

    /// The table. Duplicates were reported when they were read.
    pub(super) fn into_accounts(self) -> Result<Accounts, DuplicateUser> {
        let users = self.users.into_iter().map(|found| found.user).collect();
        let users = Arc::new(UserTable::new(users, self.anonymous)?);
        Ok(Accounts { users, homes: self.homes })
    }

    fn check_name(&self, section: &Section<'_, '_>, name: &str) {
        if let Some(first) = self.users.iter().find(|found| found.user.name == name) {
            let place = format!("{}:{}", first.file.display(), first.line);
            section.error("name", format!("\"{name}\" is already the name of the user at {place}"));
        } else if self.anonymous.is_some() && is_anonymous_name(name.as_bytes()) {
            let names = ANONYMOUS_NAMES.join("\" and \"");
            let message = format!("\"{names}\" are the names of [anonymous]; choose another");
            section.error("name", message);
        }
    }

    fn read_home(&mut self, section: &Section<'_, '_>) -> Option<HomeId> {
        if !section.has("home") {
            section.error("home", "is missing; name the directory this user sees as /");
        }
        let home = section.get("home", |value| section.path(value))?;
        // It may come: the other users need not wait for it.
        if let Err(message) = check_directory(&home) {
            section.warn("home", format!("{message}; its users cannot log in until it is there"));
        }
        Some(self.home_id(&home))
    }

    fn home_id(&mut self, home: &Path) -> HomeId {
        let index = self.homes.iter().position(|known| known == home).unwrap_or_else(|| {
            self.homes.push(home.to_owned());
            self.homes.len() - 1
        });
        HomeId(u32::try_from(index).expect("fewer homes than octets in a file"))
    }
}

/// A user name as configured: not empty, no control character, at most 255 octets.
///
/// # Errors
///
/// A sentence for the person who chose it.
pub fn user_name(name: &str) -> Result<String, String> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    let clean = !name.chars().any(char::is_control) && name.trim() == name;
    (fits && clean).then(|| name.to_owned()).ok_or_else(|| {
        format!(
            "{name:?} is not a user name: 1 to {NAME_BYTES_MAX} octets, no control characters, no \
             spaces around it"
        )
    })
}

/// Parses words of `permissions`.
///
/// # Errors
///
/// Names the words that exist.
pub fn permission_word(word: &str, permissions: &mut Permissions) -> Result<(), String> {
    if word == WRITE {
        merge(permissions, WRITTEN);
        return Ok(());
    }
    let field = PERMISSIONS.iter().find(|(known, _)| *known == word);
    let (_, field) = field.ok_or_else(|| {
        let words: Vec<_> = PERMISSIONS.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        format!("\"{word}\" is not a permission; known are {words}, and {WRITE} ({})", written())
    })?;
    *field(permissions) = true;
    Ok(())
}

/// The words for `permissions`.
#[must_use]
pub fn permission_words(mut permissions: Permissions) -> Vec<&'static str> {
    let mut joined = permissions;
    merge(&mut joined, WRITTEN);
    let together = joined == permissions;
    let mut words = Vec::new();
    for (word, field) in PERMISSIONS {
        let part = together && *field(&mut { WRITTEN });
        if part && !words.contains(&WRITE) {
            words.push(WRITE);
        } else if !part && *field(&mut permissions) {
            words.push(word);
        }
    }
    words
}

/// Grants in `permissions` what `more` grants.
fn merge(permissions: &mut Permissions, mut more: Permissions) {
    for (_, field) in PERMISSIONS {
        *field(permissions) |= *field(&mut more);
    }
}

/// The words that [`WRITE`] stands for.
fn written() -> String {
    let parts = PERMISSIONS.iter().filter(|(_, field)| *field(&mut { WRITTEN }));
    parts.map(|(word, _)| *word).collect::<Vec<_>>().join(" + ")
}

/// Parses a SHA-256 fingerprint: 64 hexadecimal digits, colons allowed between pairs.
///
/// # Errors
///
/// Says how to get one.
pub fn parse_fingerprint(text: &str) -> Result<[u8; 32], String> {
    let bad = || {
        format!(
            "\"{text}\" is not a SHA-256 fingerprint of 64 hexadecimal digits; \
             `openssl x509 -noout -fingerprint -sha256 -in FILE` prints it"
        )
    };
    let octets = hexadecimal::decode(text.replace(':', "").as_bytes());
    octets.and_then(|octets| octets.try_into().ok()).ok_or_else(bad)
}

/// The problem of a configuration that lets nobody in.
pub(super) fn nobody(file: &Path) -> Problem {
    Problem::in_file(
        file,
        "",
        "nobody could log in: add [[users]] or [anonymous], name process.users_file, or serve one \
         directory with `ringftpd serve DIR --config …`",
    )
}

fn read_certificate(section: &Section<'_, '_>, has_client_ca: bool) -> Option<CertificateRule> {
    let sha256 = section.get("certificate_sha256", |value| parse_fingerprint(&string(value)?));
    let subject = section.get("certificate_subject", |value| certificate_subject(&string(value)?));
    if section.has("certificate_subject") && !has_client_ca {
        section.error(
            "certificate_subject",
            "needs tls.client_ca: without an authority anybody can write this subject; or use \
             certificate_sha256",
        );
    }
    (sha256.is_some() || subject.is_some()).then_some(CertificateRule { sha256, subject })
}

/// A subject from its RFC 4514 text.
///
/// # Errors
///
/// Says what is wrong, and how to get one.
pub fn certificate_subject(text: &str) -> Result<DistinguishedName, String> {
    text.parse().map_err(|error| {
        format!(
            "{error}; `openssl x509 -noout -subject -nameopt RFC2253 -in FILE` prints a subject"
        )
    })
}

/// Whether more can be done than to add files.
fn changes_what_others_see(permissions: Permissions) -> bool {
    let Permissions { overwrite, append, delete, rename, chmod, mtime, .. } = permissions;
    overwrite || append || delete || rename || chmod || mtime
}

fn read_permissions(section: &Section<'_, '_>) -> Permissions {
    let mut permissions = Permissions::NONE;
    let words = section.list("permissions", |value: &DeValue<'_>| {
        permission_word(&string(value)?, &mut permissions)
    });
    if words.is_some() || section.has("permissions") { permissions } else { Permissions::READ_ONLY }
}

/// What is good or bad for one user alone.
fn read_lax_upload_eof(section: &Section<'_, '_>) -> Option<bool> {
    let lax = section.get("lax_upload_eof", boolean);
    if lax == Some(true) {
        section.warn("lax_upload_eof", LAX_UPLOAD_EOF_RISK);
    }
    lax
}
