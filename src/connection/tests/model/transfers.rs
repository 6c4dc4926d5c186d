//! Transfers in the model: what a command asks for, whether it may begin, and which ends are good.

use super::tree::{self, StoreMode};
use super::{Canary, End, HELD_OCTETS_MAX, Model, Moved, Request, Verdict, Wanted};
use crate::connection::tests::workload::{Command, VAST};

impl Model {
    /// What a transfer command means now; uses up REST and ALLO.
    pub(super) fn wanted(&mut self, command: Command) -> Wanted {
        let marker = match self.canary {
            Canary::RestIsKept => self.rest,
            _ => self.rest.take(),
        };
        let announced = std::mem::take(&mut self.announced);
        let ascii = self.ascii;
        let offset = marker.unwrap_or(0);
        let request = match command {
            Command::Retr(name) => Request::Retrieve { path: self.path(name), offset, ascii },
            Command::Stor(name) | Command::Appe(name) => {
                let append = matches!(command, Command::Appe(_));
                if !self.may_write() {
                    return Wanted::Refused(if append { 550 } else { 553 });
                }
                if ascii && offset > 0 {
                    return Wanted::Refused(554);
                }
                let mode = match (offset, append) {
                    (0, true) => StoreMode::Append,
                    (0, false) => StoreMode::Replace,
                    _ => StoreMode::At(offset),
                };
                Request::Store { path: self.path(name), mode, ascii, announced }
            }
            _ => Request::List { path: self.cwd.clone() },
        };
        if self.swarm.tls_required && !self.private {
            Wanted::Refused(522)
        } else if !self.data {
            Wanted::Refused(425)
        } else {
            self.data = false;
            Wanted::Request(request)
        }
    }

    /// The code of the refusal, if storage cannot do what is wanted.
    fn refusal(&self, command: Command, request: &Request) -> Option<u16> {
        let tree = self.tree();
        match request {
            Request::Retrieve { path, offset, ascii } => match tree::file(tree, path) {
                None => Some(550),
                // In TYPE A the marker counts what would be sent.
                Some(octets) => (!ascii && *offset > octets.len()).then_some(554),
            },
            Request::Store { path, announced, .. } if path == VAST && self.vast => {
                announced.then_some(452)
            }
            Request::Store { path, mode, announced, .. } => {
                let kind = if matches!(command, Command::Stor(_)) { 553 } else { 550 };
                let length = tree::file(tree, path).map_or(0, Vec::len);
                if !tree::takes_file(tree, path) {
                    Some(kind)
                } else if matches!(mode, StoreMode::At(offset) if *offset > length) {
                    Some(554)
                } else {
                    announced.then_some(452)
                }
            }
            Request::List { path } => (!tree::is_directory(tree, path)).then_some(501),
        }
    }

    /// A transfer command got its 150.
    pub(super) fn opened(&mut self, command: Command) -> Verdict {
        self.rename_from = None;
        if !self.logged_in {
            return Err(format!("150 to {command:?} before log-in"));
        }
        let request = match self.wanted(command) {
            Wanted::Refused(code) => return Err(format!("150 to {command:?}, not {code}")),
            Wanted::Request(request) => request,
        };
        if let Some(code) = self.refusal(command, &request) {
            return Err(format!("150 to {command:?} {request:?}, not {code}"));
        }
        self.request = Some(request);
        Ok(())
    }

    /// A transfer command that got no 150.
    pub(super) fn refused(&mut self, command: Command, code: u16) -> Result<u16, String> {
        let request = match self.wanted(command) {
            Wanted::Refused(code) => return Ok(code),
            Wanted::Request(request) => request,
        };
        let failed = matches!(code, 450 | 451) && self.explain();
        let given_up = code == 426 && self.gives_up();
        if failed || given_up {
            return Ok(code);
        }
        self.refusal(command, &request).ok_or_else(|| format!("{code} to {command:?}, no 150"))
    }

    /// The last reply to a transfer that ran.
    pub(super) fn finished(&mut self, command: Command, code: u16, moved: &Moved) -> Verdict {
        let Some(request) = self.request.take() else { return Err("nothing ran".into()) };
        let upload = matches!(request, Request::Store { .. });
        let good = match code {
            226 => return self.completed(&request, moved),
            425 => moved.end == End::NotOpened,
            522 => moved.end == End::BadHandshake,
            426 => match moved.end {
                End::BareFin => (upload && self.private) || self.gives_up(),
                End::Reset | End::Stalled => true,
                _ => self.gives_up(),
            },
            450 if upload => self.explain(),
            451 => self.explain(),
            552 => self.cannot_grow(&request) && !moved.octets.is_empty(),
            554 => match &request {
                Request::Retrieve { path, offset, ascii: true } => {
                    let octets = tree::file(self.tree(), path).cloned().unwrap_or_default();
                    *offset > tree::network_lines(&octets).len()
                }
                _ => false,
            },
            _ => false,
        };
        let end = moved.end;
        if good { Ok(()) } else { Err(format!("{code} to {command:?}, which ended {end:?}")) }
    }

    fn cannot_grow(&self, request: &Request) -> bool {
        let Request::Store { path, mode, .. } = request else { return false };
        let vast = self.vast && self.user == Some("ann") && path == VAST;
        vast && *mode == StoreMode::Append
    }

    /// A transfer with 226.
    fn completed(&mut self, request: &Request, moved: &Moved) -> Verdict {
        let Moved { end, octets, whole } = moved;
        match request {
            Request::Store { path, mode, ascii, .. } => {
                // A reset that comes before the connection is accepted looks like a FIN here.
                let early = *end == End::Reset && octets.is_empty();
                let bare = (*end == End::BareFin || early) && !self.private;
                let ended = *end == End::Clean || bare;
                if !ended || (self.cannot_grow(request) && !octets.is_empty()) {
                    return Err(format!("226 to an upload that ended {end:?}"));
                }
                self.store(path, *mode, *ascii, octets);
                Ok(())
            }
            Request::Retrieve { path, offset, ascii } => {
                let octets_there = tree::file(self.tree(), path).cloned().unwrap_or_default();
                let all = if *ascii { tree::network_lines(&octets_there) } else { octets_there };
                let due = all.get(*offset..).ok_or("226 beyond the end")?;
                let held = matches!(end, End::Reset | End::Stalled)
                    && due.starts_with(octets)
                    && due.len() - octets.len() < HELD_OCTETS_MAX;
                let read = matches!(end, End::Clean | End::BareFin | End::Stalled);
                if held || (read && *whole && due == octets) {
                    return Ok(());
                }
                let (sent, length) = (octets.len(), due.len());
                Err(format!("226 to a download of {length}, which ended {end:?} after {sent}"))
            }
            Request::List { path } => {
                let cut = *end == End::Reset;
                let mut found = tree::listed(octets).ok_or("no listing")?;
                // Neither kept in the model.
                found.remove(&VAST[1..]);
                let mut due = tree::entries(self.tree(), path);
                due.remove(&VAST[1..]);
                if cut || (*whole && found == due) {
                    return Ok(());
                }
                Err(format!("listing {}, not {due:?}", octets.escape_ascii()))
            }
        }
    }

    pub(super) fn store(&mut self, path: &[u8], mode: StoreMode, ascii: bool, octets: &[u8]) {
        let text = if ascii { tree::unix_lines(octets) } else { octets.to_vec() };
        if path != VAST || !self.vast || self.user != Some("ann") {
            return tree::store(self.tree_mut(), path, mode, &text);
        }
        match mode {
            StoreMode::Append => {}
            // Of a sparse file.
            StoreMode::At(offset) => {
                self.vast = false;
                let octets = [vec![0; offset], text].concat();
                self.tree_mut().insert(path.to_vec(), Some(octets));
            }
            StoreMode::Replace => {
                self.vast = false;
                self.tree_mut().insert(path.to_vec(), Some(text));
            }
        }
    }
}
