//! `ringftpd ctl top`: what goes on in a running server, interval by interval. The server tells
//! what it has counted; rates and latencies are made of two answers here.

mod answer;
mod keys;
mod picture;
mod reading;
mod terminal;
mod units;
mod view;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use serde_json::json;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use self::answer::Answer;
use self::keys::Key;
use self::reading::Reading;
use self::terminal::Screen;
use self::view::{View, Wish};
use super::ask::{ask, unanswered};
use crate::cli::args::TopArguments;
use crate::cli::{fail, print, start_thread};
use crate::clock;

/// Columns of the table that is printed where there is no terminal.
const TABLE_COLUMNS: u16 = 160;
/// The most lines of it.
const TABLE_LINES_MAX: usize = 2000;

pub(super) fn run(socket: &Path, wishes: &TopArguments) -> io::Result<ExitCode> {
    // A wrong path is a failure at once; a server that goes away later may come back.
    let first = answer::ask(socket)?;
    if wishes.json {
        return lines(socket, wishes, first);
    }
    if !terminal::is_there() {
        return table(socket, wishes.interval, first);
    }
    Ok(watch(socket, wishes.interval, first).unwrap_or_else(fail))
}

/// Answers of a server, one an interval.
struct Asker<'a> {
    socket: &'a Path,
    interval: Duration,
    due: Instant,
    /// `None` when the server did not answer.
    before: Option<Answer>,
}

impl<'a> Asker<'a> {
    fn new(socket: &'a Path, interval: Duration, first: Answer) -> Self {
        Self { socket, interval, due: clock::now(), before: Some(first) }
    }

    /// Waits for the end of the interval.
    fn next(&mut self) -> io::Result<Reading> {
        let now = clock::now();
        // Those that were missed are not made up for.
        self.due = (self.due + self.interval).max(now);
        while let Some(left) =
            Some(self.due.saturating_duration_since(clock::now())).filter(|left| !left.is_zero())
        {
            thread::park_timeout(left);
        }
        match answer::ask(self.socket) {
            Ok(answer) => {
                let before = self.before.replace(answer.clone());
                Ok(Reading::between(before.as_ref(), answer))
            }
            Err(error) => {
                self.before = None;
                Err(error)
            }
        }
    }
}

/// For programs.
fn lines(socket: &Path, wishes: &TopArguments, first: Answer) -> io::Result<ExitCode> {
    let mut asker = Asker::new(socket, wishes.interval, first);
    let mut left = wishes.count;
    while left != Some(0) {
        let line = asker.next()?.to_json();
        // A reader that went away wants no more.
        let mut output = io::stdout().lock();
        if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
            break;
        }
        left = left.map(|left| left - 1);
    }
    Ok(ExitCode::SUCCESS)
}

/// The picture of one interval, with room for all.
fn table(socket: &Path, interval: Duration, first: Answer) -> io::Result<ExitCode> {
    let reading = Asker::new(socket, interval, first).next()?;
    let rows = reading.shards.len() + reading.latencies.len() + reading.sessions.len();
    let height = u16::try_from((2 * rows + 20).min(TABLE_LINES_MAX)).unwrap_or(u16::MAX);
    let mut view = View::default();
    view.read(Ok(reading));
    let area = Rect::new(0, 0, TABLE_COLUMNS, height);
    let mut buffer = Buffer::empty(area);
    picture::draw(&mut view, area, &mut buffer, false);
    for cells in buffer.content.chunks(usize::from(TABLE_COLUMNS)) {
        // Behind a wide character there is a cell that it covers.
        let (mut line, mut covered) = (String::new(), 0);
        for cell in cells {
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = Span::raw(cell.symbol()).width();
            }
            covered = covered.saturating_sub(1);
        }
        let line = line.trim_end();
        if !line.is_empty() {
            print(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the picture waits for.
enum Event {
    Keys(Vec<Key>),
    Signal(i32),
    Read(Result<Reading, String>),
    /// What came of a kick.
    Kicked(String),
    /// No keys come any more.
    Gone,
}

/// The picture, until somebody has seen enough.
fn watch(socket: &Path, interval: Duration, first: Answer) -> Result<ExitCode, String> {
    let (events, heard) = channel();
    let mut view = View::default();
    view.read(Ok(Reading::between(None, first.clone())));
    hear_signals(events.clone()).map_err(|error| format!("cannot watch for signals: {error}"))?;
    let mut screen = Screen::enter().map_err(|error| format!("the terminal: {error}"))?;
    hear_keys(events.clone())?;
    hear_server(socket.to_owned(), interval, first, events.clone())?;
    let ended = show(&mut screen, &mut view, &heard, |name| {
        let (socket, events) = (socket.to_owned(), events.clone());
        let kick = move || drop(events.send(Event::Kicked(kick(&socket, &name))));
        start_thread("kick", kick)
    });
    drop(screen);
    match ended.map_err(|error| format!("the terminal: {error}"))? {
        None => Ok(ExitCode::SUCCESS),
        // As a shell has it of who ends by a signal.
        Some(signal) => Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))),
    }
}

/// Draws until there is a reason to end: the signal, if it is one.
fn show(
    screen: &mut Screen,
    view: &mut View,
    events: &Receiver<Event>,
    kick: impl Fn(String) -> Result<(), String>,
) -> io::Result<Option<i32>> {
    loop {
        screen.draw(view)?;
        let Ok(event) = events.recv() else { return Ok(None) };
        // What has come meanwhile is in the same picture.
        for event in [event].into_iter().chain(events.try_iter()) {
            match event {
                Event::Read(reading) => view.read(reading),
                Event::Kicked(text) => view.note = Some(text),
                Event::Gone => return Ok(None),
                Event::Signal(SIGWINCH) => {}
                Event::Signal(SIGCONT) => screen.go_on()?,
                Event::Signal(signal) => return Ok(Some(signal)),
                Event::Keys(keys) => {
                    for key in keys {
                        match view.press(key) {
                            Wish::Nothing => {}
                            Wish::End => return Ok(None),
                            Wish::Kick(name) => view.note = kick(name).err(),
                        }
                    }
                }
            }
        }
    }
}

fn hear_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGWINCH, SIGCONT])?;
    let hear = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    start_thread("signals", hear).map_err(io::Error::other)
}

fn hear_keys(events: Sender<Event>) -> Result<(), String> {
    let hear = move || {
        let mut octets = [0; 256];
        loop {
            let event = match io::stdin().lock().read(&mut octets) {
                Ok(0) => Event::Gone,
                Ok(count) => Event::Keys(keys::keys(&octets[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Event::Gone,
            };
            let last = matches!(event, Event::Gone);
            if events.send(event).is_err() || last {
                return;
            }
        }
    };
    start_thread("keys", hear)
}

fn hear_server(
    socket: PathBuf,
    interval: Duration,
    first: Answer,
    events: Sender<Event>,
) -> Result<(), String> {
    let hear = move || {
        let mut asker = Asker::new(&socket, interval, first);
        loop {
            let reading = asker.next().map_err(|error| unanswered(&socket, &error));
            if events.send(Event::Read(reading)).is_err() {
                return;
            }
        }
    };
    start_thread("server", hear)
}

/// Ends a session, and says what came of it.
fn kick(socket: &Path, name: &str) -> String {
    let request = json!({ "command": "kick", "session": name, "user": null, "address": null });
    match ask(socket, &request) {
        Ok(answer) if answer["ok"] == true && answer["ended"] == 0 => {
            format!("session {name} is about to end")
        }
        Ok(answer) if answer["ok"] == true => format!("session {name} has ended"),
        Ok(answer) => answer["error"].as_str().unwrap_or("no reason given").to_owned(),
        Err(error) => unanswered(socket, &error),
    }
}
