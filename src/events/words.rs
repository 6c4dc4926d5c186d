//! Closed lists of words. They are what filters and alarms look for: none is ever given another
//! meaning.

use super::counts::{self, List};
use super::field::{Field, Word};

/// How a word of a list that is counted is.
macro_rules! counted {
    ($list:ident) => {
        fn count(&self) {
            counts::count(List::$list, *self as usize);
        }
    };
}

macro_rules! words {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $(counted in $list:ident)? {
            $( $variant:ident = $word:literal, $meaning:literal; )+
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name {
                $( #[doc = $meaning] $variant, )+
            }

            impl $name {
                /// The word of the log.
                #[must_use]
                pub const fn word(self) -> &'static str {
                    match self {
                        $( Self::$variant => $word, )+
                    }
                }
            }

            impl Field for $name {
                type Value<'v> = &'static str;
                const FORM: &'static str = "word";
                const WORDS: &'static [Word] = &[$( ($word, $meaning), )+];

                fn value(&self) -> &'static str {
                    self.word()
                }

                $( counted!($list); )?
            }
        )+
    };
}

words! {
    /// The port that a connection came to.
    Listener {
        Implicit = "implicit", "TLS from the first octet";
        Explicit = "explicit", "clear at first; AUTH begins TLS";
    }

    /// Why a connection, or what a session needs, was refused.
    Refusal counted in Refusals {
        Sessions = "sessions", "`limits.sessions` is reached";
        SessionsPerIp = "sessions_per_ip", "`limits.sessions_per_ip` is reached";
        Draining = "draining", "the server ends, and nobody was logged in yet";
        Shed = "shed", "more TLS handshakes than `limits.handshakes`, and this client was silent";
        NoClientHello = "no_client_hello", "no ClientHello within `limits.client_hello_timeout`";
        HandshakeTimeout = "handshake_timeout",
            "the TLS handshake took longer than `limits.handshake_timeout`";
        TlsFailed = "tls_failed", "the TLS handshake failed; `error` says why";
        HostMismatch = "host_mismatch", "HOST and the server name of the handshake differ";
        NotFtp = "not_ftp", "TLS on the explicit port, or HTTP";
        OctetsBehindAuth = "octets_behind_auth", "octets behind AUTH in the clear, maybe injected";
        NotAProxy = "not_a_proxy", "its address is not in `listen.proxy_from`";
        ProxyHeader = "proxy_header", "no PROXY header, a broken or a late one; `error` says";
        PassivePorts = "passive_ports",
            "all passive ports of the shard, or the user's share, are in use";
        PassiveFailed = "passive_failed", "the system gives no passive port; `error` says why";
        DataUnclaimed = "data_unclaimed",
            "several sessions of the address wait at the passive port, and it resumes none of them";
        DataSilent = "data_silent",
            "the same, and no ClientHello came within `limits.data_timeout`";
        DataCrowded = "data_crowded",
            "the same, and others of the address were more that had sent no ClientHello yet";
    }

    /// Why a log-in failed.
    LoginFailure counted in LoginFailures {
        Credentials = "credentials", "no such user, or not this password";
        Overloaded = "overloaded", "too many passwords wait to be checked";
        SessionsPerUser = "sessions_per_user", "`limits.sessions_per_user` is reached";
        NoHome = "no_home", "the proof was right, but the home directory is not there";
    }

    /// By what right a command was denied.
    Denial {
        Permission = "permission", "the account's `permissions` lack what it takes";
        FileSystem = "file_system", "the file system says EACCES or EPERM to the server's user";
        ReadOnly = "read_only", "the file system is mounted read-only";
        OutsideRoot = "outside_root", "the name leads out of the home directory";
        TlsRequired = "tls_required",
            "`policy.require_control_tls`, `policy.require_data_tls`, or no `policy.allow_ccc`";
        ActiveOff = "active_off", "`policy.allow_active` is off";
        DataAddress = "data_address",
            "PORT or EPRT names another host, or a port below 1024";
    }

    /// Why a session ended.
    Ending counted in Endings {
        Quit = "quit", "QUIT";
        Closed = "closed", "the client closed the connection, without QUIT";
        Lost = "lost", "the connection broke, or the client took no replies";
        Idle = "idle", "no command for `limits.idle_timeout`";
        LoginTimeout = "login_timeout", "no log-in within `limits.login_timeout`";
        HandshakeTimeout = "handshake_timeout", "see `refused`";
        NoClientHello = "no_client_hello", "see `refused`";
        Shed = "shed", "see `refused`";
        TlsFailed = "tls_failed", "the TLS handshake failed, or a record broke the rules";
        LoginFailures = "login_failures", "`limits.login_failures` is reached";
        Overloaded = "overloaded", "too many passwords wait to be checked";
        Refused = "refused", "there was no place for it, see `refused`";
        HostMismatch = "host_mismatch", "see `refused`";
        NotFtp = "not_ftp", "see `refused`";
        OctetsBehindAuth = "octets_behind_auth", "see `refused`";
        Kicked = "kicked", "`ctl kick`";
        Revoked = "revoked", "the account was changed or removed (`limits.end_revoked`)";
        Draining = "draining", "the server ends";
        Failed = "failed", "the server could not go on with it";
    }
}

/// How a transfer ended that was not all of storage's doing.
pub const TRANSFER: &[Word] = &[
    ("complete", "all of it was moved, and 226 said"),
    ("not_opened", "no data connection"),
    ("handshake_failed", "no TLS on the data connection"),
    ("not_resumed", "the data connection did not resume the control connection's session"),
    ("connection_lost", "the data connection broke"),
    ("truncated", "the upload ended without close_notify"),
    ("protection", "the data connection broke the rules of TLS"),
    ("stalled", "nothing moved for `limits.stall_timeout`"),
    ("aborted", "ABOR, or the end of the session"),
    ("draining", "the server ends"),
];

/// Why storage refused or failed.
pub const STORAGE: &[Word] = &[
    ("not_found", "nothing of that name"),
    ("permission_denied", "EACCES or EPERM, or the account may not"),
    ("outside_root", "the name leads out of the home directory"),
    ("not_a_directory", "a directory was needed"),
    ("is_a_link", "a symbolic link cannot be used so"),
    ("is_a_directory", "a directory cannot be used so"),
    ("not_a_file", "neither file nor directory"),
    ("already_exists", "the name is taken"),
    ("not_empty", "the directory has entries"),
    ("name_too_long", "ENAMETOOLONG"),
    ("loop", "too many symbolic links"),
    ("no_space", "the disk is full"),
    ("quota", "the quota is used up"),
    ("too_big", "EFBIG"),
    ("read_only", "the file system is mounted read-only"),
    ("busy", "in use"),
    ("beyond_end", "the restart marker lies beyond the end"),
    ("shrunk", "the file became shorter while it was read"),
    ("mount_point", "something is mounted over the name"),
    ("other_filesystem", "a rename to another file system"),
    ("unsupported", "not offered for this file or by this file system"),
    ("overloaded", "too much waits for the disk"),
    ("aborted", "ABOR, or the end of the session"),
    ("io_error", "anything else; `errno` has its number"),
];

/// What was asked for.
pub const TRANSFER_COMMAND: &[Word] = &[
    ("retrieve", "a file to the client"),
    ("store", "a file from the client"),
    ("list", "a directory to the client"),
];

/// The way of the octets.
pub const DATA_PATH: &[Word] = &[
    ("sendfile", "by the kernel, in the clear"),
    ("ktls", "by the kernel, which seals"),
    ("records", "sealed or opened by the server"),
    ("blocks", "through the server, in the clear"),
    ("text", "TYPE A, and listings"),
    ("none", "there was no data connection"),
];

/// How an upload was written.
pub const WRITE_PATH: &[Word] = &[
    ("nothing", "there was nothing to write"),
    ("inline", "at once"),
    ("write-behind", "by a helper thread"),
];

/// What came of the session that the data connection offered to resume.
pub const RESUMPTION: &[Word] = &[
    ("resumed", "it was resumed"),
    ("ticket of another session of this user", "as good, but for \"require\""),
    ("ticket of another session", "no proof"),
    ("resumption is off", "`tls.data_resumption`"),
    ("no ticket offered", "a full handshake was asked for"),
    ("session ID unknown", "TLS 1.2: none of the control connection"),
    ("ticket expired or key unknown", "older than `tls.ticket_lifetime`, or than the server"),
    ("ticket malformed", "none that this server made"),
    (
        "session known but declined: server name, suite or extended master secret differs",
        "rustls does not tell which",
    ),
    ("none", "no TLS"),
];
