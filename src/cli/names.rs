//! Looks up the names of `passive.address`, again and again, on a thread of its own: a name server
//! that does not answer holds nobody but that thread.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::start_thread;
use crate::config::Settings;
use crate::runtime::remote::RemoteSender;
use crate::shard::Message;

/// How long a start or a reload waits for the answers. Where they come later, PASV is refused until
/// then to whom a name is to be shown.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// The thread.
#[derive(Clone, Debug)]
pub(super) struct Names(mpsc::Sender<Wanted>);

/// What is to be looked up from now on.
struct Wanted {
    names: Vec<String>,
    /// `passive.lookup`.
    interval: Duration,
    /// Dropped when it has been, once.
    done: mpsc::SyncSender<()>,
}

/// What is known.
#[derive(Default)]
struct Known {
    addresses: BTreeMap<String, Ipv4Addr>,
    /// Names whose last look-up failed.
    failing: BTreeMap<String, String>,
}

impl Names {
    /// Starts it, and looks for the first names as [`Self::look_for`] does. It ends when nobody can
    /// ask any more.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(
        shards: Vec<RemoteSender<Message>>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let (sender, wanted) = mpsc::channel();
        start_thread("names", move || run(&shards, &wanted))?;
        let names = Self(sender);
        names.look_for(settings);
        Ok(names)
    }

    /// Looks these up, now and from now on. Returns when the shards have been told, or after
    /// [`LOOKUP_PATIENCE`].
    pub(super) fn look_for(&self, settings: &Settings) {
        let names: Vec<String> = settings.passive.address.names().map(str::to_owned).collect();
        let (done, looked) = mpsc::sync_channel(1);
        let interval = settings.passive.lookup;
        let nothing = names.is_empty();
        if self.0.send(Wanted { names, interval, done }).is_ok() && !nothing {
            let _ = looked.recv_timeout(LOOKUP_PATIENCE);
        }
    }
}

fn run(shards: &[RemoteSender<Message>], requests: &mpsc::Receiver<Wanted>) {
    let (mut known, mut names, mut interval) = (Known::default(), Vec::new(), Duration::MAX);
    loop {
        let request = if names.is_empty() {
            requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            requests.recv_timeout(interval)
        };
        let done = match request {
            Ok(wanted) => {
                (names, interval) = (wanted.names, wanted.interval);
                Some(wanted.done)
            }
            Err(RecvTimeoutError::Timeout) => {
                // By now the shards have the settings that these names are of.
                known.addresses.retain(|name, _| names.contains(name));
                None
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if known.look(&names, look_up) {
            for shard in shards {
                // One that has ended needs none.
                let _ = shard.send(Message::Addresses(known.addresses.clone()));
            }
        }
        drop(done);
    }
}

/// The first IPv4 address of a name. Waits for name servers.
fn look_up(name: &str) -> io::Result<Ipv4Addr> {
    let found = (name, 0).to_socket_addrs()?.find_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    found.ok_or_else(|| io::Error::other("it has no IPv4 address"))
}

impl Known {
    /// Whether there is news. A name that cannot be looked up keeps the address that it had.
    fn look(&mut self, names: &[String], look_up: impl Fn(&str) -> io::Result<Ipv4Addr>) -> bool {
        let before = self.addresses.clone();
        for name in names {
            match look_up(name) {
                Ok(address) => {
                    self.failing.remove(name);
                    let old = self.addresses.insert(name.clone(), address);
                    if old != Some(address) {
                        tracing::info!(name, %address, "passive.address");
                    }
                }
                Err(error) => {
                    let (error, address) = (error.to_string(), self.addresses.get(name));
                    if self.failing.get(name) != Some(&error) {
                        let goes_on = address.map(ToString::to_string).unwrap_or_default();
                        tracing::warn!(
                            name,
                            error,
                            goes_on,
                            "passive.address cannot be looked up; PASV is refused until it can, \
                             or goes on with the last address"
                        );
                        self.failing.insert(name.clone(), error);
                    }
                }
            }
        }
        self.addresses != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_while_no_server_answers() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut known = Known::default();
        let at = |last: u8| move |_: &str| Ok(Ipv4Addr::new(192, 0, 2, last));
        let fails = |_: &str| Err(io::Error::other("no answer"));
        assert!(!known.look(&names, fails) && known.addresses.is_empty());
        assert!(known.look(&names, at(1)) && !known.look(&names, at(1)));
        assert!(!known.look(&names, fails));
        assert_eq!(known.addresses["a"], Ipv4Addr::new(192, 0, 2, 1));
        assert!(known.look(&names[..1], at(2)));
        assert_eq!(known.addresses["b"], Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(look_up("localhost").unwrap(), Ipv4Addr::LOCALHOST);
        look_up("no-such-name.invalid").unwrap_err();
    }
}
