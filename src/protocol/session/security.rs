//! Protection of the control connection and of data connections: AUTH, PBSZ, PROT, CCC, REIN
//! (RFC 2228 §3, RFC 4217, MS-FTPS §3.2.5).

use super::io::{AfterTls, ControlTls, Event, Output, ProtectionLevel};
use super::replies::Situation;
use super::security_state::SecurityError;
use super::{Mode, Pending, Session};
use crate::events::{Denial, Ending};
use crate::protocol::number;

impl Session {
    /// AUTH (RFC 4217 §4). Nothing known from before TLS survives it, HOST excepted.
    pub(super) fn auth(&mut self, mechanism: &[u8]) {
        let mechanism = mechanism.to_ascii_uppercase();
        let ssl = match mechanism.as_slice() {
            b"TLS" | b"TLS-C" => false,
            b"SSL" => true,
            _ if self.security.check_start().is_ok() => return self.say(Situation::AuthUnknown),
            _ => return self.say(Situation::AuthAlready),
        };
        if let Err(error) = self.security.check_start() {
            return self.refuse_security(error);
        }
        // Octets behind AUTH in the clear may be injected (RFC 3207 §6 has the history): refuse
        // instead of guessing. A pipelined ClientHello is covered by the same rule.
        if self.unfed || !self.lines.is_clean() {
            self.event(Event::PlaintextBehindAuth);
            self.say(Situation::PlaintextBehindAuth);
            return self.close(Ending::OctetsBehindAuth);
        }
        self.say(Situation::AuthAccepted);
        let host = self.host.clone();
        self.reset_login();
        self.host = host;
        self.auth_ssl = ssl;
        self.start_tls();
    }

    pub(super) fn start_tls(&mut self) {
        let started = self.security.on_start();
        debug_assert!(started.is_ok(), "checked, or a connection just accepted");
        self.pending = Pending::TlsHandshake;
        self.lines.clear();
        let host = self.host.clone();
        self.output(Output::StartTls { host });
    }

    pub(super) fn tls_established(&mut self, facts: ControlTls) {
        self.pending = Pending::Nothing;
        let implied =
            self.mode == Mode::Implicit || (self.auth_ssl && self.policy.auth_ssl_implies_prot_p);
        self.security.on_established(implied.then_some(ProtectionLevel::Private));
        // HOST of before the handshake was accepted, and the client has asked for another name in
        // it (RFC 7151 §3.2.2): it would take what it is shown for one of the two. Nobody logs in.
        let named = facts.server_name.as_deref().zip(self.host.as_deref());
        let agree = named.is_none_or(|(sni, host)| sni.eq_ignore_ascii_case(host));
        self.tls = Some(facts);
        if !agree {
            self.say(Situation::HostNotOfHandshake);
            return self.close(Ending::HostMismatch);
        }
        if self.mode == Mode::Implicit {
            self.greet();
        }
    }

    /// CCC (RFC 4217 §5): never on implicit (MS-FTPS 3.2.5.2), never before log-in.
    pub(super) fn ccc(&mut self) {
        if !self.security.is_protected() {
            return self.say(Situation::CccWithoutTls);
        }
        if self.mode == Mode::Implicit || !self.policy.allow_ccc || self.account().is_none() {
            if self.mode == Mode::Explicit && self.account().is_some() {
                self.deny(Denial::TlsRequired, Vec::new());
            }
            return self.say(Situation::CccRefused);
        }
        self.say(Situation::CccAccepted);
        let cleared = self.security.on_ccc();
        debug_assert!(cleared.is_ok(), "is_protected was checked");
        self.shutdown_tls(AfterTls::Clear);
    }

    /// CCC is a feature only where it can be allowed.
    pub(super) fn feat_ccc(&self) -> Option<String> {
        let offered = self.policy.allow_ccc && self.mode == Mode::Explicit;
        offered.then(|| "CCC".to_owned())
    }

    /// MIC, CONF, ENC (RFC 2228 §3): TLS protects the whole connection instead.
    pub(super) fn protected_command(&mut self, _argument: &[u8]) {
        self.say(Situation::ProtectedCommandsRefused);
    }

    pub(super) fn pbsz(&mut self, argument: &[u8]) {
        if let Err(error) = self.security.check_pbsz() {
            return self.refuse_security(error);
        }
        let size = number::decimal_u64(argument).ok();
        if size.is_none_or(|size| u32::try_from(size).is_err()) {
            return self.say(Situation::SyntaxError);
        }
        match self.security.on_pbsz() {
            Ok(()) => self.say(Situation::PbszAccepted),
            Err(error) => self.refuse_security(error),
        }
    }

    pub(super) fn prot(&mut self, argument: &[u8]) {
        if let Err(error) = self.security.check_prot() {
            return self.refuse_security(error);
        }
        let level = match argument {
            b"P" | b"p" => ProtectionLevel::Private,
            b"C" | b"c" if self.policy.require_data_tls => {
                self.deny(Denial::TlsRequired, argument.to_vec());
                return self.say(Situation::ProtClearRefused);
            }
            b"C" | b"c" => ProtectionLevel::Clear,
            b"S" | b"s" | b"E" | b"e" => return self.say(Situation::ProtUnsupported),
            _ => return self.say(Situation::ProtUnknown),
        };
        match self.security.on_prot(level) {
            Ok(()) => self.say(match level {
                ProtectionLevel::Clear => Situation::ProtClear,
                ProtectionLevel::Private => Situation::ProtPrivate,
            }),
            Err(error) => self.refuse_security(error),
        }
    }

    fn refuse_security(&mut self, error: SecurityError) {
        self.say(match error {
            SecurityError::AuthRequired => Situation::NeedTlsFirst,
            SecurityError::BufferSizeRequired => Situation::NeedPbszFirst,
            SecurityError::AlreadyProtected => Situation::AuthAlready,
            SecurityError::Cleared => Situation::ControlCleared,
        });
    }

    /// REIN (RFC 959 §4.1.1, RFC 4217 §13, MS-FTPS 3.2.5.3): back to the state just after the TCP
    /// connection was accepted; only the count of failed log-ins stays (RFC 2577 §5).
    pub(super) fn rein(&mut self) {
        self.say(Situation::Reinitialized);
        let protected = self.security.is_protected();
        self.reset_login();
        self.security.on_rein();
        self.tls = None;
        self.login_started = Some(self.now);
        if protected {
            self.shutdown_tls(match self.mode {
                Mode::Implicit => AfterTls::Implicit,
                Mode::Explicit => AfterTls::Clear,
            });
        }
    }

    /// Commands of the old TLS session that were decrypted but not executed must not run in the
    /// next state.
    fn shutdown_tls(&mut self, after: AfterTls) {
        self.lines.clear();
        self.pending = Pending::TlsShutdown(after);
        self.output(Output::ShutdownTls(after));
    }

    pub(super) fn tls_ended(&mut self) {
        let Pending::TlsShutdown(after) = self.pending else { return };
        self.pending = Pending::Nothing;
        if after == AfterTls::Implicit {
            self.start_tls();
        }
    }
}
