//! Uploads as a session makes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::limits::COPY_PIECE_BYTES;
use crate::protocol::account::StoreRights;
use crate::protocol::file::{FileRequest, HashAlgorithm, TransferRequest};
use crate::vfs::temporary::create_hidden;
use crate::vfs::testing::{Home, SetOnDrop, path};
use crate::vfs::{Transfer, perform};

const DELETE: StorePolicy = StorePolicy {
    leftovers: LeftoverRule { age: Duration::from_secs(3600), boot: None },
    failed_upload: FailedUpload::Delete,
    durability: Durability::None,
    hashes: HashAlgorithms::NONE,
    write_size: WriteSize::Auto,
};
const KEEP: StorePolicy = StorePolicy { failed_upload: FailedUpload::Keep, ..DELETE };

fn open(
    home: &Home,
    name: &[u8],
    mode: StoreMode,
    policy: &StorePolicy,
) -> Result<Upload, FileError> {
    open_with(home, name, mode, StoreRights::ALL, policy)
}

fn open_with(
    home: &Home,
    name: &[u8],
    mode: StoreMode,
    rights: StoreRights,
    policy: &StorePolicy,
) -> Result<Upload, FileError> {
    let path = path(name);
    let request = TransferRequest::Store { path, mode, rights, ascii: false, announced: None };
    match crate::vfs::open(&home.root, &request, policy)? {
        (Transfer::Write(upload), opened) => {
            assert_eq!(opened.name.as_deref(), upload.chosen_name());
            Ok(upload)
        }
        other => panic!("{other:?}"),
    }
}

fn write(upload: &mut Upload, octets: &[u8]) -> Result<(), FileError> {
    upload.write(&mut [IoSlice::new(octets)])
}

fn stored(home: &Home, name: &[u8], mode: StoreMode, octets: &[u8]) -> Result<(), FileError> {
    let mut upload = open(home, name, mode, &DELETE)?;
    write(&mut upload, octets)?;
    upload.finish()
}

#[test]
fn octets_appear_at_once_and_only_at_the_end() {
    for durability in [Durability::None, Durability::Data, Durability::Full] {
        let home = Home::new();
        home.put("old", b"old");
        let policy = StorePolicy { durability, ..DELETE };
        for (name, before) in [("new", None), ("old", Some(&b"old"[..]))] {
            let mut upload = open(&home, name.as_bytes(), StoreMode::Replace, &policy).unwrap();
            write(&mut upload, b"first ").unwrap();
            assert_eq!(home.get(name).as_deref(), before);
            write(&mut upload, b"second").unwrap();
            upload.finish().unwrap();
            assert_eq!(home.get(name).unwrap(), b"first second");
        }
        assert_eq!(home.names(), ["new", "old"]);
    }
}

/// A reader that opens the name again and again sees one whole version or the other.
#[test]
fn a_reader_never_sees_a_part() {
    let home = Home::new();
    home.put("f", &[b'0'; 100_000]);
    let file = home.on_disk("f");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ended = SetOnDrop(&done);
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let octets = std::fs::read(&file).unwrap();
                assert_eq!(octets.len(), 100_000);
                assert!(octets.iter().all(|octet| *octet == octets[0]));
                reads += 1;
            }
            reads
        });
        for round in 1..200_u8 {
            let mut upload = open(&home, b"f", StoreMode::Replace, &DELETE).unwrap();
            for _ in 0..10 {
                write(&mut upload, &[round; 10_000]).unwrap();
            }
            upload.finish().unwrap();
        }
        drop(ended);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn nothing_is_left_of_what_did_not_end_cleanly() {
    let home = Home::new();
    home.put("old", b"old");
    for mode in [StoreMode::Replace, StoreMode::At(1), StoreMode::Append, StoreMode::Unique] {
        for end in [drop, Upload::abandon] {
            let mut upload = open(&home, b"old", mode, &DELETE).unwrap();
            write(&mut upload, b"part").unwrap();
            end(upload);
            assert_eq!(home.names(), ["old"], "{mode:?}");
            assert_eq!(home.get("old").unwrap(), b"old", "{mode:?}");
        }
    }
    // Dropped under `keep`: the session is lost, nobody decided to keep anything.
    let mut upload = open(&home, b"new", StoreMode::Replace, &KEEP).unwrap();
    write(&mut upload, b"part").unwrap();
    drop(upload);
    assert_eq!(home.names(), ["old"]);
}

#[test]
fn keep_publishes_a_part_only_under_a_free_name() {
    #[track_caller]
    fn check(name: &str, mode: StoreMode, octets: &[u8], expected: &[(&str, &[u8])]) {
        let home = Home::new();
        home.put("old", b"old");
        let mut upload = open(&home, name.as_bytes(), mode, &KEEP).unwrap();
        write(&mut upload, octets).unwrap();
        upload.abandon();
        let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(home.names(), names);
        for (name, content) in expected {
            assert_eq!(home.get(name).unwrap(), *content);
        }
    }
    check("new", StoreMode::Replace, b"part", &[("new", b"part"), ("old", b"old")]);
    check("new", StoreMode::Append, b"part", &[("new", b"part"), ("old", b"old")]);
    check("old", StoreMode::Replace, b"part", &[("old", b"old")]);
    check("old", StoreMode::At(1), b"part", &[("old", b"old")]);
    check("old", StoreMode::At(3), b"part", &[("old", b"oldpart")]);
    check("old", StoreMode::Append, b"part", &[("old", b"oldpart")]);
    check("old", StoreMode::Unique, b"part", &[("old", b"old"), ("old.1", b"part")]);
    check("new", StoreMode::Replace, b"", &[("old", b"old")]);
}

#[test]
fn restart_markers() {
    #[track_caller]
    fn check(mode: StoreMode, expected: Result<&[u8], FileError>) {
        let home = Home::new();
        home.put("f", b"0123456789");
        let result = stored(&home, b"f", mode, b"ab");
        assert_eq!(result, expected.map(|_| ()), "{mode:?}");
        assert_eq!(home.get("f").unwrap(), expected.unwrap_or(b"0123456789"), "{mode:?}");
        assert_eq!(home.names(), ["f"]);
    }
    check(StoreMode::At(0), Ok(b"ab"));
    check(StoreMode::At(1), Ok(b"0ab"));
    check(StoreMode::At(9), Ok(b"012345678ab"));
    check(StoreMode::At(10), Ok(b"0123456789ab"));
    check(StoreMode::Append, Ok(b"0123456789ab"));
    check(StoreMode::At(11), Err(FileError::BeyondEnd));
    check(StoreMode::At(u64::MAX), Err(FileError::BeyondEnd));
    let home = Home::new();
    assert_eq!(stored(&home, b"new", StoreMode::At(1), b""), Err(FileError::BeyondEnd));
    assert_eq!(stored(&home, b"new", StoreMode::Append, b"x"), Ok(()));
    assert_eq!(home.get("new").unwrap(), b"x");
}

/// What lies before the marker is copied a piece a call; who gives up in between changes
/// nothing, and who ends early gets all of it, not a hole.
#[test]
fn what_a_marker_keeps_is_copied_in_pieces() {
    let pieces = 3;
    let piece = usize::try_from(COPY_PIECE_BYTES).unwrap();
    let old = [b'0'].repeat(pieces * piece);
    let marker = COPY_PIECE_BYTES * 2 + 1;
    let home = Home::new();
    home.put("f", &old);
    let mut upload = open(&home, b"f", StoreMode::At(marker), &DELETE).unwrap();
    for _ in 0..pieces {
        assert!(upload.is_copying());
        upload.copy_some().unwrap();
    }
    assert!(!upload.is_copying());
    drop(upload);
    let mut upload = open(&home, b"f", StoreMode::At(marker), &KEEP).unwrap();
    upload.copy_some().unwrap();
    write(&mut upload, b"1").unwrap();
    upload.abandon();
    assert!(home.get("f").unwrap() == old);
    let mut upload = open(&home, b"f", StoreMode::At(marker), &DELETE).unwrap();
    write(&mut upload, b"1").unwrap();
    upload.finish().unwrap();
    let new = home.get("f").unwrap();
    assert!(new == [&old[..2 * piece + 1], b"1"].concat(), "{} octets", new.len());
}

#[test]
fn appends_exclude_each_other() {
    let home = Home::new();
    home.put("f", b"0");
    let mut first = open(&home, b"f", StoreMode::Append, &DELETE).unwrap();
    let refused = Some(FileError::Busy);
    assert_eq!(open(&home, b"f", StoreMode::Append, &DELETE).err(), refused);
    assert_eq!(open(&home, b"f", StoreMode::At(1), &DELETE).err(), refused);
    write(&mut first, b"1").unwrap();
    first.finish().unwrap();
    stored(&home, b"f", StoreMode::Append, b"2").unwrap();
    assert_eq!(home.get("f").unwrap(), b"012");
}

#[test]
fn a_failed_append_takes_back_only_its_own() {
    let home = Home::new();
    home.put("f", b"0");
    let mut upload = open(&home, b"f", StoreMode::Append, &DELETE).unwrap();
    write(&mut upload, b"1").unwrap();
    home.append("f", b"theirs");
    upload.abandon();
    assert_eq!(home.get("f").unwrap(), b"01theirs");
}

#[test]
fn unique_names() {
    let home = Home::new();
    home.put("f", b"");
    let first = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
    let second = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
    assert_eq!(first.chosen_name(), Some(&b"f.1"[..]));
    assert_eq!(second.chosen_name(), Some(&b"f.2"[..]));
    // Somebody else takes the announced name: the upload fails, their file stays.
    home.put("f.2", b"theirs");
    assert_eq!(second.finish(), Err(FileError::AlreadyExists));
    first.finish().unwrap();
    assert_eq!(home.names(), ["f", "f.1", "f.2"]);
    assert_eq!(home.get("f.2").unwrap(), b"theirs");
    let third = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
    assert_eq!(third.chosen_name(), Some(&b"f.3"[..]));
}

#[test]
fn unique_names_of_many_threads_differ() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    stored(&home, b"f", StoreMode::Unique, b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(home.names().len(), 80);
}

#[test]
fn only_files_are_replaced() {
    let home = Home::new();
    std::fs::create_dir(home.on_disk("d")).unwrap();
    home.fifo("fifo");
    for mode in [StoreMode::Replace, StoreMode::Append, StoreMode::At(1)] {
        assert_eq!(open(&home, b"d", mode, &DELETE).err(), Some(FileError::IsADirectory));
        assert_eq!(open(&home, b"fifo", mode, &DELETE).err(), Some(FileError::NotAFile));
        assert_eq!(open(&home, b"/", mode, &DELETE).err(), Some(FileError::IsADirectory));
        assert_eq!(open(&home, b"no/f", mode, &DELETE).err(), Some(FileError::NotFound));
    }
    // What takes the name meanwhile and is no file keeps it.
    let upload = |name: &[u8]| open(&home, name, StoreMode::Replace, &DELETE).unwrap();
    let (directory, fifo, link) = (upload(b"late-d"), upload(b"late-f"), upload(b"late-l"));
    std::fs::create_dir(home.on_disk("late-d")).unwrap();
    home.fifo("late-f");
    home.link("d", "late-l");
    assert_eq!(directory.finish(), Err(FileError::IsADirectory));
    assert_eq!(fifo.finish(), Err(FileError::NotAFile));
    assert_eq!(link.finish(), Err(FileError::NotAFile));
    assert_eq!(home.names(), ["d", "fifo", "late-d", "late-f", "late-l"]);
}

#[test]
fn a_replaced_file_keeps_its_permission_bits() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.put("f", b"old");
    let bits = std::fs::Permissions::from_mode(0o4640);
    std::fs::set_permissions(home.on_disk("f"), bits).unwrap();
    stored(&home, b"f", StoreMode::Replace, b"new").unwrap();
    let mode = std::fs::metadata(home.on_disk("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn links_inside_the_root_are_written_through() {
    let home = Home::new();
    std::fs::create_dir(home.on_disk("d")).unwrap();
    home.put("d/target", b"old");
    home.link("d/target", "direct");
    home.link("../direct", "d/indirect");
    home.link("nowhere", "dangling");
    home.link("loop", "loop");
    home.link("d/", "to_directory");
    for mode in [StoreMode::Replace, StoreMode::Append, StoreMode::At(1)] {
        stored(&home, b"d/indirect", mode, b"new").unwrap();
        assert!(std::fs::symlink_metadata(home.on_disk("d/indirect")).unwrap().is_symlink());
        assert!(std::fs::symlink_metadata(home.on_disk("direct")).unwrap().is_symlink());
        assert!(home.get("d/target").unwrap().ends_with(b"new"));
    }
    let refusal = |name: &[u8]| open(&home, name, StoreMode::Replace, &DELETE).err();
    assert_eq!(refusal(b"dangling"), Some(FileError::NotFound));
    assert_eq!(refusal(b"loop"), Some(FileError::Loop));
    assert_eq!(refusal(b"to_directory"), Some(FileError::IsADirectory));
}

#[test]
fn without_unnamed_files_a_hidden_one_does_the_same() {
    let home = Home::new();
    home.put("old", b"old");
    let hidden = |name: &[u8]| {
        let mut upload = open(&home, name, StoreMode::Replace, &DELETE).unwrap();
        let temporary = random_name(None).unwrap();
        upload.content.file = create_hidden(&upload.directory, &temporary).unwrap();
        upload.place = Place::Hidden(temporary);
        upload
    };
    let mut upload = hidden(b"old");
    write(&mut upload, b"new").unwrap();
    assert_eq!(home.listed(), ["old"]);
    assert_eq!(home.names().len(), 2);
    upload.finish().unwrap();
    assert_eq!(home.get("old").unwrap(), b"new");
    hidden(b"fresh").finish().unwrap();
    drop(hidden(b"dropped"));
    assert_eq!(home.names(), ["fresh", "old"]);
}

#[test]
fn temporary_names_are_not_for_clients() {
    let home = Home::new();
    let upload = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
    let temporary = home.names().remove(0);
    assert!(home.listed().is_empty());
    let refused = Err(FileError::PermissionDenied);
    let path = path(temporary.as_bytes());
    assert_eq!(perform(&home.root, &FileRequest::Metadata(path.clone())), refused);
    assert_eq!(perform(&home.root, &FileRequest::Delete(path.clone())), refused);
    home.put("g", b"");
    let rename =
        FileRequest::Rename { from: crate::vfs::testing::path(b"g"), to: path, replace: true };
    assert_eq!(perform(&home.root, &rename), refused);
    let stored = open(&home, temporary.as_bytes(), StoreMode::Replace, &DELETE);
    assert_eq!(stored.err(), Some(FileError::PermissionDenied));
    drop(upload);
    assert_eq!(home.names(), ["g"]);
}

#[test]
fn announced_octets_are_reserved_and_given_back() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::new();
    let announce = |octets| {
        let request = TransferRequest::Store {
            path: path(b"f"),
            mode: StoreMode::Replace,
            rights: StoreRights::ALL,
            ascii: false,
            announced: Some(octets),
        };
        match crate::vfs::open(&home.root, &request, &DELETE) {
            Ok((Transfer::Write(upload), _)) => Ok(upload),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    let mut upload = announce(8 << 20).unwrap();
    write(&mut upload, b"little").unwrap();
    upload.finish().unwrap();
    let stat = std::fs::metadata(home.on_disk("f")).unwrap();
    assert_eq!(stat.len(), 6);
    assert!(stat.blocks() * 512 < 1 << 20, "{} blocks kept", stat.blocks());
    assert_eq!(announce(u64::MAX).err(), Some(FileError::TooBig));
    // 8 EiB less one: more than any disk, where the filesystem reserves at all.
    if let Err(refusal) = announce(i64::MAX.unsigned_abs()) {
        assert!(matches!(refusal, FileError::NoSpace | FileError::TooBig), "{refusal:?}");
    }
    assert_eq!(home.names(), ["f"]);
}

#[test]
fn non_blocking_writes_keep_the_order() {
    let home = Home::new();
    let mut upload = open(&home, b"f", StoreMode::Replace, &DELETE).unwrap();
    let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut rest = content.as_slice();
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(7_001)];
        let mut pieces: Vec<_> = piece.chunks(1_500).map(IoSlice::new).collect();
        let count = match upload.try_write(&pieces) {
            Some(count) => count.unwrap(),
            None => upload.write(&mut pieces).map(|()| piece.len()).unwrap(),
        };
        rest = &rest[count..];
    }
    upload.finish().unwrap();
    assert_eq!(home.get("f").unwrap(), content);
}

/// A resumed upload gets no digest, so it need not leave the shard's thread for one.
#[test]
fn only_what_is_digested_waits_for_a_helper_thread() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return println!("skipped: no /dev/shm here");
    };
    let root = Root::open(directory.path()).unwrap();
    let hashes = [HashAlgorithm::Crc32].into_iter().collect();
    let policy = StorePolicy { hashes, ..DELETE };
    for (mode, expected) in [
        (StoreMode::Replace, None),
        (StoreMode::At(2), Some(Ok(3))),
        (StoreMode::At(1), Some(Ok(3))),
        (StoreMode::Append, Some(Ok(3))),
    ] {
        std::fs::write(directory.path().join("f"), "01").unwrap();
        let mut upload =
            Upload::open(&root, &path(b"f"), mode, StoreRights::ALL, None, policy).unwrap();
        assert_eq!(upload.try_write(&[IoSlice::new(b"abc")]), expected, "{mode:?}");
    }
}

/// Several APPE of one absent name: every one that succeeds has its octets in the file.
#[test]
fn appends_to_an_absent_name_are_all_there() {
    let home = Home::new();
    let append = || open(&home, b"f", StoreMode::Append, &DELETE).unwrap();
    let (mut first, mut second, mut third) = (append(), append(), append());
    write(&mut first, b"first\n").unwrap();
    write(&mut second, b"second\n").unwrap();
    write(&mut third, b"third\n").unwrap();
    second.finish().unwrap();
    first.finish().unwrap();
    assert_eq!(home.get("f").unwrap(), b"second\nfirst\n");
    // Somebody appends in place: no success without the octets.
    let under_way = append();
    assert_eq!(third.finish(), Err(FileError::Busy));
    drop(under_way);
    assert_eq!(home.get("f").unwrap(), b"second\nfirst\n");
    assert_eq!(home.names(), ["f"]);
}

#[test]
fn acknowledged_appends_of_many_threads_are_all_there() {
    for durability in [Durability::None, Durability::Full] {
        let home = Home::new();
        let policy = StorePolicy { durability, ..DELETE };
        let append = |number: usize| {
            let line = format!("line {number}\n");
            let mut upload = open(&home, b"f", StoreMode::Append, &policy).ok()?;
            write(&mut upload, line.as_bytes()).unwrap();
            upload.finish().ok().map(|()| line)
        };
        let append_some = &|thread: usize| -> Vec<String> {
            (0..20).filter_map(|number| append(20 * thread + number)).collect()
        };
        let acknowledged = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || append_some(thread)));
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        let content = String::from_utf8(home.get("f").unwrap()).unwrap();
        let mut lines: Vec<_> = content.split_inclusive('\n').collect();
        let mut expected: Vec<_> = acknowledged.iter().map(String::as_str).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}

/// An append in place counts only if the name is still that file's, and leaves no octet that the
/// client's next try would store again.
#[test]
fn an_append_ends_well_only_under_its_name() {
    #[track_caller]
    fn check(mode: StoreMode, meanwhile: impl FnOnce(&Home), name: &str, left: Option<&[u8]>) {
        let home = Home::new();
        home.put("f", b"old");
        let mut upload = open(&home, b"f", mode, &DELETE).unwrap();
        write(&mut upload, b"more").unwrap();
        meanwhile(&home);
        assert_eq!(upload.finish(), Err(FileError::Busy), "{mode:?}");
        assert_eq!(home.get(name).as_deref(), left, "{mode:?}");
    }
    for mode in [StoreMode::Append, StoreMode::At(3)] {
        let store = |home: &Home| stored(home, b"f", StoreMode::Replace, b"new").unwrap();
        check(mode, store, "f", Some(b"new"));
        let delete = |home: &Home| std::fs::remove_file(home.on_disk("f")).unwrap();
        check(mode, delete, "f", None);
        let rename = |home: &Home| {
            std::fs::rename(home.on_disk("f"), home.on_disk("g")).unwrap();
        };
        check(mode, rename, "g", Some(b"old"));
    }
}

/// Which names an upload takes, by right: `create`, `overwrite`, and neither.
#[test]
fn rights_decide_about_names() {
    const CREATE: StoreRights = StoreRights { create: true, overwrite: false };
    const OVERWRITE: StoreRights = StoreRights { create: false, overwrite: true };
    const NEITHER: StoreRights = StoreRights { create: false, overwrite: false };
    #[track_caller]
    fn check(rights: StoreRights, name: &[u8], mode: StoreMode, expected: Result<(), FileError>) {
        let home = Home::new();
        home.put("old", b"old");
        let upload = open_with(&home, name, mode, rights, &DELETE);
        assert_eq!(upload.and_then(Upload::finish), expected, "{rights:?} {mode:?}");
        let old = home.get("old").unwrap();
        assert!(rights.overwrite || old == b"old", "{rights:?} {mode:?}: {old:?}");
    }
    use StoreMode::{Append, At, Replace, Unique};
    let taken = Err(FileError::AlreadyExists);
    let denied = Err(FileError::PermissionDenied);
    check(CREATE, b"new", Replace, Ok(()));
    check(CREATE, b"old", Replace, taken);
    check(CREATE, b"old", Unique, Ok(()));
    check(CREATE, b"old", At(1), denied);
    check(CREATE, b"old", At(3), Ok(()));
    check(OVERWRITE, b"new", Replace, denied);
    check(OVERWRITE, b"old", Replace, Ok(()));
    check(OVERWRITE, b"old", Unique, denied);
    check(OVERWRITE, b"old", At(1), Ok(()));
    check(NEITHER, b"new", Append, Ok(()));
    check(NEITHER, b"old", Append, Ok(()));
    // The name is taken, or free again, only when the upload ends.
    let home = Home::new();
    let late = open_with(&home, b"late", Replace, CREATE, &DELETE).unwrap();
    home.put("late", b"theirs");
    assert_eq!(late.finish(), taken);
    assert_eq!(home.get("late").unwrap(), b"theirs");
    let gone = open_with(&home, b"late", Replace, OVERWRITE, &DELETE).unwrap();
    std::fs::remove_file(home.on_disk("late")).unwrap();
    assert_eq!(gone.finish(), Err(FileError::NotFound));
    assert!(home.names().is_empty());
}

/// What a write of anybody but root takes away, an append of root takes away as well.
#[test]
fn an_append_clears_set_user_id() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.put("f", b"old");
    let bits = std::fs::Permissions::from_mode(0o6755);
    std::fs::set_permissions(home.on_disk("f"), bits).unwrap();
    stored(&home, b"f", StoreMode::Append, b"new").unwrap();
    let mode = std::fs::metadata(home.on_disk("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}
