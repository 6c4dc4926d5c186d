//! How far the security negotiation of a session has come, as a state machine (RFC 2228 §3,
//! RFC 4217, MS-FTPS §3.2.5): the transitions here are the only way from one state to another.

use super::io::ProtectionLevel;

/// The state of the security negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No security exchange yet: before AUTH or the implicit handshake, or after REIN.
    Clear,
    /// 234 is sent, or the connection is implicit: the TLS handshake is in progress.
    Handshaking,
    /// The control connection is protected; PBSZ not received.
    Protected,
    /// PBSZ accepted; PROT not received, so data connections are clear.
    BufferSizeSet,
    /// PROT accepted or implied.
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
    /// That of a connection just accepted.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Clear }
    }

    /// Whether a TLS handshake may begin.
    ///
    /// # Errors
    ///
    /// [`SecurityError::AlreadyProtected`]: there is no TLS inside TLS, and none after CCC.
    pub fn check_start(self) -> Result<(), SecurityError> {
        match self.state {
            State::Clear => Ok(()),
            State::Handshaking
            | State::Protected
            | State::BufferSizeSet
            | State::Negotiated(_)
            | State::Cleared(_) => Err(SecurityError::AlreadyProtected),
        }
    }

    /// A TLS handshake begins: after AUTH TLS or AUTH SSL, which MS-FTPS §2.2.1 makes the same, or
    /// at once on implicit FTPS.
    ///
    /// # Errors
    ///
    /// As [`Security::check_start`].
    pub fn on_start(&mut self) -> Result<(), SecurityError> {
        self.check_start()?;
        self.state = State::Handshaking;
        Ok(())
    }

    /// The handshake is complete. `implied` is the level of data connections where PBSZ 0 and PROT
    /// are implied: on implicit FTPS (MS-FTPS §3.2.5.1).
    ///
    /// # Panics
    ///
    /// When no handshake was started: a fault of the shell, not of the client.
    pub fn on_established(&mut self, implied: Option<ProtectionLevel>) {
        assert_eq!(self.state, State::Handshaking, "a handshake that was not started");
        self.state = implied.map_or(State::Protected, State::Negotiated);
    }

    /// Whether PBSZ may be given now.
    ///
    /// # Errors
    ///
    /// Without TLS.
    pub fn check_pbsz(self) -> Result<(), SecurityError> {
        match self.state {
            State::Clear | State::Handshaking => Err(SecurityError::AuthRequired),
            State::Cleared(_) => Err(SecurityError::Cleared),
            State::Protected | State::BufferSizeSet | State::Negotiated(_) => Ok(()),
        }
    }

    /// PBSZ with an acceptable size. Repeating it does not reset PROT.
    ///
    /// # Errors
    ///
    /// As [`Security::check_pbsz`].
    pub fn on_pbsz(&mut self) -> Result<(), SecurityError> {
        self.check_pbsz()?;
        if self.state == State::Protected {
            self.state = State::BufferSizeSet;
        }
        Ok(())
    }

    /// Whether PROT may be given now.
    ///
    /// # Errors
    ///
    /// Without TLS, or before PBSZ.
    pub fn check_prot(self) -> Result<(), SecurityError> {
        match self.state {
            State::Clear | State::Handshaking => Err(SecurityError::AuthRequired),
            State::Cleared(_) => Err(SecurityError::Cleared),
            State::Protected => Err(SecurityError::BufferSizeRequired),
            State::BufferSizeSet | State::Negotiated(_) => Ok(()),
        }
    }

    /// PROT with an acceptable level.
    ///
    /// # Errors
    ///
    /// As [`Security::check_prot`].
    pub fn on_prot(&mut self, level: ProtectionLevel) -> Result<(), SecurityError> {
        self.check_prot()?;
        self.state = State::Negotiated(level);
        Ok(())
    }

    /// CCC, which policy has allowed.
    ///
    /// # Errors
    ///
    /// Without TLS.
    pub fn on_ccc(&mut self) -> Result<(), SecurityError> {
        self.check_pbsz()?;
        self.state = State::Cleared(self.level());
        Ok(())
    }

    /// REIN: as a connection just accepted (RFC 959 §4.1.1, RFC 4217 §13).
    pub fn on_rein(&mut self) {
        *self = Self::new();
    }

    /// Level a data connection opened now must have.
    #[must_use]
    pub fn level(self) -> ProtectionLevel {
        match self.state {
            State::Negotiated(level) | State::Cleared(level) => level,
            State::Clear | State::Handshaking | State::Protected | State::BufferSizeSet => {
                ProtectionLevel::Clear
            }
        }
    }

    /// Whether the control connection is inside TLS.
    #[must_use]
    pub fn is_protected(self) -> bool {
        match self.state {
            State::Protected | State::BufferSizeSet | State::Negotiated(_) => true,
            State::Clear | State::Handshaking | State::Cleared(_) => false,
        }
    }

    /// Whether CCC has taken TLS off the control connection.
    #[must_use]
    pub fn is_cleared(self) -> bool {
        matches!(self.state, State::Cleared(_))
    }
}

impl Default for Security {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event, so that a new state or event cannot be forgotten.
    #[test]
    fn transitions() {
        use ProtectionLevel::{Clear as C, Private as P};
        use SecurityError::{AlreadyProtected, AuthRequired, BufferSizeRequired};
        use State::{BufferSizeSet, Clear, Cleared, Handshaking, Negotiated, Protected};
        const GONE: SecurityError = SecurityError::Cleared;

        #[rustfmt::skip]
        let table = [
            // state         AUTH, implicit start   PBSZ                PROT P                   CCC
            (Clear,          Ok(Handshaking),       Err(AuthRequired),  Err(AuthRequired),       Err(AuthRequired)),
            (Handshaking,    Err(AlreadyProtected), Err(AuthRequired),  Err(AuthRequired),       Err(AuthRequired)),
            (Protected,      Err(AlreadyProtected), Ok(BufferSizeSet),  Err(BufferSizeRequired), Ok(Cleared(C))),
            (BufferSizeSet,  Err(AlreadyProtected), Ok(BufferSizeSet),  Ok(Negotiated(P)),       Ok(Cleared(C))),
            (Negotiated(C),  Err(AlreadyProtected), Ok(Negotiated(C)),  Ok(Negotiated(P)),       Ok(Cleared(C))),
            (Negotiated(P),  Err(AlreadyProtected), Ok(Negotiated(P)),  Ok(Negotiated(P)),       Ok(Cleared(P))),
            (Cleared(P),     Err(AlreadyProtected), Err(GONE),          Err(GONE),               Err(GONE)),
        ];
        for (state, start, pbsz, prot, ccc) in table {
            check(state, Security::on_start, start);
            check(state, Security::on_pbsz, pbsz);
            check(state, |s| s.on_prot(P), prot);
            check(state, Security::on_ccc, ccc);
            let rein = |s: &mut Security| {
                s.on_rein();
                Ok(())
            };
            check(state, rein, Ok(Clear));
        }
    }

    #[track_caller]
    fn check(
        before: State,
        event: impl FnOnce(&mut Security) -> Result<(), SecurityError>,
        expected: Result<State, SecurityError>,
    ) {
        let mut security = Security { state: before };
        let result = event(&mut security).map(|()| security.state);
        assert_eq!(result, expected, "from {before:?}");
        if result.is_err() {
            assert_eq!(security.state, before, "a refused command must not change the state");
        }
    }

    #[test]
    fn a_handshake_may_imply_a_level() {
        let established = |implied| {
            let mut security = Security { state: State::Handshaking };
            security.on_established(implied);
            security.state
        };
        assert_eq!(established(None), State::Protected);
        let level = ProtectionLevel::Private;
        assert_eq!(established(Some(level)), State::Negotiated(level));
    }
}
