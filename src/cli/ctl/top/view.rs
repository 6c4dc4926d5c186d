//! What is looked at and how it is arranged: the readings and keys that came, and what follows from
//! them. Knows neither the terminal nor the server.

use super::keys::Key;
use super::reading::{Reading, SessionReading};
use crate::cli::log_line::harmless;

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) reading: Reading,
    /// The server does not answer: why.
    pub(super) away: Option<String>,
    pub(super) paused: bool,
    pub(super) order: Order,
    /// The name of the session that is chosen.
    chosen: Option<String>,
    /// The number of the first session that is seen.
    pub(super) first: usize,
    /// How many sessions are seen.
    pub(super) page: usize,
    /// The session that is to end if the answer is yes.
    asked: Option<String>,
    /// What came of the last thing that was wanted.
    pub(super) note: Option<String>,
}

/// By what the sessions are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// How fast their transfers are, the fastest first.
    #[default]
    Rate,
    /// Octets of their transfers, the most first.
    Octets,
    /// The oldest first.
    Age,
    User,
    /// By shard and number.
    Name,
}

impl Order {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Octets => "octets",
            Self::Age => "age",
            Self::User => "user",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Octets,
            Self::Octets => Self::Age,
            Self::Age => Self::User,
            Self::User => Self::Name,
            Self::Name => Self::Rate,
        }
    }
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    End,
    /// The session of this name shall end.
    Kick(String),
}

impl View {
    /// Another interval is over.
    pub(super) fn read(&mut self, reading: Result<Reading, String>) {
        match reading {
            Ok(_) if self.paused => self.away = None,
            Ok(reading) => {
                self.away = None;
                self.reading = reading;
                self.sort();
            }
            Err(error) => self.away = Some(error),
        }
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key) -> Wish {
        self.note = None;
        if let Some(name) = self.asked.take() {
            return match key {
                Key::Letter('y' | 'Y') => Wish::Kick(name),
                Key::Interrupt => Wish::End,
                _ => Wish::Nothing,
            };
        }
        let page = self.page.max(1);
        match key {
            Key::Letter('q' | 'Q') | Key::Interrupt => return Wish::End,
            Key::Letter('p' | ' ') => self.paused = !self.paused,
            Key::Letter('s') => {
                self.order = self.order.next();
                self.sort();
            }
            Key::Letter('k') => self.asked = self.chosen().map(|chosen| self.name_of(chosen)),
            Key::Up => self.choose(|at| at.saturating_sub(1)),
            Key::Down => self.choose(|at| at + 1),
            Key::PageUp => self.choose(|at| at.saturating_sub(page)),
            Key::PageDown => self.choose(|at| at + page),
            Key::Home => self.choose(|_| 0),
            Key::End => self.choose(|_| usize::MAX),
            Key::Escape => self.chosen = None,
            Key::Letter(_) => {}
        }
        Wish::Nothing
    }

    /// What to ask before a session is ended.
    pub(super) fn question(&self) -> Option<String> {
        let name = self.asked.as_ref()?;
        let is_it = |reading: &&SessionReading| reading.session.name == *name;
        let found = self.reading.sessions.iter().find(is_it).map(|reading| {
            let user = reading.session.user.as_deref().map_or_else(|| "-".to_owned(), harmless);
            format!(" of {user} ({})", harmless(&reading.session.peer))
        });
        Some(format!("end session {}{}? y/n", harmless(name), found.unwrap_or_default()))
    }

    /// Which of the sessions is chosen.
    pub(super) fn chosen(&self) -> Option<usize> {
        let name = self.chosen.as_ref()?;
        self.reading.sessions.iter().position(|reading| reading.session.name == *name)
    }

    /// Of `room` sessions that can be seen, which is the first: the one that is chosen is among
    /// them, and the page is full where there are so many.
    pub(super) fn scroll(&mut self, room: usize) -> usize {
        self.page = room;
        if let Some(chosen) = self.chosen() {
            self.first = self.first.min(chosen).max((chosen + 1).saturating_sub(room));
        }
        self.first = self.first.min(self.reading.sessions.len().saturating_sub(room));
        self.first
    }

    fn name_of(&self, index: usize) -> String {
        self.reading.sessions[index].session.name.clone()
    }

    /// The first key chooses the first one that is seen.
    fn choose(&mut self, from: impl Fn(usize) -> usize) {
        let Some(last) = self.reading.sessions.len().checked_sub(1) else { return };
        let at = self.chosen().map_or(self.first, from).min(last);
        self.chosen = Some(self.name_of(at));
    }

    fn sort(&mut self) {
        let order = self.order;
        let number = |name: &str| {
            let (shard, number) = name.split_once('-').unwrap_or((name, ""));
            (shard.parse::<u64>().ok(), number.parse::<u64>().ok())
        };
        let octets = |reading: &SessionReading| {
            reading.session.transfer.as_ref().map(|transfer| transfer.octets)
        };
        self.reading.sessions.sort_by(|one, other| {
            let by_name = || number(&one.session.name).cmp(&number(&other.session.name));
            let first = match order {
                Order::Rate => {
                    let moves = |reading: &SessionReading| reading.session.transfer.is_some();
                    other.rate.total_cmp(&one.rate).then(moves(other).cmp(&moves(one)))
                }
                Order::Octets => octets(other).cmp(&octets(one)),
                Order::Age => other.session.age_seconds.cmp(&one.session.age_seconds),
                // Who is not logged in comes last.
                Order::User => {
                    let user = |reading: &SessionReading| {
                        let user = reading.session.user.clone();
                        (user.is_none(), user)
                    };
                    user(one).cmp(&user(other))
                }
                Order::Name => std::cmp::Ordering::Equal,
            };
            first.then_with(by_name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Session;
    use super::*;

    fn reading(names: &[&str]) -> Reading {
        let session = |name: &&str| SessionReading {
            session: Session { name: (*name).to_owned(), ..Session::default() },
            rate: 0.0,
        };
        Reading { sessions: names.iter().map(session).collect(), ..Reading::default() }
    }

    fn view(names: &[&str]) -> View {
        let mut view = View { order: Order::Name, ..View::default() };
        view.read(Ok(reading(names)));
        view
    }

    fn names(view: &View) -> Vec<&str> {
        view.reading.sessions.iter().map(|reading| reading.session.name.as_str()).collect()
    }

    #[test]
    fn the_choice_stays_with_its_session() {
        let mut view = view(&["0-10", "0-9", "1-1", "0-11"]);
        assert_eq!(names(&view), ["0-9", "0-10", "0-11", "1-1"]);
        view.press(Key::Down);
        view.press(Key::Down);
        assert_eq!(view.chosen(), Some(1));
        view.read(Ok(reading(&["0-1", "0-2", "0-10"])));
        assert_eq!(view.chosen(), Some(2));
        view.press(Key::End);
        view.press(Key::Down);
        assert_eq!(view.chosen(), Some(2));
        view.read(Ok(reading(&["0-1"])));
        assert_eq!(view.chosen(), None);
        assert_eq!(view.press(Key::Letter('k')), Wish::Nothing);
        assert_eq!(view.question(), None, "nobody is chosen");
    }

    #[test]
    fn the_page_follows_the_choice() {
        let all: Vec<_> = (0..100).map(|number| format!("0-{number}")).collect();
        let mut view = view(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(view.scroll(10), 0);
        for (key, first) in
            [(Key::PageDown, 0), (Key::PageDown, 1), (Key::End, 90), (Key::Up, 90), (Key::Home, 0)]
        {
            view.press(key);
            assert_eq!(view.scroll(10), first, "{key:?}");
        }
        view.press(Key::End);
        view.scroll(10);
        view.read(Ok(reading(&["0-1"])));
        assert_eq!((view.scroll(10), view.scroll(0)), (0, 0));
    }

    #[test]
    fn a_session_is_ended_by_a_yes_only() {
        let mut view = view(&["0-1", "0-2"]);
        view.press(Key::Down);
        for (answer, wish) in [
            (Key::Letter('n'), Wish::Nothing),
            (Key::Escape, Wish::Nothing),
            (Key::Letter('q'), Wish::Nothing),
            (Key::Interrupt, Wish::End),
            (Key::Letter('y'), Wish::Kick("0-1".to_owned())),
        ] {
            assert_eq!(view.press(Key::Letter('k')), Wish::Nothing);
            assert_eq!(view.question().as_deref(), Some("end session 0-1 of - ()? y/n"));
            assert_eq!(view.press(answer), wish);
            assert_eq!(view.question(), None);
        }
        // The one that was asked about, whoever is chosen by then.
        view.press(Key::Letter('k'));
        view.read(Ok(reading(&["0-2"])));
        assert_eq!(view.press(Key::Letter('y')), Wish::Kick("0-1".to_owned()));
    }

    #[test]
    fn a_pause_and_a_server_that_is_away() {
        let mut view = view(&["0-1"]);
        view.press(Key::Letter('p'));
        view.read(Ok(reading(&["0-2"])));
        assert_eq!(names(&view), ["0-1"]);
        view.press(Key::Letter('p'));
        view.read(Err("gone".to_owned()));
        assert_eq!((names(&view), view.away.as_deref()), (vec!["0-1"], Some("gone")));
        view.read(Ok(reading(&["0-2"])));
        assert_eq!((names(&view), view.away.as_deref()), (vec!["0-2"], None));
    }

    #[test]
    fn orders() {
        let mut view = View::default();
        let mut all = reading(&["0-1", "0-2", "0-3"]);
        all.sessions[1].rate = 5.0;
        all.sessions[2].session.age_seconds = 9;
        all.sessions[2].session.user = Some("bob".to_owned());
        view.read(Ok(all));
        let mut seen = vec![(view.order.word(), names(&view).concat())];
        for _ in 0..4 {
            view.press(Key::Letter('s'));
            seen.push((view.order.word(), names(&view).concat()));
        }
        let expected = [
            ("rate", "0-20-10-3"),
            ("octets", "0-10-20-3"),
            ("age", "0-30-10-2"),
            ("user", "0-30-10-2"),
            ("name", "0-10-20-3"),
        ];
        assert_eq!(seen, expected.map(|(word, names)| (word, names.to_owned())));
    }
}
