//! What clients in the field do beyond the standards: commands they probe, orders they keep.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fixture::{
    alice, dialogue, expect_one_of, on_both, on_both_in_each_version, own, relaxed, strict,
};
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener, Server, wait_until};

/// [FIELD-01] CLNT is 200, before the log-in too: FileZilla and WinSCP send it first.
#[test]
fn clnt_is_welcome() {
    let server = strict();
    Client::plain(&server).expect("CLNT any client 1.0", 200);
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("CLNT FileZilla", 200);
        client.login().expect("CLNT", 200);
    });
}

/// [FIELD-14] CSID is 200 with the server's name, before the log-in too: WinSCP sends it where FEAT
/// has it, and shows the name.
#[test]
fn csid_names_the_server() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        assert!(client.expect("FEAT", 211).has_feature("CSID"));
        let line = client.expect("CSID Name=WinSCP;Version=6.5;", 200).line();
        assert!(line.starts_with("Name=ringftpd;"), "{line}");
        client.expect("CSID", 501);
        client.login().expect("CSID Name=WinSCP;Version=6.5;", 200);
    });
}

/// [FIELD-02] XCRC, XMD5, XSHA1, XSHA256 and XSHA512 give the digest clients compare, of a range
/// as well, and are listed in FEAT.
#[test]
fn x_hash_commands() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field02");
        client.store("STOR a file", b"xabcx");
        let feat = client.expect("FEAT", 211);
        for (verb, digest) in [
            ("XCRC", "352441c2"),
            ("XMD5", "900150983cd24fb0d6963f7d28e17f72"),
            ("XSHA1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("XSHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "XSHA512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert!(feat.has_feature(verb), "no {verb}: {}", feat.text());
            let reply = client.cmd(format!("{verb} \"a file\" 1 4"));
            assert!(reply.code == 213 || reply.code == 250, "{verb}: {reply:?}");
            assert!(reply.text().to_ascii_lowercase().contains(digest), "{verb}: {reply:?}");
            client.expect(format!("{verb} absent"), 550);
            client.expect(verb, 501);
            // Without quotes the whole argument is the name.
            let whole = client.cmd(format!("{verb} a file"));
            assert!(whole.code == 213 || whole.code == 250, "{verb}: {whole:?}");
        }
    });
}

/// [FIELD-03] AVBL is 213 and a number of octets; for nothing it is 550.
#[test]
fn avbl_tells_the_free_space() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field03");
        let octets: u64 = client.expect("AVBL", 213).line().trim().parse().unwrap();
        assert!(octets > 0);
        client.expect("MKD sub", 257);
        client.expect("AVBL sub", 213);
        client.expect("AVBL absent", 550);
    });
}

/// [FIELD-04] SITE CHMOD, UTIME and HELP, with the rights of MFF.
#[test]
fn site_commands() {
    use std::os::unix::fs::PermissionsExt;
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field04");
        client.store("STOR a file", b"x");
        client.expect("SITE CHMOD 600 a file", 200);
        let path = server.root().join(own("field04", listener)).join("a file");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        client.expect("SITE UTIME 20010909014640 a file", 200);
        assert!(client.expect("MDTM a file", 213).line().starts_with("20010909014640"));
        let three = "SITE UTIME a file 20020101000000 20030101000000 20040101000000 UTC";
        client.expect(three, 200);
        assert!(client.expect("MDTM a file", 213).line().starts_with("20030101000000"));
        for bad in ["SITE CHMOD", "SITE CHMOD 9 a file", "SITE CHMOD 77777 x", "SITE UTIME x y"] {
            client.expect(bad, 501);
        }
        client.expect("SITE CHMOD 600 absent", 550);
        let help = client.expect("SITE HELP", 214).text();
        assert!(help.contains("CHMOD") && help.contains("UTIME"), "{help}");
        let mut reader = Client::open(&server, listener).login_as("bob");
        reader.expect(format!("SITE CHMOD 777 /{}/a file", own("field04", listener)), 550);
    });
}

/// [FIELD-13] SITE MKDIR makes the directories above as well, needs the right to make directories,
/// and is listed: lftp and FluentFTP send it for `mkdir -p` where FEAT has it.
#[test]
fn site_mkdir_makes_the_directories_above() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field13");
        assert!(client.expect("FEAT", 211).has_feature("SITE MKDIR"));
        assert!(client.expect("SITE HELP", 214).text().contains("MKDIR"));
        client.expect("SITE MKDIR a b/c/d", 200);
        client.expect("site mkdir a b/c/d", 200);
        client.expect("CWD a b/c/d", 250);
        client.expect("SITE MKDIR ../../e", 200);
        client.expect("CWD ../../e", 250);
        client.store("STOR file", b"x");
        client.expect("SITE MKDIR file", 550);
        client.expect("SITE MKDIR file/below", 550);
        client.expect("SITE MKDIR", 501);
        client.expect("SITE MKDIR ", 501);
        let mut reader = Client::open(&server, listener).login_as("bob");
        reader.expect("SITE MKDIR new/sub", 550);
        Client::open(&server, listener).expect("SITE MKDIR new/sub", 530);
    });
}

/// [FIELD-05] Two tickets or a usable session id are there before the first data connection, and
/// several data connections in a row resume.
#[test]
fn sessions_resume_again_and_again() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = Client::open_with(&server, listener, tls).login();
        for n in 0..4 {
            let data = client.begin("LIST");
            assert!(data.resumed(), "data connection {n} on {listener:?}: full handshake");
            client.receive(data);
        }
    });
}

/// [FIELD-06] A client may connect to the passive port and go away without a command: the next
/// EPSV replaces the listener.
#[test]
fn abandoned_passive_connections() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field06");
        for _ in 0..5 {
            drop(client.passive());
        }
        client.retrieve("LIST");
    });
}

/// [FIELD-07] `LIST -aL`, `NLST -a` and their like are options, not names.
#[test]
fn listing_options_of_old_clients() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field07");
        client.store("STOR file", b"");
        for command in ["LIST -aL", "LIST -la -F", "NLST -a", "NLST -la", "STAT -la"] {
            if command.starts_with("STAT") {
                expect_one_of(&mut client, command, &[211, 212, 213]);
                continue;
            }
            let lines = client.list(command);
            assert!(lines.iter().any(|line| line.ends_with(b"file")), "{command}: {lines:?}");
        }
    });
}

/// [FIELD-08] No certificate is asked of the client unless an authority for clients is configured:
/// some clients choke on the request.
#[test]
fn no_certificate_request_by_default() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::raw(&server, Listener::Implicit);
        client.wire.handshake(&tls).unwrap();
        assert_eq!(tls.certificate_requests(), 0);
        client.expect_reply(220);
    }
}

/// [FIELD-09] Keep-alive NOOPs during a transfer are answered behind its 226, one reply each, even
/// when there are many.
#[test]
fn many_keep_alives_during_a_transfer() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field09");
        let data = client.begin("STOR file");
        for _ in 0..300 {
            client.send("NOOP");
        }
        client.deliver(data, b"bytes");
        for _ in 0..300 {
            client.expect_reply(200);
        }
        client.wire.expect_silence(Duration::from_millis(20));
    });
}

/// [FIELD-10] curl closes the control connection right after ABOR or in mid-download: nothing is
/// left behind, and the next session is served.
#[test]
fn vanishing_clients_leave_nothing() {
    let server = Server::builder().start();
    // What is open, not how often: a listener is open once more while it waits.
    let open = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        entries.filter_map(|entry| entry.ok()?.path().read_link().ok()).collect::<BTreeSet<_>>()
    };
    let mut survivor = Client::implicit(&server).login().within(&server, "field10");
    let huge = std::fs::File::create(server.root().join("field10/huge")).unwrap();
    huge.set_len(64 << 20).unwrap();
    let before = open();
    for n in 0..20 {
        let mut client = Client::implicit(&server).login();
        let mut data = client.begin("RETR field10/huge");
        match n % 4 {
            0 => client.send("ABOR"),
            1 => client.wire.reset(),
            2 => client.wire.fin(),
            _ => drop(data.fill()),
        }
    }
    wait_until("nothing is open that was not before", || open().is_subset(&before));
    dialogue(&mut survivor, &[("NOOP", 200), ("SIZE huge", 213)]);
    survivor.expect("QUIT", 221);
    survivor.expect_end(End::CloseNotify);
}

/// [FIELD-11] A passive range that is used up is 425, and a port given back serves again.
#[test]
fn exhausted_passive_range_is_425() {
    let config = "[passive]\nports = \"28117-28118\"\n[shards]\ncpus = \"0\"";
    let server = Server::builder().toml(config).start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::implicit(&server).login()).collect();
    clients[0].expect("EPSV", 229);
    clients[1].expect("EPSV", 229);
    clients[2].expect("EPSV", 425);
    clients[2].expect("PASV", 425);
    clients[0].expect("ABOR", 226);
    clients[2].retrieve("LIST");
}

/// [FIELD-12] TYPE and the protection level survive a failed transfer.
#[test]
fn parameters_survive_failures() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "field12");
        client.store("STOR file", b"a\n");
        client.refused("RETR absent", 550);
        let data = client.passive();
        client.expect("STOR lost", 150);
        data.reset();
        expect_one_of_reply(&mut client, &[425, 426, 451, 522]);
        assert_eq!(client.retrieve("RETR file"), b"a\n");
    });
}

#[track_caller]
fn expect_one_of_reply(client: &mut Client, codes: &[u16]) {
    let reply = client.reply();
    assert!(codes.contains(&reply.code), "{reply:?} is not one of {codes:?}");
}
