//! The view as a picture of any size: what there is no room for is left out, the list of sessions
//! last.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Row, Table, Widget};

use super::answer::Transfer;
use super::reading::{Latency, Reading, SessionReading, ShardReading};
use super::units::{amount, long, often, percent, progress, short, whole};
use super::view::View;
use crate::cli::log_line::harmless;

/// Two tables stand side by side from here on.
const WIDE: u16 = 120;
/// Columns of the one on the left then.
const SHARDS_WIDTH: u16 = 72;
/// The list of sessions has all columns from here on.
const ALL_COLUMNS: u16 = 100;
/// Peers and progress bars are shown from here on.
const MEDIUM: u16 = 72;

/// Lines that the list of sessions has with the help, before anything else has one.
const LIST_LINES_MIN: u16 = 5;

/// The phases that are shown, of those that there were.
const CHIEF: &[(&str, &str)] = &[
    ("tls_handshake", "full"),
    ("tls_handshake", "resumed"),
    ("login", "accepted"),
    ("data_connect", "passive"),
    ("data_tls", "full"),
    ("data_tls", "resumed"),
    ("first_byte", "download"),
    ("transfer", "download"),
    ("transfer", "upload"),
    ("transfer", "listing"),
];

/// Draws it; `keys` is the help in the last line.
pub(super) fn draw(view: &mut View, area: Rect, buffer: &mut Buffer, keys: bool) {
    if area.is_empty() {
        return;
    }
    let mut left = area;
    for (line, style) in head(view, area.width.into()) {
        if left.height > LIST_LINES_MIN {
            let first = take(&mut left, 1);
            buffer.set_stringn(first.x, first.y, line, first.width.into(), style);
        }
    }
    if keys {
        let last = Rect { y: left.bottom() - 1, height: 1, ..left };
        left.height -= 1;
        let (line, style) = last_line(view);
        buffer.set_stringn(last.x, last.y, line, last.width.into(), style);
    }
    tables(view, &mut left, buffer);
    sessions(view, left, buffer);
}

/// The first `height` lines, which are no more there then.
fn take(left: &mut Rect, height: u16) -> Rect {
    let height = height.min(left.height);
    let taken = Rect { height, ..*left };
    left.y += height;
    left.height -= height;
    taken
}

fn head(view: &View, width: usize) -> Vec<(String, Style)> {
    let Reading { server, seconds, silent, .. } = &view.reading;
    let generation = server.generation.map(|generation| format!("generation {generation}"));
    let state = if server.ready { "ready" } else { "not ready" };
    let mut first = vec![
        format!("ringftpd {}", harmless(&server.version)),
        format!("pid {}", server.pid),
        format!("up {}", long(whole(server.clock))),
        state.to_owned(),
    ];
    first.extend(generation);
    let sessions = format!("sessions {} ({} logged in)", server.sessions, server.logged_in);
    let mut second = vec![
        sessions,
        format!("transfers {}", server.transfers),
        format!("handshakes {}", view.reading.handshakes()),
    ];
    if !silent.is_empty() {
        second.push(format!("shards that do not answer: {silent:?}"));
    }
    let rates = view.reading.rates();
    let third = if seconds.is_some() {
        vec![
            format!("in {}/s", amount(rates.octets_in)),
            format!("out {}/s", amount(rates.octets_out)),
            format!("{} transfers/s", often(rates.transfers)),
            format!("{} commands/s", often(rates.commands)),
            format!("{} log-ins/s", often(rates.logins)),
            format!("{} handshakes/s", often(rates.handshakes)),
        ]
    } else {
        vec!["rates and latencies in a moment".to_owned()]
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines = [(first, bold), (second, Style::new()), (third, Style::new())];
    let lines = lines.into_iter();
    lines.flat_map(|(words, style)| flow(&words, width).map(move |line| (line, style))).collect()
}

/// As many of `words` on a line as there is room for.
fn flow(words: &[String], width: usize) -> impl Iterator<Item = String> + use<> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + word.len() <= width => {
                line.push_str("  ");
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines.into_iter()
}

fn last_line(view: &View) -> (String, Style) {
    let alarm = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    if let Some(question) = view.question() {
        return (question, alarm);
    }
    if let Some(away) = &view.away {
        return (format!("no answer, trying again: {}", harmless(away)), alarm);
    }
    if let Some(note) = &view.note {
        return (harmless(note), Style::new().add_modifier(Modifier::BOLD));
    }
    let paused = if view.paused { "PAUSED  " } else { "" };
    let order = view.order.word();
    let keys = format!("{paused}q quit  p pause  s sort ({order})  k kick  arrows choose");
    (keys, Style::new().add_modifier(Modifier::DIM))
}

/// Shards and latencies, in no more than half of the room.
fn tables(view: &View, left: &mut Rect, buffer: &mut Buffer) {
    let Reading { shards, latencies, .. } = &view.reading;
    let chief = CHIEF.iter().filter_map(|(phase, kind)| {
        latencies.iter().find(|latency| latency.phase == *phase && latency.kind == *kind)
    });
    let latencies: Vec<&Latency> = chief.collect();
    let lines = |rows: usize| u16::try_from(rows + 1).unwrap_or(u16::MAX);
    let (of_shards, of_latencies) = (lines(shards.len()), lines(latencies.len()));
    let room = left.height / 2;
    if left.width >= WIDE {
        let both = take(left, of_shards.max(of_latencies).min(room));
        shard_table(shards, Rect { width: SHARDS_WIDTH, ..both }, buffer);
        if latencies.is_empty() {
            return;
        }
        let (x, width) = (both.x + SHARDS_WIDTH + 2, both.width - SHARDS_WIDTH - 2);
        let other = Rect { x, width, ..both };
        return latency_table(&latencies, other, buffer);
    }
    // A head alone says nothing.
    let shown = |height: u16| if height > 1 { height } else { 0 };
    let most = if latencies.is_empty() { room } else { room.div_ceil(2).max(room.min(2)) };
    let height = shown(of_shards.min(most));
    shard_table(shards, take(left, height), buffer);
    let height = shown(of_latencies.min(room - height));
    latency_table(&latencies, take(left, height), buffer);
}

fn shard_table(shards: &[ShardReading], area: Rect, buffer: &mut Buffer) {
    let row = |shard: &ShardReading| {
        let rates = &shard.rates;
        vec![
            shard.number.to_string(),
            shard.sessions.to_string(),
            shard.transfers.to_string(),
            format!("{}/s", amount(rates.octets_in)),
            format!("{}/s", amount(rates.octets_out)),
            often(rates.handshakes),
            often(rates.logins),
            often(rates.commands),
            often(rates.transfers),
            shard.longest.map_or_else(|| "-".to_owned(), short),
        ]
    };
    let head =
        ["SHARD", "SESS", "XFER", "IN", "OUT", "TLS/s", "LOGIN/s", "CMD/s", "XFER/s", "TURN"];
    let widths = [5, 4, 4, 9, 9, 6, 7, 6, 6, 7];
    numbers(&head, &widths, shards.iter().map(row), area, buffer);
}

fn latency_table(latencies: &[&Latency], area: Rect, buffer: &mut Buffer) {
    let row = |latency: &&Latency| {
        vec![
            format!("{} {}", latency.phase, latency.kind),
            short(latency.p50),
            short(latency.p99),
            latency.count.to_string(),
        ]
    };
    let head = ["LATENCY", "P50", "P99", "COUNT"];
    numbers(&head, &[21, 7, 7, 7], latencies.iter().map(row), area, buffer);
}

/// A table of numbers: as many of its columns as there is room for, the first of a table of words
/// on the left.
fn numbers(
    head: &[&str],
    widths: &[u16],
    rows: impl Iterator<Item = Vec<String>>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let mut columns = 0;
    let mut width = 0;
    while columns < widths.len() && width + widths[columns] <= area.width {
        width += widths[columns] + 1;
        columns += 1;
    }
    let line = |cells: Vec<String>| {
        let cells = cells.into_iter().zip(widths).take(columns).enumerate();
        let texts = cells.map(|(index, (cell, width))| {
            let width = usize::from(*width);
            if index == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    let head = line(head.iter().map(|word| (*word).to_owned()).collect());
    let lines = [head].into_iter().chain(rows.map(line));
    for ((y, text), style) in (area.top()..area.bottom()).zip(lines).zip(styles()) {
        buffer.set_stringn(area.x, y, text, area.width.into(), style);
    }
}

/// Of a table: its head, and the rest.
fn styles() -> impl Iterator<Item = Style> {
    [head_style()].into_iter().chain(std::iter::repeat(Style::new()))
}

const fn head_style() -> Style {
    Style::new().add_modifier(Modifier::UNDERLINED)
}

fn sessions(view: &mut View, area: Rect, buffer: &mut Buffer) {
    let room = usize::from(area.height.saturating_sub(1));
    let first = view.scroll(room);
    let (all, chosen) = (view.reading.sessions.len(), view.chosen());
    let seen = view.reading.sessions.iter().enumerate().skip(first).take(room);
    let (columns, widths) = columns(area.width);
    let rows = seen.map(|(index, reading)| {
        let style = if chosen == Some(index) {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        let cells = columns.iter().map(|column| column.of(reading, area.width));
        Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    let last = all.min(first + room);
    let head = columns.iter().map(|column| match column {
        Column::Does if all > 0 => format!("DOES ({}-{last} of {all})", first + 1),
        column => column.head().to_owned(),
    });
    let head = Row::new(head.collect::<Vec<_>>()).style(head_style());
    let table = Table::new(rows.collect::<Vec<_>>(), widths).header(head);
    Widget::render(table, area, buffer);
}

/// Of the list of sessions.
#[derive(Clone, Copy)]
enum Column {
    Name,
    User,
    Peer,
    Tls,
    Age,
    Does,
}

fn columns(width: u16) -> (Vec<Column>, Vec<Constraint>) {
    use Column::{Age, Does, Name, Peer, Tls, User};
    let (columns, widths): (&[Column], &[u16]) = if width >= ALL_COLUMNS {
        (&[Name, User, Peer, Tls, Age, Does], &[9, 12, 21, 7, 11])
    } else if width >= MEDIUM {
        (&[Name, User, Does], &[7, 10])
    } else {
        (&[Name, User, Does], &[6, 8])
    };
    let widths = widths.iter().map(|width| Constraint::Length(*width));
    (columns.to_vec(), widths.chain([Constraint::Min(10)]).collect())
}

impl Column {
    const fn head(self) -> &'static str {
        match self {
            Self::Name => "SESSION",
            Self::User => "USER",
            Self::Peer => "PEER",
            Self::Tls => "TLS",
            Self::Age => "AGE",
            Self::Does => "DOES",
        }
    }

    fn of(self, reading: &SessionReading, width: u16) -> String {
        let session = &reading.session;
        let word = |word: &Option<String>| word.as_deref().map_or_else(|| "-".to_owned(), harmless);
        match self {
            Self::Name => harmless(&session.name),
            Self::User => word(&session.user),
            Self::Peer => harmless(&session.peer),
            Self::Tls => word(&session.tls),
            Self::Age => long(session.age_seconds),
            Self::Does => match (&session.transfer, session.activity.as_str()) {
                (Some(moving), _) => does(moving, &word(&session.command), reading.rate, width),
                (None, "idle") => format!("idle {} s", session.idle_seconds),
                (None, "command" | "transfer") => {
                    format!("{} {} s", word(&session.command), session.activity_seconds)
                }
                (None, other) => harmless(other),
            },
        }
    }
}

/// A transfer: how far it is, how fast, and of what; that is last, for it may be long.
fn does(moving: &Transfer, command: &str, rate: f64, width: u16) -> String {
    let far = match moving.size {
        Some(size) if width >= MEDIUM => progress(moving.octets, size),
        Some(size) => format!("{}%", percent(moving.octets, size)),
        None => amount(moving.octets as f64),
    };
    let (far_width, rate_width) = if width >= MEDIUM { (17, 9) } else { (6, 7) };
    let path = harmless(&moving.path);
    let rate = amount(rate);
    format!("{command:<4} {far:>far_width$} {rate:>rate_width$}/s {path}")
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::answer::tests::example;
    use super::super::keys::Key;
    use super::*;

    /// The lines of the picture.
    fn lines(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(view, frame.area(), frame.buffer_mut(), true)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells = buffer.content.chunks(usize::from(width.max(1)));
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>()
        };
        cells.map(|cells| line(cells).trim_end().to_owned()).collect()
    }

    fn example_view() -> View {
        let mut later = example();
        later.server.clock += 2.0;
        later.shards[0].commands += 20;
        *later.shards[0].counters.get_mut("bytes_sent").unwrap() += 5_000_000;
        later.phases[0].buckets.insert(-80, 198);
        later.sessions[0].activity_seconds += 2;
        let mut view = View::default();
        view.read(Ok(Reading::between(Some(&example()), later)));
        view
    }

    #[test]
    fn all_there_is() {
        let mut view = example_view();
        view.press(Key::Down);
        let lines = lines(&mut view, 120, 14);
        let expected = [
            "ringftpd 0.1.0  pid 7  up 00:01:42  ready  generation 2",
            "sessions 3 (2 logged in)  transfers 1  handshakes 0  shards that do not answer: [1]",
            "in 0 B/s  out 2.5 MB/s  0 transfers/s  10.0 commands/s  0 log-ins/s  0 handshakes/s",
        ];
        assert_eq!(lines[..3], expected);
        assert!(lines[3].starts_with("SHARD SESS XFER        IN       OUT"), "{lines:?}");
        assert!(lines[3].contains("LATENCY"), "{lines:?}");
        assert!(lines[4].contains("2.5 MB/s") && lines[4].contains("12 ms"), "{lines:?}");
        assert!(lines[4].contains("tls_handshake full    0.98 ms 0.98 ms     100"), "{lines:?}");
        assert!(lines[5].starts_with("SESSION   USER         PEER"), "{lines:?}");
        assert!(lines[5].ends_with("DOES (1-2 of 2)"), "{lines:?}");
        let moving = "RETR [##--------]  25%       0 B/s /big\\x1b[2J";
        assert!(lines[6].starts_with("0-3       alice") && lines[6].ends_with(moving), "{lines:?}");
        assert!(lines[7].ends_with("idle 3 s"), "{lines:?}");
        assert!(lines[13].starts_with("q quit"), "{lines:?}");
    }

    #[test]
    fn a_narrow_terminal_has_the_sessions_all_the_same() {
        let lines = lines(&mut example_view(), 40, 10);
        assert!(lines[0].starts_with("ringftpd 0.1.0"), "{lines:?}");
        let list = lines.iter().position(|line| line.starts_with("SESSIO")).unwrap();
        assert_eq!(lines[list + 1], "0-3    alice    RETR    25%     0 B/s /b");
        assert!(lines[9].starts_with("q quit"), "{lines:?}");
    }

    /// No size is too small, and what is asked is seen in each that has a line.
    #[test]
    fn every_size() {
        let mut view = example_view();
        view.press(Key::Down);
        view.press(Key::Letter('k'));
        for width in 0..140 {
            for height in [0, 1, 2, 3, 5, 8, 13, 21, 34] {
                let lines = lines(&mut view, width, height);
                let asked = lines.last().filter(|_| width > 20);
                let shown = asked.is_none_or(|line| line.starts_with("end session 0-3"));
                assert!(shown, "{width} x {height}: {lines:?}");
            }
        }
    }

    #[test]
    fn the_last_line_says_what_is_the_matter() {
        let mut view = View::default();
        view.read(Err("gone\u{1b}".to_owned()));
        let away = "no answer, trying again: gone\\x1b";
        view.note = Some("sessions ended: 1".to_owned());
        assert_eq!(lines(&mut view, 80, 24)[23], away);
        view.away = None;
        assert_eq!(lines(&mut view, 80, 24)[23], "sessions ended: 1");
        view.press(Key::Escape);
        view.paused = true;
        assert!(lines(&mut view, 80, 24)[23].starts_with("PAUSED  q quit"));
    }

    #[test]
    fn unknown_sizes_have_no_bar() {
        let moving = Transfer { octets: 1500, path: "/a".to_owned(), ..Transfer::default() };
        assert_eq!(does(&moving, "STOR", 12.0, 80), "STOR            1.5 kB      12 B/s /a");
    }
}
