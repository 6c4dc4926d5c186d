//! Whole transfers: every suite, both directions, full and resumed data connections, any size and
//! restart marker, and the kernel's own count of what it did.

use std::fs;

use rustls::CipherSuite;

use crate::content::bytes;
use crate::fixture::{Counts, MIB, SUITES, session, session_with, start, stop_and_count, tls_stat};
use crate::support::server::Builder;
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Server};

#[test]
fn every_suite_both_ways_full_and_resumed() {
    let server = start();
    let content = bytes(2 * MIB + 17, 1);
    fs::write(server.root().join("file"), &content).unwrap();
    let before = (tls_stat("TlsTxSw"), tls_stat("TlsRxSw"));
    for suite in SUITES {
        for resumed in [false, true] {
            let tls = server.tls().versions(TLS13).suite(suite);
            let mut client = session_with(&server, tls.clone());
            if !resumed {
                client.data_tls = tls.no_resumption();
            }
            let data = client.begin("RETR file");
            assert_eq!(data.resumed(), resumed, "{suite:?}");
            let negotiated = data.tls().unwrap().negotiated_cipher_suite().unwrap().suite();
            assert_eq!(negotiated, suite);
            assert!(client.receive(data) == content, "{suite:?} {resumed}");

            client.store("STOR new", &content);
            assert!(fs::read(server.root().join("new")).unwrap() == content, "{suite:?}");
            client.quit();
        }
    }
    let after = (tls_stat("TlsTxSw"), tls_stat("TlsRxSw"));
    assert_eq!(after.0 - before.0, 6, "sessions the kernel has sealed");
    assert_eq!(after.1 - before.1, 0, "sessions the kernel has opened");
    assert_eq!(tls_stat("TlsCurrTxSw"), 0, "a session is left over");
    assert_eq!(stop_and_count(server), Counts { ktls: 6, records: 6, fallbacks: 0 });
}

/// The kernel counts its records from where user space stopped; TLS 1.2 stays in user space.
#[test]
fn tls_1_2_stays_in_user_space() {
    let server = start();
    let content = bytes(MIB + 1, 2);
    fs::write(server.root().join("file"), &content).unwrap();
    let before = tls_stat("TlsTxSw");
    let mut client = session_with(&server, server.tls().versions(TLS12));
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(tls_stat("TlsTxSw"), before);
    assert_eq!(stop_and_count(server), Counts { ktls: 0, records: 1, fallbacks: 0 });
}

#[test]
fn sizes_and_restart_markers() {
    let server = start();
    let mut client = session(&server);
    for size in [MIB, MIB + 1, 2 * MIB - 1, 3 * MIB + 16_384, 3 * MIB + 17] {
        let content = bytes(size, size as u64);
        fs::write(server.root().join("file"), &content).unwrap();
        for offset in [0, 1, 4_095, 16_385, size - MIB, size - 1, size] {
            client.expect(format!("REST {offset}"), 350);
            assert!(client.retrieve("RETR file") == content[offset..], "{size} from {offset}");
        }
    }
    client.quit();
    // What is left is less than a megabyte at the last two markers of each size.
    let counts = stop_and_count(server);
    assert!(counts.ktls >= 5 * 4 && counts.records >= 5 * 2, "{counts:?}");
}

/// A hole is not in the page cache: read, and sent through the same sealed stream.
#[test]
fn cold_parts_are_read() {
    let server = start();
    let path = server.root().join("file");
    let mut expected = bytes(5 * MIB + 5, 3);
    let file = fs::File::create(&path).unwrap();
    file.set_len(expected.len() as u64).unwrap();
    expected[MIB + 3..4 * MIB].fill(0);
    std::os::unix::fs::FileExt::write_all_at(&file, &expected[..MIB + 3], 0).unwrap();
    let tail = &expected[4 * MIB..];
    std::os::unix::fs::FileExt::write_all_at(&file, tail, 4 * MIB as u64).unwrap();
    let mut client = session(&server);
    assert!(client.retrieve("RETR file") == expected);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

/// Records enough that the number of one takes two octets.
#[test]
fn two_hundred_and_fifty_six_mebibytes() {
    let server = start();
    let path = server.root().join("file");
    // Compared octet by octet: an emulated processor hashes slowly.
    let expected = bytes(256 * MIB, 4);
    fs::write(&path, &expected).unwrap();
    let tls = server.tls().versions(TLS13).suite(CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut client = session_with(&server, tls);
    let mut data = client.begin("RETR file");
    let mut rest = &expected[..];
    let end = loop {
        match data.fill() {
            Ok(()) => {
                rest = rest.strip_prefix(&data.received[..]).expect("octets that were not sent");
                data.received.clear();
            }
            Err(end) => break end,
        }
    };
    assert_eq!(rest.len(), 0, "octets that did not come");
    assert_eq!(end, End::CloseNotify);
    data.finish();
    client.expect_reply(226);
    client.quit();
    assert!(fs::read(&path).unwrap() == expected, "the file is another");
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

/// Downloads side by side on one shard, each with keys of its own.
#[test]
fn side_by_side() {
    let server = start();
    let contents: Vec<_> = (0..4).map(|seed| bytes(2 * MIB, 50 + seed)).collect();
    let mut running = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        fs::write(server.root().join(format!("file{index}")), content).unwrap();
        let mut client = session(&server);
        let data = crate::fixture::narrow_download(&mut client, &format!("file{index}"));
        running.push((client, data));
    }
    for ((mut client, data), content) in running.into_iter().zip(&contents) {
        assert!(client.receive(data) == *content);
        client.quit();
    }
    assert_eq!(stop_and_count(server), Counts { ktls: 4, records: 0, fallbacks: 0 });
}

#[test]
fn the_setting_switches_it_off() {
    let off = |builder: Builder| builder.toml("[tls]\nktls = \"off\"").start();
    let server = off(Server::builder());
    let content = bytes(MIB, 6);
    fs::write(server.root().join("file"), &content).unwrap();
    let before = tls_stat("TlsTxSw");
    let mut client: Client = session(&server);
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(tls_stat("TlsTxSw"), before);
    assert!(!server.log().contains("kernel TLS"));
    assert_eq!(stop_and_count(server), Counts { ktls: 0, records: 1, fallbacks: 0 });
}
