//! How generator and server would be kept apart on this host: what a run is told whose generator
//! had to share its CPUs.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, UdpSocket},
};

use crate::{
    args::Request,
    engine::{available_cpus, parse_cpus},
    measure::{RateStep, RunResult, StepVerdict},
};

/// What decides it.
#[derive(Clone, Debug, Default)]
struct Situation {
    /// CPUs that the host has, ascending.
    host: Vec<usize>,
    /// Those that this process may use, ascending.
    allowed: Vec<usize>,
    /// Those that are one core with the first of them, itself included.
    first_core: Vec<usize>,
    /// What `--cpus` says.
    given: Option<Vec<usize>>,
    /// The server is on this host, too.
    local: bool,
    /// Its process, if it was named.
    server_pid: Option<u32>,
    /// Others took the generator's CPUs: not its own work alone was the limit.
    starved: bool,
    /// The command line, in the shell's words.
    command: String,
}

/// A sentence with the command that would be fair here, if the generator was the limit or starved
/// in this run, or in a step of its search.
pub(super) fn fair_here(request: &Request, result: &RunResult) -> Option<String> {
    let client = &result.client;
    let unknown = |step: &RateStep| step.verdict == StepVerdict::Unknown;
    if !client.was_starved && !client.was_limit && !result.rate_search.iter().any(unknown) {
        return None;
    }
    let allowed = available_cpus();
    let read =
        |path: &str| fs::read_to_string(path).ok().and_then(|text| parse_cpus(text.trim()).ok());
    let siblings = |cpu: &usize| {
        read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    };
    let words: Vec<_> = result.command_line.iter().map(|word| quoted(word)).collect();
    advice(&Situation {
        host: read("/sys/devices/system/cpu/online").unwrap_or_else(|| allowed.clone()),
        first_core: allowed.first().and_then(siblings).unwrap_or_default(),
        allowed,
        given: request.common.cpus().map(<[usize]>::to_vec),
        local: is_of_this_host(request.spec.endpoint.target.ip()),
        server_pid: request.common.server_pid(),
        starved: client.was_starved,
        command: words.join(" "),
    })
}

/// Whether this host has the address: only then may a socket be bound to it.
fn is_of_this_host(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

fn advice(here: &Situation) -> Option<String> {
    if !here.local {
        return here.starved.then(|| {
            "the server is on another host: what took the CPU runs on this one; end it, or measure \
             from a host where nothing else runs"
                .to_owned()
        });
    }
    if here.host.len() < 2 {
        let text = "this host has one CPU, which generator and server share: nothing that is \
                    measured here is fair; measure from another host";
        return Some(text.to_owned());
    }
    let without = |cpus: &[usize]| -> Vec<usize> {
        here.allowed.iter().copied().filter(|cpu| !cpus.contains(cpu)).collect()
    };
    if let Some(given) = &here.given {
        if !here.starved {
            return None;
        }
        let rest = without(given);
        if !rest.is_empty() {
            return Some(format!(
                "fair here: {}, for the generator has {}",
                placed(&rest, here.server_pid),
                list(given)
            ));
        }
    }
    let Some((first, others)) = here.allowed.split_first().filter(|(_, rest)| !rest.is_empty())
    else {
        return Some(format!(
            "this process may use CPU {} alone: fair here only if the server is kept off it; \
             otherwise measure from another host",
            list(&here.allowed)
        ));
    };
    let beside = Some(without(&here.first_core)).filter(|cpus| !cpus.is_empty());
    let generator = list(beside.as_deref().unwrap_or(others));
    let server = placed(&[*first], here.server_pid);
    Some(if here.given.is_none() {
        format!("fair here: {server}; {} --cpus {generator}", here.command)
    } else {
        format!("fair here: {server}, and --cpus {generator} for the generator")
    })
}

/// What puts the server there.
fn placed(cpus: &[usize], pid: Option<u32>) -> String {
    let cpus = list(cpus);
    pid.map_or_else(
        || format!("start the server with taskset -c {cpus}"),
        |pid| format!("taskset -acp {cpus} {pid}"),
    )
}

/// Ascending numbers as `--cpus` and taskset(1) take them: `0-3,8`.
fn list(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some(first) = rest.first().copied() {
        let run = rest.iter().zip(first..).take_while(|(cpu, next)| *cpu == next).count();
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match run {
            1 => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    text
}

/// A word that the shell reads as itself.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=@%+$".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Situation, advice, is_of_this_host, list, quoted};

    fn here(host: usize, allowed: &[usize]) -> Situation {
        Situation {
            host: (0..host).collect(),
            allowed: allowed.to_vec(),
            first_core: allowed[..1].to_vec(),
            local: true,
            starved: true,
            command: "ringload login 127.0.0.1:990".to_owned(),
            ..Situation::default()
        }
    }

    #[track_caller]
    fn check(here: &Situation, expected: Option<&str>) {
        assert_eq!(advice(here).as_deref(), expected, "{here:?}");
    }

    #[test]
    fn the_command_is_of_this_host_s_cpus() {
        let mut two = here(2, &[0, 1]);
        let start = "fair here: start the server with taskset -c 0; \
                     ringload login 127.0.0.1:990 --cpus 1";
        check(&two, Some(start));
        two.starved = false;
        check(&two, Some(start));
        two.server_pid = Some(4711);
        let moved = "fair here: taskset -acp 0 4711; ringload login 127.0.0.1:990 --cpus 1";
        check(&two, Some(moved));
        let mut many = here(16, &[4, 5, 6, 7, 12, 13]);
        let apart = "fair here: start the server with taskset -c 4; \
                     ringload login 127.0.0.1:990 --cpus 5-7,12-13";
        check(&many, Some(apart));
        // Two threads of a core are no two CPUs, as long as there are others.
        many.first_core = vec![4, 12];
        let apart = "fair here: start the server with taskset -c 4; \
                     ringload login 127.0.0.1:990 --cpus 5-7,13";
        check(&many, Some(apart));
        two.first_core = vec![0, 1];
        check(&two, Some(moved));
    }

    #[test]
    fn cpus_that_were_given_stay() {
        let mut two = here(2, &[0, 1]);
        two.given = Some(vec![1]);
        let server = "fair here: start the server with taskset -c 0, for the generator has 1";
        check(&two, Some(server));
        // Its own work alone was the limit: they may be apart already.
        two.starved = false;
        check(&two, None);
        two.starved = true;
        two.given = Some(vec![0, 1]);
        let both = "fair here: start the server with taskset -c 0, and --cpus 1 for the generator";
        check(&two, Some(both));
    }

    #[test]
    fn where_nothing_is_fair_it_says_so() {
        let one = advice(&here(1, &[0])).unwrap_or_default();
        assert!(one.starts_with("this host has one CPU") && one.contains("another host"), "{one}");
        let bound = advice(&here(4, &[3])).unwrap_or_default();
        assert!(bound.starts_with("this process may use CPU 3 alone"), "{bound}");
        let mut remote = here(2, &[0, 1]);
        remote.local = false;
        let told = advice(&remote).unwrap_or_default();
        assert!(told.starts_with("the server is on another host"), "{told}");
        // Its own work alone: that is said already.
        remote.starved = false;
        check(&remote, None);
    }

    #[test]
    fn addresses_of_this_host_are_known() {
        for (address, local) in [("127.0.0.1", true), ("::1", true), ("192.0.2.1", false)] {
            assert_eq!(is_of_this_host(address.parse().expect("an address")), local, "{address}");
        }
    }

    #[test]
    fn lists_and_words_are_as_they_are_typed() {
        assert_eq!(list(&[]), "");
        assert_eq!(list(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(list(&[1, 3, 4]), "1,3-4");
        assert_eq!(quoted("127.0.0.1:990"), "127.0.0.1:990");
        assert_eq!(quoted("it's p99<1s"), r"'it'\''s p99<1s'");
        assert_eq!(quoted(""), "''");
    }
}
