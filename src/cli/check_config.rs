//! `ringftpd check-config`: what would run, or everything that is wrong. Writes nothing, and binds
//! nothing that is configured.

use std::fmt::{Display, Write};
use std::process::ExitCode;

use super::args::ServeArguments;
use super::{fail, load, print, report_warnings, tls_setup};
use crate::clock;
use crate::config::{
    Accounts, CertificateSource, Config, DATA_RESUMPTIONS, DURABILITIES, Directory, FAILED_UPLOADS,
    FILE_CACHES, LOG_FORMATS, LOG_LEVELS, ListenAddress, STEERINGS, Settings, Steering,
    TLS_PROFILES, cpu_list_text, duration_text, permission_words,
};
use crate::connection::split;
use crate::limits::HOMES_PER_SHARD_MAX;
use crate::protocol::hash_command;
use crate::protocol::policy::Policy;
use crate::sys::cpu::{self, CpuError};
use crate::sys::host;
use crate::sys::privileges::Identity;
use crate::tls::TlsProfile;

pub(super) fn run(arguments: &ServeArguments) -> ExitCode {
    let config = match load(arguments) {
        Ok(config) => config,
        Err(message) => return fail(message),
    };
    let available = cpu::available();
    // One for each CPU, as `serve` does it.
    let shards =
        config.settings.cpus.as_ref().map_or(available.len(), |cpus| cpus.as_slice().len());
    let room = match host::check(shards.max(1), config.settings.user.is_some()) {
        Ok(room) => room,
        Err(error) => return fail(error),
    };
    let shards = room.shards;
    let warnings = match examine(&config, &available, shards) {
        Ok(warnings) => warnings.into_iter().chain(room.warning),
        Err(message) => return fail(message),
    };
    let config_warnings = config.warnings.iter().map(ToString::to_string);
    report_warnings(config_warnings.chain(warnings));
    let shards = u32::try_from(shards).unwrap_or(u32::MAX);
    print(describe(&config, shards).trim_end());
    ExitCode::SUCCESS
}

/// What `serve` would refuse, all of it; nothing is bound, written or given up.
fn examine(config: &Config, available: &[usize], shards: usize) -> Result<Vec<String>, String> {
    let settings = &config.settings;
    let mut problems = Vec::new();
    let certificate = tls_setup::check(config).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    problems.extend(missing_cpus(settings, available));
    if let Some(user) = &settings.user
        && let Err(error) = Identity::resolve(user)
    {
        problems.push(format!("process.user: {error}"));
    }
    if let Some(range) = settings.passive.ports
        && let Err(error) = split(range.low()..=range.high(), 0, shards)
    {
        problems.push(format!("passive.ports: {error}"));
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let mut warnings = Vec::new();
    warnings.extend(certificate.and_then(|c| tls_setup::validity_warning(&c, clock::unix_time())));
    warnings.extend(share_warning(settings, shards));
    Ok(warnings)
}

/// What to say about configured CPUs that this process cannot have.
pub(super) fn missing_cpus(settings: &Settings, available: &[usize]) -> Option<String> {
    let cpus = settings.cpus.as_ref().map_or(&[][..], |cpus| cpus.as_slice());
    let missing: Vec<_> = cpus.iter().copied().filter(|cpu| !available.contains(cpu)).collect();
    let refused = CpuError::Refused { cpus: cpu_list_text(&missing) };
    let here = cpu_list_text(available);
    (!missing.is_empty()).then(|| format!("shards.cpus: {refused}; to be had are {here}"))
}

/// What to say about shards that get no session.
pub(super) fn share_warning(settings: &Settings, shards: usize) -> Option<String> {
    let sessions = settings.limits.sessions;
    usize::try_from(sessions).is_ok_and(|sessions| sessions < shards).then(|| {
        format!("limits.sessions: {sessions} for {shards} shards; some shards would serve nobody")
    })
}

/// Every effective value, one a line, under the names of the configuration.
fn describe(config: &Config, shards: u32) -> String {
    let mut lines = Lines(String::new());
    describe_process(&mut lines, &config.settings, shards);
    describe_tls(&mut lines, &config.settings);
    describe_policy(&mut lines, &config.settings.policy);
    for Directory { path, rule } in &config.settings.directories {
        let immutable = if rule.immutable { ", immutable" } else { "" };
        lines.add(
            &format!("directory {}", path.display()),
            format_args!("cache {}{immutable}", word(&FILE_CACHES, rule.cache)),
        );
    }
    describe_limits(&mut lines, &config.settings, shards);
    describe_descriptors(&mut lines, config.accounts.homes.len(), shards);
    describe_accounts(&mut lines, &config.accounts);
    lines.0
}

/// No setting: what the host allows, and what is kept of it for the sessions that are in.
fn describe_descriptors(lines: &mut Lines, homes: usize, shards: u32) {
    let Ok(limit) = host::raise_open_files() else { return };
    let copies = if homes <= HOMES_PER_SHARD_MAX { shards } else { 1 };
    let handles = u64::try_from(homes).unwrap_or(u64::MAX).saturating_mul(copies.into());
    let connections = host::reserved_descriptors(limit, shards.into(), handles);
    lines.add(
        "open files",
        format_args!("{limit} (the last {} for sessions that are in)", limit - connections),
    );
}

fn describe_process(lines: &mut Lines, settings: &Settings, shards: u32) {
    let listeners = |addresses: &[ListenAddress]| {
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "off".to_owned() } else { texts.join(", ") }
    };
    lines.add("listen.implicit", listeners(&settings.implicit));
    lines.add("listen.explicit", listeners(&settings.explicit));
    lines.add("listen.backlog", settings.backlog);
    let cpus = settings.cpus.as_ref().map_or("all of the mask".to_owned(), ToString::to_string);
    lines.add("shards.cpus", format_args!("{cpus} ({shards} shards)"));
    lines.add("shards.steering", word(&STEERINGS, settings.steering));
    lines.add("shards.handshake_percent", settings.handshake_percent);
    lines.add("process.user", settings.user.as_deref().unwrap_or("unchanged"));
    lines.add("log.format", word(&LOG_FORMATS, settings.log.format));
    lines.add("log.level", word(&LOG_LEVELS, settings.log.level));
    let metrics = settings.metrics.map(|address| address.to_string());
    lines.add("metrics.listen", metrics.as_deref().unwrap_or("off"));
}

fn describe_tls(lines: &mut Lines, settings: &Settings) {
    let tls = &settings.tls;
    match &tls.certificate {
        CertificateSource::Files { chain, key } => {
            lines.add("tls.certificate", chain.display());
            lines.add("tls.key", key.display());
        }
        CertificateSource::SelfSigned { directory } => {
            lines.add("tls.certificate", format_args!("self-signed, in {}", directory.display()));
        }
    }
    lines.add("tls.profile", word(&TLS_PROFILES, tls.profile));
    let versions = [(tls.versions.tls12, "1.2"), (tls.versions.tls13, "1.3")];
    let versions: Vec<_> =
        versions.iter().filter(|(on, _)| *on).map(|(_, version)| *version).collect();
    lines.add("tls.versions", versions.join(", "));
    let suites = tls.cipher_suites.as_ref().map(|suites| {
        let names = suites.iter().filter_map(|suite| suite.suite().as_str());
        names.collect::<Vec<_>>().join(", ")
    });
    lines.add("tls.cipher_suites", suites.as_deref().unwrap_or("all, AES-128-GCM first"));
    let groups = tls.groups.as_ref().map(|groups| groups.join(", "));
    let groups = groups.as_deref().unwrap_or("all");
    let order = match tls.profile {
        TlsProfile::Balanced | TlsProfile::Throughput => "the client's order",
        TlsProfile::PostQuantum => "X25519MLKEM768 first",
    };
    lines.add("tls.groups", format_args!("{groups}, {order}"));
    match &tls.client_ca {
        Some(path) => lines.add("tls.client_ca", path.display()),
        None => lines.add("tls.client_ca", "none"),
    }
    let resumption = settings.policy.data_resumption;
    lines.add("tls.data_resumption", word(&DATA_RESUMPTIONS, resumption));
    lines.add("tls.ticket_lifetime", duration_text(tls.ticket_lifetime));
    let kernel = match tls_setup::kernel_tls(tls) {
        Some(Ok(abilities)) => format!("auto ({abilities})"),
        Some(Err(reason)) => format!("auto (not available: {reason})"),
        None => "off".to_owned(),
    };
    lines.add("tls.ktls", kernel);
}

fn describe_policy(lines: &mut Lines, policy: &Policy) {
    lines.add("policy.greeting", &policy.greeting);
    for (key, value) in [
        ("policy.require_control_tls", policy.require_control_tls),
        ("policy.require_data_tls", policy.require_data_tls),
        ("policy.allow_ccc", policy.allow_ccc),
        ("policy.auth_ssl_implies_prot_p", policy.auth_ssl_implies_prot_p),
        ("policy.allow_active", policy.allow_active),
        ("policy.allow_foreign_data_address", policy.allow_foreign_data_address),
        ("policy.lax_upload_eof", policy.lax_upload_eof),
        ("policy.mdtm_may_set", policy.mdtm_may_set),
    ] {
        lines.add(key, value);
    }
    let names = policy.host_names.join(", ");
    lines.add("policy.host_names", if names.is_empty() { "any" } else { &names });
    lines.add("storage.failed_upload", word(&FAILED_UPLOADS, policy.failed_upload));
    lines.add("storage.durability", word(&DURABILITIES, policy.durability));
    lines.add("storage.leftover_age", duration_text(policy.leftover_age));
    let hashes: Vec<_> = policy.hash_uploads.iter().map(hash_command::name).collect();
    let hashes = hashes.join(", ");
    lines.add("storage.hash_uploads", if hashes.is_empty() { "none" } else { &hashes });
}

fn describe_limits(lines: &mut Lines, settings: &Settings, shards: u32) {
    let (limits, policy, passive) = (&settings.limits, &settings.policy, &settings.passive);
    match passive.ports {
        Some(range) => {
            let each = share(range.count(), shards);
            lines.add("passive.ports", format_args!("{range} ({each} ports on each shard)"));
        }
        None => lines.add("passive.ports", "any ephemeral port"),
    }
    match passive.address {
        Some(address) => lines.add("passive.address", address),
        None => lines.add("passive.address", "that of the control connection"),
    }
    let sessions = limits.sessions;
    let each = share(sessions, shards);
    lines.add("limits.sessions", format_args!("{sessions} ({each} on each shard)"));
    let exact = settings.steering == Steering::Source;
    for (key, limit, exact) in [
        ("limits.sessions_per_ip", limits.sessions_per_ip, exact),
        ("limits.sessions_per_user", limits.sessions_per_user, false),
    ] {
        match limit {
            Some(limit) if exact => lines.add(key, limit),
            Some(limit) => {
                let worst = (u64::from(limit) * u64::from(shards)).min(u64::from(sessions));
                lines.add(key, format_args!("{limit} on each shard, at worst {worst} in all"));
            }
            None => lines.add(key, "no limit"),
        }
    }
    lines.add("limits.handshakes", format_args!("{} on each shard", limits.handshakes));
    lines.add("limits.login_failures", policy.login_failures_max);
    for (key, duration) in [
        ("limits.login_failure_delay", policy.login_failure_delay),
        ("limits.remember_logins", limits.remember_logins),
        ("limits.idle_timeout", policy.idle_timeout),
        ("limits.login_timeout", policy.login_timeout),
        ("limits.client_hello_timeout", limits.client_hello_timeout),
        ("limits.handshake_timeout", policy.handshake_timeout),
        ("limits.data_timeout", policy.data_timeout),
        ("limits.stall_timeout", policy.stall_timeout),
        ("limits.shutdown_timeout", limits.shutdown_timeout),
    ] {
        lines.add(key, duration_text(duration));
    }
}

fn describe_accounts(lines: &mut Lines, accounts: &Accounts) {
    let home = |index: u32| {
        let home = usize::try_from(index).ok().and_then(|index| accounts.homes.get(index));
        home.map_or("?".to_owned(), |home| home.display().to_string())
    };
    match accounts.users.anonymous() {
        Some(anonymous) => lines.add(
            "anonymous",
            format_args!(
                "{} ({}{})",
                home(anonymous.home.0),
                permission_words(anonymous.permissions).join(", "),
                describe_upload_eof(anonymous.lax_upload_eof)
            ),
        ),
        None => lines.add("anonymous", "off"),
    }
    for user in accounts.users.users() {
        let mut proofs = Vec::new();
        proofs.extend(user.password.as_ref().map(|hash| hash.format()));
        proofs.extend(user.certificate.as_ref().map(|_| "certificate"));
        lines.add(
            &format!("user {}", user.name),
            format_args!(
                "{} ({}{}; logs in with {})",
                home(user.home.0),
                permission_words(user.permissions).join(", "),
                describe_upload_eof(user.lax_upload_eof),
                proofs.join(" or ")
            ),
        );
    }
}

fn describe_upload_eof(lax: Option<bool>) -> String {
    lax.map(|lax| format!("; lax_upload_eof {lax}")).unwrap_or_default()
}

/// What each shard gets of `total`.
fn share(total: u32, shards: u32) -> String {
    let low = total / shards;
    if total.is_multiple_of(shards) { low.to_string() } else { format!("{low} to {}", low + 1) }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("?", |(word, _)| word)
}

struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key:<35} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::tests::reference_with_examples;
    use crate::config::{KernelTls, Overrides};
    use crate::protocol::policy::{FileCache, FileRule};

    fn config() -> Config {
        let overrides = Overrides {
            state_dir: Some("state".into()),
            user: Some("alice".to_owned()),
            password: Some(crate::auth::Password::new("top secret".to_owned()).unwrap()),
            passive_ports: Some("50000-50009".parse().unwrap()),
            explicit: Some(Vec::new()),
            ..Overrides::default()
        };
        Config::embedded(&overrides).unwrap()
    }

    #[track_caller]
    fn check(text: &str, key: &str, expected: &str) {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key)).unwrap();
        assert_eq!(line[key.len()..].trim(), expected);
    }

    #[test]
    fn describes_effective_values_and_what_a_shard_gets() {
        let mut config = config();
        config.settings.limits.sessions_per_ip = Some(5);
        let directory = |path: &str, cache, immutable| {
            let rule = FileRule { cache, immutable };
            Directory { path: path.into(), rule }
        };
        config.settings.directories = vec![
            directory("/srv/archive", FileCache::Direct, false),
            directory("/srv/images", FileCache::Page, true),
        ];
        let text = describe(&config, 4);
        check(&text, "listen.implicit", ":990 or :9990");
        check(&text, "listen.explicit", "off");
        check(&text, "tls.certificate", "self-signed, in state");
        check(&text, "tls.versions", "1.2, 1.3");
        let line = text.lines().find(|line| line.starts_with("tls.ktls ")).unwrap();
        assert!(line.contains(" auto ("), "{line}");
        config.settings.tls.ktls = KernelTls::Off;
        check(&describe(&config, 4), "tls.ktls", "off");
        check(&text, "passive.ports", "50000-50009 (2 to 3 ports on each shard)");
        check(&text, "limits.sessions", "20000 (5000 on each shard)");
        check(&text, "limits.sessions_per_ip", "5 on each shard, at worst 20 in all");
        check(&text, "limits.sessions_per_user", "no limit");
        check(&text, "limits.handshakes", "1024 on each shard");
        let line = text.lines().find(|line| line.starts_with("open files ")).unwrap();
        assert!(line.ends_with(" for sessions that are in)"), "{line}");
        check(&text, "shards.steering", "kernel");
        check(&text, "tls.profile", "balanced");
        check(&text, "tls.groups", "all, the client's order");
        check(&text, "limits.idle_timeout", "5m");
        check(&text, "storage.durability", "data");
        check(&text, "directory", "/srv/archive              cache direct");
        let line = text.lines().find(|line| line.starts_with("directory /srv/images ")).unwrap();
        assert!(line.ends_with(" cache page, immutable"), "{line}");
        check(&text, "storage.hash_uploads", "none");
        check(&text, "anonymous", "off");
        assert!(text.contains("user alice                          . (read, list, write,"));
        assert!(text.contains("logs in with argon2id"));
        assert!(!text.contains("$argon2id") && !text.contains("top secret"));

        config.settings.steering = Steering::Source;
        config.settings.tls.profile = TlsProfile::PostQuantum;
        config.settings.limits.sessions_per_user = Some(5);
        let text = describe(&config, 4);
        check(&text, "limits.sessions_per_ip", "5");
        check(&text, "limits.sessions_per_user", "5 on each shard, at worst 20 in all");
        check(&text, "tls.groups", "all, X25519MLKEM768 first");
    }

    #[track_caller]
    fn check_problems(config: &Config, shards: usize, expected: &[&str]) {
        let problems = examine(config, &[0, 1], shards).err().unwrap_or_default();
        assert_eq!(problems.lines().count(), expected.len(), "{problems}");
        for (problem, expected) in problems.lines().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn finds_what_serve_would_refuse() {
        let mut config = config();
        check_problems(&config, 10, &[]);
        let small = "passive.ports: ";
        check_problems(&config, 11, &[small]);
        config.settings.cpus = Some("0-64".parse().unwrap());
        config.settings.user = Some("no such user".to_owned());
        config.settings.tls.ticket_lifetime = Duration::from_secs(1);
        let cpu = "shards.cpus: cannot run on CPU 2-64: ";
        let user = "process.user: ";
        check_problems(&config, 11, &["ticket lifetime of 1 s", cpu, user, small]);
    }

    /// The texts are those of `tls`; here only that each file is looked at.
    #[test]
    fn checks_the_certificate_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (own, other) = (make(), make());
        let chain = write("chain.pem", &own.cert.pem());
        let key = write("key.pem", &own.signing_key.serialize_pem());
        let other_key = write("other.pem", &other.signing_key.serialize_pem());
        let empty = write("empty.pem", "");
        let mut config = config();
        let mut check = |chain: &Path, key: &Path, ca: Option<&Path>, expected: &[&str]| {
            let (chain, key) = (chain.to_owned(), key.to_owned());
            config.settings.tls.certificate = CertificateSource::Files { chain, key };
            config.settings.tls.client_ca = ca.map(Path::to_owned);
            check_problems(&config, 1, expected);
        };
        check(&chain, &key, Some(&chain), &[]);
        check(&chain, &other_key, None, &["other.pem does not belong to"]);
        check(&empty, &key, None, &["empty.pem contains no certificate"]);
        check(&chain, &key, Some(&key), &["client CA certificates in"]);
    }

    /// A value other than the default for each key, with no effect on the line of another one.
    const OTHER_VALUES: [(&str, &str); 51] = [
        ("listen.implicit", "[\"127.0.0.1:1\"]"),
        ("listen.explicit", "[\"127.0.0.1:1\"]"),
        ("listen.backlog", "1"),
        ("shards.cpus", "\"1\""),
        ("shards.steering", "\"cpu\""),
        ("shards.handshake_percent", "1"),
        ("tls.profile", "\"throughput\""),
        ("tls.versions", "[\"1.3\"]"),
        (
            "tls.cipher_suites",
            "[\"TLS13_AES_128_GCM_SHA256\", \
          \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]",
        ),
        ("tls.groups", "[\"X25519\"]"),
        ("tls.client_ca", "\"ca.pem\""),
        ("tls.data_resumption", "\"off\""),
        ("tls.ticket_lifetime", "\"3s\""),
        ("tls.ktls", "\"off\""),
        ("policy.greeting", "\"hello\""),
        ("policy.require_control_tls", "false"),
        ("policy.require_data_tls", "false"),
        ("policy.allow_ccc", "true"),
        ("policy.auth_ssl_implies_prot_p", "true"),
        ("policy.allow_active", "false"),
        ("policy.allow_foreign_data_address", "true"),
        ("policy.lax_upload_eof", "true"),
        ("policy.mdtm_may_set", "false"),
        ("policy.host_names", "[\"example.org\"]"),
        ("passive.ports", "\"5000-5001\""),
        ("passive.address", "\"203.0.113.7\""),
        ("limits.sessions", "3"),
        ("limits.sessions_per_ip", "3"),
        ("limits.sessions_per_user", "3"),
        ("limits.handshakes", "3"),
        ("limits.login_failures", "7"),
        ("limits.login_failure_delay", "\"3s\""),
        ("limits.remember_logins", "\"3s\""),
        ("limits.idle_timeout", "\"3s\""),
        ("limits.login_timeout", "\"3s\""),
        ("limits.client_hello_timeout", "\"3s\""),
        ("limits.handshake_timeout", "\"3s\""),
        ("limits.data_timeout", "\"3s\""),
        ("limits.stall_timeout", "\"3s\""),
        ("limits.shutdown_timeout", "\"3s\""),
        ("storage.failed_upload", "\"keep\""),
        ("storage.durability", "\"full\""),
        ("storage.leftover_age", "\"3s\""),
        ("storage.hash_uploads", "[\"MD5\"]"),
        ("log.format", "\"json\""),
        ("log.level", "\"debug\""),
        ("metrics.listen", "\"127.0.0.1:1\""),
        ("process.user", "\"ftp\""),
        ("anonymous.home", "\"other\""),
        ("anonymous.permissions", "[\"list\"]"),
        ("anonymous.lax_upload_eof", "true"),
    ];

    /// Each key is read, has its own line, and changes nothing else.
    #[test]
    fn every_key_has_its_effect_on_its_own_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("other")).unwrap();
        std::fs::write(folder.path().join("ca.pem"), "").unwrap();
        let overrides = Overrides { state_dir: Some("state".into()), ..Overrides::default() };
        let lines = |key: &str, value: &str| {
            let home = if key == "anonymous.home" { "" } else { "anonymous.home = \".\"\n" };
            let path = folder.path().join("ringftpd.toml");
            std::fs::write(&path, format!("{home}{key} = {value}")).unwrap();
            let config = Config::load(&path, &overrides).unwrap();
            describe(&config, 2).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let default = lines("log.level", "\"info\"");
        let mut described: Vec<_> = OTHER_VALUES.iter().map(|(key, _)| *key).collect();
        for (key, value) in OTHER_VALUES {
            let lines = lines(key, value);
            let changed = lines.iter().zip(&default).filter(|(line, before)| line != before);
            let names: Vec<_> = changed.filter_map(|(line, _)| line.split(' ').next()).collect();
            let line = if key.starts_with("anonymous.") { "anonymous" } else { key };
            assert_eq!((names, lines.len()), (vec![line], default.len()));
        }
        // Two that come together, and one whose lines are those of its users.
        described.extend(["tls.certificate", "tls.key", "process.users_file"]);
        described.sort_unstable();
        let reference: toml::Table = reference_with_examples().parse().unwrap();
        let keys = reference.iter().filter_map(|(name, value)| Some((name, value.as_table()?)));
        let keys =
            keys.flat_map(|(name, keys)| keys.keys().map(move |key| format!("{name}.{key}")));
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        assert_eq!(described, keys);
    }

    #[test]
    fn warns_of_what_serve_would_accept() {
        let mut config = config();
        config.settings.limits.sessions = 1;
        let warnings = examine(&config, &[0, 1], 2).unwrap();
        let sessions = "limits.sessions: 1 for 2 shards; some shards would serve nobody";
        assert_eq!(warnings, [sessions]);
    }
}
