//! What goes into a [`Session`](super::Session) and what comes out: the whole contract between the
//! server-PI and the shells around it.

use std::net::SocketAddr;

use crate::events::{Denial, LoginFailure};
use crate::protocol::account::Account;
use crate::protocol::file::{FileError, FileReply, FileRequest, Opened, TransferRequest};

/// Something that happened outside. Bytes of the control connection come through
/// [`Session::feed`](super::Session::feed) instead.
#[derive(Debug)]
pub enum Input {
    /// The TCP connection is accepted: greet, or wait for the ClientHello.
    Connected,
    /// The TLS handshake asked for by [`Output::StartTls`] ended well.
    TlsEstablished(ControlTls),
    /// The shutdown asked for by [`Output::ShutdownTls`] is complete: every byte of the old TLS
    /// session is gone, the next byte belongs to the next state.
    TlsEnded,
    /// Answer to [`Output::Identify`]: the account, `None` when it takes a password; never
    /// [`AuthenticationError::Rejected`].
    Identified(Result<Option<Account>, AuthenticationError>),
    /// Answer to [`Output::Authenticate`].
    Authenticated(Result<Account, AuthenticationError>),
    /// Answer to [`Output::File`].
    File(Result<FileReply, FileError>),
    /// Answer to [`Output::ListenPassive`]: the address to tell the client; an unspecified one is
    /// not known.
    PassiveListening(Result<SocketAddr, PassiveUnavailable>),
    /// Answer to [`Output::OpenTransfer`].
    TransferOpened(Result<Opened, FileError>),
    /// The transfer started by [`Output::RunTransfer`] is over, and storage has all or nothing of
    /// it. The data connection of one that failed may drop for a while what the client still sends.
    TransferFinished(Result<(), TransferError>),
    /// Answer to [`Output::ReportProgress`]: octets moved so far.
    Progress(u64),
    /// Replies handed out were sent: commands held back by the reply backlog may go on.
    Flushed,
    /// [`Session::poll_timeout`](super::Session::poll_timeout) has passed.
    Timeout,
    /// The account that is logged in is gone, or another: the next command gets 421. A transfer in
    /// progress goes on, and so does whatever else was asked for.
    Revoked,
    /// An operator wants the session to end: now with 421, or as soon as what is in progress has
    /// been given up. The second time, whatever is in progress.
    Kicked,
    /// The shard shuts down: finish the transfer in hand, then 421.
    Drain,
    /// The client sends nothing more (FIN or close_notify), and all that it sent was fed. It may
    /// still read: what is queued is executed, and a transfer goes on if a QUIT waits for it (RFC
    /// 959 §4.1.1); then the session closes. Nothing may be fed after it.
    SendingEnded,
    /// The connection is gone (reset, TLS beyond repair, the end of the server): effective ABOR
    /// and QUIT.
    Disconnected,
}

/// Results of the TLS handshake on the control connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlTls {
    /// Server name indication without the root's dot, to be held against HOST (RFC 7151 §3.2.2).
    pub server_name: Option<String>,
    /// Whether the client authenticated with a certificate; USER then asks [`Output::Identify`].
    pub client_certificate: bool,
    /// One line for STAT: version and suite.
    pub description: String,
}

/// What a session does, for who looks at it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It waits for a command.
    Idle,
    /// A TLS handshake, or leaving TLS.
    Handshake,
    /// It executes this command.
    Command(&'static str),
    /// It executes this one, which opens or moves a file or a listing.
    Transfer(&'static str),
}

/// Why a log-in failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationError {
    /// Unknown user or wrong password; the client must not learn which.
    Rejected,
    /// The queue of passwords to check is full.
    Overloaded,
    /// This user has as many sessions as the configuration allows.
    TooManySessions,
    /// The proof was right, but the user's directory is not there.
    NoHome,
}

/// Why no passive port could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassiveUnavailable {
    /// All ports of this shard's range are in use.
    Exhausted,
    /// The operating system refused.
    Failed,
}

/// Why a transfer ended early, and so which reply it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// No connection in time, or connecting failed: 425.
    NotOpened,
    /// The TLS handshake on the data connection failed: 522.
    HandshakeFailed,
    /// The data connection does not resume this control session and policy requires it: 522.
    NotResumed(String),
    /// The data connection broke: 426.
    ConnectionLost,
    /// The client ended its upload by FIN behind a whole record, without close_notify: 426.
    Truncated,
    /// A record did not decrypt or violated the protocol: 426.
    Protection,
    /// No byte moved for the stall timeout: 426.
    Stalled,
    /// ABOR, or the control connection is gone: 426.
    Aborted,
    /// The server shuts down: 426.
    Draining,
    /// Storage failed: 451, 452 or 552.
    Storage(FileError),
}

/// What the next octets may be when TLS is taken off the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTls {
    /// A new ClientHello, never plaintext: REIN on the implicit port (MS-FTPS 3.2.5.3).
    Implicit,
    /// Commands in clear: REIN on the explicit port, CCC.
    Clear,
}

/// Protection of a data connection (RFC 2228 §3, PROT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectionLevel {
    /// `C`: no TLS.
    Clear,
    /// `P`: TLS.
    Private,
}

/// How the data connection of one transfer comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendezvous {
    /// The client connects, or has connected, to the listening passive port.
    Passive,
    /// The server connects to the address of PORT or EPRT, already checked against policy.
    Active(SocketAddr),
}

/// Something worth a line in the log or a counter. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A user logged in.
    LoggedIn {
        /// As configured.
        user: String,
        /// Without a password, by client certificate.
        by_certificate: bool,
    },
    /// A log-in failed.
    LoginFailed {
        /// Why.
        reason: LoginFailure,
        /// What the client sent as a name: any octets.
        user: Vec<u8>,
        /// Wrong names and passwords on this control connection so far.
        failures: u32,
    },
    /// A command was refused by right; storage tells of its own refusals elsewhere.
    Denied {
        /// Its name.
        command: &'static str,
        /// A pathname as the user sees it, or what stood behind the command.
        path: Vec<u8>,
        /// By what right.
        reason: Denial,
    },
    /// Octets followed AUTH in the clear: an injection attempt or a broken client.
    PlaintextBehindAuth,
    /// A timeout ended the session.
    TimedOut(TimeoutPhase),
    /// A request that belongs to another protocol.
    ForeignProtocol,
    /// USER, REIN or AUTH ended the log-in.
    LoggedOut,
}

/// What the shell must do now, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these octets on the control connection.
    Reply(Vec<u8>),
    /// Flush, then start a TLS handshake as server. Received octets not fed yet belong to it.
    StartTls {
        /// HOST of before, to choose the certificate when there is no SNI.
        host: Option<String>,
    },
    /// Flush, send close_notify, drain the old TLS session byte-exactly, then
    /// [`Input::TlsEnded`]. Decrypted octets not fed yet are to be dropped.
    ShutdownTls(AfterTls),
    /// Does the client certificate belong to this user?
    Identify {
        /// Name as sent.
        user: Vec<u8>,
    },
    /// Check a password, off the shard's thread.
    Authenticate {
        /// Name as sent.
        user: Vec<u8>,
        /// Password as sent.
        password: Secret,
    },
    /// Ask storage.
    File(FileRequest),
    /// The answer to [`Output::File`] is not wanted any more. It comes all the same, and soon:
    /// [`FileError::Aborted`], unless it was on its way.
    GiveUpFile,
    /// Close any earlier passive listener and open a new one.
    ListenPassive,
    /// Close the passive listener and a data connection it may hold.
    ClosePassive,
    /// Open the file or directory of a transfer.
    OpenTransfer(TransferRequest),
    /// Move the data. The 150 has been handed out before this.
    RunTransfer {
        /// How the data connection comes about.
        rendezvous: Rendezvous,
        /// Whether it must be protected.
        level: ProtectionLevel,
    },
    /// End the transfer: a running one is answered by [`Input::TransferFinished`] soon, one that
    /// is being opened by [`Input::TransferOpened`], and after [`Output::RunTransfer`] at once.
    AbortTransfer,
    /// Tell how many octets the running transfer moved, as [`Input::Progress`].
    ReportProgress,
    /// For log and counters.
    Event(Event),
    /// Flush, close_notify when protected, close. Nothing follows.
    Close,
}

/// A password on its way to the authenticator; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What a session was in the middle of when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutPhase {
    /// A TLS handshake, or leaving TLS.
    Handshake,
    /// From the greeting, or REIN, to a log-in.
    Login,
    /// Between two commands.
    Idle,
}

impl TimeoutPhase {
    /// The word of the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Login => "login",
            Self::Idle => "idle",
        }
    }
}
