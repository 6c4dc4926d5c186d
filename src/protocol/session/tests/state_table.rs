//! Every command in every state, and that a refusal changes nothing.

use super::*;
use crate::protocol::session::command_table;

/// Columns: **P0** explicit, clear, TLS optional · **PR** explicit, clear, TLS required · **T**
/// explicit under TLS · **TI** implicit · **U**, **UT** USER accepted, in clear and under TLS ·
/// **L**, **LT**, **LI** logged in: clear, explicit under TLS with PROT P, implicit; EPSV was
/// given · **C** after CCC, logged in, EPSV was given · **X** as LT, transfer running.
///
/// `q`: queued until the transfer's 226, then as in LT. `=`: as in the column to the left. The
/// state after REIN is not a column, because it must equal P0, PR and TI.
///
/// Arguments are such that a command works where it is allowed; `absent` does not exist.
const TABLE: &str = "
command          | P0      | PR     | T      | TI     | U   | UT  | L       | LT      | LI      | C       | X
USER ann         | 331     | 530    | 331    | =      | =   | =   | =       | =       | =       | 530     | q
PASS right       | 503     | =      | =      | =      | 230 | 230 | 503     | =       | =       | =       | q
PASS wrong       | 503     | =      | =      | =      | 530 | 530 | 503     | =       | =       | =       | q
ACCT a           | 503     | 530    | 503    | =      | =   | =   | 202     | =       | =       | =       | q
AUTH TLS         | 234     | 234    | 534    | =      | 234 | 534 | 234     | 534     | =       | =       | q
AUTH SSL         | 234     | 234    | 534    | =      | 234 | 534 | 234     | 534     | =       | =       | q
AUTH TLS-C       | 234     | 234    | 534    | =      | 234 | 534 | 234     | 534     | =       | =       | q
auth tls         | 234     | 234    | 534    | =      | 234 | 534 | 234     | 534     | =       | =       | q
AUTH TLS-P       | 504     | 504    | 534    | =      | 504 | 534 | 504     | 534     | =       | =       | q
AUTH KERBEROS_V4 | 504     | 504    | 534    | =      | 504 | 534 | 504     | 534     | =       | =       | q
AUTH             | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
ADAT eA==        | 503     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
MIC eA==         | 537     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
CONF eA==        | 537     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
ENC eA==         | 537     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
PBSZ 0           | 503     | 503    | 200    | 200    | 503 | 200 | 503     | 200     | 200     | 533     | q
PBSZ 16384       | 503     | 503    | 200    | 200    | 503 | 200 | 503     | 200     | 200     | 533     | q
PBSZ x           | 503     | 503    | 501    | 501    | 503 | 501 | 503     | 501     | 501     | 533     | q
PBSZ 4294967296  | 503     | 503    | 501    | 501    | 503 | 501 | 503     | 501     | 501     | 533     | q
PROT P           | 503     | 503    | 503    | 200    | 503 | 503 | 503     | 200     | 200     | 533     | q
PROT C           | 503     | 503    | 503    | 534    | 503 | 503 | 503     | 534     | 534     | 533     | q
PROT S           | 503     | 503    | 503    | 536    | 503 | 503 | 503     | 536     | 536     | 533     | q
PROT E           | 503     | 503    | 503    | 536    | 503 | 503 | 503     | 536     | 536     | 533     | q
PROT X           | 503     | 503    | 503    | 504    | 503 | 503 | 503     | 504     | 504     | 533     | q
PROT             | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
CCC              | 533     | 533    | 534    | 534    | 533 | 534 | 533     | 200     | 534     | 533     | q
REIN             | 220     | 220    | 220    | 220 220 | 220 | 220 | 220     | 220     | 220 220 | 220     | q
QUIT             | 221 closed | =   | =      | =      | =   | =   | =       | =       | =       | =       | q
HOST a.example   | 220     | =      | =      | =      | =   | =   | 503     | =       | =       | =       | q
HOST [::1]       | 504     | =      | =      | =      | =   | =   | 503     | =       | =       | =       | q
HOST a:21        | 501     | =      | =      | =      | =   | =   | 503     | =       | =       | =       | q
FEAT             | 211     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
FEAT x           | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS UTF8 ON     | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS UTF8 OFF    | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS MLST size;  | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS HASH SHA-1  | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS HASH ROT13  | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
OPTS NOOP        | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
LANG             | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
LANG EN-gb       | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
LANG FR          | 504     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
LANG 123456789   | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
SYST             | 215     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
HELP             | 214     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
HELP RETR        | 214     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
HELP XYZZY       | 502     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
NOOP             | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
NOOP x           | 501     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
CLNT x           | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
CSID Name=x;     | 200     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
STAT             | 530     | =      | =      | =      | =   | =   | 211     | =       | =       | =       | 211 226
STAT file        | 530     | =      | =      | =      | =   | =   | 213     | =       | =       | =       | q
STAT absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
ABOR             | 226     | =      | =      | =      | =   | =   | =       | =       | =       | =       | 426 226
TYPE I           | 530     | =      | =      | =      | =   | =   | 200     | =       | =       | =       | q
TYPE E           | 530     | =      | =      | =      | =   | =   | 504     | =       | =       | =       | q
TYPE X           | 530     | =      | =      | =      | =   | =   | 501     | =       | =       | =       | q
MODE S           | 530     | =      | =      | =      | =   | =   | 200     | =       | =       | =       | q
MODE Z           | 530     | =      | =      | =      | =   | =   | 504     | =       | =       | =       | q
STRU F           | 530     | =      | =      | =      | =   | =   | 200     | =       | =       | =       | q
STRU P           | 530     | =      | =      | =      | =   | =   | 504     | =       | =       | =       | q
PASV             | 530     | =      | =      | =      | =   | =   | 227     | =       | =       | =       | q
P@SW             | 530     | =      | =      | =      | =   | =   | 227     | =       | =       | =       | q
EPSV             | 530     | =      | =      | =      | =   | =   | 229     | =       | =       | =       | q
EPSV 1           | 530     | =      | =      | =      | =   | =   | 229     | =       | =       | =       | q
EPSV 2           | 530     | =      | =      | =      | =   | =   | 522     | =       | =       | =       | q
EPSV ALL         | 530     | =      | =      | =      | =   | =   | 200     | =       | =       | =       | q
EPSV x           | 530     | =      | =      | =      | =   | =   | 501     | =       | =       | =       | q
PORT 192,0,2,7,200,1        | 530 | = | = | = | = | = | 200 | = | = | = | q
PORT 192,0,2,8,200,1        | 530 | = | = | = | = | = | 504 | = | = | = | q
PORT 192,0,2,7,3,255        | 530 | = | = | = | = | = | 504 | = | = | = | q
PORT 192,0,2,7,0,0          | 530 | = | = | = | = | = | 501 | = | = | = | q
PORT 192,0,2,7,256,1        | 530 | = | = | = | = | = | 501 | = | = | = | q
EPRT |1|192.0.2.7|51201|    | 530 | = | = | = | = | = | 200 | = | = | = | q
EPRT |1|192.0.2.8|51201|    | 530 | = | = | = | = | = | 504 | = | = | = | q
EPRT |3|192.0.2.7|51201|    | 530 | = | = | = | = | = | 522 | = | = | = | q
EPRT |1|192.0.2.7|51201     | 530 | = | = | = | = | = | 501 | = | = | = | q
LPRT 4,4,1,2,3,4,2,5,6      | 530 | = | = | = | = | = | 502 | = | = | = | q
LPSV             | 530     | =      | =      | =      | =   | =   | 502     | =       | =       | =       | q
REST 5           | 530     | =      | =      | =      | =   | =   | 350     | =       | =       | =       | q
REST -5          | 530     | =      | =      | =      | =   | =   | 501     | =       | =       | =       | q
ALLO 5           | 530     | =      | =      | =      | =   | =   | 200     | =       | =       | =       | q
ALLO x           | 530     | =      | =      | =      | =   | =   | 501     | =       | =       | =       | q
RETR file        | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
RETR absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | 226 425
STOR file        | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
STOR absent/     | 530     | =      | =      | =      | =   | =   | 553     | =       | =       | =       | 226 425
STOU             | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
STOU absent      | 530     | =      | =      | =      | =   | =   | 553     | =       | =       | =       | 226 425
APPE file        | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
APPE absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | 226 425
LIST             | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
LIST -la         | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
LIST absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | 226 425
NLST             | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
NLST absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | 226 425
MLSD             | 530     | =      | =      | =      | =   | =   | 150 226 | =       | =       | =       | 226 425
MLSD absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | 226 425
MLST file        | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
MLST             | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
MLST absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
SIZE file        | 530     | =      | =      | =      | =   | =   | 213     | =       | =       | =       | q
SIZE absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
SIZE             | 530     | =      | =      | =      | =   | =   | 501     | =       | =       | =       | q
MDTM file        | 530     | =      | =      | =      | =   | =   | 213     | =       | =       | =       | q
MDTM absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
MFMT 20200229000000 file    | 530 | = | = | = | = | = | 213 | = | = | = | q
MFMT 20210229000000 file    | 530 | = | = | = | = | = | 501 | = | = | = | q
MFMT 20200229000000 absent  | 530 | = | = | = | = | = | 550 | = | = | = | q
MFCT 20200229000000 file    | 530 | = | = | = | = | = | 502 | = | = | = | q
MFF modify=20200229000000; file   | 530 | = | = | = | = | = | 213 | = | = | = | q
MFF create=20200229000000; file   | 530 | = | = | = | = | = | 504 | = | = | = | q
MFF modify=20210229000000; file   | 530 | = | = | = | = | = | 501 | = | = | = | q
MFF modify=20200229000000; absent | 530 | = | = | = | = | = | 550 | = | = | = | q
HASH file        | 530     | =      | =      | =      | =   | =   | 213     | =       | =       | =       | q
HASH absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
XCRC file        | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
XMD5 file        | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
XSHA1 file       | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
XSHA256 file     | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
XSHA512 file     | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
MD5 file         | 530     | =      | =      | =      | =   | =   | 251     | =       | =       | =       | q
AVBL             | 530     | =      | =      | =      | =   | =   | 213     | =       | =       | =       | q
CWD dir          | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
CWD absent       | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
CWD file         | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
XCWD dir         | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
CDUP             | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
PWD              | 530     | =      | =      | =      | =   | =   | 257     | =       | =       | =       | q
MKD new          | 530     | =      | =      | =      | =   | =   | 257     | =       | =       | =       | q
RMD dir          | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
RMD absent       | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
DELE file        | 530     | =      | =      | =      | =   | =   | 250     | =       | =       | =       | q
DELE absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
RNFR file        | 530     | =      | =      | =      | =   | =   | 350     | =       | =       | =       | q
RNFR absent      | 530     | =      | =      | =      | =   | =   | 550     | =       | =       | =       | q
RNTO file        | 530     | =      | =      | =      | =   | =   | 503     | =       | =       | =       | q
SITE CHMOD 644 file         | 530 | = | = | = | = | = | 200 | = | = | = | q
SITE UTIME 20200229000000 file    | 530 | = | = | = | = | = | 200 | = | = | = | q
SITE MKDIR new/sub          | 530 | = | = | = | = | = | 200 | = | = | = | q
SITE HELP        | 530     | =      | =      | =      | =   | =   | 214     | =       | =       | =       | q
SITE EXEC ls     | 530     | =      | =      | =      | =   | =   | 504     | =       | =       | =       | q
SMNT dir         | 530     | =      | =      | =      | =   | =   | 502     | =       | =       | =       | q
XYZZY            | 500     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
XYZZY a b        | 500     | =      | =      | =      | =   | =   | =       | =       | =       | =       | q
";

/// A fresh session in the state of a column.
fn in_state(column: &str) -> Shell {
    let explicit = |policy| Shell::new(Mode::Explicit, policy);
    let user = |mut shell: Shell| {
        shell.check("USER ann", "331");
        shell
    };
    let passive = |mut shell: Shell| {
        shell.check("EPSV", "229");
        shell
    };
    match column {
        "P0" => explicit(lax()),
        "PR" => explicit(strict()),
        "T" => explicit(strict()).auth(),
        "TI" => Shell::new(Mode::Implicit, strict()),
        "U" => user(explicit(lax())),
        "UT" => user(explicit(strict()).auth()),
        "L" => passive(explicit(lax()).log_in()),
        "LT" => passive(logged_in()),
        "LI" => passive(Shell::new(Mode::Implicit, strict()).log_in()),
        "C" => {
            let mut shell = logged_in();
            shell.check("CCC", "200");
            passive(shell)
        }
        "X" => logged_in().running(),
        _ => panic!("unknown column {column}"),
    }
}

/// After REIN: explicit with TLS optional, explicit with TLS required, implicit. On implicit the
/// new handshake has been made, since nothing else is possible there.
fn after_rein(column: &str) -> Shell {
    let mut shell = in_state(column);
    let codes = shell.send("REIN");
    assert!(codes.starts_with("220"), "REIN in {column}: {codes}");
    shell
}

/// `command`, column and expected codes of every cell.
fn cells() -> Vec<(&'static str, &'static str, String)> {
    let mut lines = TABLE.lines().filter(|line| !line.is_empty());
    let header: Vec<&str> = split(lines.next().expect("a header"));
    let mut cells = Vec::new();
    for line in lines {
        // EPRT's argument has bars of its own.
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        assert_eq!(fields.len(), header.len(), "{line}");
        let mut value = "";
        let mut logged_in_value = "";
        for (column, field) in header.iter().zip(&fields).skip(1) {
            if *field != "=" {
                value = field;
            }
            if *column == "LT" {
                logged_in_value = value;
            }
            let expected =
                if value == "q" { format!("226 {logged_in_value}") } else { value.into() };
            cells.push((fields[0], *column, expected));
        }
    }
    cells
}

fn split(line: &'static str) -> Vec<&'static str> {
    line.split('|').map(str::trim).collect()
}

/// Sends the command, lets a running transfer and the delay after a wrong password end.
fn answer(shell: &mut Shell, command: &str, bytewise: bool) -> String {
    let line = format!("{command}\r\n");
    if bytewise {
        for octet in line.bytes() {
            shell.feed(&[octet]);
        }
    } else {
        shell.feed(line.as_bytes());
    }
    if shell.running {
        shell.finish(Ok(()));
    }
    if command == "PASS wrong" && shell.sent.is_empty() {
        shell.sleep();
    }
    shell.take()
}

#[test]
fn every_command_in_every_state() {
    let mut wrong = Vec::new();
    for (command, column, expected) in cells() {
        for bytewise in [false, true] {
            let codes = answer(&mut in_state(column), command, bytewise);
            if codes != expected {
                wrong.push(format!("{column}: {command}: {codes}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// After REIN the state is P0 or PR on explicit, and TI with a fresh handshake on implicit [REIN-02
/// REIN-08].
#[test]
fn every_command_after_rein() {
    let equal = [
        ("L", "P0"),
        ("U", "P0"),
        ("LT", "PR"),
        ("UT", "PR"),
        ("C", "PR"),
        ("LI", "TI"),
        ("TI", "TI"),
    ];
    let mut wrong = Vec::new();
    for (command, column, expected) in cells() {
        for (before, _) in equal.iter().filter(|(_, after)| *after == column) {
            let codes = answer(&mut after_rein(before), command, false);
            if codes != expected {
                wrong.push(format!("{before}, REIN: {command}: {codes}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever a client can set, in one text.
fn state_of(shell: &Shell) -> String {
    let s = &shell.session;
    let access = (&s.security, &s.login, s.failures, &s.host, s.auth_ssl);
    let transfer = (&s.parameters, &s.cwd, &s.next_data, s.epsv_all, s.restart, s.announced);
    format!("{access:?} {transfer:?} {:?} {:?}", s.pending, shell.listening)
}

/// A refused command changes nothing. Transfer commands are left out: they use up REST, ALLO and
/// the data connection however they end [XFER-15]; so does a wrong password with USER.
#[test]
fn a_refused_command_changes_nothing() {
    let transfers = ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD", "PASS"];
    let mut seen = 0;
    for (command, column, expected) in cells() {
        let refused = expected.starts_with(['4', '5']) && !expected.contains(' ');
        let verb = command.split(' ').next().unwrap_or_default();
        if !refused || transfers.contains(&verb) {
            continue;
        }
        let mut shell = in_state(column);
        let before = state_of(&shell);
        answer(&mut shell, command, false);
        assert_eq!(state_of(&shell), before, "{column}: {command}");
        seen += 1;
    }
    assert!(seen > 500, "{seen} refusals looked at");
}

/// A transfer command nobody may give yet does not even use up what it would use up.
#[test]
fn a_transfer_refused_for_want_of_login_changes_nothing() {
    for (command, column, expected) in cells() {
        if expected == "530" && command != "PASS wrong" {
            let mut shell = in_state(column);
            let before = state_of(&shell);
            answer(&mut shell, command, false);
            assert_eq!(state_of(&shell), before, "{column}: {command}");
        }
    }
}

#[test]
fn the_table_has_every_command() {
    let commands: Vec<&str> = cells().iter().map(|(command, _, _)| *command).collect();
    let has = |verb: &str| {
        commands.iter().any(|command| command.split(' ').next().is_some_and(|word| word == verb))
    };
    let missing: Vec<&str> =
        command_table::rows().iter().map(|row| row.names[0]).filter(|verb| !has(verb)).collect();
    assert_eq!(missing, [""; 0]);
}
