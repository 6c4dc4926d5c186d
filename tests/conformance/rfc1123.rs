//! Listings for people, and what RFC 1123 §4.1 adds to RFC 959: NLST, STOU, X-forms.

use std::os::unix::ffi::OsStrExt;

use crate::fixture::{alice, alice_clear_data, on_both, own, relaxed, strict};
use crate::support::{Client, Listener};

fn text(lines: &[Vec<u8>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// [LIST-01] [LIST-06] Lines like `ls -l`: mode, links, owner, group, size, date, one space, name.
#[test]
fn list_looks_like_ls() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list01");
        let place = server.root().join(own("list01", listener));
        client.store("STOR  two  spaces ", b"12345");
        client.expect("MKD sub", 257);
        let old = std::fs::File::create(place.join("old")).unwrap();
        let year_2001 = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        old.set_modified(year_2001).unwrap();
        let lines = text(&client.list("LIST"));
        let find = |end: &str| lines.iter().find(|line| line.ends_with(end)).unwrap().clone();
        let file = find("  two  spaces ");
        let head = file.strip_suffix("  two  spaces ").unwrap();
        let columns: Vec<_> = head.split_whitespace().collect();
        assert_eq!(columns.len(), 8, "{file}");
        assert!(columns[0].starts_with("-rw") && columns[0].len() == 10, "{file}");
        assert_eq!(columns[4], "5", "{file}");
        assert!(columns[7].contains(':'), "a time for a recent file: {file}");
        assert!(find(" sub").starts_with('d'));
        assert!(find(" old").contains("Sep 09  2001 old"), "{}", find(" old"));
        assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "colours");
    });
}

/// [LIST-02] LIST of a file is one line.
#[test]
fn list_of_a_file() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list02");
        client.store("STOR file", b"12345");
        let lines = text(&client.list("LIST file"));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with('-') && lines[0].ends_with(" file"), "{lines:?}");
    });
}

/// [LIST-03] LIST and NLST of nothing are 550: after the 450 of their reply lists clients ask
/// again, lftp for ever.
#[test]
fn list_of_nothing_is_550() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list03");
        client.refused("LIST absent", 550);
        client.refused("NLST absent", 550);
    });
}

/// [LIST-04] Leading options are taken as options unless a file has that name; `-a` shows dotfiles.
#[test]
fn list_tolerates_options() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list04");
        client.store("STOR shown", b"");
        client.store("STOR .hidden", b"");
        client.expect("MKD sub", 257);
        client.store("STOR sub/inner", b"");
        let names = |client: &mut Client, command: &str| {
            let mut names: Vec<_> = text(&client.list(command))
                .iter()
                .map(|line| line.rsplit(' ').next().unwrap().to_owned())
                .filter(|name| name != "." && name != "..")
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&mut client, "LIST"), ["shown", "sub"]);
        assert_eq!(names(&mut client, "LIST -l"), ["shown", "sub"]);
        for all in ["LIST -a", "LIST -la", "LIST -al", "LIST -a ."] {
            assert_eq!(names(&mut client, all), [".hidden", "shown", "sub"], "{all}");
        }
        assert_eq!(names(&mut client, "LIST -la sub"), ["inner"]);
        // More blanks than one behind options, with and without a name.
        for command in ["LIST", "NLST"] {
            let mut listed = |operand: &str| names(&mut client, &format!("{command} {operand}"));
            for all in ["-a  ", "-a ", "-a  .", "-a   -l  .", "-al  -1   "] {
                let shown = listed(all);
                let shown: Vec<_> =
                    shown.iter().map(|name| name.trim_start_matches("./")).collect();
                assert_eq!(shown, [".hidden", "shown", "sub"], "{command} {all:?}");
            }
            for one in ["-l  sub", "-a  -l  sub"] {
                let shown = listed(one);
                assert_eq!(shown.len(), 1, "{command} {one:?}");
                assert!(shown[0].ends_with("inner"), "{command} {one:?}: {shown:?}");
            }
        }
        client.store("STOR -a", b"");
        assert_eq!(names(&mut client, "LIST -a"), ["-a"]);
    });
}

/// [LIST-05] LIST and NLST are TYPE A lines whatever TYPE is; MLSD too ends lines with CRLF.
#[test]
fn listings_are_ascii_whatever_the_type() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list05");
        client.store("STOR file", b"");
        for kind in ["TYPE I", "TYPE A", "TYPE L 8"] {
            client.expect(kind, 200);
            for command in ["LIST", "NLST", "MLSD"] {
                // `list` asserts CRLF.
                assert!(!client.list(command).is_empty(), "{command}");
            }
        }
    });
}

/// [LIST-20] STAT with a path lists on the control connection: 213 or 212; unknown is 550.
#[test]
fn stat_path_lists_on_control() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "list20");
        client.store("STOR file", b"12345");
        let directory = client.cmd("STAT .");
        assert!([211, 212, 213].contains(&directory.code), "{directory:?}");
        assert!(directory.text().contains(" file"), "{directory:?}");
        let file = client.cmd("STAT file");
        assert!([211, 212, 213].contains(&file.code), "{file:?}");
        assert!(file.text().contains(" file"), "{file:?}");
        client.expect("STAT absent", 550);
    });
}

/// [LIST-30] Big directories are listed completely: no entry lost, none doubled.
#[test]
fn big_directories_are_complete() {
    let server = relaxed();
    let mut client = alice_clear_data(&server, Listener::Implicit, "list30");
    let place = server.root().join(own("list30", Listener::Implicit));
    let mut expected: Vec<String> = (0..20_000).map(|n| format!("entry-{n:05}")).collect();
    for name in &expected {
        std::fs::File::create(place.join(name)).unwrap();
    }
    expected.sort();
    for command in ["NLST", "LIST", "MLSD"] {
        let mut names: Vec<String> = text(&client.list(command))
            .iter()
            .filter(|line| !line.contains("type=cdir") && !line.contains("type=pdir"))
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect();
        names.sort();
        assert!(names == expected, "{command}: {} names", names.len());
    }
}

/// [NLST-01] Only names, each usable as an argument from the working directory.
#[test]
fn nlst_names_are_usable() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "nlst01");
        client.expect("MKD sub", 257);
        client.store("STOR sub/a", b"contents of a");
        client.store("STOR sub/b c", b"contents of b c");
        let mut names = text(&client.list("NLST sub"));
        names.sort();
        assert_eq!(names, ["sub/a", "sub/b c"]);
        for name in names {
            client.retrieve(format!("RETR {name}"));
        }
        assert_eq!(text(&client.list("NLST")), ["sub"]);
        assert_eq!(text(&client.list("NLST sub/a")), ["sub/a"]);
    });
}

/// [NLST-02] An empty directory is 226 with zero octets.
#[test]
fn nlst_of_an_empty_directory() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "nlst02");
        assert_eq!(client.retrieve("NLST"), b"");
        client.expect("MKD empty", 257);
        assert_eq!(client.retrieve("NLST empty"), b"");
    });
}

/// [XFER-07] STOU: `150 FILE: name`, a new name each time, in the working directory.
#[test]
fn stou_makes_unique_names() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer07");
        let mut names = std::collections::BTreeSet::new();
        for n in 0..3 {
            let contents = format!("upload {n}");
            let opened = client.store("STOU", contents.as_bytes()).line();
            let name = opened.strip_prefix("FILE: ").unwrap_or_else(|| panic!("{opened}"));
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert_eq!(client.retrieve(format!("RETR {name}")), contents.as_bytes());
        }
        assert_eq!(client.list("NLST").len(), 3);
    });
}

/// [FILE-20] XCWD, XPWD, XMKD, XRMD and XCUP are their plain forms.
#[test]
fn x_forms_work() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file20");
        client.expect("XMKD sub", 257);
        client.expect("XCWD sub", 250);
        assert!(client.expect("XPWD", 257).quoted().ends_with(b"/sub"));
        client.expect("XCUP", 250);
        client.expect("XRMD sub", 250);
        client.expect("XCWD sub", 550);
    });
}

/// [LIST-01] Names of any octets stand in LIST as they are, nothing is quoted.
#[test]
fn list_does_not_quote() {
    let server = strict();
    let mut client = alice(&server, Listener::Implicit, "list01q");
    let place = server.root().join(own("list01q", Listener::Implicit));
    let name = b"it's \"odd\" \xe9\xff";
    std::fs::File::create(place.join(std::ffi::OsStr::from_bytes(name))).unwrap();
    let lines = client.list("LIST");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(&[b" ", &name[..]].concat()), "{}", lines[0].escape_ascii());
}
