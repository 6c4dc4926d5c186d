//! What command lines mean, and what is refused.

use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::{Arguments, Command, Request};
use crate::plan::{Arrivals, Load};

fn request(line: &str) -> Result<Request, String> {
    let words = std::iter::once("ringload").chain(line.split_whitespace());
    let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
    arguments.command.request().map(|request| request.expect("a workload"))
}

#[test]
fn the_definition_is_consistent_and_every_workload_has_an_example() {
    Arguments::command().debug_assert();
    let help = Arguments::command().render_long_help().to_string();
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        if !["help", "compare"].contains(&name) {
            assert!(help.contains(&format!("ringload {name} ")), "{name}");
        }
    }
}

#[test]
fn loads() {
    let closed = request("handshake 127.0.0.1:990 -c 3").unwrap().spec;
    assert!(matches!(closed.plan.load, Load::Closed { clients: 3, .. }));
    assert_eq!(closed.workload.name(), "handshake");
    let open = request("login 127.0.0.1:990 --ramp 10..20 --max-connections 7").unwrap().spec;
    assert!(matches!(open.plan.load, Load::Open { connections: 7, .. }));
    let counted = request("login 127.0.0.1:990 --count 5 --cpus 0").unwrap().spec;
    assert!(counted.plan.warmup.is_zero());
}

#[test]
fn refuses_what_would_have_no_effect_or_no_sense() {
    #[track_caller]
    fn check(line: &str, part: &str) {
        let error = request(line).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    check("handshake 192.0.2.1:990", "--i-own-this-target");
    check("handshake 127.0.0.1:990 --rate 0", "above 0");
    check("handshake 127.0.0.1:990 --rate 9e9", "at most");
    check("handshake 127.0.0.1:990 --rate 1 --ramp 1..2", "cannot be used with");
    check("handshake 127.0.0.1:990 --count 1 --warm-up 1s", "cannot be used with");
    check("handshake 127.0.0.1:990 --duration 0s", "above 0");
    check("handshake 127.0.0.1:990 --clients 0", "0 is not in");
    check("handshake 127.0.0.1:990 --suites TLS_NONE", "is not one of TLS13_AES_256");
    check("handshake 127.0.0.1:990 --groups nope", "X25519");
    check("handshake 127.0.0.1:990 --sources ::1", "one address family");
    check("list [::1]:990 --data pasv", "IPv6");
    check("list [::1]:990 --data port", "IPv6");
    check("login 127.0.0.1:990 --rate 5 --clients 3", "--clients and --think");
    check("login 127.0.0.1:990 --rate 5 --think 1s", "--clients and --think");
    check("login 127.0.0.1:990 --max-connections 3", "--max-connections and --arrivals");
    check("login 127.0.0.1:990 --arrivals poisson", "--max-connections and --arrivals");
    let pin = format!("login 127.0.0.1:990 --ca a --pin {}", "0".repeat(64));
    check(&pin, "cannot be used with");
    check("handshake 127.0.0.1:990 --find-max-rate", "--slo");
    check("handshake 127.0.0.1:990 --tls 1.2 --suites TLS13_AES_128_GCM_SHA256", "nothing");
    check("idle 127.0.0.1:990 --rate 5", "a rate means nothing");
    check("idle 127.0.0.1:990 --every 0s", "above 0");
    check(&format!("download 127.0.0.1:990 --sha256 {}", "0".repeat(64)), "--path");
    check("mixed 127.0.0.1:990 --scenario /nonexistent", "/nonexistent");
    check("handshake 127.0.0.1:990 --duration 25h --warm-up 0s", "at most a day");
    for option in ["--discard", "--keep", "--size 1", "--files 2"] {
        check(&format!("download 127.0.0.1:990 --path f {option}"), "cannot be used with");
    }
    check("list 127.0.0.1:990 --path d --keep", "cannot be used with");
    check("small-files 127.0.0.1:990 --upload --files 2", "cannot be used with");
    check("small-files 127.0.0.1:990 --upload --discard", "cannot be used with");
    check("login 127.0.0.1:990 --ca /nonexistent", "/nonexistent");
    check("login 127.0.0.1:990 --users /nonexistent", "/nonexistent");
    check("login 127.0.0.1:990 --users f --user u", "cannot be used with");
    check("download 127.0.0.1:990 --paths /nonexistent", "/nonexistent");
    check("download 127.0.0.1:990 --paths f --path p", "cannot be used with");
    check("replay 127.0.0.1:990 --xferlog /nonexistent", "/nonexistent");
    check("replay 127.0.0.1:990 --xferlog f --speed 0", "is no speed");
    check("login 127.0.0.1:990 --trace-file f", "--trace-session");
    check("login 127.0.0.1:990 --trace-session 1 --trace-file /nonexistent/f", "/nonexistent/f");
    check("login 127.0.0.1:990 --prometheus 9100", "invalid socket address");
    check("login 127.0.0.1:990 --interval 99ms", "at least 100ms");
    check("login 127.0.0.1:990 --part 1/2", "--start-at");
    // A second and more may go by until it is looked at.
    let past = format!("login 127.0.0.1:990 --start-at {}", at(-92.0));
    check(&past, "is past by 9");
    check(&format!("login 127.0.0.1:990 --start-at {}", at(1e6)), "more than a week");
    let part = format!("login 127.0.0.1:990 --start-at {}", at(60.0));
    check(&format!("{part} --part 3/2"), "no part of a run");
    check(&format!("{part} --clients 3 --part 4/5"), "nothing for --part 4/5 of 3 clients");
    check(&format!("{part} --count 1 --part 2/2"), "nothing for --part 2/2 of 1 operation");
    check(&format!("{part} --find-max-rate --slo errors=0"), "cannot be used with");
}

/// As seconds since the epoch, whole ones, so many from now on.
fn at(seconds: f64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:.0}", now.as_secs_f64().floor() + seconds)
}

#[test]
fn a_scenario_gives_way_to_the_command_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "rate = 50\narrivals = \"poisson\"\nthink = \"2s\"\n\
                operation = [{ kind = \"noop\" }]\n";
    std::fs::write(file.path(), text).unwrap();
    let run = |options: &str| {
        let path = file.path().display();
        request(&format!("mixed 127.0.0.1:990 --scenario {path} {options}")).unwrap()
    };
    let as_written = run("");
    assert!(matches!(as_written.spec.plan.load, Load::Open { arrivals: Arrivals::Poisson, .. }));
    assert_eq!(as_written.parameters["rate"], "50");
    assert_eq!(run("--rate 7").parameters["rate"], "7");
    let two = Duration::from_secs(2);
    let closed = run("--clients 3").spec.plan.load;
    assert!(matches!(closed, Load::Closed { clients: 3, think } if think == two));
    let think = run("--think 1ms").spec.plan.load;
    assert!(matches!(think, Load::Closed { think, .. } if think == Duration::from_millis(1)));
}

#[test]
fn the_parameters_tell_workloads_apart() {
    let parameter = |line: &str, name: &str| {
        let request = request(line).unwrap();
        request.parameters.get(name).cloned().unwrap_or_default()
    };
    assert_eq!(parameter("login 127.0.0.1:990 --rein", "rein"), "true");
    assert_eq!(parameter("small-files 127.0.0.1:990 --upload", "upload"), "true");
    assert_eq!(parameter("small-files 127.0.0.1:990 --files 7", "files"), "7");
    assert_eq!(parameter("handshake 127.0.0.1:990 --groups X25519", "groups"), "X25519");
    assert_eq!(parameter("handshake 127.0.0.1:990 --count 9", "count"), "9");
    assert_eq!(parameter("list 127.0.0.1:990 --path d", "path"), "d");
    assert_eq!(parameter("list 127.0.0.1:990 --path d", "entries"), "0");
    assert_eq!(parameter("list 127.0.0.1:990 --path d --entries 7", "entries"), "7");
    assert_eq!(parameter("list 127.0.0.1:990", "entries"), "100");
    // A file that was there has no size that is known, and nothing to compare it with.
    assert_eq!(parameter("download 127.0.0.1:990 --path f", "path"), "f");
    assert_eq!(parameter("download 127.0.0.1:990 --path f", "verify"), "false");
    assert_eq!(parameter("download 127.0.0.1:990 --path f", "sizes"), "");
    assert_eq!(parameter("download 127.0.0.1:990", "verify"), "true");
    assert_eq!(parameter("upload 127.0.0.1:990", "verify"), "");
}

#[test]
fn a_log_gives_the_timetable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |second, rest| format!("Sat Nov 28 17:00:{second:02} 2026 1 ::1 9 /f b _ {rest}\n");
    let log = line(9, "o r bob ftp 0 * c") + &line(5, "i r alice ftp 0 * c");
    std::fs::write(file.path(), log).unwrap();
    let line = format!("replay 127.0.0.1:990 --xferlog {} --speed 2x", file.path().display());
    let replay = request(&format!("{line} --password p")).unwrap();
    let plan = &replay.spec.plan;
    assert_eq!((plan.count, plan.warmup), (Some(2), Duration::ZERO));
    let Load::Open { profile, .. } = &plan.load else { panic!("a log is an open loop") };
    assert_eq!(profile.time_of(1.0), Some(Duration::from_secs(2)));
    assert_eq!(profile.time_of(2.0), None);
    let users = &replay.spec.endpoint.users;
    assert_eq!((users.of(0).name.as_str(), users.of(1).name.as_str()), ("alice", "bob"));
    assert_eq!(users.of(1).password, "p");
    assert!(replay.parameters["xferlog"].starts_with("2 transfers, SHA-256 "));
    for option in ["--rate 5", "--clients 2", "--count 1", "--warm-up 1s", "--arrivals poisson"] {
        let error = request(&format!("{line} {option}")).unwrap_err();
        assert!(error.contains("only --max-connections and --duration"), "{error}");
    }
}

#[test]
fn versus_takes_a_workload_behind_two_dashes() {
    let line = "ringload versus --a 127.0.0.1:1 --b 127.0.0.1:2 -- login --user u";
    let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Versus(options) = arguments.command else { panic!("not versus") };
    assert_eq!(options.workload, ["login", "--user", "u"]);
    let line = "ringload versus --a 127.0.0.1:1 --b 127.0.0.1:2 --rounds 2 -- login";
    let error = Arguments::try_parse_from(line.split_whitespace()).unwrap_err();
    assert!(error.to_string().contains("2 is not in 3..="), "{error}");
}
