//! Protection of the control connection and of data connections: AUTH, PBSZ, PROT, CCC, REIN
//! (RFC 2228 §3, RFC 4217, MS-FTPS 3.2.5).

use super::io::{AfterTls, ControlTls, Event, Output, ProtectionLevel};
use super::replies::Situation;
use super::{Mode, Pending, Session};
use crate::protocol::number;

/// How far the security negotiation of one session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// No security exchange yet: explicit FTPS before AUTH, or after REIN.
    #[default]
    Clear,
    /// 234 is sent, or the connection is implicit: the TLS handshake runs.
    Handshaking,
    /// The control connection is protected; PBSZ not seen.
    Protected,
    /// PBSZ accepted; PROT not seen, so data connections are clear.
    BufferSizeSet,
    /// PROT accepted, or implied by implicit FTPS.
    Negotiated(ProtectionLevel),
    /// CCC took TLS off the control connection; data connections keep their level (RFC 4217 §5).
    Cleared(ProtectionLevel),
}

/// Why a security command is out of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityError {
    /// Needs TLS on the control connection first: 503, CCC 533.
    AuthRequired,
    /// PROT before PBSZ: 503 (RFC 4217 §9).
    BufferSizeRequired,
    /// AUTH while protected, or after CCC: 534.
    AlreadyProtected,
    /// Anything but AUTH after CCC: 533.
    Cleared,
}

impl Security {
    /// AUTH TLS, and AUTH SSL, which MS-FTPS 2.2.1 makes the same.
    ///
    /// # Errors
    ///
    /// [`SecurityError::AlreadyProtected`]: TLS inside TLS never happens.
    pub fn on_auth(&mut self) -> Result<(), SecurityError> {
        match self {
            Self::Clear => {
                *self = Self::Handshaking;
                Ok(())
            }
            Self::Handshaking
            | Self::Protected
            | Self::BufferSizeSet
            | Self::Negotiated(_)
            | Self::Cleared(_) => Err(SecurityError::AlreadyProtected),
        }
    }

    /// The handshake is over. On implicit FTPS, PBSZ 0 and PROT P are implied (MS-FTPS 3.2.5.1).
    ///
    /// # Panics
    ///
    /// When no handshake was asked for: a fault of the shell, not of the client.
    pub fn on_established(&mut self, mode: Mode) {
        assert_eq!(*self, Self::Handshaking, "a handshake nobody asked for");
        *self = match mode {
            Mode::Implicit => Self::Negotiated(ProtectionLevel::Private),
            Mode::Explicit => Self::Protected,
        };
    }

    /// PBSZ. Repeating it does not reset PROT.
    ///
    /// # Errors
    ///
    /// Without TLS.
    pub fn on_pbsz(&mut self) -> Result<(), SecurityError> {
        match self {
            Self::Clear | Self::Handshaking => Err(SecurityError::AuthRequired),
            Self::Cleared(_) => Err(SecurityError::Cleared),
            Self::Protected => {
                *self = Self::BufferSizeSet;
                Ok(())
            }
            Self::BufferSizeSet | Self::Negotiated(_) => Ok(()),
        }
    }

    /// Whether PROT may be given now.
    ///
    /// # Errors
    ///
    /// Without TLS, or before PBSZ.
    pub fn check_prot(self) -> Result<(), SecurityError> {
        match self {
            Self::Clear | Self::Handshaking => Err(SecurityError::AuthRequired),
            Self::Cleared(_) => Err(SecurityError::Cleared),
            Self::Protected => Err(SecurityError::BufferSizeRequired),
            Self::BufferSizeSet | Self::Negotiated(_) => Ok(()),
        }
    }

    /// PROT with an acceptable level.
    ///
    /// # Errors
    ///
    /// As [`Security::check_prot`].
    pub fn on_prot(&mut self, level: ProtectionLevel) -> Result<(), SecurityError> {
        self.check_prot()?;
        *self = Self::Negotiated(level);
        Ok(())
    }

    /// CCC, which policy has allowed.
    ///
    /// # Errors
    ///
    /// Without TLS.
    pub fn on_ccc(&mut self) -> Result<(), SecurityError> {
        match self {
            Self::Clear | Self::Handshaking => Err(SecurityError::AuthRequired),
            Self::Cleared(_) => Err(SecurityError::Cleared),
            Self::Protected | Self::BufferSizeSet | Self::Negotiated(_) => {
                *self = Self::Cleared(self.level());
                Ok(())
            }
        }
    }

    /// Level a data connection opened now must have.
    #[must_use]
    pub fn level(self) -> ProtectionLevel {
        match self {
            Self::Negotiated(level) | Self::Cleared(level) => level,
            Self::Clear | Self::Handshaking | Self::Protected | Self::BufferSizeSet => {
                ProtectionLevel::Clear
            }
        }
    }

    /// Whether the control connection is inside TLS.
    #[must_use]
    pub fn is_protected(self) -> bool {
        match self {
            Self::Protected | Self::BufferSizeSet | Self::Negotiated(_) => true,
            Self::Clear | Self::Handshaking | Self::Cleared(_) => false,
        }
    }
}

impl Session {
    /// AUTH (RFC 4217 §4). Nothing known from before TLS survives it, HOST excepted.
    pub(super) fn auth(&mut self, mechanism: &[u8]) {
        let mechanism = mechanism.to_ascii_uppercase();
        let ssl = match mechanism.as_slice() {
            b"TLS" | b"TLS-C" => false,
            b"SSL" => true,
            _ if self.security == Security::Clear => return self.say(Situation::AuthUnknown),
            _ => return self.say(Situation::AuthAlready),
        };
        if self.security != Security::Clear {
            return self.say(Situation::AuthAlready);
        }
        // Octets behind AUTH in the clear belong to nobody (RFC 3207 §6 has the flaw's history):
        // be loud instead of guessing. A pipelined ClientHello is covered by the same rule.
        if self.unfed || !self.lines.is_clean() {
            self.event(Event::PlaintextBehindAuth);
            self.say(Situation::PlaintextBehindAuth);
            return self.close();
        }
        self.say(Situation::AuthAccepted);
        let host = self.host.clone();
        self.reset_login();
        self.host = host;
        self.auth_ssl = ssl;
        self.start_tls();
    }

    pub(super) fn start_tls(&mut self) {
        self.security = Security::Handshaking;
        self.pending = Pending::TlsHandshake;
        self.lines.clear();
        let host = self.host.clone();
        self.output(Output::StartTls { host });
    }

    pub(super) fn tls_established(&mut self, facts: ControlTls) {
        self.pending = Pending::Nothing;
        self.security.on_established(self.mode);
        if self.auth_ssl && self.policy.auth_ssl_implies_prot_p {
            self.security = Security::Negotiated(ProtectionLevel::Private);
        }
        self.tls = Some(facts);
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
            return self.say(Situation::CccRefused);
        }
        self.say(Situation::CccAccepted);
        let cleared = self.security.on_ccc();
        debug_assert!(cleared.is_ok(), "is_protected was checked");
        self.shutdown_tls(AfterTls::Clear);
    }

    pub(super) fn pbsz(&mut self, argument: &[u8]) {
        let before = self.security;
        if let Err(error) = self.security.on_pbsz() {
            return self.refuse_security(error);
        }
        match number::decimal_u64(argument) {
            Ok(size) if u32::try_from(size).is_ok() => self.say(Situation::PbszAccepted),
            Ok(_) | Err(_) => {
                self.security = before;
                self.say(Situation::SyntaxError);
            }
        }
    }

    pub(super) fn prot(&mut self, argument: &[u8]) {
        if let Err(error) = self.security.check_prot() {
            return self.refuse_security(error);
        }
        let level = match argument {
            b"P" | b"p" => ProtectionLevel::Private,
            b"C" | b"c" if self.policy.require_data_tls => {
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
        self.security = Security::Clear;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event, so that a new state or event cannot be forgotten.
    #[test]
    fn transitions() {
        use ProtectionLevel::{Clear as C, Private as P};
        use Security::{BufferSizeSet, Clear, Cleared, Handshaking, Negotiated, Protected};
        use SecurityError::{AlreadyProtected, AuthRequired, BufferSizeRequired};
        const GONE: SecurityError = SecurityError::Cleared;

        #[rustfmt::skip]
        let table = [
            // state         AUTH                   PBSZ                PROT P                   CCC
            (Clear,          Ok(Handshaking),       Err(AuthRequired),  Err(AuthRequired),       Err(AuthRequired)),
            (Handshaking,    Err(AlreadyProtected), Err(AuthRequired),  Err(AuthRequired),       Err(AuthRequired)),
            (Protected,      Err(AlreadyProtected), Ok(BufferSizeSet),  Err(BufferSizeRequired), Ok(Cleared(C))),
            (BufferSizeSet,  Err(AlreadyProtected), Ok(BufferSizeSet),  Ok(Negotiated(P)),       Ok(Cleared(C))),
            (Negotiated(C),  Err(AlreadyProtected), Ok(Negotiated(C)),  Ok(Negotiated(P)),       Ok(Cleared(C))),
            (Negotiated(P),  Err(AlreadyProtected), Ok(Negotiated(P)),  Ok(Negotiated(P)),       Ok(Cleared(P))),
            (Cleared(P),     Err(AlreadyProtected), Err(GONE),          Err(GONE),               Err(GONE)),
        ];
        for (state, auth, pbsz, prot, ccc) in table {
            check(state, Security::on_auth, auth);
            check(state, Security::on_pbsz, pbsz);
            check(state, |s| s.on_prot(P), prot);
            check(state, Security::on_ccc, ccc);
        }
    }

    #[track_caller]
    fn check(
        before: Security,
        event: impl FnOnce(&mut Security) -> Result<(), SecurityError>,
        expected: Result<Security, SecurityError>,
    ) {
        let mut after = before;
        let result = event(&mut after).map(|()| after);
        assert_eq!(result, expected, "from {before:?}");
        if result.is_err() {
            assert_eq!(after, before, "a refused command must not change the state");
        }
    }

    #[test]
    fn implicit_implies_prot_p() {
        let mut security = Security::Handshaking;
        security.on_established(Mode::Implicit);
        assert_eq!(security, Security::Negotiated(ProtectionLevel::Private));
        let mut security = Security::Handshaking;
        security.on_established(Mode::Explicit);
        assert_eq!(security, Security::Protected);
    }
}
