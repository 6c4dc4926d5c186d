//! Which targets may be loaded, and how hard. Pointed at a foreign host, a load generator is a
//! weapon: without an explicit option it only measures this host.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// Most control connections of a run.
pub const CONNECTIONS_MAX: u64 = 1_000_000;

/// Longest run: a day.
pub const LENGTH_MAX: Duration = Duration::from_secs(86_400);

/// Why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Not HOST:PORT.
    #[error("\"{0}\" is not HOST:PORT; write 127.0.0.1:990, [::1]:990 or name:21")]
    Syntax(String),
    /// The name has no address.
    #[error("{host}: {cause}")]
    Unresolved {
        /// As given.
        host: String,
        /// The resolver's answer.
        cause: String,
    },
    /// Another host that was not declared as the operator's own.
    #[error(
        "{host} ({address}) is not this host: loading somebody else's server is an attack; if it \
         is yours to load, say so: --i-own-this-target {host}"
    )]
    NotOwned {
        /// As given.
        host: String,
        /// What it stands for.
        address: IpAddr,
    },
}

/// A target that may be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host as given.
    pub host: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Resolves `target` and refuses it unless it is a loopback address or `owned` names its host.
///
/// # Errors
///
/// [`GuardError`].
pub fn admit(target: &str, owned: &[String]) -> Result<Target, GuardError> {
    let syntax = || GuardError::Syntax(target.to_owned());
    let (host, port) = target.rsplit_once(':').ok_or_else(syntax)?;
    let port: u16 = port.parse().map_err(|_| syntax())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || port == 0 {
        return Err(syntax());
    }
    let unresolved = |cause: String| GuardError::Unresolved { host: host.to_owned(), cause };
    let mut addresses =
        (host, port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    let address = addresses.next().ok_or_else(|| unresolved("no address".to_owned()))?;
    if address.ip().to_canonical().is_loopback() || owned.iter().any(|name| name == host) {
        return Ok(Target { host: host.to_owned(), address });
    }
    Err(GuardError::NotOwned { host: host.to_owned(), address: address.ip() })
}

/// What to say when a limit of `limit` descriptors cannot carry the run; `None` when they can.
#[must_use]
pub fn open_files_refusal(
    limit: u64,
    connections: u64,
    descriptors: u64,
    threads: u64,
) -> Option<String> {
    // A thread: its rings and eventfds.
    const PER_THREAD: u64 = 32;
    const PROCESS: u64 = 64;
    // A closed descriptor lives on until the executor's next turn: a tenth more.
    let needed = descriptors
        .saturating_add(descriptors / 10)
        .saturating_add(threads.saturating_mul(PER_THREAD))
        .saturating_add(PROCESS);
    (limit < needed).then(|| {
        format!(
            "{connections} connections need up to {needed} file descriptors, and the hard limit is \
             {limit}: raise it with `ulimit -Hn {needed}` (as root) or nofile in \
             /etc/security/limits.conf, or ask for fewer connections"
        )
    })
}

/// Source addresses for `target` when none are given: many, so that ports do not run out, where the
/// target is this host's 127.0.0.0/8; otherwise the system's choice.
#[must_use]
pub fn default_sources(target: IpAddr) -> Vec<IpAddr> {
    const SOURCES: u8 = 64;
    match target {
        IpAddr::V4(ip) if ip.is_loopback() => {
            (1..=SOURCES).map(|last| IpAddr::from([127, 0, 0, last])).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{GuardError, admit, default_sources, open_files_refusal};

    #[track_caller]
    fn refused(target: &str, owned: &[&str], part: &str) {
        let owned: Vec<String> = owned.iter().map(|name| (*name).to_owned()).collect();
        let error = admit(target, &owned).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn only_this_host_unless_told() {
        for target in ["127.0.0.1:990", "127.9.8.7:1", "[::1]:990", "[::ffff:127.0.0.1]:21"] {
            assert!(admit(target, &[]).is_ok(), "{target}");
        }
        refused("192.0.2.1:990", &[], "--i-own-this-target 192.0.2.1");
        refused("192.0.2.1:990", &["192.0.2.2"], "is not this host");
        refused("0.0.0.0:990", &[], "is not this host");
        refused("[2001:db8::1]:990", &[], "--i-own-this-target 2001:db8::1");
        let owned = ["192.0.2.1".to_owned()];
        assert_eq!(admit("192.0.2.1:990", &owned).unwrap().host, "192.0.2.1");
        for target in ["127.0.0.1", "127.0.0.1:x", ":990", "127.0.0.1:0", "127.0.0.1:65536", ""] {
            assert!(matches!(admit(target, &[]), Err(GuardError::Syntax(_))), "{target}");
        }
    }

    #[test]
    fn descriptors_are_counted_before_they_run_out() {
        assert_eq!(open_files_refusal(20_000, 10_000, 10_000, 4), None);
        assert!(open_files_refusal(1024, 10_000, 10_000, 4).unwrap().contains("ulimit -Hn"));
    }

    #[test]
    fn loopback_has_many_sources() {
        assert!(default_sources("127.0.0.1".parse().unwrap()).len() > 32);
        assert!(default_sources("::1".parse().unwrap()).is_empty());
    }
}
