//! Data connections and transfers: which replies, which requests, what is used up.

use super::super::{PassiveUnavailable, ProtectionLevel, Rendezvous};
use super::*;
use crate::protocol::account::StoreRights;
use crate::protocol::file::StoreMode;

/// [XFER-16 XFER-17 XFER-19 XFER-20] in every phase of a transfer.
#[test]
fn abor_in_every_phase() {
    let mut idle = logged_in();
    idle.check("ABOR", "226");

    let mut passive = logged_in();
    passive.check("EPSV", "229");
    passive.take_outputs();
    passive.check("ABOR", "226");
    assert_eq!(passive.take_outputs(), [Output::ClosePassive]);
    passive.check("RETR file", "425");

    let mut listening = logged_in();
    listening.hold = Hold::Passive;
    listening.feed(b"EPSV\r\nABOR\r\n");
    assert_eq!(listening.take(), "");
    listening.input(super::passive());
    assert_eq!(listening.take(), "229 226");
    assert!(!listening.listening);

    let mut opening = logged_in();
    opening.check("EPSV", "229");
    opening.hold = Hold::Opening;
    opening.feed(b"RETR file\r\nABOR\r\n");
    assert_eq!(opening.take(), "");
    opening.hold = Hold::Running;
    opening.input(Input::TransferOpened(Ok(Opened::default())));
    assert_eq!(opening.take(), "150 426 226");

    let mut refused = logged_in();
    refused.check("EPSV", "229");
    refused.hold = Hold::Opening;
    refused.feed(b"RETR file\r\nABOR\r\n");
    refused.input(Input::TransferOpened(Err(FileError::NotFound)));
    assert_eq!(refused.take(), "550 226");

    let mut running = logged_in().running();
    running.check("ABOR", "426 226");
    assert_eq!(running.take_outputs(), [Output::AbortTransfer]);

    let mut finished = logged_in().running();
    finished.finish(Ok(()));
    finished.check("ABOR", "226 226");
}

/// The octets were all moved before the abort reached the transfer.
#[test]
fn abor_that_comes_too_late() {
    let mut shell = logged_in().running();
    shell.running = false; // the scripted shell does not answer AbortTransfer
    shell.check("ABOR", "");
    shell.input(Input::TransferFinished(Ok(())));
    assert_eq!(shell.take(), "226 226");
}

/// [XFER-18]: ABOR overtakes what was queued before it; that is answered in its turn.
#[test]
fn abor_behind_other_commands() {
    let mut shell = logged_in().running();
    shell.feed(b"NOOP\r\nTYPE I\r\n\xff\xf4\xff\xf2ABOR\r\nSYST\r\n");
    assert_eq!(shell.take(), "426 200 200 226 215");
    assert_eq!(shell.take_outputs(), [Output::AbortTransfer]);
    let mut shell = logged_in().running();
    shell.feed(b"ABOR\r\nABOR\r\n");
    assert_eq!(shell.take(), "426 226 226");
    assert_eq!(shell.take_outputs(), [Output::AbortTransfer]);
}

/// [PASV-03 PORT-07 XFER-19]: the latest wins, and there is one listener at most.
#[test]
fn a_new_data_connection_replaces_the_old() {
    let port = "PORT 192,0,2,7,200,1";
    let mut shell = logged_in();
    shell.check("EPSV", "229");
    shell.check("PASV", "227");
    shell.take_outputs();
    shell.check(port, "200");
    assert_eq!(shell.take_outputs(), [Output::ClosePassive]);
    shell.check("RETR file", "150 226");
    let active = Rendezvous::Active(SocketAddr::new(CLIENT, 200 * 256 + 1));
    let run = Output::RunTransfer { rendezvous: active, level: ProtectionLevel::Private };
    assert_eq!(shell.take_outputs()[1], run);

    shell.check(port, "200");
    shell.check("EPSV", "229");
    shell.check("RETR file", "150 226");
    let passive = Rendezvous::Passive;
    let run = Output::RunTransfer { rendezvous: passive, level: ProtectionLevel::Private };
    assert_eq!(shell.take_outputs()[2], run);
    // [XFER-24]: it served one transfer.
    shell.check("RETR file", "425");
}

/// A PASV that fails has closed its predecessor; a refused PORT has not.
#[test]
fn a_failed_rendezvous() {
    let mut shell = logged_in();
    for error in [PassiveUnavailable::Exhausted, PassiveUnavailable::Failed] {
        shell.check("EPSV", "229");
        shell.hold = Hold::Passive;
        shell.check("EPSV", "");
        shell.input(Input::PassiveListening(Err(error)));
        assert_eq!(shell.take(), "425");
        shell.hold = Hold::Nothing;
        shell.listening = false;
        shell.check("RETR file", "425");
    }
    shell.check("EPSV", "229");
    shell.check("PORT 192,0,2,8,200,1", "504");
    shell.check("RETR file", "150 226");
}

/// [PORT-02 EPRT-04] by policy.
#[test]
fn active_mode_by_policy() {
    let foreign = Policy { allow_foreign_data_address: true, ..lax() };
    let mut shell = Shell::new(Mode::Explicit, foreign).log_in();
    shell.check("PORT 192,0,2,8,200,1", "200");
    shell.check("PORT 192,0,2,8,0,21", "504");
    shell.check("PORT 224,0,0,1,200,1", "501");
    shell.check("PORT 0,0,0,0,200,1", "501");
    let none = Policy { allow_active: false, ..lax() };
    let mut shell = Shell::new(Mode::Explicit, none).log_in();
    shell.check("PORT 192,0,2,7,200,1", "502");
    shell.check("EPRT |1|192.0.2.7|51201|", "502");
}

/// [PASV-10 PASV-11]: until REIN.
#[test]
fn epsv_all() {
    let mut shell = logged_in_clear();
    shell.check("epsv all", "200");
    shell.check("PASV", "501");
    shell.check("PORT 192,0,2,7,200,1", "501");
    shell.check("EPRT |1|192.0.2.7|51201|", "501");
    shell.check("EPSV", "229");
    shell.check("USER ann", "331");
    shell.check("PASS right", "230");
    shell.check("PASV", "501");
    shell.check("REIN", "220");
    let mut shell = shell.log_in();
    shell.check("PASV", "227");
}

#[track_caller]
fn check_request(before: &[&str], command: &str, expected: TransferRequest) {
    let mut shell = logged_in();
    for command in before {
        shell.check(command, if command.starts_with("REST") { "350" } else { "200" });
    }
    shell.check("EPSV", "229");
    shell.check_transfer(command, expected);
}

fn store(name: &[u8], mode: StoreMode, announced: Option<u64>) -> TransferRequest {
    TransferRequest::Store {
        path: path(name),
        mode,
        rights: StoreRights::ALL,
        ascii: false,
        announced,
    }
}

/// [XFER-05 XFER-06 XFER-07 XFER-12 XFER-14 TYPE-05].
#[test]
fn requests() {
    let retrieve = |offset, ascii| TransferRequest::Retrieve { path: path(b"f"), offset, ascii };
    check_request(&[], "RETR f", retrieve(0, true));
    check_request(&["TYPE L 8"], "RETR f", retrieve(0, false));
    check_request(&["TYPE I", "REST 7"], "RETR f", retrieve(7, false));
    check_request(&["TYPE I", "REST 7", "REST 0"], "RETR f", retrieve(0, false));
    check_request(&["TYPE I"], "STOR f", store(b"f", StoreMode::Replace, None));
    check_request(&["TYPE I", "ALLO 9"], "STOR f", store(b"f", StoreMode::Replace, Some(9)));
    check_request(&["TYPE I", "REST 7"], "STOR f", store(b"f", StoreMode::At(7), None));
    check_request(&["TYPE I"], "APPE f", store(b"f", StoreMode::Append, None));
    check_request(&["TYPE I", "REST 7"], "APPE f", store(b"f", StoreMode::At(7), None));
    check_request(&["TYPE I"], "STOU f", store(b"f", StoreMode::Unique, None));
    check_request(&["TYPE I"], "STOU", store(b"upload", StoreMode::Unique, None));
}

/// [XFER-15]: used up by the next transfer, however it ends; [XFER-11]: range errors come then.
#[test]
fn rest_is_used_up() {
    for (command, code) in [
        ("RETR file", "150 226"),
        ("RETR absent", "550"),
        ("STOR absent", "553"),
        ("LIST", "150 226"),
        ("RETR a\0b", "550"),
    ] {
        let mut shell = logged_in();
        shell.check("TYPE I", "200");
        shell.check("EPSV", "229");
        shell.check("REST 5", "350");
        shell.check(command, code);
        shell.check("EPSV", "229");
        shell.take_outputs();
        shell.check("RETR file", "150 226");
        let request = TransferRequest::Retrieve { path: path(b"file"), offset: 0, ascii: false };
        let outputs = shell.take_outputs();
        assert!(outputs.contains(&Output::OpenTransfer(request)), "{command}: {outputs:?}");
    }
    let mut shell = logged_in();
    shell.check("TYPE I", "200");
    shell.check("EPSV", "229");
    shell.check("REST 18446744073709551616", "501");
    shell.check("REST 11", "350");
    shell.check("RETR file", "554");
    shell.check("EPSV", "229");
    shell.check("REST 10", "350");
    shell.check("RETR file", "150 226");
    shell.check("TYPE A", "200");
    shell.check("EPSV", "229");
    shell.check("REST 5", "350");
    shell.check("STOR file", "554");
}

/// [FILE-15 FILE-16 FILE-17 FILE-18].
#[test]
fn rnto_follows_rnfr_at_once() {
    let mut shell = logged_in();
    for (between, code) in [
        ("PWD", "257"),
        ("XYZZY", "500"),
        ("", "500"),
        ("RNFR absent", "550"),
        ("RNFR", "501"),
        ("RNTO", "501"),
        ("RNTO file", "250"),
        ("RNTO absent", "553"),
        ("RNTO a\0b", "553"),
        (&"x".repeat(10_000), "500"),
    ] {
        shell.check("RNFR file", "350");
        shell.check(between, code);
        shell.check("RNTO other", "503");
    }
    // NOOP affects nothing (RFC 959 §4.1.3).
    shell.check("RNFR file", "350");
    shell.check("NOOP", "200");
    shell.take_outputs();
    shell.check("RNTO other", "250");
    let request = FileRequest::Rename { from: path(b"file"), to: path(b"other"), replace: true };
    assert_eq!(shell.take_outputs(), [Output::File(request)]);
    shell.check("RNFR file", "350");
    shell.check("RNFR second", "350");
    shell.take_outputs();
    shell.check("RNTO other", "250");
    let request = FileRequest::Rename { from: path(b"second"), to: path(b"other"), replace: true };
    assert_eq!(shell.take_outputs(), [Output::File(request)]);
}

/// After the 150 exactly one final reply, from the list of RFC 959 §5.4 and RFC 4217.
#[test]
fn every_end_of_a_transfer() {
    for (error, expected) in [
        (TransferError::NotOpened, "425"),
        (TransferError::HandshakeFailed, "522"),
        (TransferError::NotResumed("no ticket offered".to_owned()), "522"),
        (TransferError::ConnectionLost, "426"),
        (TransferError::Truncated, "426"),
        (TransferError::Protection, "426"),
        (TransferError::Stalled, "426"),
        (TransferError::Aborted, "426"),
        (TransferError::Draining, "426"),
        (TransferError::Storage(FileError::Io(5)), "451"),
        (TransferError::Storage(FileError::NoSpace), "451"),
        (TransferError::Storage(FileError::Shrunk), "451"),
    ] {
        let mut shell = logged_in().running();
        let name = format!("{error:?}");
        shell.finish(Err(error));
        assert_eq!(shell.take(), expected, "{name}");
        shell.check("NOOP", "200");
    }
    for (error, code) in [
        (FileError::NoSpace, "552"),
        (FileError::Quota, "552"),
        (FileError::TooBig, "552"),
        (FileError::Busy, "450"),
        (FileError::AlreadyExists, "553"),
    ] {
        let mut shell = logged_in();
        shell.check("EPSV", "229");
        shell.hold = Hold::Running;
        shell.check("STOR file", "150");
        shell.finish(Err(TransferError::Storage(error)));
        assert_eq!(shell.take(), code, "{error:?}");
    }
}

/// Refusals before the 150 stay inside each command's list: no 550 for STOR and
/// STOU. LIST and NLST have 450 alone, and 550 all the same: clients ask again after 450.
#[test]
fn every_refusal_of_a_transfer() {
    use FileError::{
        AlreadyExists, BeyondEnd, Busy, Io, IsADirectory, NoSpace, NotADirectory, NotFound,
        Overloaded, PermissionDenied, Quota, ReadOnly,
    };
    #[rustfmt::skip]
    let table = [
        // error            RETR STOR STOU APPE LIST NLST MLSD
        (NotFound,         [550, 553, 553, 550, 550, 550, 550]),
        (PermissionDenied, [550, 553, 553, 550, 550, 550, 550]),
        (IsADirectory,     [550, 553, 553, 550, 550, 550, 550]),
        (NotADirectory,    [550, 553, 553, 550, 550, 550, 501]),
        (AlreadyExists,    [550, 553, 553, 550, 550, 550, 550]),
        (ReadOnly,         [550, 553, 553, 550, 550, 550, 550]),
        (Quota,            [550, 552, 552, 552, 550, 550, 550]),
        (NoSpace,          [452, 452, 452, 452, 452, 452, 452]),
        (BeyondEnd,        [554, 554, 554, 554, 554, 554, 554]),
        (Busy,             [450, 450, 450, 450, 450, 450, 450]),
        (Overloaded,       [450, 450, 450, 450, 450, 450, 450]),
        (Io(5),            [451, 451, 451, 451, 451, 451, 451]),
    ];
    let commands = ["RETR f", "STOR f", "STOU f", "APPE f", "LIST f", "NLST f", "MLSD f"];
    for (error, codes) in table {
        for (command, code) in commands.iter().zip(codes) {
            let mut shell = logged_in();
            shell.check("EPSV", "229");
            shell.hold = Hold::Opening;
            shell.check(command, "");
            shell.input(Input::TransferOpened(Err(error)));
            assert_eq!(shell.take(), code.to_string(), "{command}: {error:?}");
        }
    }
}

/// The rights of the account, before storage is asked.
#[test]
fn permissions() {
    let mut shell = Shell::new(Mode::Explicit, lax()).authenticating();
    let reader = Account { permissions: Permissions::READ_ONLY, ..account("ann") };
    shell.input(Input::Authenticated(Ok(reader)));
    assert_eq!(shell.take(), "230");
    shell.check("EPSV", "229");
    shell.take_outputs();
    for (command, code) in [
        ("STOR f", "553"),
        ("STOU", "553"),
        ("APPE f", "550"),
        ("DELE f", "550"),
        ("RMD d", "550"),
        ("MKD d", "550"),
        ("RNFR f", "550"),
        ("MFMT 20200101000000 f", "550"),
        ("SITE CHMOD 644 f", "550"),
    ] {
        shell.check(command, code);
    }
    assert!(shell.take_outputs().is_empty(), "storage was asked");
    shell.check("RETR f", "150 226");
}

/// Each right opens its commands and no others; what depends on the file is storage's to decide.
#[test]
fn narrower_rights_than_write() {
    const NONE: Permissions = Permissions::NONE;
    #[track_caller]
    fn check(permissions: Permissions, allowed: &[&str]) {
        let mut shell = Shell::new(Mode::Explicit, lax()).authenticating();
        shell.input(Input::Authenticated(Ok(Account { permissions, ..account("ann") })));
        assert_eq!(shell.take(), "230");
        for command in [
            "STOR file",
            "STOU file",
            "APPE file",
            "SITE CHMOD 644 file",
            "MFF UNIX.mode=644; file",
            "MFF modify=20200101000000; file",
            "MFF modify=20200101000000;UNIX.mode=644; file",
            "MFMT 20200101000000 file",
            "SITE UTIME 20200101000000 file",
            "RETR file",
        ] {
            shell.check("EPSV", "229");
            shell.take_outputs();
            shell.feed(format!("{command}\r\n").as_bytes());
            shell.take();
            let asked = !shell.take_outputs().is_empty();
            assert_eq!(asked, allowed.contains(&command), "{permissions:?} {command}");
        }
    }
    let chmod = ["SITE CHMOD 644 file", "MFF UNIX.mode=644; file"];
    let mtime = [
        "MFF modify=20200101000000; file",
        "MFMT 20200101000000 file",
        "SITE UTIME 20200101000000 file",
    ];
    check(Permissions { create: true, ..NONE }, &["STOR file", "STOU file"]);
    check(Permissions { overwrite: true, ..NONE }, &["STOR file"]);
    check(Permissions { append: true, ..NONE }, &["APPE file"]);
    check(Permissions { chmod: true, ..NONE }, &chmod);
    check(Permissions { mtime: true, ..NONE }, &mtime);
}

/// RNTO over an existing file takes the right to overwrite or to delete.
#[test]
fn a_rename_replaces_only_with_the_right_to() {
    const RENAME: Permissions = Permissions { rename: true, ..Permissions::NONE };
    for (permissions, expected) in [
        (RENAME, false),
        (Permissions { create: true, append: true, ..RENAME }, false),
        (Permissions { overwrite: true, ..RENAME }, true),
        (Permissions { delete: true, ..RENAME }, true),
    ] {
        let mut shell = Shell::new(Mode::Explicit, lax()).authenticating();
        shell.input(Input::Authenticated(Ok(Account { permissions, ..account("ann") })));
        shell.take();
        shell.check("RNFR file", "350");
        shell.take_outputs();
        shell.check("RNTO other", "250");
        let asked =
            FileRequest::Rename { from: path(b"file"), to: path(b"other"), replace: expected };
        assert!(shell.take_outputs().contains(&Output::File(asked)), "{permissions:?}");
    }
}
