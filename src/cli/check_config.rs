//! `ringftpd check-config`: what would run, or everything that is wrong. Writes nothing, and binds
//! nothing that is configured.

use std::fmt::{Display, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::args::{CheckArguments, ServeArguments};
use super::finding::{Finding, failure, lines_of};
use super::tls_setup::{self, Served};
use super::{fail, load, print, report_warnings};
use crate::auth::User;
use crate::config::{
    Accounts, Ceiling, CertificateSource, Change, Config, Directory, Key, KeyValue,
    NamedCertificate, OtherAddress, Settings, Steering, Words, cpu_list_text, keys,
    permission_words,
};
use crate::limits::HOMES_PER_SHARD_MAX;
use crate::runtime::{LOCKED_MEMORY, check_executor};
use crate::sys::cpu::{self, CpuError};
use crate::sys::host;
use crate::sys::privileges::Identity;
use crate::tls::TlsProfile;

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    match (look(&arguments.serve), arguments.json) {
        (Ok(found), true) => print(value(&found.config, &found.warnings, found.shards)),
        (Ok(found), false) => {
            report_warnings(found.warnings.iter());
            print(describe(&found.config, found.shards).trim_end());
        }
        (Err(problems), true) => {
            print(failure(&problems));
            return ExitCode::FAILURE;
        }
        (Err(problems), false) => return fail(lines_of(&problems)),
    }
    ExitCode::SUCCESS
}

/// A configuration that would run, with its number of shards.
struct Found {
    config: Config,
    warnings: Vec<Finding>,
    shards: u32,
}

fn look(arguments: &ServeArguments) -> Result<Found, Vec<Finding>> {
    let (config, _) = load(arguments, &crate::config::Files::default())?;
    let available = cpu::available();
    // One for each CPU, as `serve` does it.
    let shards =
        config.settings.shards.cpus.as_ref().map_or(available.len(), |cpus| cpus.as_slice().len());
    let changes_user = config.settings.process.user.is_some();
    let room = host::check(shards.max(1), changes_user, LOCKED_MEMORY);
    let room = room.map_err(|error| vec![Finding::plain(error)])?;
    check_executor().map_err(|refusal| vec![Finding::plain(refusal)])?;
    let shards = room.shards;
    let examined = examine(&config, tls_setup::check(&config), &available, shards);
    let examined = examined.map_err(|problems| {
        let placed = problems.into_iter().map(|problem| tls_setup::placed(&config, problem));
        placed.collect::<Vec<_>>()
    })?;
    let warnings = config.warnings.iter().cloned().map(Finding::from).chain(examined);
    let warnings = warnings.chain(room.warning.map(Finding::plain)).collect();
    Ok(Found { config, warnings, shards: u32::try_from(shards).unwrap_or(u32::MAX) })
}

/// What `serve` and a reload would refuse, all of it, by key; nothing is bound, written or given
/// up. `certificates` is what became of those.
pub(super) fn examine(
    config: &Config,
    certificates: Result<Vec<Served>, tls_setup::Refused>,
    available: &[usize],
    shards: usize,
) -> Result<Vec<Finding>, Vec<tls_setup::Refused>> {
    let settings = &config.settings;
    let mut problems = Vec::new();
    let certificates = certificates.unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let missing = missing_cpus(settings, available);
    problems.extend(missing.map(|problem| ("shards.cpus".into(), problem)));
    if let Some(user) = &settings.process.user
        && let Err(error) = Identity::resolve(user)
    {
        problems.push(("process.user".into(), error.to_string()));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut warnings = Vec::new();
    warnings.extend(tls_setup::warnings(&certificates));
    warnings.extend(share_warnings(settings, shards));
    Ok(warnings)
}

/// What to say about configured CPUs that this process cannot have.
pub(super) fn missing_cpus(settings: &Settings, available: &[usize]) -> Option<String> {
    let cpus = settings.shards.cpus.as_ref().map_or(&[][..], |cpus| cpus.as_slice());
    let missing: Vec<_> = cpus.iter().copied().filter(|cpu| !available.contains(cpu)).collect();
    let refused = CpuError::Refused { cpus: cpu_list_text(&missing) };
    let here = cpu_list_text(available);
    (!missing.is_empty()).then(|| format!("{refused}; to be had are {here}"))
}

/// What to say about shards that get no session, or have no passive port of their own.
pub(super) fn share_warnings(settings: &Settings, shards: usize) -> impl Iterator<Item = Finding> {
    let about = |key: &'static str, all: Option<u32>, consequence: &str| {
        let all = all.filter(|all| usize::try_from(*all).is_ok_and(|all| all < shards))?;
        let message = format!("{all} for {shards} shards; {consequence}");
        Some(Finding::About(key.into(), message))
    };
    let sessions = Some(settings.limits.sessions);
    let ports = settings.passive.ports.map(|range| range.count());
    let turns = "they take turns, and clients that announce data connections and make none hold \
                 them up; widen the range or start fewer shards";
    let sessions = about("limits.sessions", sessions, "some shards would serve nobody");
    sessions.into_iter().chain(about("passive.ports", ports, turns))
}

/// What [`describe`] says, and the warnings, under names that stay.
fn value(config: &Config, warnings: &[Finding], shards: u32) -> Value {
    let setting = |KeyValue { key, shown }: KeyValue| {
        let effective = remark(config, shards, &key, &shown).unwrap_or_else(|| shown.clone());
        let change = match key.change {
            Change::Reload => "reload",
            Change::Restart => "restart",
        };
        (key.path(), json!({ "value": shown, "effective": effective, "change": change }))
    };
    let settings: Map<_, _> = config.settings.values().into_iter().map(setting).collect();
    let certificate = |one: &NamedCertificate| {
        let NamedCertificate { chain, key, names, .. } = one;
        json!({ "certificate": chain, "key": key, "names": names })
    };
    let certificates: Vec<_> = config.settings.certificates.iter().map(certificate).collect();
    let directory = |one: &Directory| {
        let Directory { path, rule } = one;
        json!({ "path": path, "cache": rule.cache.word(), "immutable": rule.immutable })
    };
    let directories: Vec<_> = config.settings.directories.iter().map(directory).collect();
    let accounts = &config.accounts;
    let open_files = descriptors(accounts.homes.len(), shards)
        .map(|(limit, reserved)| json!({ "limit": limit, "reserved": reserved }));
    let anonymous = accounts.users.anonymous().map(|anonymous| {
        json!({
            "home": home_of(accounts, anonymous.home.0),
            "permissions": permission_words(anonymous.permissions),
            "lax_upload_eof": anonymous.lax_upload_eof,
        })
    });
    let user = |user: &User| {
        json!({
            "name": user.name,
            "home": home_of(accounts, user.home.0),
            "permissions": permission_words(user.permissions),
            "lax_upload_eof": user.lax_upload_eof,
            "log_in": proofs_of(user),
        })
    };
    json!({
        "ok": true,
        "warnings": warnings.iter().map(Finding::value).collect::<Vec<_>>(),
        "shards": shards,
        "settings": settings,
        "certificates": certificates,
        "directories": directories,
        "open_files": open_files,
        "anonymous": anonymous,
        "users": accounts.users.users().map(user).collect::<Vec<_>>(),
    })
}

/// Every effective value, one a line, under the names of the configuration.
fn describe(config: &Config, shards: u32) -> String {
    let mut lines = Lines(String::new());
    for KeyValue { key, shown } in config.settings.values() {
        let remark = remark(config, shards, &key, &shown);
        lines.add(&key.path(), remark.unwrap_or(shown));
    }
    for NamedCertificate { chain, key, names, .. } in &config.settings.certificates {
        let names = names.as_ref().map_or("its own names".to_owned(), |names| names.join(", "));
        let key = key.display();
        lines.add(
            &format!("certificate {}", chain.display()),
            format_args!("for {names}; key {key}"),
        );
    }
    for Directory { path, rule } in &config.settings.directories {
        let immutable = if rule.immutable { ", immutable" } else { "" };
        lines.add(
            &format!("directory {}", path.display()),
            format_args!("cache {}{immutable}", rule.cache.word()),
        );
    }
    describe_descriptors(&mut lines, config.accounts.homes.len(), shards);
    describe_accounts(&mut lines, &config.accounts);
    let fixed = keys().into_iter().filter(|key| key.change == Change::Restart);
    let fixed: Vec<_> = fixed.map(|key| key.path()).collect();
    lines.add("changed by a restart only", fixed.join(", "));
    lines.0
}

/// No setting: what the host allows, and what is kept of it for the sessions that are in.
fn describe_descriptors(lines: &mut Lines, homes: usize, shards: u32) {
    let Some((limit, reserved)) = descriptors(homes, shards) else { return };
    lines.add("open files", format_args!("{limit} (the last {reserved} for sessions that are in)"));
}

/// How many there may be, and how many of them are for sessions that are in.
fn descriptors(homes: usize, shards: u32) -> Option<(u64, u64)> {
    let limit = host::raise_open_files().ok()?;
    let copies = if homes <= HOMES_PER_SHARD_MAX { shards } else { 1 };
    let handles = u64::try_from(homes).unwrap_or(u64::MAX).saturating_mul(copies.into());
    let connections = host::reserved_descriptors(limit, shards.into(), handles);
    Some((limit, limit - connections))
}

/// What is worth saying about a key's value besides the value, or in its place: what else decides
/// it, and what it comes to on each shard.
fn remark(config: &Config, shards: u32, key: &Key, shown: &str) -> Option<String> {
    let Config { settings, certificate, .. } = config;
    Some(match (key.section, key.name) {
        ("shards", "cpus") => format!("{shown} ({shards} shards)"),
        ("tls", "certificate" | "key") => match certificate {
            CertificateSource::Files { .. } => return None,
            CertificateSource::SelfSigned { directory } => {
                format!("self-signed, in {}", directory.display())
            }
        },
        ("tls", "groups") => match settings.tls.profile {
            TlsProfile::Balanced | TlsProfile::Throughput => format!("{shown}, the client's order"),
            TlsProfile::PostQuantum => format!("{shown}, X25519MLKEM768 first"),
        },
        ("tls", "ktls") => match tls_setup::kernel_tls(&settings.tls)? {
            Ok(abilities) => format!("{shown} ({abilities})"),
            Err(reason) => format!("{shown} (not available: {reason})"),
        },
        ("passive", "ports") => {
            let range = settings.passive.ports;
            format!("{shown} ({})", what_ports_allow(range.map(|range| range.count()), shards))
        }
        ("passive", "other_address") => match settings.passive.other_address {
            OtherAddress::Never => return None,
            OtherAddress::WithTicket => format!(
                "{shown} (sessions of different addresses share a port only where tickets tell \
                 them apart)"
            ),
        },
        ("limits", "sessions") => {
            format!("{shown} ({} on each shard)", per_shard(settings.limits.sessions, shards))
        }
        ("limits", "sessions_per_ip") if settings.shards.steering == Steering::Source => {
            return None;
        }
        ("limits", "sessions_per_ip") => {
            by_shard(settings, shards, settings.limits.sessions_per_ip)?
        }
        ("limits", "sessions_per_user") => {
            by_shard(settings, shards, settings.limits.sessions_per_user)?
        }
        ("limits", "handshakes") => format!("{shown} on each shard"),
        _ => return None,
    })
}

/// How many passive ports each shard begins with and may come to, and for how many transfers at
/// once that is enough: so many as wait for their data connections.
fn what_ports_allow(ports: Option<u32>, shards: u32) -> String {
    let Some(ports) = ports else { return "each shard may take any that is free".to_owned() };
    // Each of the others keeps one, if that is enough for all.
    let most = if ports < shards { ports } else { ports - (shards - 1) };
    let has = if shards == 1 {
        format!("all {ports} on the one shard")
    } else {
        let each = per_shard(ports, shards);
        format!(
            "each shard begins with {each} and takes those that others do not need, up to {most}"
        )
    };
    format!(
        "{has}: enough for {most} transfers at once of one client address that wait for their data \
         connections, one more for each further user with PROT P whose client resumes, and for any \
         number of different addresses; one whose connection has come needs no port"
    )
}

/// What a ceiling that each shard counts for itself comes to.
fn by_shard(settings: &Settings, shards: u32, ceiling: Ceiling) -> Option<String> {
    let limit = ceiling.0?;
    let all = u64::from(limit) * u64::from(shards);
    let worst = all.min(settings.limits.sessions.into());
    Some(format!("{limit} on each shard, at worst {worst} in all"))
}

fn describe_accounts(lines: &mut Lines, accounts: &Accounts) {
    let home = |index: u32| {
        home_of(accounts, index).map_or("?".to_owned(), |home| home.display().to_string())
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
        lines.add(
            &format!("user {}", user.name),
            format_args!(
                "{} ({}{}; logs in with {})",
                home(user.home.0),
                permission_words(user.permissions).join(", "),
                describe_upload_eof(user.lax_upload_eof),
                proofs_of(user).join(" or ")
            ),
        );
    }
}

fn home_of(accounts: &Accounts, index: u32) -> Option<&Path> {
    let home = usize::try_from(index).ok().and_then(|index| accounts.homes.get(index));
    home.map(|home| home.as_path())
}

/// What a user may log in with.
fn proofs_of(user: &User) -> Vec<&'static str> {
    let password = user.password.as_ref().map(|hash| hash.format());
    password.into_iter().chain(user.certificate.as_ref().map(|_| "certificate")).collect()
}

fn describe_upload_eof(lax: Option<bool>) -> String {
    lax.map(|lax| format!("; lax_upload_eof {lax}")).unwrap_or_default()
}

/// What each shard gets of `total`.
fn per_shard(total: u32, shards: u32) -> String {
    let low = total / shards;
    if total.is_multiple_of(shards) { low.to_string() } else { format!("{low} to {}", low + 1) }
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
    use crate::config::{KernelTls, Overrides};
    use crate::protocol::policy::{FileCache, FileRule, WriteSize};

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
        config.settings.limits.sessions_per_ip = Ceiling(Some(5));
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
        let waiting = "transfers at once of one client address that wait for their data \
                       connections, one more for each further user with PROT P whose client \
                       resumes, and for any number of different addresses; one whose connection \
                       has come needs no port)";
        let moving = "50000-50009 (each shard begins with 2 to 3 and takes those that others do \
                      not need, up to 7: enough for 7";
        check(&text, "passive.ports", &format!("{moving} {waiting}"));
        let alone = "50000-50009 (all 10 on the one shard: enough for 10";
        check(&describe(&config, 1), "passive.ports", &format!("{alone} {waiting}"));
        check(&text, "passive.other_address", "never");
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
        check_json(&config, &describe(&config, 4));

        config.settings.policy.write_size = WriteSize::Mib2;
        config.settings.passive.ports = None;
        config.settings.passive.other_address = OtherAddress::WithTicket;
        config.settings.shards.steering = Steering::Source;
        config.settings.tls.profile = TlsProfile::PostQuantum;
        config.settings.limits.sessions_per_user = Ceiling(Some(5));
        let text = describe(&config, 4);
        check(&text, "passive.ports", "any ephemeral port (each shard may take any that is free)");
        check(
            &text,
            "passive.other_address",
            "with-ticket (sessions of different addresses share a port only where tickets tell \
             them apart)",
        );
        check(&text, "limits.sessions_per_ip", "5");
        check(&text, "limits.sessions_per_user", "5 on each shard, at worst 20 in all");
        check(&text, "tls.groups", "all, X25519MLKEM768 first");
        check(&text, "storage.write_size", "2MiB");
    }

    /// The same for programs: no fact less, and no secret more.
    #[track_caller]
    fn check_json(config: &Config, text: &str) {
        let value = value(config, &[Finding::plain("so so")], 4);
        let settings = value["settings"].as_object().unwrap();
        assert_eq!(settings.len(), config.settings.values().len());
        let restart = text.lines().find_map(|line| line.strip_prefix("changed by a restart only"));
        for (key, setting) in settings {
            check(text, key, setting["effective"].as_str().unwrap());
            let is_listed = restart.unwrap().split([' ', ',']).any(|word| word == key);
            assert_eq!(setting["change"] == "restart", is_listed, "{key}");
        }
        let sessions = json!({
            "value": "20000", "effective": "20000 (5000 on each shard)", "change": "reload",
        });
        assert_eq!(settings["limits.sessions"], sessions);
        let archive = json!({ "path": "/srv/archive", "cache": "direct", "immutable": false });
        assert_eq!(value["directories"][0], archive);
        assert_eq!((&value["ok"], &value["shards"]), (&json!(true), &json!(4)));
        assert_eq!(value["warnings"][0]["message"], "so so");
        assert!(value["open_files"]["limit"].as_u64() > value["open_files"]["reserved"].as_u64());
        assert!(value["anonymous"].is_null());
        let alice = &value["users"][0];
        assert_eq!((&alice["name"], &alice["log_in"]), (&json!("alice"), &json!(["argon2id"])));
        let all = value.to_string();
        assert!(!all.contains("$argon2id") && !all.contains("top secret"), "{all}");
    }

    #[track_caller]
    fn check_problems(config: &Config, shards: usize, expected: &[&str]) {
        let problems = examine(config, tls_setup::check(config), &[0, 1], shards);
        let problems = problems.err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for ((key, problem), expected) in problems.iter().zip(expected) {
            let problem = format!("{key}: {problem}");
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn finds_what_serve_would_refuse() {
        let mut config = config();
        config.settings.shards.cpus = Some("0-64".parse().unwrap());
        config.settings.process.user = Some("no such user".to_owned());
        config.settings.tls.ticket_lifetime = Duration::from_secs(1);
        let cpu = "shards.cpus: cannot run on CPU 2-64: ";
        let user = "process.user: ";
        check_problems(&config, 11, &["ticket lifetime of 1 s", cpu, user]);
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
            config.certificate = CertificateSource::Files { chain, key };
            config.settings.tls.client_ca = ca.map(Path::to_owned);
            check_problems(&config, 1, expected);
        };
        check(&chain, &key, Some(&chain), &[]);
        check(&chain, &other_key, None, &["other.pem does not belong to"]);
        check(&empty, &key, None, &["empty.pem contains no certificate"]);
        check(&chain, &key, Some(&key), &["client CA certificates in"]);
    }

    /// A value of `key` other than its default, with no effect on the line of another one.
    fn other_value(key: &Key) -> String {
        let default = key.default.as_deref().unwrap_or_default();
        if let Some(example) = key.example.filter(|example| *example != default) {
            return example.to_owned();
        }
        let words = key.words.iter().map(|word| format!("\"{word}\""));
        let bounds = key.bounds.iter().flat_map(|bounds| bounds.split(" to ")).map(str::to_owned);
        let booleans = ["true", "false"].map(str::to_owned);
        let all = words.chain(bounds).chain(booleans.into_iter().filter(|_| !default.is_empty()));
        all.into_iter().find(|value| value != default).unwrap()
    }

    /// Each key is read, has its own line, and changes nothing else.
    #[test]
    fn every_key_has_its_effect_on_its_own_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("other")).unwrap();
        std::fs::write(folder.path().join("ca.pem"), "").unwrap();
        std::fs::write(folder.path().join("users.toml"), "").unwrap();
        let overrides = Overrides { state_dir: Some("state".into()), ..Overrides::default() };
        let lines = |key: &str, value: &str| {
            let home = if key == "anonymous.home" { "" } else { "anonymous.home = \".\"\n" };
            let path = folder.path().join("ringftpd.toml");
            let from =
                if key == "listen.proxy_from" { "" } else { "listen.proxy_from = [\"::1\"]\n" };
            std::fs::write(&path, format!("{home}{from}{key} = {value}")).unwrap();
            let config = Config::load(&path, &overrides).unwrap();
            describe(&config, 2).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let default = lines("log.level", "\"info\"");
        let mut tried = 0;
        for key in keys() {
            let path = key.path();
            let value = match path.as_str() {
                // Two that come together, and those with a line for each of their tables.
                "tls.certificate" | "tls.key" => continue,
                _ if ["tls.certificates", "users", "directories"].contains(&key.section) => {
                    continue;
                }
                "tls.client_ca" | "tls.ticket_keys" => "\"ca.pem\"".to_owned(),
                "process.users_file" => "\"users.toml\"".to_owned(),
                "log.xferlog" => "\"xferlog.log\"".to_owned(),
                "log.file" => "\"ringftpd.log\"".to_owned(),
                "anonymous.home" => "\"other\"".to_owned(),
                "anonymous.permissions" => "[\"list\"]".to_owned(),
                _ => other_value(&key),
            };
            let lines = lines(&path, &value);
            let changed = lines.iter().zip(&default).filter(|(line, before)| line != before);
            let names: Vec<_> = changed.filter_map(|(line, _)| line.split(' ').next()).collect();
            let line = if key.section == "anonymous" { "anonymous" } else { &path };
            assert_eq!((names, lines.len()), (vec![line], default.len()), "{path} = {value}");
            tried += 1;
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn says_what_ports_allow_where_shards_are_more() {
        let text = what_ports_allow(Some(9), 64);
        let begin = "each shard begins with 0 to 1 and takes those that others do not need, up to \
                     9: enough for 9 transfers at once ";
        assert!(text.starts_with(begin), "{text}");
    }

    #[test]
    fn warns_of_what_serve_would_accept() {
        let mut config = config();
        config.settings.limits.sessions = 1;
        let warnings = examine(&config, tls_setup::check(&config), &[0, 1], 2).unwrap();
        let sessions = "limits.sessions: 1 for 2 shards; some shards would serve nobody";
        assert_eq!(lines_of(&warnings), sessions);
        config.settings.limits.sessions = 100;
        for shards in [10, 11] {
            let warnings = examine(&config, tls_setup::check(&config), &[0, 1], shards).unwrap();
            let ports = "passive.ports: 10 for 11 shards; they take turns, ";
            assert_eq!(lines_of(&warnings).contains(ports), shards == 11);
        }
    }
}
