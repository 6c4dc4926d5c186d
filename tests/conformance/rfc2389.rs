//! FEAT and OPTS (RFC 2389), and the small informative commands beside them (RFC 959 §4.1.3).

use crate::fixture::{alice, dialogue, expect_one_of, on_both, strict};
use crate::support::Client;

/// [FEAT-01] `211-`, lines of one space and a feature, `211 End`.
#[test]
fn feat_has_its_exact_form() {
    let server = strict();
    on_both(|listener| {
        let feat = Client::open(&server, listener).expect("FEAT", 211);
        assert!(feat.lines.len() > 2, "{feat:?}");
        assert_eq!(feat.lines.last().unwrap().to_ascii_lowercase(), b"end");
        for line in feat.inner() {
            assert_eq!(line[0], b' ');
            assert!(line[1].is_ascii_graphic(), "{}", line.escape_ascii());
            assert!(!line.ends_with(b" "), "{}", line.escape_ascii());
        }
    });
}

/// [FEAT-02] [FEAT-10] No lines for FEAT, OPTS and MLSD.
#[test]
fn feat_omits_what_is_implied() {
    let server = strict();
    let feat = Client::implicit(&server).expect("FEAT", 211);
    for line in feat.inner() {
        let word = line[1..].split(|byte| *byte == b' ').next().unwrap();
        assert!(![&b"FEAT"[..], b"OPTS", b"MLSD"].contains(&word), "{}", feat.text());
    }
}

/// [FEAT-03] With an argument it is 501.
#[test]
fn feat_takes_no_argument() {
    let server = strict();
    on_both(|listener| {
        Client::open(&server, listener).expect("FEAT SIZE", 501);
    });
}

/// [FEAT-04] Served before the log-in, in clear and under TLS.
#[test]
fn feat_is_served_before_login() {
    let server = strict();
    Client::plain(&server).expect("FEAT", 211);
    on_both(|listener| {
        Client::open(&server, listener).expect("FEAT", 211);
    });
}

/// [FEAT-06] Every extension that is implemented is listed.
#[test]
fn every_extension_is_listed() {
    let server = strict();
    on_both(|listener| {
        let feat = Client::open(&server, listener).expect("FEAT", 211);
        for feature in [
            "AUTH TLS;SSL;",
            "PBSZ",
            "PROT C;P;",
            "UTF8",
            "SIZE",
            "MDTM",
            "REST STREAM",
            "TVFS",
            "MFMT",
            "HOST",
            "EPSV",
            "EPRT",
            "MLST type*;size*;modify*;perm*;unique*;UNIX.mode;",
        ] {
            let listed = feat.has_feature(feature)
                || feature.starts_with("MLST")
                    && feat.has_feature("MLST type*;size*;modify*;perm*;unique*;");
            assert!(listed, "no {feature}: {}", feat.text());
        }
        for start in [" LANG EN*", " HASH ", " MFF "] {
            let listed = feat.inner().iter().any(|line| line.starts_with(start.as_bytes()));
            assert!(listed, "no{start}: {}", feat.text());
        }
    });
}

/// [FEAT-07] Nothing is listed that is not implemented: no listed verb is unknown, and CCC is
/// listed only where it can succeed.
#[test]
fn only_what_works_is_listed() {
    let strict = strict();
    let relaxed = crate::fixture::relaxed();
    let mut client = Client::explicit(&strict).login();
    let feat = client.expect("FEAT", 211);
    assert!(!feat.has_feature("CCC"), "CCC is off by policy");
    assert!(Client::explicit(&relaxed).expect("FEAT", 211).has_feature("CCC"));
    assert!(!Client::implicit(&relaxed).expect("FEAT", 211).has_feature("CCC"));
    for line in feat.inner() {
        let word = line[1..].split(|byte| *byte == b' ').next().unwrap();
        if matches!(word, b"UTF8" | b"TVFS" | b"AUTH") {
            continue;
        }
        let reply = client.cmd(word);
        assert!(![500, 502].contains(&reply.code), "{} → {reply:?}", word.escape_ascii());
    }
}

/// [FEAT-08] The REST line is exactly `REST STREAM`.
#[test]
fn rest_line_is_exact() {
    let server = strict();
    let feat = Client::implicit(&server).expect("FEAT", 211);
    let lines: Vec<_> = feat.inner().iter().filter(|line| line.starts_with(b" REST")).collect();
    assert_eq!(lines, [b" REST STREAM"]);
}

/// [FEAT-09] type, size, modify, perm and unique all exist and are selected at first.
#[test]
fn the_five_facts_exist() {
    let server = strict();
    let feat = Client::implicit(&server).expect("FEAT", 211);
    let line = feat.inner().iter().find(|line| line.starts_with(b" MLST ")).unwrap();
    let line = String::from_utf8_lossy(line).into_owned();
    for fact in ["type*;", "size*;", "modify*;", "perm*;", "unique*;"] {
        assert!(line.contains(fact), "{line}");
    }
}

/// [OPTS-01] The selection of facts is echoed, holds for MLST and MLSD, and moves FEAT's asterisks.
#[test]
fn opts_mlst_selects_facts() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "opts01");
        client.store("STOR file", b"12345");
        let reply = client.expect("OPTS MLST size;type;", 200);
        let echoed = reply.text();
        assert!(echoed.starts_with("MLST OPTS "), "{echoed}");
        let mut facts: Vec<_> = echoed["MLST OPTS ".len()..].split_terminator(';').collect();
        facts.sort_unstable();
        assert_eq!(facts, ["size", "type"]);
        let mlst =
            String::from_utf8_lossy(&client.expect("MLST file", 250).inner()[0]).into_owned();
        assert!(mlst.contains("size=5;") && !mlst.contains("modify="), "{mlst}");
        for line in client.list("MLSD") {
            assert!(!String::from_utf8_lossy(&line).contains("perm="));
        }
        let feat = client.expect("FEAT", 211).text();
        assert!(feat.contains("type*;") && feat.contains("modify;"), "{feat}");
    });
}

/// [OPTS-02] `OPTS MLST` alone selects none.
#[test]
fn opts_mlst_alone_selects_none() {
    let server = strict();
    let mut client = alice(&server, crate::support::Listener::Implicit, "opts02");
    client.store("STOR file", b"12345");
    let reply = client.expect("OPTS MLST", 200);
    assert_eq!(reply.text().trim_end(), "MLST OPTS");
    let line = client.expect("MLST file", 250).inner()[0].clone();
    assert!(line.starts_with(b"  ") || line.starts_with(b" /"), "{}", line.escape_ascii());
    assert_eq!(client.list("MLSD"), [b" file"]);
}

/// [OPTS-03] Unsupported facts are dropped without an error, letter case does not matter.
#[test]
fn unknown_facts_are_dropped() {
    let server = strict();
    let mut client = Client::implicit(&server).login();
    let reply = client.expect("OPTS MLST Create;SIZE;x.y;", 200);
    assert_eq!(reply.text().to_ascii_lowercase(), "mlst opts size;");
}

/// [OPTS-04] [OPTS-06] An unknown target or option is 501, not 500 or 502.
#[test]
fn unknown_options_are_501() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        let lines = [("OPTS", 501), ("OPTS NOSUCH x", 501), ("OPTS RETR x", 501)];
        dialogue(&mut client, &lines);
        dialogue(&mut client.login(), &lines);
    });
}

/// [OPTS-05] `OPTS UTF8 ON` is 200; OFF is refused or ignored, and names stay octets.
#[test]
fn opts_utf8() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("OPTS UTF8 ON", 200);
        expect_one_of(&mut client, "OPTS UTF8 OFF", &[200, 501, 504]);
        let mut client = client.login().within(&server, "opts05");
        expect_one_of(&mut client, "MKD grün", &[257, 550]);
        client.expect("CWD grün", 250);
    });
}

/// [OPTS-07] A space inside the list is 501 and the selection stays.
#[test]
fn space_in_the_fact_list_is_501() {
    let server = strict();
    let mut client = Client::implicit(&server).login();
    client.expect("OPTS MLST size;", 200);
    client.expect("OPTS MLST type; modify;", 501);
    let feat = client.expect("FEAT", 211).text();
    assert!(feat.contains("size*;") && feat.contains("type;"), "{feat}");
}

/// [INFO-01] [INFO-02] SYST is 215 and starts with `UNIX Type: L8`, before the log-in too.
#[test]
fn syst_is_unix() {
    let server = strict();
    let mut plain = Client::plain(&server);
    assert!(plain.expect("SYST", 215).line().starts_with("UNIX Type: L8"));
    on_both(|listener| {
        assert!(Client::open(&server, listener).expect("SYST", 215).line().starts_with("UNIX "));
    });
}

/// [INFO-03] [INFO-04] HELP is 214 before the log-in; HELP with a verb 214, with nonsense 501 or
/// 502.
#[test]
fn help_helps() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        let help = client.expect("HELP", 214).text();
        assert!(help.contains("RETR") && help.contains("AUTH"), "{help}");
        dialogue(&mut client, &[("HELP RETR", 214), ("HELP retr", 214), ("HELP SITE", 214)]);
        expect_one_of(&mut client, "HELP NOSUCH", &[501, 502]);
    });
}

/// [INFO-05] STAT without an argument is 211 with the transfer parameters and the connection.
#[test]
fn stat_tells_the_parameters() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "info05");
        let stat = client.expect("STAT", 211);
        let text = stat.text().to_ascii_lowercase();
        assert!(stat.lines.len() > 2 && text.contains("alice"), "{text}");
        assert!(text.contains("type") && text.contains("mode"), "{text}");
    });
}

/// [INFO-08] NOOP is 200 always, and affects neither RNFR nor REST.
#[test]
fn noop_affects_nothing() {
    let server = strict();
    Client::plain(&server).expect("NOOP", 200);
    on_both(|listener| {
        let mut client = alice(&server, listener, "info08");
        client.store("STOR file", b"0123456789");
        dialogue(&mut client, &[("REST 4", 350), ("NOOP", 200)]);
        assert_eq!(client.retrieve("RETR file"), b"456789");
    });
}

/// [INFO-09] ALLO is 202 or 200; not a number is 501.
#[test]
fn allo() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for good in ["ALLO 10", "ALLO 0", "ALLO 10 R 5"] {
            expect_one_of(&mut client, good, &[200, 202]);
        }
        for bad in ["ALLO", "ALLO x", "ALLO -1", "ALLO 99999999999999999999999", "ALLO 1 Q 2"] {
            client.expect(bad, 501);
        }
    });
}

/// [INFO-10] [INFO-11] An unknown SITE command is 500, 501, 502 or 504; SITE EXEC does not exist.
#[test]
fn unknown_site_commands_are_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "info10");
        for command in ["SITE NOSUCH", "SITE EXEC /bin/true", "SITE exec id", "SITE"] {
            expect_one_of(&mut client, command, &[500, 501, 502, 504]);
        }
        client.expect("SITE HELP", 214);
    });
}

/// [INFO-12] SMNT is 502.
#[test]
fn smnt_is_502() {
    let server = strict();
    on_both(|listener| {
        Client::open(&server, listener).login().expect("SMNT /other", 502);
    });
}
