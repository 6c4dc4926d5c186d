//! Holds `requirements.toml` against the sources: every requirement is met by a test that exists
//! and cites it, or is excepted with a reason; every cited id is a requirement, in `src` as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// The sources of this program with tests in them.
const SOURCES: &[&str] = &[
    include_str!("clients.rs"),
    include_str!("command_lines.rs"),
    include_str!("confinement.rs"),
    include_str!("limits.rs"),
    include_str!("login.rs"),
    include_str!("ms_ftps.rs"),
    include_str!("rein.rs"),
    include_str!("rfc1123.rs"),
    include_str!("rfc2228_4217.rs"),
    include_str!("rfc2389.rs"),
    include_str!("rfc2428.rs"),
    include_str!("rfc2577.rs"),
    include_str!("rfc2640.rs"),
    include_str!("rfc3659.rs"),
    include_str!("rfc4217_data.rs"),
    include_str!("rfc4217_levels.rs"),
    include_str!("rfc7151.rs"),
    include_str!("rfc959_files.rs"),
    include_str!("rfc959_parameters.rs"),
    include_str!("rfc959_transfers.rs"),
    include_str!("state_table.rs"),
];

/// Every requirement has a text, a level, and either tests or a reason.
#[test]
fn every_requirement_is_met_or_excepted() {
    let cited = cited_ids();
    for (id, entry) in requirements() {
        let entry = entry.as_table().unwrap_or_else(|| panic!("{id} is no table"));
        let text = entry.get("requirement").and_then(Value::as_str).unwrap_or_default();
        assert!(text.len() > 10, "{id} has no text");
        let level = entry.get("level").and_then(Value::as_str).unwrap_or_default();
        assert!(["M", "S", "E"].contains(&level), "{id} has no level");
        let tests = entry.get("tests").and_then(Value::as_array);
        let reason = entry.get("exception").and_then(Value::as_str).unwrap_or_default();
        match tests.map(Vec::as_slice).unwrap_or_default() {
            [] => assert!(reason.len() > 10, "{id} is neither met nor excepted"),
            tests => {
                for test in tests {
                    let test = test.as_str().unwrap();
                    let ids = cited.get(test).unwrap_or_else(|| panic!("{id}: no test {test}"));
                    assert!(ids.contains(&id), "{test} does not cite {id}");
                }
            }
        }
    }
}

/// Every id a test cites is a requirement that names the test.
#[test]
fn every_cited_id_is_a_requirement() {
    let requirements = requirements();
    for (test, ids) in cited_ids() {
        for id in ids {
            let entry = requirements.get(&id).unwrap_or_else(|| panic!("{test} cites {id}"));
            let listed = entry.get("tests").and_then(Value::as_array).is_some_and(|tests| {
                tests.iter().any(|listed| listed.as_str() == Some(test.as_str()))
            });
            assert!(listed, "{id} does not list {test}");
        }
    }
}

/// Every id in the server's own sources is a requirement.
#[test]
fn every_id_in_the_server_is_a_requirement() {
    let requirements = requirements();
    let family = |id: &str| id.split_once('-').map(|(family, _)| family.to_owned());
    let families: BTreeSet<String> = requirements.keys().filter_map(|id| family(id)).collect();
    let mut seen = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let brackets = text.split('[').skip(1).filter_map(|part| part.split_once(']'));
                let words = brackets.flat_map(|(inside, _)| {
                    inside.split(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '*'))
                });
                for id in words.filter(|word| is_id(word)) {
                    // SHA-256 is none.
                    if !family(id).is_some_and(|family| families.contains(&family)) {
                        continue;
                    }
                    assert!(requirements.contains_key(id), "{}: {id}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "found only {seen} ids: the walk is broken");
}

/// Whether `word` has the form of `AUTH-01`, `SYN-07a` or `PRE-*`.
fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(family, number)| {
        family.len() > 1
            && family.bytes().all(|octet| octet.is_ascii_uppercase())
            && (number == "*" || number.starts_with(|first: char| first.is_ascii_digit()))
    })
}

/// Every test of the listed sources cites a requirement.
#[test]
fn every_test_cites_a_requirement() {
    for (test, ids) in cited_ids() {
        assert!(!ids.is_empty(), "{test} cites nothing");
    }
}

/// Test functions and the bracketed ids of their doc comments.
fn cited_ids() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    for source in SOURCES {
        let (mut docs, mut is_test) = (String::new(), false);
        for line in source.lines() {
            if let Some(doc) = line.strip_prefix("///") {
                docs.push_str(doc);
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ") {
                let (name, _) = rest.split_once('(').unwrap();
                if is_test {
                    let known = tests.insert(name.to_owned(), bracketed(&docs));
                    assert!(known.is_none(), "two tests named {name}");
                }
                (docs, is_test) = (String::new(), false);
            } else if !line.starts_with("#[") {
                (docs, is_test) = (String::new(), false);
            }
        }
    }
    tests
}

/// `[AUTH-01] … [PRE-*]` as a set. Brackets around anything else are no ids.
fn bracketed(docs: &str) -> BTreeSet<String> {
    docs.split('[')
        .skip(1)
        .filter_map(|part| part.split_once(']'))
        .map(|(id, _)| id.to_owned())
        .filter(|id| id.split_once('-').is_some_and(|(family, _)| !family.is_empty()))
        .collect()
}

fn requirements() -> Table {
    include_str!("requirements.toml").parse().unwrap()
}
