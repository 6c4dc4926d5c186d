//! From the configuration to [`ServerTls`], for `serve` and `check-config` alike: what the one
//! refuses, the other has refused before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::finding::Finding;
use crate::clock;
use crate::config::{
    CertificateSource, CipherSuite, Config, Files, GroupName, KernelTls, NamedCertificate, Tls,
};
use crate::sys::ktls;
use crate::tls::{
    PemText, SelfSigned, ServerCertificate, ServerTls, TicketSecrets, TlsOptions, Validity,
    random_ticket_secret, self_signed_chain, self_signed_key,
};

/// Something of a configuration that cannot be: its key, and a sentence.
pub(super) type Refused = (Cow<'static, str>, String);

/// It with its place, where there is one.
pub(super) fn placed(config: &Config, (key, message): Refused) -> Finding {
    if config.has_place(&key) {
        config.problem(&key, message).into()
    } else {
        Finding::About(key, message)
    }
}

/// The same as one line.
pub(super) fn said(config: &Config, refused: Refused) -> String {
    placed(config, refused).to_string()
}

/// The texts that TLS is made of. They are read once, so that every shard gets the same.
#[derive(Clone, Debug)]
pub(super) struct TlsTexts {
    /// The default one.
    default: Pair,
    /// Those of `[[tls.certificates]]`, in its order.
    named: Vec<Named>,
    client_ca: Option<PemText>,
    ticket_keys: Option<TicketSecrets>,
    /// Where a self-signed certificate came from.
    pub(super) self_signed: Option<SelfSigned>,
}

/// Chain and key.
#[derive(Clone, Debug)]
struct Pair {
    chain: PemText,
    key: PemText,
}

/// What there is of a table of `[[tls.certificates]]`.
#[derive(Clone, Debug)]
struct Named {
    source: NamedCertificate,
    pair: Pair,
    /// How people know it: [`Served::title`].
    title: String,
}

/// A certificate that clients get.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// How people know it: `tls.certificate`, or `tls.certificates[ftp.example.org]` with the first
    /// of its names.
    pub(super) title: String,
    pub(super) certificate: ServerCertificate,
}

/// Files of one certificate.
pub(super) struct PairFiles<'a> {
    pub(super) chain: &'a Path,
    pub(super) key: &'a Path,
}

/// The files of each certificate, the default one first: `None` when that is self-signed.
pub(super) fn pair_files(config: &Config) -> Vec<Option<PairFiles<'_>>> {
    let default = match &config.certificate {
        CertificateSource::Files { chain, key } => Some(PairFiles { chain, key }),
        CertificateSource::SelfSigned { .. } => None,
    };
    let named = config.settings.certificates.iter();
    let named = named.map(|named| Some(PairFiles { chain: &named.chain, key: &named.key }));
    std::iter::once(default).chain(named).collect()
}

impl TlsTexts {
    /// Reads what `config` names. A self-signed certificate is made if there is none; the one that
    /// `running` has stays.
    pub(super) fn read(
        config: &Config,
        files: &Files,
        running: Option<&Self>,
    ) -> Result<Self, Refused> {
        let (default, self_signed) = match &config.certificate {
            CertificateSource::Files { chain, key } => {
                (Pair::read(files, chain, key, "tls")?, None)
            }
            CertificateSource::SelfSigned { directory } => match running {
                Some(Self { default, self_signed: Some(_), .. }) => {
                    (default.clone(), Some(SelfSigned::Reused))
                }
                _ => {
                    let origin = make_self_signed(directory)?;
                    (Pair::read_self_signed(files, directory)?, Some(origin))
                }
            },
        };
        Self::around(config, files, default, self_signed)
    }

    /// With this default certificate; all others are read.
    fn around(
        config: &Config,
        files: &Files,
        default: Pair,
        self_signed: Option<SelfSigned>,
    ) -> Result<Self, Refused> {
        let named = config.settings.certificates.iter();
        let named = named.map(|source| Named::read(files, source)).collect::<Result<_, _>>()?;
        let client_ca = read_client_ca(config, files)?;
        let ticket_keys = read_ticket_keys(config, files)?;
        Ok(Self { default, named, client_ca, ticket_keys, self_signed })
    }

    /// The same with these certificates, by their places in [`pair_files`], as they are on the disk
    /// now, but for those that cannot be used: one that is just being renewed keeps no other
    /// waiting.
    pub(super) fn look_again(&self, config: &Config, places: &[usize]) -> (Self, Vec<Refused>) {
        let (mut texts, mut refused) = (self.clone(), Vec::new());
        for &place in places {
            match texts.with_fresh(config, place) {
                Ok(with) => texts = with,
                Err(problem) => refused.push(problem),
            }
        }
        (texts, refused)
    }

    fn with_fresh(&self, config: &Config, place: usize) -> Result<Self, Refused> {
        let (mut texts, files) = (self.clone(), Files::default());
        match place.checked_sub(1) {
            None => match &config.certificate {
                CertificateSource::Files { chain, key } => {
                    texts.default = Pair::read(&files, chain, key, "tls")?;
                }
                CertificateSource::SelfSigned { directory } => {
                    texts.default = renew_self_signed(directory)?;
                }
            },
            Some(index) => {
                if let Some(named) = texts.named.get_mut(index) {
                    *named = Named::read(&files, &named.source)?;
                }
            }
        }
        texts.served().map(|_| texts)
    }

    /// Whether the default certificate is the server's own work, and to be made anew.
    pub(super) fn is_renewal_due(&self, unix_time: Duration) -> bool {
        let certificate = || self.default.certificate("tls");
        self.self_signed.is_some() && certificate().is_ok_and(|own| own.is_renewal_due(unix_time))
    }

    /// What of it differs from `running`, by key, or by [`Served::title`].
    pub(super) fn difference(&self, running: &Self) -> Vec<String> {
        fn octets(text: &PemText) -> &[u8] {
            &text.pem
        }
        let (ca, old_ca) = (self.client_ca.as_ref(), running.client_ca.as_ref());
        let mut keys = Vec::new();
        keys.extend((self.default != running.default).then(|| DEFAULT.to_owned()));
        let missing = |one: &Named, others: &[Named]| !others.contains(one);
        let new = self.named.iter().filter(|named| missing(named, &running.named));
        let gone = running.named.iter().filter(|named| missing(named, &self.named));
        for named in new.chain(gone) {
            if !keys.contains(&named.title) {
                keys.push(named.title.clone());
            }
        }
        let ca = ca.map(octets) != old_ca.map(octets);
        keys.extend(ca.then(|| "tls.client_ca".to_owned()));
        let tickets = self.ticket_keys != running.ticket_keys;
        keys.extend(tickets.then(|| "tls.ticket_keys".to_owned()));
        keys
    }

    /// The certificates that clients get, the default one first.
    pub(super) fn served(&self) -> Result<Vec<Served>, Refused> {
        let default = self.default.certificate("tls")?;
        let mut all = vec![Served { title: DEFAULT.to_owned(), certificate: default }];
        let mut names = BTreeMap::new();
        for (index, Named { source, pair, title }) in self.named.iter().enumerate() {
            let certificate = source.certificate(pair)?;
            for name in certificate.served_names() {
                let other = names.insert(name.clone(), (index, &source.place));
                if let Some((_, other)) = other.filter(|&(other, _)| other != index) {
                    return Err((
                        source.key("certificate"),
                        format!(
                            "is for {name}, and so is {other}; say with `names` which name is \
                             whose"
                        ),
                    ));
                }
            }
            all.push(Served { title: title.clone(), certificate });
        }
        Ok(all)
    }

    /// Everything TLS of a configuration, once for each shard. So every handshake counts
    /// references, to certificate, key and configuration, that are its shard's own. The ticket
    /// secrets are common to all; that of the process opens what was sealed with it at any time.
    pub(super) fn build(
        &self,
        config: &Config,
        ticket_secret: [u8; 32],
        shards: usize,
    ) -> Result<Vec<Arc<ServerTls>>, Refused> {
        (0..shards).map(|_| build_one(config, self, ticket_secret)).collect()
    }
}

/// The key and the title of the default certificate.
const DEFAULT: &str = "tls.certificate";

/// The same octets.
impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.chain.pem == other.chain.pem && self.key.pem == other.key.pem
    }
}

/// The same table, files and octets.
impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.pair == other.pair
    }
}

impl Pair {
    /// `table` is that of the keys `certificate` and `key`.
    fn read(files: &Files, chain: &Path, key: &Path, table: &str) -> Result<Self, Refused> {
        let read = |name, path: &Path, action| {
            let text = PemText::take(path, action, files.read(path));
            text.map_err(|error| (format!("{table}.{name}").into(), error.to_string()))
        };
        Ok(Self {
            chain: read("certificate", chain, "read the certificate file")?,
            key: read("key", key, "read the key file")?,
        })
    }

    fn read_self_signed(files: &Files, directory: &Path) -> Result<Self, Refused> {
        Self::read(files, &self_signed_chain(directory), &self_signed_key(directory), "tls")
    }

    fn certificate(&self, table: &str) -> Result<ServerCertificate, Refused> {
        let certificate = ServerCertificate::from_pem(&self.chain, &self.key);
        certificate.map_err(|error| (format!("{table}.certificate").into(), error.to_string()))
    }
}

impl Named {
    fn read(files: &Files, source: &NamedCertificate) -> Result<Self, Refused> {
        let pair = Pair::read(files, &source.chain, &source.key, &source.place)?;
        let certificate = source.certificate(&pair)?;
        let Some(first) = certificate.served_names().first() else {
            let message = "has no DNS name (subjectAltName); say with `names` what it is for";
            return Err((source.key("certificate"), message.to_owned()));
        };
        let title = format!("tls.certificates[{first}]");
        Ok(Self { source: source.clone(), pair, title })
    }
}

impl NamedCertificate {
    fn key(&self, name: &str) -> Cow<'static, str> {
        format!("{}.{name}", self.place).into()
    }

    fn certificate(&self, pair: &Pair) -> Result<ServerCertificate, Refused> {
        let certificate = pair.certificate(&self.place)?;
        Ok(match &self.names {
            Some(names) => certificate.served_for(names),
            None => certificate,
        })
    }
}

impl Served {
    /// What to say about it: that clients refuse it or will soon, and for which names.
    pub(super) fn warnings(&self, unix_time: Duration) -> Vec<Finding> {
        let Self { title, certificate } = self;
        let validity = validity_finding_of(certificate, unix_time);
        let names = certificate.served_names().iter();
        let foreign: Vec<_> = names.filter(|name| !certificate.is_issued_for(name)).collect();
        let foreign = foreign.into_iter().map(|name| {
            format!("was not issued for {name}; clients that ask for that name will refuse it")
        });
        let about = |finding| Finding::About(title.clone().into(), finding);
        validity.into_iter().chain(foreign).map(about).collect()
    }
}

fn read_client_ca(config: &Config, files: &Files) -> Result<Option<PemText>, Refused> {
    let Some(path) = &config.settings.tls.client_ca else { return Ok(None) };
    let text = PemText::take(path, "read tls.client_ca", files.read(path));
    text.map(Some).map_err(|error| ("tls.client_ca".into(), error.to_string()))
}

fn read_ticket_keys(config: &Config, files: &Files) -> Result<Option<TicketSecrets>, Refused> {
    let Some(path) = &config.settings.tls.ticket_keys else { return Ok(None) };
    let text = PemText::take(path, "read tls.ticket_keys", files.read(path));
    let secrets = text.and_then(|text| TicketSecrets::parse(&text.pem, &text.origin));
    secrets.map(Some).map_err(|error| ("tls.ticket_keys".into(), error.to_string()))
}

/// Sees to it that there is one in `directory`.
fn make_self_signed(directory: &Path) -> Result<SelfSigned, Refused> {
    let refused = |text: String| (DEFAULT.into(), text);
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(host_name().filter(|name| name != "localhost"));
    std::fs::create_dir_all(directory)
        .map_err(|error| refused(format!("cannot make {}: {error}", directory.display())))?;
    ServerCertificate::load_or_create_self_signed(directory, &names)
        .map(|(_, origin)| origin)
        .map_err(|error| refused(error.to_string()))
}

/// Makes the one in `directory` anew if it is time, while the server runs.
fn renew_self_signed(directory: &Path) -> Result<Pair, Refused> {
    let refused = |(key, cause): Refused| {
        let remedy = "restart the server, or let its user write there";
        (
            key,
            format!("the self-signed certificate ends soon and is not renewed: {cause}; {remedy}"),
        )
    };
    let origin = make_self_signed(directory).map_err(refused)?;
    if let SelfSigned::Created { reason } = origin {
        tracing::info!(reason, "made a self-signed certificate");
    }
    Pair::read_self_signed(&Files::default(), directory).map_err(refused)
}

/// What all ticket keys are made of; the same as long as the process lives.
pub(super) fn new_ticket_secret() -> Result<[u8; 32], String> {
    random_ticket_secret().map_err(|error| error.to_string())
}

/// What the kernel's TLS can do, or why nothing; `None` when it shall not be used.
pub(super) fn kernel_tls(settings: &Tls) -> Option<Result<ktls::Abilities, String>> {
    match settings.ktls {
        KernelTls::Off => None,
        KernelTls::Auto if settings.versions.tls13 => Some(ktls::probe()),
        KernelTls::Auto => Some(Err("it is used with TLS 1.3 only".to_owned())),
    }
}

fn build_one(
    config: &Config,
    texts: &TlsTexts,
    ticket_secret: [u8; 32],
) -> Result<Arc<ServerTls>, Refused> {
    let settings = &config.settings;
    let certificates = texts.served()?.into_iter().map(|served| served.certificate).collect();
    let client_ca = texts.client_ca.clone();
    let client_fingerprints: BTreeSet<[u8; 32]> = config
        .accounts
        .users
        .users()
        .filter_map(|user| user.certificate.as_ref()?.sha256)
        .collect();
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let suites = settings.tls.cipher_suites.as_ref();
    let groups = settings.tls.groups.as_ref();
    ServerTls::new(TlsOptions {
        profile: settings.tls.profile,
        groups: groups.map(|all| owned(all.iter().copied().map(GroupName::as_str).collect())),
        certificates,
        versions: settings.tls.versions,
        cipher_suites: suites
            .map(|all| owned(all.iter().copied().map(CipherSuite::name).collect())),
        client_ca,
        client_fingerprints,
        resumption: settings.policy.data_resumption,
        ticket_secrets: match &texts.ticket_keys {
            Some(common) => common.clone().and(ticket_secret),
            None => TicketSecrets::only(ticket_secret),
        },
        ticket_lifetime: settings.tls.ticket_lifetime,
    })
    .map_err(|error| ("tls".into(), error.to_string()))
}

/// Checks all that [`TlsTexts`] does, and writes nothing. Returns the certificates that are the
/// operator's; a self-signed one is made, or made anew, by `serve`.
pub(super) fn check(config: &Config) -> Result<Vec<Served>, Refused> {
    let files = Files::default();
    let own = matches!(config.certificate, CertificateSource::Files { .. });
    let texts = if own {
        TlsTexts::read(config, &files, None)?
    } else {
        let pair = ServerCertificate::ephemeral_pair();
        let (chain, key) = pair.map_err(|error| (DEFAULT.into(), error.to_string()))?;
        TlsTexts::around(config, &files, Pair { chain, key }, None)?
    };
    texts.build(config, [0; 32], 1)?;
    Ok(texts.served()?.into_iter().skip(usize::from(!own)).collect())
}

/// What to say about these by today.
pub(super) fn warnings(certificates: &[Served]) -> impl Iterator<Item = Finding> {
    let now = clock::unix_time();
    certificates.iter().flat_map(move |served| served.warnings(now))
}

/// Reads every file that [`TlsTexts::read`] would, whatever is in it, and makes nothing.
pub(super) fn read_files(config: &Config, files: &Files) {
    for pair in pair_files(config).into_iter().flatten() {
        // What cannot be read is left to who needs it.
        let _ = (files.read(pair.chain), files.read(pair.key));
    }
    let _ = read_client_ca(config, files);
    let _ = read_ticket_keys(config, files);
}

/// What to say about a certificate that clients refuse, or will soon: the server's own, or one
/// behind it in the chain.
fn validity_finding_of(certificate: &ServerCertificate, unix_time: Duration) -> Option<String> {
    let all = certificate.validity().iter().enumerate();
    all.filter_map(|(index, validity)| {
        let finding = validity_finding(*validity, unix_time)?;
        Some(match index {
            0 => finding,
            _ => format!("number {} of the chain {finding}", index + 1),
        })
    })
    .next()
}

fn validity_finding(validity: Validity, unix_time: Duration) -> Option<String> {
    let days_between = |from: Duration, to: Duration| (to - from).as_secs() / DAY_SECONDS;
    let Validity { not_before, not_after } = validity;
    if unix_time < not_before {
        let days = days_between(unix_time, not_before);
        return Some(format!(
            "is not valid yet, for another {days} days and some hours; clients will refuse it: was \
             it issued for later, or is the clock of this machine wrong (see `date -u`)?"
        ));
    }
    if not_after < unix_time {
        let days = days_between(not_after, unix_time);
        return Some(format!(
            "expired {days} days ago; clients will refuse it: renew it and reload the server"
        ));
    }
    let days = days_between(unix_time, not_after);
    // What renews certificates does so with a third of their lifetime left.
    (not_after - unix_time < (not_after - not_before) / 3)
        .then(|| format!("ends in {days} days; renew it and reload the server"))
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration of `[[tls.certificates]]`, in a folder with a pair for each of `pairs`.
    fn config(folder: &Path, pairs: &[(&str, &[&str])], toml: &str) -> Result<Config, String> {
        for (name, names) in pairs {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            let write = |what: &str, text: String| {
                std::fs::write(folder.join(format!("{name}-{what}.pem")), text).unwrap();
            };
            write("chain", made.cert.pem());
            write("key", made.signing_key.serialize_pem());
        }
        let path = folder.join("ringftpd.toml");
        std::fs::write(&path, format!("anonymous.home = \".\"\n{toml}")).unwrap();
        let state_dir = Some(folder.join("state"));
        let overrides = crate::config::Overrides { state_dir, ..Default::default() };
        Config::load(&path, &overrides).map_err(|error| error.to_string())
    }

    fn table(chain: &str, key: &str, more: &str) -> String {
        format!(
            "[[tls.certificates]]\ncertificate = \"{chain}-chain.pem\"\nkey = \"{key}-key.pem\"\n\
             {more}\n"
        )
    }

    #[test]
    fn certificates_for_names_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let pairs: [(&str, &[&str]); 4] = [
            ("a", &["a.example", "A2.example"]),
            ("b", &["b.example", "*.a.example"]),
            ("ab", &["b.example", "a.example"]),
            ("address", &["192.0.2.1"]),
        ];
        let check = |toml: &str, expected: &str| {
            let config = config(folder.path(), &pairs, toml).unwrap();
            let refused = check(&config).map_err(|problem| said(&config, problem));
            let text = match refused {
                Ok(served) => {
                    let titles = served.iter().map(|served| served.title.as_str());
                    titles.collect::<Vec<_>>().join(" ")
                }
                Err(text) => text.replace(&format!("{}/", folder.path().display()), ""),
            };
            assert_eq!(text, expected);
        };
        let (a, b) = (table("a", "a", ""), table("b", "b", ""));
        check(&format!("{a}{b}"), "tls.certificates[a.example] tls.certificates[b.example]");
        check(
            &format!("{a}{}", table("ab", "ab", "names = [\"b.example\"]")),
            "tls.certificates[a.example] tls.certificates[b.example]",
        );
        check(
            &format!("{a}{}", table("ab", "ab", "")),
            "ringftpd.toml:7: tls.certificates[ab-chain.pem].certificate: is for a.example, and so \
             is tls.certificates[a-chain.pem]; say with `names` which name is whose",
        );
        check(
            &table("a", "b", ""),
            "ringftpd.toml:3: tls.certificates[a-chain.pem].certificate: the private key in \
             b-key.pem does not belong to the first certificate in a-chain.pem; likely the files \
             are of different renewals, or the chain does not begin with the server's own \
             certificate",
        );
        check(
            &table("address", "address", ""),
            "ringftpd.toml:3: tls.certificates[address-chain.pem].certificate: has no DNS name \
             (subjectAltName); say with `names` what it is for",
        );
        check(
            &format!("{a}{a}"),
            "ringftpd.toml:7: tls.certificates[a-chain.pem].certificate: is for a.example, and so \
             is tls.certificates[a-chain.pem]; say with `names` which name is whose",
        );
        let twice = table("a", "a", "names = [\"x.example\", \"X.example\"]");
        check(&twice, "tls.certificates[x.example]");
        // The default one may be for the same names: a table goes before it.
        check(
            &format!("[tls]\ncertificate = \"ab-chain.pem\"\nkey = \"ab-key.pem\"\n{a}"),
            "tls.certificate tls.certificates[a.example]",
        );
    }

    #[test]
    fn each_certificate_is_warned_of_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let toml = table("a", "a", "names = [\"a.example\", \"b.example\", \"x.w.example\"]");
        let names: &[&str] = &["a.example", "*.w.example"];
        let config = config(folder.path(), &[("a", names)], &toml).unwrap();
        let served = check(&config).unwrap();
        let [served] = &served[..] else { panic!("{served:?}") };
        let foreign = "tls.certificates[a.example]: was not issued for b.example; clients that ask \
                       for that name will refuse it";
        let validity = served.certificate.validity()[0];
        let middle = validity.not_before + (validity.not_after - validity.not_before) / 2;
        let warnings = |time| -> Vec<String> {
            served.warnings(time).iter().map(ToString::to_string).collect()
        };
        assert_eq!(warnings(middle), [foreign]);
        let late = warnings(validity.not_after + Duration::from_secs(DAY_SECONDS));
        assert!(late[0].starts_with("tls.certificates[a.example]: expired 1 days ago"), "{late:?}");
        assert_eq!(late[1], foreign);
    }

    /// Of pairs that have changed, those are taken that match; the others stay as they are.
    #[test]
    fn each_pair_is_taken_when_it_matches() {
        let folder = tempfile::tempdir().unwrap();
        let toml = table("a", "a", "") + &table("b", "b", "");
        let pairs: [(&str, &[&str]); 2] = [("a", &["a.example"]), ("b", &["b.example"])];
        let running = config(folder.path(), &pairs, &toml).unwrap();
        let texts = TlsTexts::read(&running, &Files::default(), None).unwrap();
        let look = |texts: &TlsTexts| texts.look_again(&running, &[0, 1, 2]);
        let (same, refused) = look(&texts);
        assert_eq!((same.difference(&texts), refused.len()), (vec![], 0));

        let key = std::fs::read(folder.path().join("a-key.pem")).unwrap();
        config(folder.path(), &pairs, &toml).unwrap();
        let new_key = std::fs::read(folder.path().join("a-key.pem")).unwrap();
        std::fs::write(folder.path().join("a-key.pem"), key).unwrap();
        let (taken, refused) = look(&texts);
        assert_eq!(taken.difference(&texts), ["tls.certificates[b.example]"]);
        let [(key, cause)] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!(key, "tls.certificates[a-chain.pem].certificate");
        assert!(cause.contains("does not belong"), "{cause}");

        std::fs::write(folder.path().join("a-key.pem"), new_key).unwrap();
        let (all, refused) = look(&taken);
        assert_eq!(all.difference(&taken), ["tls.certificates[a.example]"]);
        assert!(refused.is_empty());
        // One that comes to have a name of another is none to take.
        config(folder.path(), &[("a", &["a.example", "b.example"])], &toml).unwrap();
        let (kept, refused) = look(&all);
        assert!(kept.difference(&all).is_empty() && refused.len() == 1, "{refused:?}");
        // Tables that come and go are told by their names.
        let one = config(folder.path(), &[("c", &["c.example"])], &table("c", "c", "")).unwrap();
        let one = TlsTexts::read(&one, &Files::default(), Some(&all)).unwrap();
        let name = |name: &str| format!("tls.certificates[{name}.example]");
        assert_eq!(one.difference(&all), [name("c"), name("a"), name("b")]);
    }

    #[test]
    fn warns_of_an_end_that_is_near_or_past() {
        let certificate = ServerCertificate::ephemeral().unwrap();
        let end = certificate.not_after();
        let days = |days| Duration::from_secs(days * DAY_SECONDS);
        let check = |now: Duration, expected: Option<&str>| {
            let warning = validity_finding_of(&certificate, now);
            assert_eq!(warning.is_some(), expected.is_some());
            assert!(warning.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        // It is good for 825 days.
        check(end - days(275), None);
        check(end - days(275) + Duration::from_secs(1), Some("ends in 274 days"));
        check(end, Some("ends in 0 days"));
        check(end + days(2), Some("expired 2 days ago"));
        let begin = certificate.validity()[0].not_before;
        check(begin, None);
        check(begin - days(3), Some("not valid yet, for another 3 days"));
    }
}
