//! USER, PASS, ACCT, HOST: who the client is (RFC 959 §4.1.1, RFC 2577 §5, RFC 7151).

use super::io::{AuthenticationError, Event, Output, Secret};
use super::parameters::Parameters;
use super::replies::Situation;
use super::{Mode, Pending, Session};
use crate::events::{Denial, Ending, LoginFailure};
use crate::protocol::account::Account;
use crate::protocol::host_name::{self, HostName};
use crate::protocol::path::VirtualPath;

/// How far the log-in has come.
#[derive(Debug)]
pub(super) enum Login {
    /// No log-in yet.
    Out,
    /// USER was given; PASS must follow.
    Named(Vec<u8>),
    /// Logged in.
    In(Account),
}

impl Session {
    /// USER is legal at any point; it ends a log-in and keeps the transfer parameters.
    pub(super) fn user(&mut self, name: &[u8]) {
        if self.needs_tls_to_log_in() {
            self.deny(Denial::TlsRequired, name.to_vec());
            return self.say(Situation::NeedTls);
        }
        self.log_out();
        if self.tls.as_ref().is_some_and(|tls| tls.client_certificate) {
            self.pending = Pending::Identify(name.to_vec());
            return self.output(Output::Identify { user: name.to_vec() });
        }
        self.login = Login::Named(name.to_vec());
        self.say(Situation::NeedPassword);
    }

    pub(super) fn identified(&mut self, answer: Result<Option<Account>, AuthenticationError>) {
        let Pending::Identify(name) = &mut self.pending else { return };
        let name = std::mem::take(name);
        self.pending = Pending::Nothing;
        match answer {
            Ok(Some(account)) => self.log_in(account, true),
            // The same 331 for known and unknown names (RFC 2577 §7).
            Ok(None) => {
                self.login = Login::Named(name);
                self.say(Situation::NeedPassword);
            }
            // A password would change nothing.
            Err(error) => self.refuse_log_in(name, error),
        }
    }

    pub(super) fn pass(&mut self, password: &[u8]) {
        let Login::Named(name) = &self.login else { return self.say(Situation::NeedUserFirst) };
        let user = name.clone();
        self.pending = Pending::Authenticate(user.clone());
        self.output(Output::Authenticate { user, password: Secret(password.to_vec()) });
    }

    pub(super) fn authenticated(&mut self, result: Result<Account, AuthenticationError>) {
        let Pending::Authenticate(name) = &mut self.pending else { return };
        let name = std::mem::take(name);
        self.pending = Pending::Nothing;
        self.login = Login::Out;
        match result {
            Ok(account) => self.log_in(account, false),
            Err(error) => self.refuse_log_in(name, error),
        }
    }

    fn refuse_log_in(&mut self, name: Vec<u8>, error: AuthenticationError) {
        let reason = match error {
            AuthenticationError::Rejected => LoginFailure::Credentials,
            AuthenticationError::Overloaded => LoginFailure::Overloaded,
            AuthenticationError::TooManySessions => LoginFailure::SessionsPerUser,
            AuthenticationError::NoHome => LoginFailure::NoHome,
        };
        self.failures += u32::from(error == AuthenticationError::Rejected);
        self.event(Event::LoginFailed { reason, user: name, failures: self.failures });
        match error {
            AuthenticationError::Overloaded => {
                self.say(Situation::Overloaded);
                self.close(Ending::Overloaded);
            }
            AuthenticationError::TooManySessions => self.say(Situation::SessionsPerUser),
            AuthenticationError::NoHome => self.say(Situation::NoHome),
            AuthenticationError::Rejected => {
                // A timer, not a sleeping thread; nothing else is executed meanwhile.
                let until = self.now + self.policy.login_failure_delay;
                self.pending = Pending::LoginDelay { until };
            }
        }
    }

    pub(super) fn login_delay_over(&mut self) {
        self.pending = Pending::Nothing;
        self.phase_started = self.now;
        if self.failures >= self.policy.login_failures {
            self.say(Situation::LoginTooMany);
            self.close(Ending::LoginFailures);
        } else {
            self.say(Situation::LoginIncorrect);
        }
    }

    pub(super) fn acct(&mut self, _account: &[u8]) {
        if self.account().is_some() {
            self.say(Situation::AccountSuperfluous);
        } else if self.needs_tls_to_log_in() {
            self.deny(Denial::TlsRequired, Vec::new());
            self.say(Situation::NeedTls);
        } else {
            self.say(Situation::BadSequence);
        }
    }

    /// HOST (RFC 7151): before log-in, on either side of AUTH; must equal the SNI if there was one.
    pub(super) fn host(&mut self, argument: &[u8]) {
        if self.account().is_some() {
            return self.say(Situation::HostTooLate);
        }
        let Ok(name) = host_name::parse(argument) else { return self.say(Situation::HostSyntax) };
        let text = match name {
            HostName::Name(name) => name,
            HostName::Address(address) => {
                if address != self.local.ip().to_canonical() {
                    return self.say(Situation::HostUnknown);
                }
                address.to_string()
            }
        };
        let sni = self.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        if sni.is_some_and(|sni| !sni.eq_ignore_ascii_case(&text)) {
            return self.say(Situation::HostMismatch);
        }
        let known = &self.policy.host_names;
        if !known.is_empty() && !known.iter().any(|known| known.is(&text)) {
            return self.say(Situation::HostUnknown);
        }
        self.login = Login::Out;
        self.host = Some(text);
        self.say(Situation::HostAccepted);
    }

    fn needs_tls_to_log_in(&self) -> bool {
        self.mode == Mode::Explicit
            && self.policy.require_control_tls
            // After CCC the next password would be in clear.
            && !self.security.is_protected()
    }

    fn log_in(&mut self, account: Account, by_certificate: bool) {
        self.event(Event::LoggedIn { user: account.name.clone(), by_certificate });
        self.login = Login::In(account);
        self.login_started = None;
        self.cwd = VirtualPath::root();
        self.say(if by_certificate {
            Situation::LoggedInByCertificate
        } else {
            Situation::LoggedIn
        });
    }

    /// Ends the log-in, and forgets the old user's pending parameters.
    fn log_out(&mut self) {
        if self.account().is_some() {
            self.event(Event::LoggedOut);
            self.login_started = Some(self.now);
        }
        self.login = Login::Out;
        self.cwd = VirtualPath::root();
        self.restart = None;
        self.announced = None;
        self.rename_from = None;
        self.close_next_data();
    }

    /// The state just after accept, but for security and the count of failures (RFC 959 REIN).
    pub(super) fn reset_login(&mut self) {
        self.log_out();
        self.host = None;
        self.parameters = Parameters::default();
        self.epsv_all = false;
        self.auth_ssl = false;
    }
}
