//! How a record of the log is written: one record, one line, in text or as a JSON object, or one
//! entry of systemd's journal.
//!
//! What clients choose stands in it: names, users, subjects of certificates. UTF-8 is written as it
//! is, and every other octet as `\xNN`. Characters that end a line somewhere, steer a terminal or
//! turn the direction of writing are escaped, so that no line and no field can be forged.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::events::{canonical, steers};
use crate::runtime::{LogOf, with_logged_of};

/// What is made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Lines(LogFormat),
    /// Lines `NAME=value` of the journal's native protocol: no value has a line end, for all that
    /// steers is escaped as in text, so none needs that protocol's other form.
    Entries,
}

/// Writes events, each with the session that it is of; spans, which nothing here opens, are left
/// out.
pub(super) struct Line(pub(super) Shape);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Records of the executor through the `log` crate name their real target in a field.
        let mut target = Target(None);
        event.record(&mut target);
        let target = target.0.as_deref().unwrap_or_else(|| metadata.target());
        match self.0 {
            Shape::Entries => {
                let (level, priority) = (metadata.level(), priority(*metadata.level()));
                write!(out, "MESSAGE={level} {target}:")?;
                record(event, &mut out, Form::Text)?;
                write!(out, "\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=ringftpd\n")?;
                writeln!(out, "RINGFTPD_TARGET={target}")?;
                return record(event, &mut out, Form::Entry);
            }
            Shape::Lines(LogFormat::Text) => {
                SystemTime.format_time(&mut out)?;
                write!(out, " {:>5} {target}:", metadata.level())?;
                record(event, &mut out, Form::Text)?;
            }
            Shape::Lines(LogFormat::Json) => {
                out.write_str("{\"timestamp\":\"")?;
                SystemTime.format_time(&mut out)?;
                write!(out, "\",\"level\":\"{}\"", metadata.level())?;
                record(event, &mut out, Form::Json)?;
                out.write_str(",\"target\":")?;
                quoted(&mut out, Form::Json, |out| out.write_str(target))?;
                out.write_char('}')?;
            }
        }
        out.write_char('\n')
    }
}

/// Fields that the bridge from the `log` crate adds: where in its source a record was made.
const OF_LOG_CRATE: &str = "log.";

struct Target(Option<String>);

impl Visit for Target {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// How characters are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Between quotes: `\"`, `\\`, and each octet of what is not to be shown as `\xNN`.
    Text,
    /// A string of RFC 8259 §7. Octets that no JSON string can hold are a backslash, x and two
    /// digits in it, which is the one form that a name could also have by itself.
    Json,
    /// A message in text: words on one line, line ends in it are blanks.
    Message,
    /// A value of the journal: as in text, but quotes and backslashes are as they are.
    Entry,
}

/// As in syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The journal's name of a field.
fn entry_name(name: &str) -> String {
    let capital = |character: char| match character.to_ascii_uppercase() {
        character if character.is_ascii_alphanumeric() => character,
        _ => '_',
    };
    format!("RINGFTPD_{}", name.chars().map(capital).collect::<String>())
}

/// The fields of the event, and behind them whose session it is of.
fn record(event: &Event<'_>, out: &mut dyn Write, form: Form) -> fmt::Result {
    let mut fields = Fields { out: &mut *out, form, has_user: false, result: Ok(()) };
    event.record(&mut fields);
    let Fields { has_user, result, .. } = fields;
    result?;
    with_logged_of(|of| of.map_or(Ok(()), |of| record_session(of, !has_user, out, form)))
}

fn record_session(of: &LogOf, with_user: bool, out: &mut dyn Write, form: Form) -> fmt::Result {
    let LogOf { session, peer, user } = of;
    let (peer, shard) = (canonical(*peer), session.shard);
    let user = user.as_deref().filter(|_| with_user);
    if form == Form::Entry {
        write!(out, "RINGFTPD_SESSION={session}\nRINGFTPD_PEER={peer}\nRINGFTPD_SHARD={shard}\n")?;
        let Some(user) = user else { return Ok(()) };
        out.write_str("RINGFTPD_USER=")?;
        quoted(out, form, |out| out.write_str(user))?;
        return out.write_char('\n');
    }
    if form == Form::Json {
        write!(out, ",\"session\":\"{session}\",\"peer\":\"{peer}\"")?;
    } else {
        write!(out, " session={session} peer={peer}")?;
    }
    if let Some(user) = user {
        out.write_str(if form == Form::Json { ",\"user\":" } else { " user=" })?;
        quoted(out, form, |out| out.write_str(user))?;
    }
    if form == Form::Json {
        write!(out, ",\"shard\":{shard}")
    } else {
        write!(out, " shard={shard}")
    }
}

/// Writes one field after the other.
struct Fields<'a> {
    out: &'a mut dyn Write,
    form: Form,
    /// The event has a field of its own that says who.
    has_user: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut dyn Write, Form) -> fmt::Result) {
        let name = field.name();
        if self.result.is_err() || name.starts_with(OF_LOG_CRATE) {
            return;
        }
        self.has_user |= name == "user";
        if self.form == Form::Entry {
            // MESSAGE has the message.
            if name != MESSAGE {
                let key = write!(self.out, "{}=", entry_name(name));
                let written = key.and_then(|()| value(&mut *self.out, self.form));
                self.result = written.and_then(|()| self.out.write_char('\n'));
            }
            return;
        }
        let key = match self.form {
            Form::Json => write!(self.out, ",\"{name}\":"),
            _ if name == MESSAGE => self.out.write_char(' '),
            _ => write!(self.out, " {name}="),
        };
        self.result = key.and_then(|()| value(&mut *self.out, self.form));
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.field(field, |out, _| write!(out, "{value}"));
    }
}

const MESSAGE: &str = "message";

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.field(field, |out, form| quoted(out, form, |out| out.write_str(value)));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.field(field, |out, form| {
            quoted(out, form, |escaped| {
                for chunk in value.utf8_chunks() {
                    escaped.write_str(chunk.valid())?;
                    chunk.invalid().iter().try_for_each(|octet| escaped.octet(*octet))?;
                }
                Ok(())
            })
        });
    }

    /// Messages, and what has only a textual form. Without quotes where nothing could be
    /// misunderstood, as with addresses.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let message = field.name() == MESSAGE;
        self.field(field, |out, form| match form {
            Form::Json => quoted(out, form, |out| write!(out, "{value:?}")),
            _ if message => {
                let mut words = Escaped { out, form: Form::Message, blank: Blank::None };
                write!(words, "{value:?}")
            }
            _ if write!(Bare, "{value:?}").is_ok() => write!(out, "{value:?}"),
            _ => quoted(out, form, |out| write!(out, "{value:?}")),
        });
    }
}

fn quoted(
    out: &mut dyn Write,
    form: Form,
    content: impl FnOnce(&mut Escaped<'_>) -> fmt::Result,
) -> fmt::Result {
    let quote = |out: &mut dyn Write| {
        if form == Form::Entry { Ok(()) } else { out.write_char('"') }
    };
    quote(out)?;
    content(&mut Escaped { out: &mut *out, form, blank: Blank::None })?;
    quote(out)
}

/// Octets that a client has chosen, as a string of JSON that can steer no terminal; as the log has
/// it.
pub(super) fn json_string(octets: &[u8]) -> String {
    let mut text = String::new();
    let written = quoted(&mut text, Form::Json, |escaped| {
        for chunk in octets.utf8_chunks() {
            escaped.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|octet| escaped.octet(*octet))?;
        }
        Ok(())
    });
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}

/// A text for a terminal, on one line: what could steer it is `\xNN`.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if steers(character) {
            let mut octets = [0; 4];
            for octet in character.encode_utf8(&mut octets).bytes() {
                let _ = write!(shown, "\\x{octet:02x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a text needs no quotes: an error for one that does.
struct Bare;

impl Write for Bare {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let needs_none = |character: char| {
            !matches!(character, '"' | '\\' | '=')
                && !character.is_whitespace()
                && !steers(character)
        };
        if text.chars().all(needs_none) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// What is pending at the end of a line of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blank {
    /// Nothing.
    None,
    /// A line has ended, and the indentation of the next is dropped.
    LineEnd,
}

/// Passes on a text, escaped.
struct Escaped<'a> {
    out: &'a mut dyn Write,
    form: Form,
    blank: Blank,
}

impl Escaped<'_> {
    fn octet(&mut self, octet: u8) -> fmt::Result {
        let backslash = if self.form == Form::Json { r"\\" } else { r"\" };
        write!(self.out, "{backslash}x{octet:02x}")
    }

    fn special(&mut self, character: char) -> fmt::Result {
        match (self.form, character) {
            (Form::Message | Form::Entry, '"' | '\\') => self.out.write_char(character),
            (_, '"' | '\\') => write!(self.out, "\\{character}"),
            (Form::Json, '\n') => self.out.write_str("\\n"),
            (Form::Json, '\r') => self.out.write_str("\\r"),
            (Form::Json, '\t') => self.out.write_str("\\t"),
            (Form::Json, _) => write!(self.out, "\\u{:04x}", u32::from(character)),
            (Form::Message, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') => {
                self.blank = Blank::LineEnd;
                Ok(())
            }
            (Form::Text | Form::Message | Form::Entry, _) => {
                let mut octets = [0; 4];
                let octets = character.encode_utf8(&mut octets).as_bytes();
                octets.iter().try_for_each(|octet| self.octet(*octet))
            }
        }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while !rest.is_empty() {
            if self.blank == Blank::LineEnd {
                rest = rest.trim_start();
                if rest.is_empty() {
                    return Ok(());
                }
                self.blank = Blank::None;
                self.out.write_char(' ')?;
            }
            let is_special = |character| matches!(character, '"' | '\\') || steers(character);
            let plain = rest.find(is_special).unwrap_or(rest.len());
            self.out.write_str(&rest[..plain])?;
            let mut characters = rest[plain..].chars();
            if let Some(character) = characters.next() {
                self.special(character)?;
            }
            rest = characters.as_str();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::super::logging::tests::logged_by;
    use super::*;

    /// The part of a text line behind the target, and the JSON object.
    #[track_caller]
    fn both(log: impl Fn()) -> (String, serde_json::Value) {
        let text = logged_by(Shape::Lines(LogFormat::Text), &log);
        let json = logged_by(Shape::Lines(LogFormat::Json), &log);
        for line in [&text, &json] {
            assert!(line.ends_with('\n') && line.trim_end().lines().count() == 1, "{line:?}");
            assert!(!line.trim_end_matches('\n').contains(steers), "{line:?}");
        }
        let (_, text) = text.split_once(": ").unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        (text.trim_end_matches('\n').to_owned(), json)
    }

    #[test]
    fn names_are_what_they_are() {
        #[track_caller]
        fn check(name: &[u8], text: &str, json: &str) {
            let (line, object) = both(|| tracing::info!(path = name, "m"));
            assert_eq!(line, format!("m path=\"{text}\""));
            assert_eq!(object["path"], json);
        }
        check("/Gr\u{fc}\u{df}e/\u{65e5}\u{672c}".as_bytes(), "/Grüße/日本", "/Grüße/日本");
        check(b"gr\xfc\xdfe", r"gr\xfc\xdfe", r"gr\xfc\xdfe");
        check(b"\xe6\x97", r"\xe6\x97", r"\xe6\x97");
        check(b"a\nb\r\x1b[2J\t\x7f", r"a\x0ab\x0d\x1b[2J\x09\x7f", "a\nb\r\x1b[2J\t\x7f");
        let separator = "a\u{85}\u{2028}\u{202e}b";
        check(separator.as_bytes(), r"a\xc2\x85\xe2\x80\xa8\xe2\x80\xaeb", separator);
        check(br#"a\b" user="root"#, r#"a\\b\" user=\"root"#, r#"a\b" user="root"#);
    }

    #[test]
    fn values_of_every_kind() {
        let shown = |value: &dyn Display| {
            let (line, object) = both(|| tracing::info!(error = %value, "m"));
            assert_eq!(object["error"], value.to_string());
            line
        };
        assert_eq!(shown(&"127.0.0.1"), "m error=127.0.0.1");
        assert_eq!(shown(&"no x=1 here"), "m error=\"no x=1 here\"");
        assert_eq!(shown(&"a\nb"), r#"m error="a\x0ab""#);
        let (line, object) = both(|| {
            tracing::info!(
                octets = 7u64,
                change = -1i64,
                by_certificate = true,
                word = "a b",
                none = None::<u64>,
                "m"
            );
        });
        assert_eq!(line, "m octets=7 change=-1 by_certificate=true word=\"a b\"");
        assert_eq!(object["octets"], 7);
        assert_eq!(object["change"], -1);
        assert_eq!(object["by_certificate"], true);
        assert_eq!(object["level"], "INFO");
        assert!(object["target"].as_str().unwrap().ends_with("log_line::tests"), "{object}");
        assert!(object.get("none").is_none());
    }

    /// No value makes a field of its own.
    #[test]
    fn entries_of_the_journal() {
        let entry = logged_by(Shape::Entries, || {
            tracing::warn!(
                path = &b"/a\nMESSAGE=\"b\\\xff"[..], octets = 7u64, error = %"no\nway", "m\nn"
            );
        });
        let mut lines = entry.lines();
        let message = lines.next().unwrap();
        assert!(message.starts_with("MESSAGE=WARN ringftpd::cli::log_line::tests: m n path="));
        let rest: Vec<_> = lines.collect();
        let expected = [
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=ringftpd",
            "RINGFTPD_TARGET=ringftpd::cli::log_line::tests",
            r#"RINGFTPD_PATH=/a\x0aMESSAGE="b\\xff"#,
            "RINGFTPD_OCTETS=7",
            r"RINGFTPD_ERROR=no\x0away",
        ];
        assert_eq!(rest, expected);
        assert!(entry.ends_with('\n'));
        assert_eq!(entry_name("tls.by-name"), "RINGFTPD_TLS_BY_NAME");
    }

    /// The executor dumps structures over many lines.
    #[test]
    fn a_message_is_one_line() {
        let dump = "Skipping Os {\n    code: 12,\n\n    kind: \"x\",\r\n}\n";
        let (line, object) = both(|| tracing::info!("{dump}"));
        assert_eq!(line, "Skipping Os { code: 12, kind: \"x\", }");
        assert_eq!(object["message"], dump);
        let (line, _) = both(|| tracing::info!("a\x1b[31mb\u{2028}c"));
        assert_eq!(line, r"a\x1b[31mb c");
    }
}
