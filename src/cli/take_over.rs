//! `serve --take-over`: a server that goes on where another one leaves off. See
//! [`hand_over`](super::hand_over) for what the two say to each other.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::activation;
use super::binding::Listeners;
use super::control::files_of;
use super::partner::Partner;
use super::shards;
use super::sockets::Sockets;
use crate::clock;
use crate::config::{Files, Settings};
use crate::runtime::remote::RemoteSender;
use crate::shard::{BoundListener, Message};

/// How long each answer of the other server may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// What a server has before it reads its configuration: nothing, or what another one leaves it.
#[derive(Default)]
pub(super) struct Inheritance {
    pub(super) sockets: Sockets,
    /// What this process may not be able to read.
    pub(super) files: Files,
    /// So that tickets of the other server resume here.
    pub(super) ticket_secret: Option<[u8; 32]>,
    partner: Option<Partner>,
}

impl Inheritance {
    /// That of the server whose control socket is at `path`, or that is at the other end of
    /// standard input where the path is `-`.
    ///
    /// # Errors
    ///
    /// A sentence: nobody is there, or it refuses.
    pub(super) fn of_server(path: &Path) -> Result<Self, String> {
        let no_server = |error: io::Error| {
            format!(
                "--take-over: {}: {error}; is a server running that has its control.socket there?",
                path.display()
            )
        };
        let mut partner = if path == Path::new("-") {
            let input = io::stdin().as_fd().try_clone_to_owned().map_err(no_server)?;
            if rustix::net::sockopt::socket_type(&input).is_err() {
                return Err("--take-over=- is for `ringftpd ctl upgrade`: standard input is no \
                            socket; leave out =- to take over from the server at control.socket"
                    .to_owned());
            }
            Partner::new(UnixStream::from(input))
        } else {
            let mut partner = Partner::new(UnixStream::connect(path).map_err(no_server)?);
            partner.say(&json!({ "command": "take-over" }), &[]).map_err(no_server)?;
            partner
        };
        let (estate, sockets) = partner.hear(clock::now() + ANSWER_TIME_MAX).map_err(no_server)?;
        if let Some(error) = estate["error"].as_str() {
            return Err(format!("--take-over: {error}"));
        }
        let told = estate["sockets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let secret = estate["ticket_secret"].as_str().and_then(secret_of);
        Ok(Self {
            sockets: Sockets::of_parts(told, sockets),
            files: Files::given(files_of(&estate)),
            ticket_secret: secret,
            partner: Some(partner),
        })
    }

    /// What the service manager passes.
    ///
    /// # Errors
    ///
    /// A line for each socket that cannot be used.
    pub(super) fn of_manager() -> Result<Self, String> {
        Ok(Self { sockets: activation::passed()?, ..Self::default() })
    }

    /// How many sockets the service manager passes.
    pub(super) fn passed(&self) -> usize {
        if self.partner.is_some() { 0 } else { self.sockets.len() }
    }

    /// What the shards accept on from their start: everything, or nothing before [`Self::enter`]
    /// where another server goes on.
    pub(super) fn accepted_at_once(&self, listeners: &mut Listeners) -> Vec<Vec<BoundListener>> {
        let nothing = listeners.per_shard.iter().map(|_| Vec::new()).collect();
        match self.partner {
            Some(_) => nothing,
            None => std::mem::replace(&mut listeners.per_shard, nothing),
        }
    }

    /// Tells the other server, which goes on, why this one does not serve.
    pub(super) fn failed(&mut self, reason: &str) {
        if let Some(partner) = &mut self.partner {
            // It notices the end, too.
            let _ = partner.say(&json!({ "failed": reason }), &[]);
        }
    }

    /// Nothing is left that could fail: has the shards accept, and returns when the other server
    /// accepts nothing more and has given up its other sockets.
    ///
    /// # Errors
    ///
    /// The other server has ended, or goes on.
    pub(super) fn enter(
        &mut self,
        listeners: Listeners,
        settings: &Settings,
        cpus: &[usize],
        inboxes: &[RemoteSender<Message>],
    ) -> Result<(), String> {
        let Some(partner) = &mut self.partner else { return Ok(()) };
        shards::wait_for_all(inboxes)?;
        let addresses: Vec<_> = listeners.addresses().map(|address| address.to_string()).collect();
        let ready = json!({
            "ready": true, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
            "addresses": addresses,
        });
        partner.say(&ready, &[]).map_err(gone)?;
        hear(partner, "go")?;
        listeners.settle(settings, cpus)?;
        let per_shard: Vec<Vec<BoundListener>> = listeners.per_shard;
        for (inbox, listeners) in inboxes.iter().zip(per_shard) {
            inbox.send(Message::Listen(listeners)).map_err(|_| "a shard has ended")?;
        }
        partner.say(&json!({ "accepting": true }), &[]).map_err(gone)?;
        hear(partner, "yours")?;
        self.partner = None;
        Ok(())
    }
}

fn gone(error: impl fmt::Display) -> String {
    format!("the other server does not hand over: {error}")
}

/// The other server says `word`.
fn hear(partner: &mut Partner, word: &str) -> Result<(), String> {
    let (said, _) = partner.hear(clock::now() + ANSWER_TIME_MAX).map_err(gone)?;
    if said[word] == true { Ok(()) } else { Err(gone(said["error"].as_str().unwrap_or("?"))) }
}

fn secret_of(text: &str) -> Option<[u8; 32]> {
    let octets =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    octets.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let text: String = (0..32).map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(secret_of(&text).unwrap()[31], 31);
        assert_eq!(secret_of(&text[1..]), None);
        assert_eq!(secret_of("xy"), None);
    }
}
