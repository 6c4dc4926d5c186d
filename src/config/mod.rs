//! What the operator wants, validated: from a TOML file, from command-line flags that win over it,
//! or from neither. Holding a [`Config`] proves that every value is in its range, that the files
//! and homes it names exist and that somebody can log in. Binds, loads and starts nothing.

mod accounts;
mod certificates;
mod difference;
mod directories;
mod document;
mod files;
mod key;
mod kind;
mod passive_address;
mod reference;
mod settings;
mod suites;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod value;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use accounts::{Found, nobody};
use document::{Document, Findings, Section};
use files::check_directory;

use crate::auth::{Password, PasswordHash};

pub use accounts::{
    Accounts, certificate_subject, parse_fingerprint, permission_word, permission_words, user_name,
};
pub use certificates::NamedCertificate;
pub use directories::{Directory, directory_rules};
pub use document::Problem;
pub use files::{FileText, Files};
pub use key::{Change, Key, KeyValue};
pub use kind::{Ceiling, OutputFile, Percent, SocketFile};
pub use passive_address::{PassiveAddresses, ShownAddress};
pub use reference::{keys, reference};
pub use settings::{
    Control, Limits, Listen, Log, LogFormat, Metrics, OtherAddress, Passive, Process, Settings,
    Shards, Steering, Tls,
};
pub use suites::{CipherSuite, GroupName, KernelTls};
pub use tls::CertificateSource;
pub use value::{CpuList, ListenAddress, PortRange, cpu_list_text, duration_text};
pub use words::Words;

/// Everything the server runs by.
#[derive(Debug)]
pub struct Config {
    /// All values but accounts.
    pub settings: Settings,
    /// Where the certificate comes from: `tls.certificate` and `tls.key`, or, without them, what is
    /// kept in the state directory.
    pub certificate: CertificateSource,
    /// Who may log in.
    pub accounts: Accounts,
    /// The user `--user` made, to be shown to the person who started the server.
    pub announced: Option<AnnouncedUser>,
    /// Values that work but deserve a second look.
    pub warnings: Vec<Problem>,
    /// Its file, and where keys stand in it.
    places: Places,
}

/// Where the keys of a configuration stand.
#[derive(Debug, Default)]
struct Places {
    /// `None` without a file.
    file: Option<PathBuf>,
    /// Lines of the keys that are there.
    lines: BTreeMap<String, usize>,
}

/// The user of `--user`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedUser {
    /// Its name.
    pub name: String,
    /// Its password when it was generated; `None` when the person chose it.
    pub generated: Option<Password>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

/// What the command line and the environment said; wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The directory to serve when there are no configured users.
    pub directory: Option<PathBuf>,
    /// `--user`: replaces the anonymous user of a server without configured users.
    pub user: Option<String>,
    /// Password of `user`; generated when missing.
    pub password: Option<Password>,
    /// Hash of that password, where it was made before.
    pub password_hash: Option<PasswordHash>,
    /// Replaces `listen.implicit`.
    pub implicit: Option<Vec<ListenAddress>>,
    /// Replaces `listen.explicit`.
    pub explicit: Option<Vec<ListenAddress>>,
    /// Replaces `shards.cpus`.
    pub cpus: Option<CpuList>,
    /// Replaces `tls.certificate` and `tls.key`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Replaces `passive.ports`.
    pub passive_ports: Option<PortRange>,
    /// Where the self-signed certificate is kept; `None` when the system names no place.
    pub state_dir: Option<PathBuf>,
    /// Replaces `log.format`.
    pub log_format: Option<LogFormat>,
    /// Replaces `log.level`.
    pub log_level: Option<LevelFilter>,
    /// Whether the process has root's rights.
    pub is_root: bool,
}

/// Ports of a server without configuration, in the order they are tried.
const IMPLICIT_PORTS: [u16; 2] = [990, 9990];
const EXPLICIT_PORTS: [u16; 2] = [21, 2121];

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for String {
    fn from(error: ConfigError) -> Self {
        error.to_string()
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Config {
    /// Reads the file at `path`, and the users file it names, and puts `overrides` over it.
    ///
    /// # Errors
    ///
    /// Every mistake found, with file, line and key.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_from(&Files::default(), path, overrides)
    }

    /// As [`Config::load`], with the texts of `files`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn load_from(
        files: &Files,
        path: &Path,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut findings = Findings::default();
        let Some((settings, found)) = read_files(files, path, &mut findings) else {
            return Err(ConfigError(findings.errors));
        };
        Self::build(files, Some(path), (settings, found), overrides, findings)
    }

    /// The configuration without a file: serves one directory, by default the working directory,
    /// read-only to `anonymous` or read-write to `--user`, on the standard ports or, where those
    /// cannot be had, on 9990 and 2121.
    ///
    /// # Errors
    ///
    /// Mistakes of the command line.
    pub fn embedded(overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut settings = Settings::default();
        settings.listen.implicit = vec![ListenAddress::any(&IMPLICIT_PORTS)];
        settings.listen.explicit = vec![ListenAddress::any(&EXPLICIT_PORTS)];
        let read = (settings, Found::default());
        Self::build(&Files::default(), None, read, overrides, Findings::default())
    }

    fn build(
        files: &Files,
        path: Option<&Path>,
        (mut settings, mut found): (Settings, Found),
        overrides: &Overrides,
        findings: Findings,
    ) -> Result<Self, ConfigError> {
        let Findings { mut errors, mut warnings, lines, .. } = findings;
        // Messages about the sum of file and flags name the file when there is one.
        let problem = |key: &str, message: String| match path {
            Some(path) => Problem::in_file(path, key, message),
            None => Problem::on_command_line("", message),
        };
        apply(files, &mut settings, overrides, &mut errors);
        let certificate = certificate_source(&settings, overrides, &mut errors);
        let announced = add_given_accounts(path, &mut found, overrides, &mut errors);
        if settings.listen.implicit.is_empty() && settings.listen.explicit.is_empty() {
            let message = "nothing to listen on: both implicit and explicit are switched off";
            errors.push(problem("listen", message.to_owned()));
        }
        if settings.log.file.is_some() && settings.log.journal.is_some() {
            let message = "log.file is there, too; lines go to one of the two: leave out the other";
            errors.push(problem("log.journal", message.to_owned()));
        }
        if settings.log.file.is_some() && settings.log.file == settings.log.xferlog {
            let message = "is log.file, too; the two have forms of their own: give it another name";
            errors.push(problem("log.xferlog", message.to_owned()));
        }
        if let Some(key) = settings.without_proxies() {
            let message = "nobody may connect: name the proxies in listen.proxy_from, as in \
                           proxy_from = [\"10.0.0.0/24\"]";
            errors.push(problem(key, message.to_owned()));
        }
        if let Some(message) = settings.port_clash() {
            errors.push(problem("listen", message));
        }
        match (overrides.is_root, &settings.process.user) {
            (true, None) if path.is_some() => errors.push(problem(
                "process.user",
                "is missing, and the server was started as root: name the user to become after \
                 binding (process.user = \"ftp\"), or write process.user = \"root\" to serve \
                 with root's rights"
                    .to_owned(),
            )),
            (true, None) => warnings.push(problem(
                "process.user",
                "the server keeps root's rights; a configuration can name the user to become with \
                 process.user"
                    .to_owned(),
            )),
            (true, Some(user)) if is_root_name(user) => warnings.push(problem(
                "process.user",
                "the server keeps root's rights: a fault of it is one of the whole host".to_owned(),
            )),
            (false, Some(user)) => warnings.push(problem(
                "process.user",
                format!("has no effect: only root can become \"{user}\""),
            )),
            _ => {}
        }
        let certificate = certificate.filter(|_| errors.is_empty()).ok_or(ConfigError(errors))?;
        let accounts = found
            .into_accounts()
            .map_err(|error| ConfigError(vec![problem("users", error.to_string())]))?;
        let places = Places { file: path.map(Path::to_owned), lines };
        Ok(Self { settings, certificate, accounts, announced, warnings, places })
    }
}

/// Whether `process.user` names root.
fn is_root_name(user: &str) -> bool {
    matches!(user.split(':').next(), Some("root" | "0"))
}

/// Reads the configuration file and the users file. `None` when there is nothing to go on with.
fn read_files(files: &Files, path: &Path, findings: &mut Findings) -> Option<(Settings, Found)> {
    let text = read_text(files, path).map_err(|problem| findings.errors.push(problem)).ok()?;
    let document = Document::new(files, path, &text);
    let result = document.parse().map(|table| {
        let root = Section::root(&document, table.get_ref());
        let settings = Settings::read(&root);
        settings.tls.check(&root.section("tls"));
        let mut found = Found::default();
        // A bad client_ca is one error, not also that of every user with a subject.
        let has_client_ca = root.section("tls").has("client_ca");
        found.read_anonymous(&root);
        found.read_users(&document, &root, has_client_ca);
        root.finish();
        (settings, found, has_client_ca)
    });
    findings.append(document.finish());
    let (settings, mut found, has_client_ca) = result?;
    if found.has_passwords()
        && let Some(message) = files.exposed(path)
    {
        findings.warnings.push(Problem::in_file(path, "", message));
    }
    if let Some(users_file) = &settings.process.users_file {
        read_users_file(files, users_file, (&mut found, has_client_ca), findings);
        if let Some(message) = files.exposed(users_file) {
            findings.warnings.push(Problem::in_file(users_file, "", message));
        }
    }
    found.doubtful = !findings.errors.is_empty();
    Some((settings, found))
}

/// Reads a file that has `[[users]]` and nothing else.
fn read_users_file(
    files: &Files,
    path: &Path,
    (found, has_client_ca): (&mut Found, bool),
    findings: &mut Findings,
) {
    let text = match read_text(files, path) {
        Ok(text) => text,
        Err(problem) => return findings.errors.push(problem),
    };
    let document = Document::new(files, path, &text);
    if let Some(table) = document.parse() {
        let root = Section::root(&document, table.get_ref());
        found.read_users(&document, &root, has_client_ca);
        root.finish();
    }
    // Lines of the other file are not asked for.
    findings.append(Findings { lines: BTreeMap::new(), ..document.finish() });
}

/// The users file that the configuration at `path` names, if any.
///
/// # Errors
///
/// When the configuration cannot be read as TOML.
pub fn users_file_of(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let files = Files::default();
    let text = read_text(&files, path).map_err(|problem| ConfigError(vec![problem]))?;
    let document = Document::new(&files, path, &text);
    let users_file = document.parse().and_then(|table| {
        let root = Section::root(&document, table.get_ref());
        let process = root.section("process");
        process.get("users_file", |value| process.path(value))
    });
    let errors = document.finish().errors;
    if errors.is_empty() { Ok(users_file) } else { Err(ConfigError(errors)) }
}

fn read_text(files: &Files, path: &Path) -> Result<String, Problem> {
    let problem = |message: String| Problem::in_file(path, "", message);
    let octets = files.read(path).map_err(|error| problem(format!("cannot read: {error}")))?;
    String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&octet| octet == b'\n').count() + 1;
        Problem { line, ..problem("not UTF-8 text".to_owned()) }
    })
}

fn apply(files: &Files, settings: &mut Settings, overrides: &Overrides, errors: &mut Vec<Problem>) {
    if let Some(addresses) = &overrides.implicit {
        settings.listen.implicit.clone_from(addresses);
    }
    if let Some(addresses) = &overrides.explicit {
        settings.listen.explicit.clone_from(addresses);
    }
    if overrides.cpus.is_some() {
        settings.shards.cpus.clone_from(&overrides.cpus);
    }
    if overrides.passive_ports.is_some() {
        settings.passive.ports = overrides.passive_ports;
    }
    settings.log.format = overrides.log_format.unwrap_or(settings.log.format);
    settings.log.level = overrides.log_level.unwrap_or(settings.log.level);
    if let Some((chain, key)) = &overrides.certificate {
        for (flag, path) in [("--cert", chain), ("--key", key)] {
            if let Err(message) = files.check_readable(path) {
                errors.push(Problem::on_command_line(flag, message));
            }
        }
        settings.tls.certificate = Some(chain.clone());
        settings.tls.key = Some(key.clone());
    }
}

/// Where the certificate comes from; `None` when that is a mistake.
fn certificate_source(
    settings: &Settings,
    overrides: &Overrides,
    errors: &mut Vec<Problem>,
) -> Option<CertificateSource> {
    if let (Some(chain), Some(key)) = (&settings.tls.certificate, &settings.tls.key) {
        return Some(CertificateSource::Files { chain: chain.clone(), key: key.clone() });
    }
    if let Some(directory) = overrides.state_dir.clone() {
        return Some(CertificateSource::SelfSigned { directory });
    }
    errors.push(Problem::on_command_line(
        "--state-dir",
        "no home directory to keep the self-signed certificate in; give --state-dir DIR, or a \
         certificate",
    ));
    None
}

/// Adds the accounts that DIR and `--user` ask for, or says why they cannot be.
fn add_given_accounts(
    path: Option<&Path>,
    found: &mut Found,
    overrides: &Overrides,
    errors: &mut Vec<Problem>,
) -> Option<AnnouncedUser> {
    let asked = overrides.directory.is_some() || overrides.user.is_some();
    if let Some(path) = path
        && (!found.is_empty() || found.doubtful || !asked)
    {
        let flags = [("DIR", overrides.directory.is_some()), ("--user", overrides.user.is_some())];
        if !found.is_empty() {
            for (flag, _) in flags.into_iter().filter(|(_, given)| *given) {
                let message = format!(
                    "cannot be used because {} configures users, and each has a home there",
                    path.display()
                );
                errors.push(Problem::on_command_line(flag, message));
            }
        } else if !found.doubtful {
            errors.push(nobody(path));
        }
        return None;
    }
    let directory = overrides.directory.as_deref().unwrap_or(Path::new("."));
    if let Err(message) = check_directory(directory) {
        errors.push(Problem::on_command_line("DIR", message));
    }
    let Some(name) = &overrides.user else {
        found.add_anonymous(directory);
        return None;
    };
    match given_user(name, overrides) {
        Ok((hash, generated)) => {
            found.add_user(name.clone(), hash, directory);
            Some(AnnouncedUser { name: name.clone(), generated })
        }
        Err(message) => {
            errors.push(Problem::on_command_line("--user", message));
            None
        }
    }
}

fn given_user(
    name: &str,
    overrides: &Overrides,
) -> Result<(PasswordHash, Option<Password>), String> {
    user_name(name)?;
    if let Some(hash) = &overrides.password_hash {
        return Ok((hash.clone(), None));
    }
    let password = overrides.password.as_ref();
    let generated = match password {
        Some(_) => None,
        None => Some(Password::generate().map_err(|error| error.to_string())?),
    };
    let password = password.or(generated.as_ref()).ok_or("no password")?;
    let hash = PasswordHash::new(password).map_err(|error| error.to_string())?;
    Ok((hash, generated))
}

impl Findings {
    fn append(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
        self.known.extend(other.known);
        self.lines.extend(other.lines);
    }
}
