//! Files of directories declared immutable: the kernel is told so, for these and for no others, and
//! the octets are right. No network card of the virtual machine seals, so nothing is faster. That
//! the kernel keeps the promise in mind is asked in `sys::ktls`, whose tests `run` starts as well.

use std::fs;
use std::os::unix::fs::symlink;

use crate::content::bytes;
use crate::fixture::{Counts, MIB, send_buffers, session, stop_and_count};
use crate::support::server::counter;
use crate::support::{Client, Server};

/// A server whose directory `kept` is immutable, but for `kept/new`.
fn start() -> Server {
    send_buffers(128 * 1024);
    Server::builder().toml("[log]\nlevel = \"debug\"").start_with(|scratch| {
        fs::create_dir_all(scratch.path.join("root/kept/new")).unwrap();
        "[[directories]]\npath = \"root/kept\"\nimmutable = true\n\
         [[directories]]\npath = \"root/kept/new\"\nimmutable = false\n"
            .to_owned()
    })
}

#[test]
fn only_files_declared_immutable_are_sent_without_a_copy() {
    let server = start();
    let names = ["file", "kept/file", "kept/new/file", "kept/small", "kept/link"];
    let content = |name: &str| match name {
        "kept/link" => bytes(2 * MIB + 17, "file".len() as u64),
        // Too small for the kernel's TLS.
        "kept/small" => bytes(MIB / 2, 1),
        _ => bytes(2 * MIB + 17, name.len() as u64),
    };
    symlink("../file", server.root().join("kept/link")).unwrap();
    for name in names.iter().filter(|name| !name.ends_with("link")) {
        fs::write(server.root().join(name), content(name)).unwrap();
    }
    let mut client: Client = session(&server);
    for name in names {
        assert!(client.retrieve(format!("RETR {name}")) == content(name), "{name}");
    }
    // From the middle, and over again.
    client.expect("REST 70000", 350);
    assert!(client.retrieve("RETR kept/file") == content("kept/file")[70_000..]);
    client.quit();
    let log = server.stop();
    assert_eq!(counter(&log, "transfers_ktls"), 5, "{log}");
    assert_eq!(counter(&log, "transfers_records"), 1, "{log}");
    assert_eq!(counter(&log, "ktls_zerocopy"), 2, "{log}");
    assert!(!log.contains("copies what it sends"), "{log}");
}

/// Replacing a file while it is sent is not changing it: the download ends with what it began with.
#[test]
fn an_upload_over_a_file_that_is_sent_does_not_change_it() {
    let server = start();
    let (old, new) = (bytes(4 * MIB, 71), bytes(MIB, 72));
    fs::write(server.root().join("kept/file"), &old).unwrap();
    let (mut reader, mut writer) = (session(&server), session(&server));
    let data = crate::fixture::narrow_download(&mut reader, "kept/file");
    writer.store("STOR kept/file", &new);
    assert!(reader.receive(data) == old);
    assert!(reader.retrieve("RETR kept/file") == new);
    reader.quit();
    writer.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 2, records: 1, fallbacks: 0 });
}
