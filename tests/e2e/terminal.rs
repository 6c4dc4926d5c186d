//! A terminal for programs that draw: a pseudo-terminal, and what is on its screen.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::support::wait::{PATIENCE, Stopwatch, pause};

/// A program in a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// Keeps the terminal there when the program has ended.
    line: OwnedFd,
    cooked: String,
    /// What the program writes.
    output: Receiver<Vec<u8>>,
    screen: RefCell<Screen>,
}

impl Terminal {
    /// Starts `command` in a terminal of so many columns and lines.
    pub(crate) fn start(command: &mut Command, columns: u16, lines: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let master = File::from(master);
        set_size(&master, columns, lines);
        let line = OwnedFd::from(line);
        let cooked = settings(&line);
        let end = || line.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        let (sender, output) = channel();
        let mut written = master.try_clone().unwrap();
        thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(count @ 1..) = written.read(&mut octets)
                && sender.send(octets[..count].to_vec()).is_ok()
            {}
        });
        let screen = RefCell::new(Screen::new(columns, lines));
        Self { child, master, line, cooked, output, screen }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// As if somebody had drawn at the corner of the window.
    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        self.screen.borrow_mut().resize(columns, lines);
        set_size(&self.master, columns, lines);
        self.signal(Signal::WINCH);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The lines of the screen.
    pub(crate) fn text(&self) -> String {
        self.look();
        self.screen.borrow().text()
    }

    fn look(&self) {
        self.output.try_iter().for_each(|octets| self.screen.borrow_mut().take(&octets));
    }

    /// Waits until all of `parts` are on the screen at the same time.
    #[track_caller]
    pub(crate) fn shows(&self, parts: &[&str]) -> String {
        let watch = Stopwatch::start();
        loop {
            let text = self.text();
            if parts.iter().all(|part| text.contains(part)) {
                return text;
            }
            assert!(watch.elapsed() < PATIENCE, "{parts:?} are not on the screen:\n{text}");
            pause(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the program, which has left the terminal as it was.
    #[track_caller]
    pub(crate) fn ends(mut self) -> ExitStatus {
        let watch = Stopwatch::start();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(watch.elapsed() < PATIENCE, "it goes on:\n{}", self.text());
            pause(Duration::from_millis(5));
        };
        assert_eq!(settings(&self.line), self.cooked);
        let watch = Stopwatch::start();
        while !self.screen.borrow().is_left() {
            self.look();
            assert!(watch.elapsed() < PATIENCE, "on the other screen, or without a cursor");
            pause(Duration::from_millis(5));
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(master: &File, columns: u16, lines: u16) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

fn settings(line: &OwnedFd) -> String {
    let all = tcgetattr(line).unwrap();
    format!("{:?} {:?} {:?}", all.input_modes, all.output_modes, all.local_modes)
}

/// What a terminal makes of the octets (ECMA-48, and DEC's private modes).
struct Screen {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// Of a sequence or character that is not whole yet.
    rest: Vec<u8>,
    other: bool,
    hidden: bool,
}

impl Screen {
    fn new(columns: u16, lines: u16) -> Self {
        let cells = vec![vec![' '; columns.into()]; lines.into()];
        Self { cells, at: (0, 0), rest: Vec::new(), other: false, hidden: false }
    }

    /// What is there stays; a program that hears of it draws all anew.
    fn resize(&mut self, columns: u16, lines: u16) {
        self.cells.resize(lines.into(), Vec::new());
        self.cells.iter_mut().for_each(|line| line.resize(columns.into(), ' '));
    }

    fn text(&self) -> String {
        let line = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn is_left(&self) -> bool {
        !self.other && !self.hidden
    }

    fn take(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        while let Some(&first) = self.rest.first() {
            let whole = match first {
                0x1b => self.sequence(),
                b'\r' => {
                    self.at.0 = 0;
                    Some(1)
                }
                b'\n' => {
                    self.at.1 += 1;
                    Some(1)
                }
                _ => self.character(),
            };
            let Some(length) = whole else { return };
            self.rest.drain(..length);
        }
    }

    fn character(&mut self) -> Option<usize> {
        let length = match self.rest[0] {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let octets = self.rest.get(..length)?;
        let character = std::str::from_utf8(octets).unwrap().chars().next()?;
        let (column, line) = self.at;
        if let Some(cell) = self.cells.get_mut(line).and_then(|line| line.get_mut(column)) {
            *cell = character;
        }
        self.at.0 += 1;
        Some(length)
    }

    fn sequence(&mut self) -> Option<usize> {
        assert_eq!(*self.rest.get(1)?, b'[', "{:?}", self.rest);
        let end = self.rest[2..].iter().position(|octet| (0x40..0x7f).contains(octet))? + 2;
        let parameters = String::from_utf8(self.rest[2..end].to_vec()).unwrap();
        match (self.rest[end], parameters.as_str()) {
            (b'm', _) => {}
            (b'H', place) => {
                let (line, column) = place.split_once(';').unwrap_or(("1", "1"));
                let number = |text: &str| text.parse::<usize>().unwrap() - 1;
                self.at = (number(column), number(line));
            }
            (b'J', "2") => self.cells.iter_mut().for_each(|line| line.fill(' ')),
            (b'h' | b'l', mode) => {
                let on = self.rest[end] == b'h';
                match mode {
                    "?1049" => self.other = on,
                    "?25" => self.hidden = !on,
                    _ => panic!("mode {mode}"),
                }
            }
            (last, _) => panic!("sequence {parameters}{}", char::from(last)),
        }
        Some(end + 1)
    }
}
