//! CWD, CDUP, PWD, MKD, RMD, DELE, RNFR and RNTO: RFC 959 §4.1.3 and appendix II.

use crate::fixture::{alice, dialogue, expect_one_of, on_both, own, strict};
use crate::support::{Client, Server};

/// [FILE-04] CWD and CDUP are 250; nothing, or a file, 550; CDUP at the root stays there.
#[test]
fn cwd_and_cdup() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file04");
        client.store("STOR file", b"");
        dialogue(
            &mut client,
            &[
                ("MKD sub", 257),
                ("CWD sub", 250),
                ("CDUP", 250),
                ("CWD absent", 550),
                ("CWD file", 550),
                ("CWD", 501),
            ],
        );
        let place = format!("/{}", own("file04", listener));
        assert_eq!(client.expect("PWD", 257).quoted(), place.as_bytes());
        client.expect("CDUP", 250);
        expect_one_of(&mut client, "CDUP", &[250, 550]);
        assert_eq!(client.expect("PWD", 257).quoted(), b"/");
    });
}

/// [FILE-05] PWD is 257, the absolute path quoted.
#[test]
fn pwd_is_quoted_and_absolute() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        assert_eq!(client.expect("PWD", 257).quoted(), b"/");
        let mut client = client.within(&server, &own("file05", listener));
        let place = format!("/{}", own("file05", listener));
        assert_eq!(client.expect("PWD", 257).quoted(), place.as_bytes());
    });
}

/// [FILE-06] [FILE-07] MKD is 257 with the absolute name; an existing one 550.
#[test]
fn mkd() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file06");
        let place = format!("/{}", own("file06", listener));
        assert_eq!(client.expect("MKD sub", 257).quoted(), format!("{place}/sub").as_bytes());
        let absolute = format!("{place}/other");
        assert_eq!(client.expect(format!("MKD {absolute}"), 257).quoted(), absolute.as_bytes());
        client.store("STOR file", b"");
        for taken in ["MKD sub", "MKD file", "MKD absent/sub"] {
            expect_one_of(&mut client, taken, &[521, 550]);
        }
        client.expect("MKD", 501);
    });
}

/// [FILE-08] RMD is 250; not empty, a file, or nothing 550.
#[test]
fn rmd() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file08");
        client.store("STOR file", b"");
        dialogue(
            &mut client,
            &[
                ("MKD full", 257),
                ("MKD full/sub", 257),
                ("RMD full", 550),
                ("RMD file", 550),
                ("RMD absent", 550),
                ("RMD", 501),
                ("RMD full/sub", 250),
                ("RMD full", 250),
                ("RMD full", 550),
            ],
        );
    });
}

/// [FILE-09] DELE is 250; a directory or nothing 550.
#[test]
fn dele() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file09");
        client.store("STOR file", b"");
        dialogue(
            &mut client,
            &[
                ("MKD sub", 257),
                ("DELE file", 250),
                ("DELE file", 550),
                ("DELE sub", 550),
                ("DELE", 501),
            ],
        );
    });
}

/// [FILE-15] [FILE-16] RNFR 350, RNTO 250: files and directories, replacing an existing file.
#[test]
fn rename() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file15");
        client.store("STOR a", b"contents of a");
        client.store("STOR b", b"contents of b");
        dialogue(&mut client, &[("RNFR a", 350), ("RNTO b", 250), ("SIZE a", 550)]);
        assert_eq!(client.retrieve("RETR b"), b"contents of a");
        dialogue(&mut client, &[("MKD d", 257), ("RNFR d", 350), ("RNTO e", 250), ("CWD e", 250)]);
        dialogue(&mut client, &[("RNFR ../b", 350), ("RNTO c", 250), ("SIZE c", 213)]);
    });
}

/// [FILE-17] RNFR of nothing is 550; RNTO where it cannot be is 553, never 550.
#[test]
fn rename_refusals() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file17");
        client.store("STOR a", b"");
        dialogue(
            &mut client,
            &[
                ("RNFR absent", 550),
                ("RNTO x", 503),
                ("RNFR", 501),
                ("RNFR a", 350),
                ("RNTO absent/b", 553),
                ("MKD d", 257),
                ("RNFR a", 350),
                ("RNTO d", 553),
                ("RNFR d", 350),
                ("RNTO d/inside", 553),
                ("SIZE a", 213),
            ],
        );
    });
}

/// [FILE-18] RNTO that does not come right after RNFR is 503.
#[test]
fn rnto_must_follow_rnfr() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file18");
        client.store("STOR a", b"");
        dialogue(
            &mut client,
            &[
                ("RNTO b", 503),
                ("RNFR a", 350),
                ("PWD", 257),
                ("RNTO b", 503),
                ("RNFR a", 350),
                ("RNTO b", 250),
                ("RNTO c", 503),
                ("RNFR b", 350),
                ("RNFR absent", 550),
                ("RNTO c", 503),
                ("RNFR b", 350),
                ("RNTO absent/c", 553),
                ("RNTO c", 503),
                ("SIZE b", 213),
            ],
        );
    });
}

/// [FILE-06] [FILE-08] [FILE-09] [FILE-17] Each permission guards its commands, whatever the others
/// are; the table's code is used for each refusal.
#[test]
fn permissions_guard_their_commands() {
    let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
    type Refused<'a> = &'a [(&'a str, &'a [u16])];
    let cases: &[(&str, Refused<'_>)] = &[
        ("read", &[("RETR file", &[550]), ("HASH file", &[550, 552, 556])]),
        ("list", &[("LIST", &[550]), ("NLST", &[550]), ("MLSD", &[550]), ("STAT .", &[550])]),
        ("write", &[("STOR new", &[553]), ("STOU", &[553]), ("MFMT 20200101000000 file", &[550])]),
        ("append", &[("APPE file", &[550, 553])]),
        ("delete", &[("DELE file", &[550]), ("RMD sub", &[550])]),
        ("rename", &[("RNFR file", &[550])]),
        ("mkdir", &[("MKD new", &[550])]),
    ];
    let mut builder = Server::builder();
    for (missing, _) in cases {
        let rest: Vec<_> = all.into_iter().filter(|name| name != missing).collect();
        builder = builder.user(&format!("no-{missing}"), &rest, "");
    }
    let server = builder.start();
    let mut owner = Client::implicit(&server).login().within(&server, "guard");
    owner.store("STOR file", b"bytes");
    owner.expect("MKD sub", 257);
    for (missing, commands) in cases {
        let mut client = Client::implicit(&server).login_as(&format!("no-{missing}"));
        dialogue(&mut client, &[("CWD guard", 250), ("TYPE I", 200)]);
        for (command, codes) in *commands {
            client.epsv();
            expect_one_of(&mut client, command, codes);
        }
        if *missing != "read" {
            assert_eq!(client.retrieve("RETR file"), b"bytes");
        }
    }
}
