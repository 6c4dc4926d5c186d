//! The terminal while the picture is in it: raw and on its other screen, and as it was before at
//! the end, also when that is a panic.

use std::io::{self, Stdout, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::layout::{Position, Rect};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use super::picture::draw;
use super::view::View;

/// To the other screen, which is empty, without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Whether keys can be read and a picture be drawn.
pub(super) fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !dumb && isatty(io::stdin()) && isatty(io::stdout())
}

/// It is restored when this is dropped.
pub(super) struct Screen {
    terminal: Terminal<TermionBackend<Stdout>>,
    restorer: Restorer,
}

#[derive(Clone)]
struct Restorer {
    before: Termios,
    done: Arc<AtomicBool>,
}

impl Screen {
    /// # Errors
    ///
    /// Those of the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let restorer = Restorer { before, done: Arc::default() };
        let (in_panic, hook) = (restorer.clone(), panic::take_hook());
        // The message is to be seen, whichever thread it is of.
        panic::set_hook(Box::new(move |panic| {
            in_panic.restore();
            hook(panic);
        }));
        let entered = restorer.make_raw();
        match entered.and_then(|()| Terminal::new(TermionBackend::new(io::stdout()))) {
            Ok(terminal) => Ok(Self { terminal, restorer }),
            Err(error) => {
                restorer.restore();
                Err(error)
            }
        }
    }

    /// # Errors
    ///
    /// Those of the terminal; or a thread has panicked, and there is no picture any more.
    pub(super) fn draw(&mut self, view: &mut View) -> io::Result<()> {
        if self.restorer.done.load(Ordering::Relaxed) {
            return Err(io::Error::other("a thread has failed"));
        }
        self.terminal.draw(|frame| draw(view, frame.area(), frame.buffer_mut(), true)).map(drop)
    }

    /// After a stop, in which others had the terminal.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        self.restorer.make_raw()?;
        let size = self.terminal.size()?;
        // All of the next picture is drawn.
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.restorer.restore();
    }
}

impl Restorer {
    fn make_raw(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        write(ENTER)
    }

    /// Once. A terminal that is gone needs nothing.
    fn restore(&self) {
        if !self.done.swap(true, Ordering::Relaxed) {
            let _ = write(LEAVE);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        }
    }
}

fn write(octets: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(octets)?;
    output.flush()
}
