//! Checks properties of the source text and of the dependency tree. Runs with `cargo test`.
//!
//! Owns the architecture ([`LAYERS`]), the bans and the bounds on size. Each finding says where,
//! what and what to do instead. Text is read as Rust tokens: words in comments and strings do not
//! count, and `use` groups over several lines do.

#![allow(clippy::unwrap_used, reason = "a test: an unreadable tree is a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/module_circles.rs"]
mod module_circles;
#[path = "support/rust_tokens.rs"]
mod rust_tokens;

use module_circles::circles;
use rust_tokens::{PathUse, Token, is_word, paths, tokens};

/// What a layer may import besides itself.
enum May {
    Import(&'static [&'static str]),
    ImportAllAbove,
}

/// Who may import whom, bottom layer first ("above" is above in this list).
///
/// The table is the architecture: to add an arrow is to edit this line, in review.
const LAYERS: &[(&str, May)] = &[
    ("limits", May::Import(&[])),
    ("clock", May::Import(&[])),
    ("settings", May::Import(&[])),
    ("events", May::Import(&["clock"])),
    ("protocol", May::Import(&["limits", "settings", "events"])),
    ("sys", May::Import(&["limits"])),
    ("runtime", May::Import(&["limits", "clock", "sys"])),
    ("buffer", May::Import(&["limits", "sys"])),
    ("tls", May::Import(&["limits", "clock", "protocol", "buffer"])),
    ("auth", May::Import(&["limits", "clock", "protocol"])),
    ("vfs", May::Import(&["limits", "clock", "protocol", "sys", "buffer"])),
    ("metrics", May::Import(&["limits", "protocol"])),
    ("config", May::Import(&["limits", "settings", "protocol", "tls", "auth"])),
    ("connection", May::ImportAllAbove),
    ("shard", May::ImportAllAbove),
    ("cli", May::ImportAllAbove),
];

/// The rooms of `connection`, bottom first: each may import those above it in this list.
const CONNECTION_ROOMS: &[&str] = &[
    "sessions",
    "proxied",
    "newcomers",
    "logins",
    "arrivals",
    "ports",
    "data",
    "context",
    "transfer",
    "control",
];

/// What only some places may name: the path, the places (prefixes of file names), and what
/// everybody else does.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "unsafe",
        // The bench asks the kernel what nothing in the tree does.
        &[
            "src/sys/",
            "src/reactor/src/ring.rs",
            "loadgen/src/sys.rs",
            "benches/ring_operations.rs",
        ],
        "put the system call behind a safe function in src/sys/ (loadgen/src/sys.rs)",
    ),
    (
        "io_uring",
        &["src/reactor/src/ring.rs", "benches/ring_operations.rs"],
        "add an operation: the ring owns what it uses until it has ended",
    ),
    (
        "ringftpd_reactor",
        &["src/runtime/executor/", "src/reactor/", "loadgen/src/engine/", "benches/"],
        "use what src/runtime/ (loadgen/src/engine/) offers, or add to it",
    ),
    ("glommio", &["src/runtime/executor/"], "use what src/runtime/ offers, or add to it"),
    // A misreading shared by server and load generator would cancel out.
    (
        "ringftpd",
        &["src/", "tests/", "benches/", "loadgen/tests/"],
        "the load generator takes nothing from the server",
    ),
    (
        "rustls",
        &[
            "src/tls/",
            "src/config/suites.rs",
            "src/connection/tests/",
            "tests/",
            "benches/",
            "loadgen/",
        ],
        "use what src/tls/ offers, or add to it",
    ),
    ("Instant::now", CLOCKS, "take `now` as an argument, or call clock::now"),
    ("SystemTime::now", CLOCKS, "take the time as an argument, or call clock::unix_time"),
    (
        "Mutex",
        // rustls asks for a Sync session store.
        &["tests/", "loadgen/tests/", "loadgen/src/client/ticket.rs"],
        "a shard shares nothing; send a message to the shard that owns the value",
    ),
    (
        "RwLock",
        &["tests/", "loadgen/tests/"],
        "a shard shares nothing; send a message to the shard that owns the value",
    ),
    ("todo!", &[], "write it, or open an issue and return an error"),
    ("unimplemented!", &[], "write it, or open an issue and return an error"),
    ("dbg!", &[], "remove it before the merge"),
];

/// The load generator measures time, so it reads the clock wherever it measures.
const CLOCKS: &[&str] =
    &["src/clock.rs", "src/reactor/src/clock.rs", "tests/support/wait.rs", "loadgen/"];

/// What the sans-io core must not name, and what to do instead.
const PROTOCOL_BANS: &[(&str, &str)] = &[
    ("std::fs", "emit an Output; the connection performs it"),
    ("std::io", "bytes arrive as slices and leave as slices"),
    ("std::env", "take the value as an argument"),
    ("std::process", "emit an Output; the connection performs it"),
    ("std::thread", "the core runs to completion on its caller's thread"),
    ("TcpStream", "emit an Output; the connection owns the sockets"),
    ("TcpListener", "emit an Output; the connection owns the sockets"),
    ("tokio", "the core knows no runtime"),
    ("async", "the core runs to completion"),
    ("await", "the core runs to completion"),
    ("rand", "take entropy as an argument"),
    ("HashMap", "unordered iteration breaks the replay of a seed; use BTreeMap"),
    ("HashSet", "unordered iteration breaks the replay of a seed; use BTreeSet"),
    ("from_utf8_lossy", "a pathname is octets; a lossy copy names another file"),
];

/// Crates that must not be linked, in the server or in its tests: rustls with aws-lc-rs is the one
/// TLS stack and the one provider of cryptography.
const BANNED_CRATES: &[&str] =
    &["ring", "openssl", "openssl-sys", "native-tls", "boring", "boring-sys", "s2n-tls"];

/// Rows of tables may be longer: those under `#[rustfmt::skip]`, and text with this many ` | `.
const COLUMNS_MAX: usize = 100;
const TABLE_BARS_MIN: usize = 4;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

#[test]
fn tidy() {
    let mut findings = Vec::new();
    let mut sources = 0;
    for (name, text) in tree() {
        check_text(&name, &text, &mut findings);
        if name.ends_with(".rs") {
            check_source(&name, &text, &mut findings);
            sources += 1;
        }
    }
    assert!(sources > 50, "found only {sources} sources: the walk is broken");
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Rows are listed bottom first, so rows that name only rows above them cannot close a cycle.
#[test]
fn layers_exist_and_have_no_cycle() {
    for (index, (layer, _)) in LAYERS.iter().enumerate() {
        for target in row_of(layer).unwrap() {
            let above = LAYERS[..index].iter().any(|(name, _)| *name == target);
            assert!(above, "{layer} may import {target}, which is not listed above it");
        }
        let exists = [format!("src/{layer}.rs"), format!("src/{layer}/mod.rs")]
            .iter()
            .any(|file| root().join(file).is_file());
        assert!(exists, "LAYERS has a row for {layer}, which does not exist");
    }
}

/// Within a room, too, files are in an order in which they can be read: where two need each other,
/// move what both need down.
#[test]
fn modules_have_no_circle() {
    let tree = tree();
    for root in ["src/", "src/reactor/src/", "loadgen/src/"] {
        // The reactor is a crate of its own, in a folder of the server's.
        let apart = |name: &str| name.ends_with("build.rs") || name.starts_with("src/reactor/");
        let sources = tree.iter().filter(|(name, _)| name.ends_with(".rs"));
        let sources = sources.filter(|(name, _)| root == "src/reactor/src/" || !apart(name));
        let sources: Vec<_> = sources
            .filter_map(|(name, text)| Some((name.strip_prefix(root)?, text.as_str())))
            .collect();
        assert!(sources.len() > 20, "found only {} sources of {root}", sources.len());
        let found = circles(&sources);
        assert!(found.is_empty(), "{root}: {found:?}");
    }
}

#[test]
fn circles_are_found() {
    let files = |a: &'static str, b: &'static str| {
        circles(&[
            ("lib.rs", "mod room;"),
            ("room/mod.rs", "pub use b::B;"),
            ("room/a.rs", a),
            ("room/b.rs", b),
        ])
    };
    let circle = ["room: a, b"];
    assert_eq!(files("use super::b::B;", "use super::a::A;"), circle);
    assert_eq!(files("use crate::room::{b, c};", "fn f() { super::a::f() }"), circle);
    assert_eq!(files("use super::B;", "use super::a::A;"), circle, "by way of a re-export");
    let none: [&str; 0] = [];
    assert_eq!(
        files("use super::b::B;", "use std::fs; mod tests { use super::super::a::A; }"),
        none
    );
    assert_eq!(files("use super::b::B; // and b uses", "const A: &str = \"super::a::A\";"), none);
}

/// What a visitor sees first stays short. Documents about the project itself are in `.github`,
/// where forges look for them. A `rust-toolchain` file would make a machine download a toolchain
/// that it does not need.
#[test]
fn the_top_level_is_short() {
    const VISIBLE: &str = "CHANGELOG.md Cargo.lock Cargo.toml LICENSE-APACHE LICENSE-MIT \
                           README.md benches loadgen src tests tuning";
    let found: BTreeSet<String> = tree()
        .into_iter()
        .filter_map(|(name, _)| name.split('/').next().map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), VISIBLE);
}

/// Asks cargo and not Cargo.lock, which lists ring for a feature nobody switches on (`ring?/alloc`
/// of rustls-webpki).
#[test]
fn one_tls_stack() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p}", "--no-dedupe"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let packages: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        })
        .collect();
    for banned in BANNED_CRATES {
        let found = packages.iter().find(|(name, _)| name == banned);
        assert!(
            found.is_none(),
            "{found:?}: only rustls with aws-lc-rs; see cargo tree -i {banned}"
        );
    }
    for single in ["rustls", "aws-lc-rs", "aws-lc-sys"] {
        let count = packages.iter().filter(|(name, _)| *name == single).count();
        assert_eq!(count, 1, "versions of {single}; see cargo tree -i {single}");
    }
}

#[test]
fn every_dependency_is_used() {
    let manifest: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for (table, places) in
        [("dependencies", &["src/"][..]), ("dev-dependencies", &["src/", "tests/", "benches/"])]
    {
        let sources: Vec<_> = tree()
            .into_iter()
            .filter(|(name, _)| name.ends_with(".rs"))
            .filter(|(name, _)| places.iter().any(|place| name.starts_with(place)))
            .collect();
        let tokens: Vec<_> = sources.iter().map(|(_, text)| tokens(text)).collect();
        let named: BTreeSet<&str> = tokens
            .iter()
            .flat_map(|tokens| paths(tokens))
            .filter(|path| path.segments.len() > 1)
            .map(|path| path.segments[0])
            .collect();
        for name in manifest[table].as_table().unwrap().keys() {
            // md-5 calls its library md5.
            let used = [name.replace('-', "_"), name.replace('-', "")];
            let used = used.iter().any(|library| named.contains(library.as_str()));
            assert!(used, "Cargo.toml: nobody names {name} of [{table}]; remove it");
        }
    }
}

/// Checks that hold for every text file.
fn check_text(name: &str, text: &str, findings: &mut Vec<String>) {
    let mut table_indent = None;
    for (index, line) in text.lines().enumerate() {
        let mut report = |message: &str| findings.push(finding(name, index + 1, message));
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("#[rustfmt::skip]") {
            table_indent = Some(indent);
        } else if table_indent == Some(indent) && line.trim_start().starts_with([']', '}']) {
            table_indent = None;
        }
        let table = table_indent.is_some() || line.matches(" | ").count() >= TABLE_BARS_MIN;
        let long = line.chars().count() > COLUMNS_MAX && !line.contains("https://");
        // rustfmt breaks no string; one that stands alone is as short as its line can be.
        let literal =
            ["\"", "r\"", "r#\""].iter().any(|start| line.trim_start().starts_with(start));
        let table = table || literal;
        if name.ends_with(".rs") && long && !table {
            report("more than 100 columns; wrap the line");
        }
        for word in [concat!("FIX", "ME"), concat!("TO", "DO")] {
            if line.split(|c: char| !c.is_alphanumeric()).any(|part| part == word) {
                report(&format!("{word}: do it, or open an issue"));
            }
        }
        for home in [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")] {
            if line.contains(home) {
                report(&format!("{home} is of one machine; make the name relative or an argument"));
            }
        }
    }
}

/// Checks of one Rust file.
fn check_source(name: &str, text: &str, findings: &mut Vec<String>) {
    if !text.starts_with("//!") && !text.starts_with("#![doc") {
        findings.push(finding(name, 1, "no head; start with //! saying what the file owns"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines, at most {FILE_LINES_MAX}; split by responsibility");
        findings.push(finding(name, 1, &message));
    }
    let tokens = tokens(text);
    check_functions(name, &tokens, findings);
    for at in tokens.windows(3) {
        if let ["#", "[", "ignore"] = [at[0].text, at[1].text, at[2].text] {
            let message = "an ignored test never fails; let it run, or say what it needs";
            findings.push(finding(name, at[2].line, message));
        }
    }
    let module = module_of(name);
    let mut found = BTreeSet::new();
    for path in paths(&tokens) {
        for (banned, instead) in bans_of(name, module) {
            let banned_segments: Vec<&str> = banned.split("::").collect();
            if path.segments.windows(banned_segments.len()).any(|part| part == banned_segments) {
                found.insert((path.line, format!("{banned} does not belong here; {instead}")));
            }
        }
        let target = module.and_then(|_| target_layer(name, &path, &tokens));
        if let Some(message) = room_finding(name, &path, &tokens) {
            found.insert((path.line, message));
        }
        if let (Some(module), Some(target)) = (module, target)
            && !(target == "clock" && is_test_folder(name))
            && let Some(message) = layer_finding(module, target)
        {
            found.insert((path.line, message));
        }
    }
    findings.extend(found.iter().map(|(line, message)| finding(name, *line, message)));
    let room = name.strip_prefix("src/connection/").and_then(|inside| inside.split('/').next());
    let room = room.map(|room| room.trim_end_matches(".rs"));
    let room = room.filter(|room| *room != "mod" && !is_test_folder(name));
    if let Some(room) = room.filter(|room| !CONNECTION_ROOMS.contains(room)) {
        let message = format!("{room} has no place in CONNECTION_ROOMS of tests/tidy.rs; add it");
        findings.push(finding(name, 1, &message));
    }
    if let Some(module) = module
        && row_of(module).is_none()
    {
        let message = format!("{module} has no row in LAYERS of tests/tidy.rs; add it");
        findings.push(finding(name, 1, &message));
    }
}

/// The paths banned in this file.
fn bans_of(name: &str, module: Option<&str>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let reserved = RESERVED
        .iter()
        .filter(move |(_, places, _)| !places.iter().any(|place| name.starts_with(place)))
        .map(|(banned, _, instead)| (*banned, *instead));
    let core = module == Some("protocol") && !is_test_folder(name);
    let core = PROTOCOL_BANS.iter().filter(move |_| core).copied();
    reserved.chain(core)
}

fn layer_finding(module: &str, target: &str) -> Option<String> {
    row_of(target)?;
    let allowed = row_of(module)?;
    let good = target == module || allowed.contains(&target);
    (!good).then(|| {
        let row = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        format!("{module} imports {target}, and may import {row}; move what both need down")
    })
}

/// What is wrong with a path from one room of `connection` to another.
fn room_finding(name: &str, path: &PathUse<'_>, tokens: &[Token<'_>]) -> Option<String> {
    let inside = name.strip_prefix("src/connection/").filter(|_| !is_test_folder(name))?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    let own = CONNECTION_ROOMS.iter().position(|known| *known == room)?;
    let target = match *path.segments.first()? {
        "crate" if path.segments.get(1) == Some(&"connection") => *path.segments.get(2)?,
        "super" => {
            let up = path.segments.iter().take_while(|segment| **segment == "super").count();
            let depth = file_depth(name) + inline_depth(&tokens[..path.at]);
            (up + 1 == depth).then(|| path.segments.get(up).copied()).flatten()?
        }
        _ => return None,
    };
    let Some(other) = CONNECTION_ROOMS.iter().position(|known| *known == target) else {
        return Some(format!("crate::connection::{target} is no room; name the room it is in"));
    };
    (other > own).then(|| format!("{room} imports {target}, which is above it; move it down"))
}

/// The top-level module a path leads to through `crate::`, or through `super::` of a module at the
/// top.
fn target_layer<'a>(name: &str, path: &PathUse<'a>, tokens: &[Token<'a>]) -> Option<&'a str> {
    match *path.segments.first()? {
        "crate" => path.segments.get(1).copied(),
        "super" => {
            let up = path.segments.iter().take_while(|segment| **segment == "super").count();
            let depth = file_depth(name) + inline_depth(&tokens[..path.at]);
            (up >= depth).then(|| path.segments.get(up).copied()).flatten()
        }
        _ => None,
    }
}

/// Modules between the crate root and the code of this file, itself included.
fn file_depth(name: &str) -> usize {
    let parts = name.trim_end_matches("/mod.rs").split('/').count();
    parts - 1
}

/// `mod name {` blocks open at the end of `tokens`.
fn inline_depth(tokens: &[Token<'_>]) -> usize {
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => open.push(index >= 2 && tokens[index - 2].text == "mod"),
            "}" => drop(open.pop()),
            _ => {}
        }
    }
    open.iter().filter(|is_module| **is_module).count()
}

/// Tests of a module need a first moment, and may show octets as text.
fn is_test_folder(name: &str) -> bool {
    name.starts_with("src/") && name.contains("/tests/")
}

/// What the module may import.
fn row_of(module: &str) -> Option<Vec<&'static str>> {
    let index = LAYERS.iter().position(|(layer, _)| *layer == module)?;
    Some(match LAYERS[index].1 {
        May::Import(allowed) => allowed.to_vec(),
        May::ImportAllAbove => LAYERS[..index].iter().map(|(layer, _)| *layer).collect(),
    })
}

/// `src/vfs/root.rs` and `src/limits.rs` belong to `vfs` and `limits`; other files to none, nor do
/// those of the crate in `src/reactor`.
fn module_of(name: &str) -> Option<&str> {
    if name.starts_with("src/reactor/") {
        return None;
    }
    let first = name.strip_prefix("src/")?.split('/').next()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib" && module != "main").then_some(module)
}

/// A longer function needs `#[expect(clippy::too_many_lines, reason = "…")]`, as tables do.
fn check_functions(name: &str, tokens: &[Token<'_>], findings: &mut Vec<String>) {
    for (start, pair) in tokens.windows(2).enumerate() {
        if pair[0].text != "fn" || !is_word(pair[1].text) {
            continue;
        }
        let Some(end) = function_end(&tokens[start..]) else { continue };
        let lines = tokens[start + end].line - pair[0].line + 1;
        let attributes = tokens[..start]
            .iter()
            .rev()
            .take_while(|token| !matches!(token.text, "{" | "}" | ";"))
            .any(|token| token.text == "too_many_lines");
        if lines > FUNCTION_LINES_MAX && !attributes {
            let what = format!("{} has {lines} lines, at most {FUNCTION_LINES_MAX}", pair[1].text);
            findings.push(finding(name, pair[0].line, &format!("{what}; split it")));
        }
    }
}

/// Index of the `}` that closes the function `tokens` start with; none for a bare signature.
fn function_end(tokens: &[Token<'_>]) -> Option<usize> {
    let mut braces = 0;
    let mut brackets = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            ";" if braces == 0 && brackets == 0 => return None,
            "{" if brackets == 0 || braces > 0 => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

fn finding(name: &str, line: usize, message: &str) -> String {
    format!("{name}:{line}: {message}")
}

/// Every file of text that belongs to the project, by its name relative to the root, in order.
fn tree() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with(".git") && !path.ends_with("target") {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((name, text));
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The findings for `body` behind a good head, without the file's name.
#[track_caller]
fn check(name: &str, body: &str, expected: &[&str]) {
    let text = format!("//! Head.\n{body}\n");
    let mut findings = Vec::new();
    check_text(name, &text, &mut findings);
    check_source(name, &text, &mut findings);
    let found: Vec<&str> = findings
        .iter()
        .map(|finding| finding.strip_prefix(name).unwrap().split(';').next().unwrap())
        .collect();
    assert_eq!(found, expected, "{body}");
}

#[test]
fn reports_forbidden_imports() {
    let shard = ":2: protocol imports shard, and may import limits, settings, events";
    check("src/protocol/x.rs", "use crate::shard::Shard;", &[shard]);
    check("src/protocol/x.rs", "use crate::limits::A;\nuse super::line;", &[]);
    check("src/protocol/x.rs", "fn f() { crate::shard::run() }", &[shard]);
    check("src/protocol/mod.rs", "use super::shard::Shard;", &[shard]);
    check("src/protocol/x.rs", "use super::super::shard::Shard;", &[shard]);
    check("src/protocol/x.rs", "mod shard {} mod t { use super::shard::S; }", &[]);
    check("src/protocol.rs", "mod t { use super::super::shard::S; }", &[shard]);
    check(
        "src/buffer/x.rs",
        "use crate::{\n    limits::{A, B},\n    tls::{\n        Channel,\n    },\n};",
        &[":5: buffer imports tls, and may import limits, sys"],
    );
    check(
        "src/clock.rs",
        "use crate::limits;",
        &[":2: clock imports limits, and may import nothing"],
    );
    check("src/vfs/x.rs", "// crate::shard\nconst A: &str = \"crate::shard\";", &[]);
    check("src/protocol/session/tests/x.rs", "use crate::{clock, limits};", &[]);
    check("src/x/mod.rs", "", &[":1: x has no row in LAYERS of tests/tidy.rs"]);
    check("src/main.rs", "use crate::shard::Shard;", &[]);
}

#[test]
fn reports_what_is_reserved_or_banned() {
    #[track_caller]
    fn banned(name: &str, body: &str, what: &str) {
        check(name, body, &[&format!(":2: {what} does not belong here")]);
    }
    banned("src/vfs/x.rs", "fn f() { unsafe { g() } }", "unsafe");
    banned("tests/e2e/x.rs", "unsafe fn g() {}", "unsafe");
    check("src/sys/x.rs", "unsafe fn g() {}", &[]);
    check("src/reactor/src/ring.rs", "use io_uring::opcode;\nunsafe fn g() {}", &[]);
    banned("src/reactor/src/x.rs", "fn f() { unsafe { g() } }", "unsafe");
    banned("src/reactor/src/x.rs", "use io_uring::opcode;", "io_uring");
    banned("src/shard/x.rs", "use ringftpd_reactor::spawn;", "ringftpd_reactor");
    check("src/vfs/x.rs", "//! unsafe\n/* unsafe /* */ unsafe */\n#![deny(unsafe_code)]", &[]);
    banned("src/connection/data/x.rs", "use glommio::net::TcpStream;", "glommio");
    check("src/runtime/executor/glommio/x.rs", "use glommio::net::TcpStream;", &[]);
    banned("src/runtime/x.rs", "use glommio::net::TcpStream;", "glommio");
    banned("src/config/x.rs", "use ::rustls::version;", "rustls");
    banned("src/shard/x.rs", "let a = std::time::Instant::now();", "Instant::now");
    banned("tests/e2e/x.rs", "let a = SystemTime::now();", "SystemTime::now");
    check("src/clock.rs", "let a = Instant::now();", &[]);
    banned("src/shard/x.rs", "use std::sync::{Arc, Mutex};", "Mutex");
    banned("src/shard/x.rs", "use std::sync::RwLock;", "RwLock");
    banned("src/vfs/x.rs", "fn f() { todo!() }", "todo!");

    banned("src/protocol/x.rs", "use std::{\n fmt, io};".replace('\n', "").as_str(), "std::io");
    banned("src/protocol/x.rs", "use std::fs::File;", "std::fs");
    banned("src/protocol/x.rs", "let a = f().await;", "await");
    banned("src/protocol/x.rs", "pub async fn f() {}", "async");
    banned("src/protocol/x.rs", "let a: HashMap<u8, u8>;", "HashMap");
    banned("src/protocol/x.rs", "let a = String::from_utf8_lossy(b);", "from_utf8_lossy");
    check("src/vfs/x.rs", "use std::{fs, io};\nuse std::collections::HashMap;", &[]);
    check("src/protocol/x.rs", "use std::net::IpAddr;\nlet a = \"std::io\";", &[]);
}

#[test]
fn reports_paths_up_between_rooms_of_the_connection() {
    let upward = ":2: ports imports transfer, which is above it";
    check("src/connection/ports/x.rs", "use crate::connection::transfer::a;", &[upward]);
    check("src/connection/ports/x.rs", "use super::super::transfer::a;", &[upward]);
    check(
        "src/connection/ports/x.rs",
        "mod t { use super::super::super::transfer::a; }",
        &[upward],
    );
    let upward = ":2: context imports control, which is above it";
    check("src/connection/context.rs", "use super::control::a;", &[upward]);
    check("src/connection/transfer/x.rs", "use crate::connection::ports::a;", &[]);
    check("src/connection/transfer/download/x.rs", "use super::super::path::a;", &[]);
    check("src/connection/mod.rs", "use control::a;\nuse crate::connection::b;", &[]);
    check("src/connection/x.rs", "", &[":1: x has no place in CONNECTION_ROOMS of tests/tidy.rs"]);
    check(
        "src/connection/data/x.rs",
        "use crate::connection::Context;",
        &[":2: crate::connection::Context is no room"],
    );
}

#[test]
fn reports_text_and_size() {
    let long = "x".repeat(COLUMNS_MAX + 1);
    check("src/vfs/x.rs", &format!("// {long}"), &[":2: more than 100 columns"]);
    check("src/vfs/x.rs", &format!("// https://{long}"), &[]);
    check("src/vfs/x.rs", &"é".repeat(COLUMNS_MAX), &[]);
    check("src/vfs/x.rs", &format!("// {long} | 1 | 2 | 3 | 4"), &[]);
    let table = format!("#[rustfmt::skip]\nlet a = [\n    // {long}\n];\n");
    check("src/vfs/x.rs", &table, &[]);
    check("src/vfs/x.rs", &format!("{table}// {long}"), &[":6: more than 100 columns"]);
    check(
        "src/vfs/x.rs",
        concat!("// TO", "DO: x"),
        &[concat!(":2: TO", "DO: do it, or open an issue")],
    );
    check(
        "tests/x.rs",
        concat!("let a = \"/ho", "me/x\";"),
        &[concat!(":2: /ho", "me/ is of one machine")],
    );
    check(
        "tests/x.rs",
        "#[test]\n#[ignore = \"why\"]\nfn f() {}",
        &[":3: an ignored test never fails"],
    );
    check("src/vfs/x.rs", &"\n".repeat(FILE_LINES_MAX), &[":1: 802 lines, at most 800"]);

    let mut findings = Vec::new();
    check_source("src/vfs/x.rs", "use std::fs;\n", &mut findings);
    assert_eq!(findings, ["src/vfs/x.rs:1: no head; start with //! saying what the file owns"]);

    let body = "    g();\n".repeat(FUNCTION_LINES_MAX - 2);
    check("src/vfs/x.rs", &format!("fn f(a: [u8; 2]) {{\n{body}}}"), &[]);
    let body = format!("fn f(a: [u8; 2]) {{\n{body}    g();\n}}");
    check("src/vfs/x.rs", &body, &[":2: f has 71 lines, at most 70"]);
    check(
        "src/vfs/x.rs",
        &format!("trait T {{\nfn g();\n{body}}}"),
        &[":4: f has 71 lines, at most 70"],
    );
    let reason = "#[expect(clippy::too_many_lines, reason = \"a table\")]";
    check("src/vfs/x.rs", &format!("{reason}\npub {body}"), &[]);
}

#[test]
fn literals_hide_their_text() {
    #[track_caller]
    fn words(text: &str, expected: &[&str]) {
        let found: Vec<&str> = tokens(text).iter().map(|token| token.text).collect();
        assert_eq!(found, expected, "{text}");
    }
    words(r#"a("b \" c", d)"#, &["a", "(", "\"", ",", "d", ")"]);
    words("r#\"a \" b\"# br\"\\\" c", &["\"", "\"", "c"]);
    words(r"x: &'a u8 = b'\'' 'y' '\\' z", &["x", ":", "&", "a", "u8", "=", "\"", "\"", "\"", "z"]);
    words("a /* b /* c */ d */ e // f\ng::h", &["a", "e", "g", "::", "h"]);
    words("f!(g) ^ h!=i", &["f!", "(", "g", ")", "^", "h", "!", "=", "i"]);
    words("crate::r#type", &["crate", "::", "r", "#", "type"]);
}

/// `cargo build` makes the load generator, too, and `cargo run` still means the server.
#[test]
fn both_programs_are_built_by_default() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let line = |start: &str| manifest.lines().find(|line| line.starts_with(start)).unwrap_or("");
    assert!(line("default-members = ").contains(r#"[".", "loadgen"]"#));
    assert_eq!(line("default-run = "), r#"default-run = "ringftpd""#);
}
