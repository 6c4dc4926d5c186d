//! The reference file: every key with its explanation and its default, made from the table.

use super::accounts::{ANONYMOUS, USERS};
use super::certificates::CERTIFICATES;
use super::directories::DIRECTORIES;
use super::key::{Change, Key, KeyTable};
use super::settings::Settings;

/// Tables that are read one key at a time, in the order of the file.
const KEY_TABLES: [KeyTable; 4] = [CERTIFICATES, DIRECTORIES, ANONYMOUS, USERS];

/// Longest line of a comment, characters, where words allow.
const COLUMNS: usize = 100;

/// What stands at the head.
const HEAD: &str = "\
Reference configuration of ringftpd: every key, with its default. Where a key stands behind a \
\"#\", its default is described, or there is none; what is shown is an example. `ringftpd \
reference-config` prints this file.

Durations are text with a unit: \"300ms\", \"20s\", \"5m\", \"12h\", \"1d\".
Relative pathnames start at the directory of this file.
Check a configuration with `ringftpd check-config --config FILE`.
SIGHUP has a running server read it again: new sessions and transfers obey what was changed. A \
key that says so needs a restart instead, and a reload that would change it is refused.";

/// Every key there is, in the order of the reference file.
#[must_use]
pub fn keys() -> Vec<Key> {
    let values = Settings::default().values().into_iter().map(|value| value.key);
    values.chain(KEY_TABLES.iter().flat_map(|table| (table.keys)())).collect()
}

/// The reference file.
#[must_use]
pub fn reference() -> String {
    render(false)
}

/// The reference file, with its examples in force or as comments.
pub(super) fn render(examples: bool) -> String {
    let comment = if examples { "" } else { "# " };
    let mut text = String::new();
    HEAD.lines().for_each(|line| explain(&mut text, &[line]));
    let mut section = "";
    for key in Settings::default().values().into_iter().map(|value| value.key) {
        if section != key.section {
            section = key.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        describe(&mut text, &key, comment);
    }
    for table in &KEY_TABLES {
        text.push('\n');
        explain(&mut text, table.text);
        text.push_str(&format!("{comment}{}\n", table.head));
        for key in (table.keys)() {
            describe(&mut text, &key, comment);
        }
    }
    text
}

/// The lines of one key.
fn describe(text: &mut String, key: &Key, comment: &str) {
    let mut lines: Vec<&str> = key.text.to_vec();
    let bounds = key.bounds.as_ref().map(|bounds| capitalised(bounds) + ".");
    lines.extend(bounds.as_deref());
    let unset = key.unset.filter(|_| key.default.is_none());
    let unset = unset.map(|unset| format!("Default: {unset}."));
    lines.extend(unset.as_deref());
    let since = (key.since != FIRST_VERSION).then(|| format!("Since {}.", key.since));
    lines.extend(since.as_deref());
    if key.change == Change::Restart {
        lines.push("A changed value needs a restart.");
    }
    explain(text, &lines);
    let name = key.name;
    match (&key.default, key.example) {
        (Some(default), _) => text.push_str(&format!("{name} = {default}\n")),
        (None, Some(example)) => text.push_str(&format!("{comment}{name} = {example}\n")),
        (None, None) => {}
    }
}

/// Keys of this version need no mark.
const FIRST_VERSION: &str = "0.1.0";

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Adds a comment: words in lines of at most [`COLUMNS`]. Lines that begin with two spaces stand as
/// they are, and so do empty ones.
fn explain(text: &mut String, lines: &[&str]) {
    let mut line = String::from("#");
    for given in lines {
        // Documentation begins with a space.
        let given = given.strip_prefix(' ').unwrap_or(given);
        if given.is_empty() || given.starts_with(' ') {
            end_line(text, &mut line);
            text.push_str(format!("# {given}").trim_end());
            text.push('\n');
            continue;
        }
        for word in given.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS {
                end_line(text, &mut line);
            }
            line.push(' ');
            line.push_str(word);
        }
    }
    end_line(text, &mut line);
}

fn end_line(text: &mut String, line: &mut String) {
    if line.len() > 1 {
        text.push_str(line);
        text.push('\n');
        line.truncate(1);
    }
}
