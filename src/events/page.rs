//! The documentation of the events, made of the table.

use std::fmt::Write;

use super::table::{Bounded, FieldRow, Row, rows};

const HEAD: &str = "\
# Events

What the log tells, for filters, alarms and whoever looks for who deleted a file. This page is
made of the table that the code is made of: `ringftpd reference-events` prints it.

A line has the field `event`, and those of its row below in that order; a field that says
nothing is left out. Behind them stand, in each line of a session, `session` (a name that is not
used again until the server starts anew), `peer` (the client's address and port), `user` (from
the log-in on, where the line has none of its own) and `shard`. Values are escaped, so that none
can look like another field or line: text and octets stand between quotes, with `\\\"` and
`\\\\`, and what is no UTF-8, ends a line or steers a terminal as `\\xNN`; with `log.format =
\"json\"` they are strings of JSON. A word, a number and a name of a field never change their
meaning; further events, fields and words may come.

Lines marked *bounded* are those that strangers can cause without end. Each shard writes
`log.events_per_second` of a kind; what is beyond is counted, and the next line of the kind has
the number as `suppressed`. When a flood is over, a line of its own tells what is left of the
count within two seconds. What was done is never left out.

The reasons of `refused`, `login_failed` and `disconnect` are counted as well, whether the line is
written or not: `ringftpd_refused_total{reason}`, `ringftpd_login_failures_total{reason}` and
`ringftpd_disconnects_total{reason}` at `metrics.listen`.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    let mut last = "";
    let mut listed = Vec::new();
    for row in rows() {
        if row.event != last {
            last = row.event;
            listed.clear();
            text.push_str(&format!("\n## `{last}`\n"));
        }
        describe(&mut text, row, &mut listed);
    }
    text
}

/// `listed` has the fields of this event whose words the page has already.
fn describe(text: &mut String, row: &Row, listed: &mut Vec<&'static str>) {
    let Row { level, target, text: words, .. } = row;
    let bounded = match row.bounded {
        Bounded::No => "",
        Bounded::Yes => ", *bounded*",
        Bounded::BeforeLogin => ", *bounded* where nobody has logged in",
    };
    let explanation = joined(row.explanation);
    let _ = write!(text, "\n\"{words}\" ({level}, `{target}`{bounded}): {explanation}\n");
    if row.fields.is_empty() {
        return;
    }
    text.push_str("\n| field | is | |\n|---|---|---|\n");
    for field in row.fields {
        let FieldRow { name, form, explanation, words } = field;
        let list: Vec<_> = words.iter().flat_map(|words| words.iter()).collect();
        let form = match list.is_empty() {
            true => *form,
            false if listed.contains(name) => "word, as above",
            false => "word",
        };
        let _ = writeln!(text, "| `{name}` | {form} | {} |", joined(explanation));
        if !list.is_empty() && !listed.contains(name) {
            listed.push(name);
            for (word, meaning) in list {
                let _ = writeln!(text, "| | `{word}` | {meaning} |");
            }
        }
    }
}

/// The lines of a comment as one.
fn joined(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_table_makes() {
        let file = include_str!("../../tuning/EVENTS.md");
        let remedy = "cargo run -- reference-events > tuning/EVENTS.md";
        assert!(file == page(), "tuning/EVENTS.md is not that of the table: {remedy}");
    }
}
