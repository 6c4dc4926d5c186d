//! Sockets that the service manager has opened and passes to the server (sd_listen_fds(3)). Their
//! names say what they are for, in the words of the configuration; they stay the manager's: what
//! waits there while the server is restarted waits for the next one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::SockRef;

use super::sockets::{Held, Purpose, Sockets};
use crate::config::{ListenAddress, Settings, Steering};
use crate::sys::process;

/// The names, and what each is for.
const NAMES: [(&str, &str); 4] = [
    ("implicit", "listen.implicit"),
    ("explicit", "listen.explicit"),
    ("metrics", "metrics.listen"),
    ("control", "control.socket"),
];

/// What the service manager passes; nothing where it passes nothing.
///
/// # Errors
///
/// A line for each descriptor that cannot be used: which, why, and what to do about it.
pub(super) fn passed() -> Result<Sockets, String> {
    let passed = process::passed_descriptors()
        .map_err(|error| format!("sockets of the service manager (LISTEN_FDS): {error}"))?;
    let (mut held, mut problems) = (Vec::new(), Vec::new());
    for (index, (name, socket)) in passed.into_iter().enumerate() {
        match purpose(&name, &socket) {
            Ok(purpose) => held.push(Held { purpose, socket, lasting: true }),
            Err(problem) => problems.push(format!(
                "descriptor {} of the service manager, named \"{}\": {problem}",
                index + 3,
                name.escape_default()
            )),
        }
    }
    if problems.is_empty() { Ok(Sockets::new(held)) } else { Err(problems.join("\n")) }
}

fn purpose(name: &str, socket: &OwnedFd) -> Result<Purpose, String> {
    let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == name) else {
        let known = NAMES.map(|(known, _)| known).join(", ");
        return Err(format!(
            "nothing here has this name; write FileDescriptorName= with one of {known} in its \
             socket unit"
        ));
    };
    let listens = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_acceptconn(socket).unwrap_or(false);
    if !listens {
        return Err("is no socket that listens; use ListenStream= and Accept=no".to_owned());
    }
    if name == "control" {
        return path_of(socket).map(Purpose::Control).ok_or_else(|| {
            format!("is for {key}, but has no pathname; use ListenStream= with one")
        });
    }
    let address = SockRef::from(socket).local_addr().ok().and_then(|address| address.as_socket());
    let Some(address) = address else {
        return Err(format!(
            "is for {key}, but has no address of IP; use ListenStream= with address and port"
        ));
    };
    if takes_both_families(socket) {
        return Err(format!(
            "{address} takes IPv4, too; write BindIPv6Only=ipv6-only, and a ListenStream= for each \
             family"
        ));
    }
    Ok(match name {
        "implicit" => Purpose::Implicit(address),
        "explicit" => Purpose::Explicit(address),
        _ => Purpose::Metrics(address),
    })
}

fn takes_both_families(socket: impl AsFd) -> bool {
    sockopt::socket_domain(&socket).is_ok_and(|family| family == AddressFamily::INET6)
        && !sockopt::ipv6_v6only(&socket).unwrap_or(true)
}

fn path_of(socket: &OwnedFd) -> Option<PathBuf> {
    let address = SockRef::from(socket).local_addr().ok()?;
    address.as_pathname().map(Path::to_owned)
}

/// Whether the configuration has a place for each of them; `control` is where that socket is to be.
/// What works and deserves a second look is returned.
///
/// # Errors
///
/// A line for each that it has none for.
pub(super) fn check(
    sockets: &Sockets,
    settings: &Settings,
    control: Option<&Path>,
    shards: usize,
) -> Result<Vec<String>, String> {
    let problems: Vec<_> =
        sockets.purposes().filter_map(|purpose| misplaced(purpose, settings, control)).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let mut counts = BTreeMap::<SocketAddr, usize>::new();
    for purpose in sockets.purposes() {
        if let Purpose::Implicit(address) | Purpose::Explicit(address) = purpose {
            *counts.entry(*address).or_default() += 1;
        }
    }
    let steered = settings.shards.steering != Steering::Kernel;
    let fewer = counts.into_iter().filter(|(_, count)| steered && *count < shards);
    let warning = |(address, count)| {
        format!(
            "shards.steering: the service manager passes {count} of {shards} sockets for \
             {address}, so several shards accept on one and connections come to any of them; pass \
             one a shard (ReusePort=yes)"
        )
    };
    Ok(fewer.map(warning).collect())
}

/// Why the configuration has no place for it.
fn misplaced(purpose: &Purpose, settings: &Settings, control: Option<&Path>) -> Option<String> {
    let listed = |list: &[ListenAddress], address: &SocketAddr| {
        list.iter().any(|one| {
            let ports = &one.ports;
            one.hosts.contains(&address.ip())
                && (ports.contains(&address.port()) || ports.contains(&0))
        })
    };
    let texts = |list: &[ListenAddress]| {
        let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "off".to_owned() } else { texts.join(", ") }
    };
    let (name, key, there, wanted, fits) = match purpose {
        Purpose::Implicit(address) => {
            let list = &settings.listen.implicit;
            ("implicit", "listen.implicit", address.to_string(), texts(list), listed(list, address))
        }
        Purpose::Explicit(address) => {
            let list = &settings.listen.explicit;
            ("explicit", "listen.explicit", address.to_string(), texts(list), listed(list, address))
        }
        Purpose::Metrics(address) => {
            let wanted = settings.metrics.listen;
            let fits = wanted.is_some_and(|wanted| {
                wanted.ip() == address.ip() && [0, address.port()].contains(&wanted.port())
            });
            let wanted = wanted.map_or("off".to_owned(), |wanted| wanted.to_string());
            ("metrics", "metrics.listen", address.to_string(), wanted, fits)
        }
        Purpose::Control(path) => {
            let wanted = control.and_then(|path| std::path::absolute(path).ok());
            let fits = wanted.as_deref() == Some(path);
            let wanted = wanted.map_or("off".to_owned(), |wanted| wanted.display().to_string());
            ("control", "control.socket", path.display().to_string(), wanted, fits)
        }
    };
    (!fits).then(|| {
        format!(
            "{key}: the service manager passes a socket named \"{name}\" that listens at {there}, \
             and the configuration has {wanted}; make ListenStream= of its socket unit and {key} \
             the same"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use socket2::{Domain, Socket, Type};

    #[track_caller]
    fn refused(name: &str, socket: impl Into<OwnedFd>, part: &str) {
        let error = purpose(name, &socket.into()).unwrap_err();
        assert!(error.contains(part) && error.contains("; "), "{error}");
    }

    #[test]
    fn each_is_what_its_name_says_or_refused() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = bind();
        let address = socket.local_addr().unwrap();
        assert_eq!(purpose("implicit", &socket.into()), Ok(Purpose::Implicit(address)));
        refused("ringftpd.socket", bind(), "one of implicit, explicit, metrics, control");
        refused("implicit", UdpSocket::bind("127.0.0.1:0").unwrap(), "no socket that listens");
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        refused("explicit", silent, "no socket that listens");
        refused("control", bind(), "has no pathname");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        refused("metrics", UnixListener::bind(&path).unwrap(), "no address of IP");
        std::fs::remove_file(&path).unwrap();
        let control = UnixListener::bind(&path).unwrap();
        assert_eq!(purpose("control", &control.into()), Ok(Purpose::Control(path)));
        // Of both families.
        let both = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        both.listen(1).unwrap();
        refused("implicit", both, "BindIPv6Only=ipv6-only");
        refused("implicit", std::fs::File::open("/dev/null").unwrap(), "no socket that listens");
    }

    #[test]
    fn each_has_its_place_in_the_configuration() {
        let mut settings = Settings::default();
        settings.listen.implicit = vec![":990".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        settings.listen.explicit = Vec::new();
        settings.metrics.listen = Some("127.0.0.1:9121".parse().unwrap());
        let control = Path::new("/run/ringftpd/ctl.sock");
        let of = |purpose: Purpose| misplaced(&purpose, &settings, Some(control));
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for good in [
            Purpose::Implicit(at("0.0.0.0:990")),
            Purpose::Implicit(at("[::]:990")),
            Purpose::Implicit(at("127.0.0.1:4711")),
            Purpose::Metrics(at("127.0.0.1:9121")),
            Purpose::Control(control.to_owned()),
        ] {
            assert_eq!(of(good.clone()), None, "{good:?}");
        }
        for (wrong, part) in [
            (
                Purpose::Implicit(at("0.0.0.0:991")),
                "at 0.0.0.0:991, and the configuration has :990",
            ),
            (Purpose::Implicit(at("127.0.0.2:990")), "listen.implicit: "),
            (Purpose::Explicit(at("0.0.0.0:990")), "the configuration has off; "),
            (Purpose::Metrics(at("127.0.0.1:9122")), "has 127.0.0.1:9121; "),
            (Purpose::Control("/run/other".into()), "has /run/ringftpd/ctl.sock; "),
        ] {
            let problem = of(wrong).unwrap();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn steering_needs_a_socket_a_shard() {
        let mut settings = Settings::default();
        settings.listen.implicit = vec!["127.0.0.1:0".parse().unwrap()];
        let sockets = || {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let purpose = Purpose::Implicit(socket.local_addr().unwrap());
            Sockets::new(vec![Held { purpose, socket: socket.into(), lasting: true }])
        };
        let warnings = |settings: &Settings, shards| check(&sockets(), settings, None, shards);
        assert_eq!(warnings(&settings, 2), Ok(Vec::new()));
        settings.shards.steering = Steering::Source;
        assert_eq!(warnings(&settings, 1), Ok(Vec::new()));
        assert!(warnings(&settings, 2).unwrap()[0].contains("passes 1 of 2 sockets"));
    }
}
