//! Listings of directories as they are on disk.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::vfs::testing::{Home, list_request, raw};

/// Where the name begins in a line of LIST.
const NAME_COLUMN: usize = 59;
const NAMES: ListStyle = ListStyle::Names { prefix: Vec::new() };

fn lines(text: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"));
    let mut lines: Vec<String> = text.split_terminator("\r\n").map(str::to_owned).collect();
    lines.sort();
    lines
}

/// [LIST-30]: each entry once, none lost, in bounded batches, while others come and go.
#[test]
fn a_large_directory_is_listed_completely_in_batches() {
    const ENTRIES: usize = 20_000;
    let home = Home::new();
    for number in 0..ENTRIES {
        home.put(format!("stays-{number}"), b"");
    }
    for number in 0..100 {
        home.put(format!("goes-{number}"), b"");
    }
    for style in [NAMES, ListStyle::Long, ListStyle::Facts(FactSet::DEFAULT)] {
        let kind = std::mem::discriminant(&style);
        let request = list_request(b"/", style);
        let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
        let (mut seen, mut batches) = (BTreeSet::new(), 0);
        loop {
            let mut batch = Vec::new();
            let more = lister.next(&mut batch).unwrap();
            assert!(batch.len() < LISTING_BATCH_BYTES + 512, "{}", batch.len());
            for line in lines(&batch) {
                let name = line.rsplit(' ').next().unwrap();
                if name.starts_with("stays-") {
                    assert!(seen.insert(name.to_owned()), "{name} twice");
                }
            }
            if !more {
                break;
            }
            home.put(format!("new-{batches}"), b"");
            let _ = fs::remove_file(home.on_disk(format!("goes-{batches}")));
            batches += 1;
        }
        assert_eq!(seen.len(), ENTRIES, "{kind:?}");
        assert!(batches > 2);
        assert!(lister.entries.capacity() <= 2 * ENTRIES_BYTES);
        assert!(lister.pending.octets.capacity() <= 2 * (LISTING_SORT_BYTES_MAX + ENTRIES_BYTES));
    }
}

#[test]
fn dotfiles_are_shown_on_request_and_always_by_mlsd() {
    let home = Home::new();
    home.put(".hidden", b"");
    home.put("shown", b"");
    let list = |style, hidden| {
        lines(&home.list(&ListRequest { hidden, ..list_request(b"/", style) }).unwrap())
    };
    assert_eq!(list(NAMES, false), ["shown"]);
    assert_eq!(list(NAMES, true), [".hidden", "shown"]);
    assert_eq!(list(ListStyle::Long, false).len(), 1);
    assert_eq!(list(ListStyle::Long, true).len(), 2);
    assert_eq!(list(ListStyle::Facts(FactSet::NONE), false), [" .hidden", " shown"]);
}

/// [NLST-01 NLST-02 LIST-02 MLSD-02]
#[test]
fn files_and_subdirectories() {
    let home = Home::new();
    fs::create_dir(home.on_disk("sub")).unwrap();
    let prefixed = || ListStyle::Names { prefix: b"sub/".to_vec() };
    assert_eq!(home.list(&list_request(b"sub", prefixed())).unwrap(), b"");
    home.put("sub/f", b"123");
    let list = |name: &[u8], style| home.list(&list_request(name, style));
    assert_eq!(list(b"sub", prefixed()).unwrap(), b"sub/f\r\n");
    assert_eq!(list(b"sub/f", NAMES).unwrap(), b"sub/f\r\n");
    let long = list(b"sub/f", ListStyle::Long).unwrap();
    assert!(long.starts_with(b"-") && long.ends_with(b" sub/f\r\n"), "{long:?}");
    assert_eq!(lines(&long).len(), 1);
    let facts = ListStyle::Facts(FactSet::DEFAULT);
    assert_eq!(list(b"sub/f", facts.clone()), Err(FileError::NotADirectory));
    assert_eq!(list(b"no", facts), Err(FileError::NotFound));
    assert_eq!(list(b"no", NAMES), Err(FileError::NotFound));
}

/// RFC 3659 §7.5.1: headings only with the type fact, and no parent of the root.
#[test]
fn mlsd_names_the_directory_itself() {
    let home = Home::new();
    fs::create_dir(home.on_disk("sub")).unwrap();
    let kind = FactSet { kind: true, ..FactSet::NONE };
    let list = |name: &[u8], argument: &[u8], facts| {
        let request = list_request(name, ListStyle::Facts(facts));
        lines(&home.list(&ListRequest { argument: argument.to_vec(), ..request }).unwrap())
    };
    assert_eq!(list(b"/", b"", kind), ["type=cdir; .", "type=dir; sub"]);
    assert_eq!(list(b"sub", b"sub", kind), ["type=cdir; .", "type=pdir; .."]);
    assert!(list(b"sub", b"sub", FactSet::NONE).is_empty());
}

/// [MLSD-07]: a link is a link, wherever it leads: a client that deletes or walks a tree by its
/// listing must not follow it.
#[test]
fn links_are_shown_as_links() {
    let home = Home::new();
    fs::create_dir(home.on_disk("sub")).unwrap();
    home.put("f", b"12345");
    home.link("../f", "sub/file");
    home.link(".", "sub/loop");
    home.link("../../outside", "sub/outside");
    home.link("no where", "sub/dangling");
    fs::write(home.outside().join("outside"), "secret").unwrap();
    let kind = FactSet { kind: true, size: true, ..FactSet::NONE };
    let text = lines(&home.list(&list_request(b"sub", ListStyle::Facts(kind))).unwrap());
    let expected = [
        "type=OS.unix=slink:../../outside; outside",
        "type=OS.unix=slink:../f;size=5; file",
        "type=OS.unix=slink:.; loop",
        "type=OS.unix=symlink; dangling",
        "type=cdir; .",
        "type=pdir; ..",
    ];
    assert_eq!(text, expected);
    let text = home.list(&list_request(b"sub", ListStyle::Long)).unwrap();
    let text = String::from_utf8(text).unwrap();
    let shown: Vec<_> = text.lines().map(|line| (&line[..1], &line[NAME_COLUMN..])).collect();
    let expected =
        ["dangling -> no where", "file -> ../f", "loop -> .", "outside -> ../../outside"];
    assert_eq!(shown, expected.map(|name| ("l", name)));
    // One of them alone.
    for (name, line) in
        [(&b"sub/file"[..], " sub/file -> ../f\r\n"), (b"sub/dangling", "no where\r\n")]
    {
        let text = String::from_utf8(home.list(&list_request(name, ListStyle::Long)).unwrap());
        let text = text.unwrap();
        assert!(text.starts_with('l') && text.ends_with(line), "{text}");
    }
}

#[test]
fn small_directories_are_sorted() {
    let home = Home::new();
    for name in ["b", "a", "c", "B", "a.b"] {
        home.put(name, b"");
    }
    assert_eq!(home.list(&list_request(b"/", NAMES)).unwrap(), b"B\r\na\r\na.b\r\nb\r\nc\r\n");
}

/// With much, little or nothing in common, and with more than eight octets behind that.
#[test]
fn names_that_are_alike_are_sorted() {
    let tails = ["", "1", "10", "2", "12345678", "123456789", "12345678a", "ü", "~", "A", "a"];
    for start in ["file-", "a", "12345678", "é"] {
        for more in [None, Some("other"), Some("file")] {
            let home = Home::new();
            let names = tails.iter().map(|tail| format!("{start}{tail}"));
            let mut names: Vec<String> = names.chain(more.map(str::to_owned)).collect();
            names.iter().for_each(|name| home.put(name, b""));
            names.sort();
            let listed = home.list(&list_request(b"/", NAMES)).unwrap();
            assert_eq!(lines(&listed), names, "{start} {more:?}");
        }
    }
}

/// RFC 1123 §4.1.2.7.
#[test]
fn patterns() {
    let home = Home::new();
    fs::create_dir(home.on_disk("sub")).unwrap();
    for name in ["a.csv", "b.csv", "c.dat", ".d.csv", "sub/e.csv", "sub/[x].csv", "sub/x.csv"] {
        home.put(name, b"");
    }
    let names = |operand: &[u8]| {
        let text = home.list(&list_request(operand, NAMES));
        text.map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(names(b"*.csv").unwrap(), "a.csv\r\nb.csv\r\n");
    assert_eq!(names(b"/[!b]*").unwrap(), "/a.csv\r\n/c.dat\r\n/sub\r\n");
    assert_eq!(names(b"sub/?.csv").unwrap(), "sub/e.csv\r\nsub/x.csv\r\n");
    assert_eq!(names(b"sub/../*.dat").unwrap(), "sub/../c.dat\r\n");
    assert_eq!(names(b".*").unwrap(), ".d.csv\r\n");
    assert_eq!(names(b"*.none").unwrap(), "");
    // Something of that very name.
    assert_eq!(names(b"sub/[x].csv").unwrap(), "sub/[x].csv\r\n");
    // Only the last name is one; MLSD has none.
    assert_eq!(names(b"s*/e.csv"), Err(FileError::NotFound));
    assert_eq!(names(b"s*/../*"), Err(FileError::NotFound));
    assert_eq!(names(b"no/*"), Err(FileError::NotFound));
    let facts = list_request(b"*.csv", ListStyle::Facts(FactSet::NONE));
    assert_eq!(home.list(&facts), Err(FileError::NotFound));
    let long = home.list(&list_request(b"sub/e*", ListStyle::Long)).unwrap();
    assert!(long.ends_with(b" e.csv\r\n") && lines(&long).len() == 1, "{long:?}");
}

/// A pattern that nothing matches does not hold a thread for as long as the directory is.
#[test]
fn a_call_is_bounded_when_nothing_matches() {
    let home = Home::new();
    for number in 0..6_000 {
        home.put(format!("{number:0120}"), b"");
    }
    let request = list_request(b"*a*b*c", NAMES);
    let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
    let (mut text, mut calls) = (Vec::new(), 1);
    while lister.next(&mut text).unwrap() {
        calls += 1;
    }
    assert!(text.is_empty() && calls > 3, "{calls}");
}

#[test]
fn recursive_listings_follow_no_link() {
    let home = Home::new();
    fs::create_dir_all(home.on_disk("s1/s2")).unwrap();
    fs::create_dir(home.on_disk("empty")).unwrap();
    for name in ["top", "s1/mid", "s1/s2/deep"] {
        home.put(name, b"");
    }
    home.link(".", "s1/loop");
    let list = |operand: &[u8], style| {
        let request = ListRequest { recursive: true, ..list_request(operand, style) };
        String::from_utf8(home.list(&request).unwrap()).unwrap()
    };
    let long = list(b"", ListStyle::Long);
    let shown: Vec<_> = long.lines().map(|line| line.get(NAME_COLUMN..).unwrap_or(line)).collect();
    let expected = [
        ".:",
        "empty",
        "s1",
        "top",
        "",
        "./empty:",
        "",
        "./s1:",
        "loop -> .",
        "mid",
        "s2",
        "",
        "./s1/s2:",
        "deep",
    ];
    assert_eq!(shown, expected);
    let names = list(b"", NAMES);
    assert_eq!(names, "empty\r\ns1\r\ntop\r\ns1/loop\r\ns1/mid\r\ns1/s2\r\ns1/s2/deep\r\n");
    assert!(list(b"s1/", ListStyle::Long).starts_with("s1:\r\n"));
}

/// Directories to come are held in bounded memory: beyond it LIST -R and NLST -R fail, and what
/// the client has got is no whole listing.
#[test]
fn recursive_listings_of_too_many_directories_are_refused() {
    let home = Home::new();
    let above = ["a", "b", "c"].map(|letter| letter.repeat(250)).join("/");
    fs::create_dir_all(home.on_disk(&above)).unwrap();
    let make = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| {
            fs::create_dir(home.on_disk(&above).join(format!("{number:0245}"))).unwrap();
        });
    };
    let names = || ListStyle::Names { prefix: [above.as_bytes(), b"/"].concat() };
    let list = |style, recursive| {
        let request = ListRequest { recursive, ..list_request(above.as_bytes(), style) };
        home.list(&request).map(|text| lines(&text).len())
    };
    // Of each the pathname and the prefix, of 1,000 octets.
    let most = LISTING_DIRECTORIES_BYTES_MAX / 2_000;
    make(0..most - 10);
    assert_eq!(list(names(), true), Ok(most - 10));
    // With a heading for each and for all, and a blank line before each.
    assert_eq!(list(ListStyle::Long, true), Ok(3 * (most - 10) + 1));
    make(most - 10..most + 10);
    assert_eq!(list(names(), true), Err(FileError::Unsupported));
    assert_eq!(list(ListStyle::Long, true), Err(FileError::Unsupported));
    assert_eq!(list(ListStyle::Long, false), Ok(most + 10));
}

#[test]
fn names_are_octets() {
    let home = Home::new();
    for name in [&b"\xff\xfe"[..], b"a\nb", b" x "] {
        home.put(raw(name), b"");
    }
    let text = home.list(&list_request(b"/", NAMES)).unwrap();
    for line in [&b"\xff\xfe\r\n"[..], b" x \r\n", b"a?b\r\n"] {
        assert!(text.windows(line.len()).any(|window| window == line), "{text:?}");
    }
}

#[test]
fn a_directory_removed_meanwhile_ends_the_listing() {
    let home = Home::new();
    fs::create_dir(home.on_disk("sub")).unwrap();
    let request = list_request(b"sub", ListStyle::Long);
    let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
    fs::remove_dir(home.on_disk("sub")).unwrap();
    let mut text = Vec::new();
    assert_eq!(lister.next(&mut text), Ok(false));
    assert!(text.is_empty());
}
