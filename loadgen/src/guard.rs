//! Which targets may be loaded, and how hard. Pointed at a foreign host, a load generator is a
//! weapon: without an explicit option it only measures this host.

use std::{
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

/// Most control connections of a run.
pub const CONNECTIONS_MAX: u64 = 1_000_000;

/// Longest run: a day.
pub const LENGTH_MAX: Duration = Duration::from_secs(86_400);

/// Why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Neither HOST:PORT nor a URL.
    #[error(
        "\"{0}\" is no target; write 127.0.0.1:990, [::1]:990 or name:21, or a URL: \
         ftps://name for implicit TLS, ftpes://name for explicit"
    )]
    Syntax(String),
    /// A URL with more in it than a server.
    #[error("\"{0}\": a target is a server alone; {1}")]
    More(String, &'static str),
    /// The name has no address.
    #[error("{host}: {cause}")]
    Unresolved {
        /// As given.
        host: String,
        /// The resolver's answer, or that none of its addresses is of the family asked for.
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
    /// None of its addresses could be connected to.
    #[error("{host}: no address of it takes a connection: {causes}")]
    Unreachable {
        /// As given.
        host: String,
        /// Each address and why.
        causes: String,
    },
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All.
    Any,
    /// IPv4 alone.
    Four,
    /// IPv6 alone.
    Six,
}

/// A target that may be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host as given.
    pub host: String,
    /// Its addresses, in the resolver's order; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Whether a URL says that TLS is explicit, or implicit.
    pub explicit: Option<bool>,
}

/// How long each of several addresses has to take a connection.
const REACH: Duration = Duration::from_secs(5);

/// Resolves `target` and refuses it unless all its addresses are loopback ones or `owned` names its
/// host.
///
/// # Errors
///
/// [`GuardError`].
pub fn admit(target: &str, owned: &[String], family: Family) -> Result<Target, GuardError> {
    let syntax = || GuardError::Syntax(target.to_owned());
    let (explicit, place) = match target.split_once("://") {
        Some(("ftps", place)) => (Some(false), place),
        Some(("ftpes", place)) => (Some(true), place),
        Some(_) => return Err(syntax()),
        None => (None, target),
    };
    if explicit.is_some() {
        let more = |what| Err(GuardError::More(target.to_owned(), what));
        if place.contains('@') {
            return more("the user is said with --user, the password with RINGLOAD_PASSWORD");
        }
        if place.trim_end_matches('/').contains('/') {
            return more("files are said with --path");
        }
    }
    let place = if explicit.is_some() { place.trim_end_matches('/') } else { place };
    let usual = explicit.map(|explicit| if explicit { 21 } else { 990 });
    let (host, port) = match (place.rsplit_once(':'), usual) {
        (Some((host, port)), usual) if usual.is_none() || !port.ends_with(']') => {
            (host, port.parse().map_err(|_| syntax())?)
        }
        (_, Some(usual)) => (place, usual),
        (_, None) => return Err(syntax()),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || port == 0 {
        return Err(syntax());
    }
    let unresolved = |cause: String| GuardError::Unresolved { host: host.to_owned(), cause };
    let resolved = (host, port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in resolved {
        let wanted = match family {
            Family::Any => true,
            Family::Four => address.is_ipv4(),
            Family::Six => address.is_ipv6(),
        };
        if wanted && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(unresolved(match family {
            Family::Any => "no address".to_owned(),
            Family::Four => "no IPv4 address (-4)".to_owned(),
            Family::Six => "no IPv6 address (-6)".to_owned(),
        }));
    }
    let foreign = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
    match foreign {
        Some(address) if !owned.iter().any(|name| name == host) => {
            Err(GuardError::NotOwned { host: host.to_owned(), address: address.ip() })
        }
        _ => Ok(Target { host: host.to_owned(), addresses, explicit }),
    }
}

impl Target {
    /// The first of its addresses that takes a connection; one alone is not tried here.
    ///
    /// # Errors
    ///
    /// [`GuardError::Unreachable`], with all of them.
    pub fn reach(&self) -> Result<SocketAddr, GuardError> {
        if let [only] = self.addresses[..] {
            return Ok(only);
        }
        let mut causes = Vec::new();
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, REACH) {
                Ok(_) => return Ok(*address),
                Err(error) => causes.push(format!("{address}: {error}")),
            }
        }
        let causes = causes.join("; ");
        Err(GuardError::Unreachable { host: self.host.clone(), causes })
    }
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
    use super::{Family, GuardError, Target, default_sources, open_files_refusal};

    fn admit(target: &str, owned: &[String]) -> Result<Target, GuardError> {
        super::admit(target, owned, Family::Any)
    }

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
    fn urls_say_how_tls_begins_and_need_no_port() {
        #[track_caller]
        fn check(target: &str, explicit: Option<bool>, address: &str) {
            let admitted = admit(target, &[]).unwrap();
            assert_eq!(admitted.explicit, explicit, "{target}");
            assert_eq!(admitted.addresses, [address.parse().unwrap()], "{target}");
        }
        check("127.0.0.1:990", None, "127.0.0.1:990");
        check("ftps://127.0.0.1", Some(false), "127.0.0.1:990");
        check("ftpes://127.0.0.1/", Some(true), "127.0.0.1:21");
        check("ftpes://127.0.0.1:2121", Some(true), "127.0.0.1:2121");
        check("ftps://[::1]", Some(false), "[::1]:990");
        check("ftps://[::1]:9990/", Some(false), "[::1]:9990");
        refused("ftp://127.0.0.1", &[], "ftpes://name for explicit");
        refused("ftps://alice:secret@127.0.0.1", &[], "RINGLOAD_PASSWORD");
        refused("ftps://127.0.0.1/file", &[], "--path");
        refused("ftps://", &[], "is no target");
    }

    #[test]
    fn a_family_can_be_asked_for_and_each_address_is_tried() {
        let six = super::admit("127.0.0.1:990", &[], Family::Six).unwrap_err();
        assert!(six.to_string().contains("no IPv6 address (-6)"), "{six}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let target = |addresses: Vec<std::net::SocketAddr>| Target {
            host: "name".to_owned(),
            addresses,
            explicit: None,
        };
        assert_eq!(target(vec![closed, open]).reach().unwrap(), open);
        assert_eq!(target(vec![closed]).reach().unwrap(), closed, "one alone is not tried");
        let text = target(vec![closed, closed]).reach().unwrap_err().to_string();
        assert_eq!(text.matches(&closed.to_string()).count(), 2, "{text}");
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
