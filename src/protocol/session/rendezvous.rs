//! PASV, EPSV, PORT, EPRT: which data connection comes next (RFC 959 §3.3, RFC 2428), and which
//! addresses the server refuses to connect to (RFC 2577 §3).

use std::net::{IpAddr, SocketAddr};

use super::io::{Output, PassiveUnavailable};
use super::replies::Situation;
use super::{Pending, Session};
use crate::events::Denial;
use crate::protocol::host_port::{self, EprtError, EpsvArgument, EpsvError, Family};

/// The data connection prepared for the next transfer. The latest of PASV, EPSV, PORT and EPRT
/// wins, and one of them serves one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextDataConnection {
    /// None: the next transfer gets 425.
    None,
    /// A passive port listens.
    Passive,
    /// The server will connect here.
    Active(SocketAddr),
}

/// Which reply the open passive port is announced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassiveForm {
    /// 227.
    Pasv,
    /// 229.
    Epsv,
}

impl Session {
    pub(super) fn pasv(&mut self) {
        if self.epsv_all {
            return self.say(Situation::EpsvAllActive);
        }
        if !self.peer.ip().to_canonical().is_ipv4() {
            return self.say(Situation::PassiveIpv4Only);
        }
        self.listen(PassiveForm::Pasv);
    }

    pub(super) fn epsv(&mut self, argument: Option<&[u8]>) {
        let ipv4 = self.peer.ip().to_canonical().is_ipv4();
        let other_family =
            if ipv4 { Situation::EpsvFamily4Only } else { Situation::EpsvFamily6Only };
        match host_port::parse_epsv(argument.unwrap_or_default()) {
            Ok(EpsvArgument::All) => {
                self.epsv_all = true;
                self.say(Situation::EpsvAllAccepted);
            }
            Ok(EpsvArgument::Family(family)) if (family == Family::V4) != ipv4 => {
                self.say(other_family);
            }
            Ok(EpsvArgument::None | EpsvArgument::Family(_)) => self.listen(PassiveForm::Epsv),
            Err(EpsvError::Family) => self.say(other_family),
            Err(EpsvError::Syntax) => self.say(Situation::SyntaxError),
        }
    }

    fn listen(&mut self, form: PassiveForm) {
        self.next_data = NextDataConnection::None;
        self.pending = Pending::Passive(form);
        self.output(Output::ListenPassive);
    }

    pub(super) fn passive_listening(&mut self, result: Result<SocketAddr, PassiveUnavailable>) {
        let Pending::Passive(form) = self.pending else { return };
        self.pending = Pending::Nothing;
        let address = match result {
            Ok(address) => address,
            Err(PassiveUnavailable::Exhausted) => return self.say(Situation::PassiveExhausted),
            Err(PassiveUnavailable::Failed) => return self.say(Situation::PassiveFailed),
        };
        match (form, address) {
            (PassiveForm::Epsv, address) => {
                self.next_data = NextDataConnection::Passive;
                let text = host_port::epsv_text(address.port());
                self.reply(229, text.as_bytes());
            }
            // The operator's name for it has no address yet.
            (PassiveForm::Pasv, SocketAddr::V4(address)) if address.ip().is_unspecified() => {
                self.output(Output::ClosePassive);
                self.say(Situation::PassiveFailed);
            }
            (PassiveForm::Pasv, SocketAddr::V4(address)) => {
                self.next_data = NextDataConnection::Passive;
                let text = host_port::pasv_text(address);
                self.reply(227, text.as_bytes());
            }
            (PassiveForm::Pasv, SocketAddr::V6(_)) => {
                self.output(Output::ClosePassive);
                self.say(Situation::PassiveIpv4Only);
            }
        }
    }

    pub(super) fn port(&mut self, argument: &[u8]) {
        if self.epsv_all {
            return self.say(Situation::EpsvAllActive);
        }
        match host_port::parse_port(argument) {
            Ok(address) => self.connect_to(SocketAddr::V4(address)),
            Err(_) => self.say(Situation::BadHostPort),
        }
    }

    pub(super) fn eprt(&mut self, argument: &[u8]) {
        if self.epsv_all {
            return self.say(Situation::EpsvAllActive);
        }
        match host_port::parse_eprt(argument) {
            Ok(address) => self.connect_to(address),
            Err(EprtError::Family) => self.say(Situation::EprtFamily),
            Err(EprtError::Syntax) => self.say(Situation::BadHostPort),
        }
    }

    /// The address is checked here and the server connects only to what was checked.
    fn connect_to(&mut self, address: SocketAddr) {
        let target = address.ip().to_canonical();
        if !self.policy.allow_active {
            self.deny(Denial::ActiveOff, address.to_string().into_bytes());
            return self.say(Situation::ActiveRefused);
        }
        if address.port() == 0 || target.is_unspecified() || is_group(target) {
            return self.say(Situation::BadHostPort);
        }
        if address.port() < 1024 {
            self.deny(Denial::DataAddress, address.to_string().into_bytes());
            return self.say(Situation::LowPort);
        }
        if target != self.peer.ip().to_canonical() && !self.policy.allow_foreign_data_address {
            self.deny(Denial::DataAddress, address.to_string().into_bytes());
            return self.say(Situation::ForeignAddress);
        }
        self.close_next_data();
        self.next_data = NextDataConnection::Active(SocketAddr::new(target, address.port()));
        self.reply(200, b"Data connection address noted.");
    }

    /// Closes a passive listener and forgets an active address.
    pub(super) fn close_next_data(&mut self) {
        if self.next_data == NextDataConnection::Passive
            || matches!(self.pending, Pending::Passive(_))
        {
            self.output(Output::ClosePassive);
        }
        self.next_data = NextDataConnection::None;
    }
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}
