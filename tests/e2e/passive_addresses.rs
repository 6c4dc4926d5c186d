//! What replies to PASV show, by who asks: an address, the one connected to, or a name's, which is
//! looked up while the server runs.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::reload::{accepted, set};
use crate::support::{Client, Listener, Server, Wire, wait_until};

const CONFIG: &str = "[policy]\nrequire_control_tls = false\nrequire_data_tls = false\n";

/// A client at this address.
#[track_caller]
fn client(server: &Server, from: [u8; 4]) -> Client {
    let from = IpAddr::V4(from.into());
    let wire = Wire::connect_from(from, server.address(Listener::Explicit));
    let mut client = Client::from_wire(server, Listener::Explicit, wire);
    client.expect_reply(220);
    client.login()
}

/// What a client there is shown; `None` when it is refused.
#[track_caller]
fn shown(server: &Server, from: [u8; 4]) -> Option<IpAddr> {
    let mut client = client(server, from);
    let reply = client.cmd("PASV");
    match reply.code {
        227 => Some(crate::support::client::pasv_address(&reply).ip()),
        425 => {
            // Nothing is left open, and EPSV, which shows no address, goes on.
            client.expect("LIST", 425);
            client.retrieve("LIST");
            None
        }
        code => panic!("{code}"),
    }
}

fn host(octets: [u8; 4]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(octets).into())
}

#[test]
fn by_the_clients_network() {
    let rules = "[passive]\naddress = [\"127.0.0.0/30 control\", \"127.0.0.8 198.51.100.8\", \
                 \"127.0.0.9 localhost\", \"203.0.113.7\"]";
    let server = Server::builder().toml(CONFIG).toml(rules).start();
    for (from, expected) in [
        ([127, 0, 0, 1], [127, 0, 0, 1]),
        ([127, 0, 0, 8], [198, 51, 100, 8]),
        ([127, 0, 0, 9], [127, 0, 0, 1]),
        ([127, 0, 0, 10], [203, 0, 113, 7]),
    ] {
        assert_eq!(shown(&server, from), host(expected), "{from:?}");
    }
    set(&server, "passive.address = \"127.0.0.9 198.51.100.9\"");
    accepted(&server, "passive.address");
    assert_eq!(shown(&server, [127, 0, 0, 9]), host([198, 51, 100, 9]));
    // Without a rule for it, a client is shown what it has connected to.
    assert_eq!(shown(&server, [127, 0, 0, 10]), host([127, 0, 0, 1]));
}

/// Starts the server with another /etc/hosts, in a mount namespace of its own; needs root, as the
/// tests of tests/run have.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

fn is_told(server: &Server, text: &str) -> bool {
    server.log().lines().any(|line| line.contains(text))
}

/// The address follows the name, without a reload; a name that is lost keeps its address, and one
/// that never had any refuses PASV until it has.
#[test]
fn a_name_is_looked_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let name = |address: &str| {
        // In place: the file itself is what is mounted.
        fs::write(&hosts, format!("127.0.0.1 localhost\n{address} ftp.ringftpd.invalid\n"))
            .unwrap();
    };
    let rules = "[passive]\naddress = \"ftp.ringftpd.invalid\"\nlookup = \"1s\"";
    name("#");
    let server = start_with_hosts(&hosts, rules);
    assert_eq!(shown(&server, [127, 0, 0, 1]), None);
    // Lines are written a moment later than they are told.
    wait_until("the log says so", || is_told(&server, "passive.address cannot be looked up"));
    for address in [[203, 0, 113, 7], [203, 0, 113, 8]] {
        name(&Ipv4Addr::from(address).to_string());
        wait_until("the new address", || shown(&server, [127, 0, 0, 1]) == host(address));
    }
    name("#");
    let warnings = || server.log().matches("cannot be looked up").count();
    wait_until("a failed look-up", || warnings() == 2);
    assert_eq!(shown(&server, [127, 0, 0, 1]), host([203, 0, 113, 8]));
}

#[track_caller]
fn start_with_hosts(hosts: &Path, rules: &str) -> Server {
    let hosts = hosts.to_str().unwrap();
    let through = ["unshare", "--mount", "sh", "-c", WITH_HOSTS, hosts];
    Server::builder().toml(CONFIG).toml(rules).through(&through).start()
}
