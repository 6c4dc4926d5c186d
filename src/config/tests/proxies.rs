//! The proxies that are believed.

use std::net::IpAddr;

use super::{Folder, overrides};

/// Who may be a proxy: networks and single addresses, no bits behind a network's, and somebody.
#[test]
fn who_may_be_one() {
    let folder = Folder::new();
    let load = |text: &str| folder.load(&format!("{text}\nanonymous.home = \"srv\""), &overrides());
    let from = "\"10.0.0.0/8\", \"2001:db8::5\", \"::ffff:192.0.2.1\", \"2001:db8:1::/48\"";
    let config =
        load(&format!("listen.proxy_protocol = true\nlisten.proxy_from = [{from}]")).unwrap();
    let listen = &config.settings.listen;
    assert!(listen.proxy_protocol && !config.settings.passive.proxy_protocol);
    let may = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        listen.proxy_from.iter().any(|network| network.contains(&address))
    };
    for (address, expected) in [
        ("10.1.2.3", true),
        ("11.0.0.0", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("2001:db8::5", true),
        ("2001:db8::6", false),
        ("2001:db8:1:ffff::1", true),
    ] {
        assert_eq!(may(address), expected, "{address}");
    }
    assert_eq!(folder.warnings(&config), [""; 0]);
    for (text, expected) in [
        ("listen.proxy_protocol = true", "listen.proxy_protocol: nobody may connect: "),
        ("passive.proxy_protocol = true", "passive.proxy_protocol: nobody may connect: "),
        (
            "listen.proxy_from = [\"10.0.0.1/8\"]",
            "listen.proxy_from: \"10.0.0.1/8\" has bits behind its 8; write it as \"10.0.0.0/8\"",
        ),
        (
            "listen.proxy_from = [\"lb.example.org\"]",
            "listen.proxy_from: \"lb.example.org\" is no network; write it as \"10.0.0.0/24\" or \
             \"2001:db8::5\"",
        ),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (text, expected) in [
        ("listen.proxy_from = [\"::1\"]", "has no effect without listen.proxy_protocol"),
        (
            "passive.proxy_protocol = true\nlisten.proxy_from = [\"0.0.0.0/0\"]",
            "listen.proxy_from: everybody can name any address as the client's",
        ),
        (
            "listen.proxy_protocol = true\nlisten.proxy_from = [\"::1\"]\n\
             shards.steering = \"source\"",
            "shards.steering: the kernel sees the proxy's address only: ",
        ),
    ] {
        let warnings = folder.warnings(&load(text).unwrap());
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    }
}
