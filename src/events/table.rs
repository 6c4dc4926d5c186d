//! The table: a row for each line that tells of an event. Rows with one name are kinds of one
//! event.
//!
//! ```text
//! /// What has happened, for the page. Values of the fields are borrowed.
//! Name<'a> = "event", LEVEL, "target", "text of the line", when {
//!     /// What the field says.
//!     field: Type, in LIST, LIST;
//! }
//! ```
//!
//! `when` is `always`, `bounded` (a number a second, see [`flood`]), or
//! `bounded_before_login`. `in` gives the closed list of a field that is text here; fields of the
//! types in [`words`](super::words) bring their own.

use std::fmt::Display;
use std::net::SocketAddr;

use tracing::Level;

use super::field::{Field, Mode, Word};
use super::flood;
use super::words::{
    DATA_PATH, Denial, Ending, Listener, LoginFailure, RESUMPTION, Refusal, STORAGE, TRANSFER,
    TRANSFER_COMMAND, WRITE_PATH,
};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The field `event`.
    pub event: &'static str,
    /// The level.
    pub level: Level,
    /// What filters such as `ringftpd::files=warn` name.
    pub target: &'static str,
    /// The text of the line.
    pub text: &'static str,
    /// What has happened.
    pub explanation: &'static str,
    /// Which of these lines are counted instead of written in a flood.
    pub bounded: Bounded,
    /// Its own fields, in their order; beside them stand those of the session.
    pub fields: &'static [FieldRow],
}

/// Which lines of a kind a flood may suppress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded {
    /// None: what was done is never left out.
    No,
    /// All.
    Yes,
    /// Those of sessions on which nobody ever logged in.
    BeforeLogin,
}

/// A field of a row.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub explanation: &'static str,
    /// What it is.
    pub form: &'static str,
    /// Its words, if they are a closed list.
    pub words: &'static [&'static [Word]],
}

macro_rules! bounded {
    (always) => {
        Bounded::No
    };
    (bounded) => {
        Bounded::Yes
    };
    (bounded_before_login) => {
        Bounded::BeforeLogin
    };
}

/// Whether this line is one that a flood may suppress.
macro_rules! suppressible {
    (always, $event:ident) => {
        false
    };
    (bounded, $event:ident) => {
        true
    };
    (bounded_before_login, $event:ident) => {
        !$event.logged_in
    };
}

macro_rules! words_of {
    ($type:ty;) => {
        &[<$type as Field>::WORDS]
    };
    ($type:ty; $($words:expr),+) => {
        &[$($words),+]
    };
}

macro_rules! table {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $(<$life:lifetime>)? =
            $event:literal, $level:ident, $target:literal, $text:literal, $when:ident
        { $(
            $(#[doc = $field_doc:literal])+
            $field:ident: $type:ty $(, in $($words:expr),+)?;
        )* }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[allow(missing_debug_implementations, reason = "errors of any type are borrowed")]
            pub struct $name $(<$life>)? {
                $( $(#[doc = $field_doc])+ pub $field: $type, )*
            }

            impl $(<$life>)? $name $(<$life>)? {
                const ROW: Row = Row {
                    event: $event,
                    level: Level::$level,
                    target: $target,
                    text: $text,
                    explanation: concat!($($doc, "\n"),+),
                    bounded: bounded!($when),
                    fields: &[$( FieldRow {
                        name: stringify!($field),
                        explanation: concat!($($field_doc, "\n"),+),
                        form: <$type as Field>::FORM,
                        words: words_of!($type; $($($words),+)?),
                    }, )*],
                };

                /// Writes the line, if its level is logged and no flood suppresses it.
                pub fn log(self) {
                    let event = self;
                    // A row may have no field.
                    let _ = &event;
                    $( Field::count(&event.$field); )*
                    if !tracing::enabled!(target: $target, Level::$level) {
                        return;
                    }
                    let mut suppressed = None;
                    if suppressible!($when, event) {
                        let Some(before) = flood::admit(Kind::$name as usize) else { return };
                        suppressed = Some(before).filter(|&before| before > 0);
                    }
                    tracing::event!(
                        target: $target,
                        Level::$level,
                        event = $event,
                        $( $field = Field::value(&event.$field), )*
                        suppressed,
                        $text
                    );
                }
            }
        )+

        enum Kind {
            $( $name, )+
        }

        const ROWS: &[Row] = &[$( $name::ROW, )+];
        const _: () = assert!(ROWS.len() <= flood::KINDS_MAX);

        /// Tells of suppressed lines of this kind that no line of theirs tells of.
        fn tell(kind: usize, suppressed: u64) {
            $(
                if kind == Kind::$name as usize {
                    tracing::event!(
                        target: $target,
                        Level::$level,
                        event = $event,
                        suppressed,
                        "lines suppressed"
                    );
                }
            )+
        }
    };
}

/// Writes how many lines of each kind were suppressed on this thread, where no line has said so.
pub fn tell_suppressed() {
    flood::take(tell);
}

/// All rows, in the order of the page.
#[must_use]
pub fn rows() -> &'static [Row] {
    static TABLE: &[Row] = ROWS;
    TABLE
}

table! {
    /// A connection was accepted, and its session begins.
    SessionBegun = "connect", INFO, "ringftpd::session", "connected", bounded {
        /// The port that it came to.
        listener: Listener;
        /// The proxy that it came by, where one has said who the client is.
        proxy: Option<SocketAddr>;
    }

    /// A connection to a port for proxies (`listen.proxy_protocol`) did not say for which client it
    /// is. It has no session.
    NotIntroduced<'a> = "refused", INFO, "ringftpd::session", "no client named", bounded {
        /// Why.
        reason: Refusal;
        /// Its other end.
        peer: SocketAddr;
        /// The shard that it came to.
        shard: usize;
        /// The fault.
        error: &'a dyn Display;
    }

    /// A connection found no place, or a session ends before anybody has logged in. One that gets
    /// not even a reply has no session, and `peer` and `shard` are fields of its own.
    ConnectionRefused = "refused", INFO, "ringftpd::session", "connection refused", bounded {
        /// Why.
        reason: Refusal;
        /// The client's end of a connection without a session.
        peer: Option<SocketAddr>;
        /// The shard that it came to.
        shard: Option<usize>;
    }

    /// The TLS handshake of a control connection failed, or was given up.
    HandshakeRefused<'a> =
        "refused", INFO, "ringftpd::session", "control connection TLS failed", bounded
    {
        /// Why.
        reason: Refusal;
        /// The fault.
        error: &'a dyn Display;
    }

    /// The TLS handshake of a control connection took too long.
    HandshakeTimedOut<'a> = "refused", INFO, "ringftpd::session", "session timed out", bounded {
        /// Why.
        reason: Refusal;
        /// What took too long.
        phase: &'a str, in &[("handshake", "the TLS handshake, or leaving TLS")];
    }

    /// The client speaks another protocol.
    NotFtp = "refused", INFO, "ringftpd::session", "not FTP; connection closed", bounded {
        /// Why.
        reason: Refusal;
    }

    /// Octets came behind AUTH in the clear.
    OctetsBehindAuth = "refused", WARN, "ringftpd::session",
        "octets behind AUTH in the clear; connection closed", bounded
    {
        /// Why.
        reason: Refusal;
    }

    /// A session got no passive port.
    NoPassivePort<'a> = "refused", WARN, "ringftpd::session", "no passive port", bounded {
        /// Why.
        reason: Refusal;
        /// The fault.
        error: &'a dyn Display;
    }

    /// A data connection was closed at a passive port where several sessions of its address wait,
    /// for nothing told for which of them it was.
    DataRefused = "refused", INFO, "ringftpd::session", "data connection closed", bounded {
        /// Why.
        reason: Refusal;
        /// Its other end.
        peer: SocketAddr;
    }

    /// A user has logged in.
    LoggedIn<'a> = "login", INFO, "ringftpd::login", "logged in", always {
        /// The name, as configured.
        user: &'a str;
        /// Whether a client certificate took the place of the password.
        by_certificate: bool;
    }

    /// A log-in failed.
    LoginFailed<'a> = "login_failed", WARN, "ringftpd::login", "log-in failed", bounded {
        /// Why.
        reason: LoginFailure;
        /// What the client sent as a name: any octets.
        user: &'a [u8];
        /// Wrong passwords and names on this control connection so far.
        failures: u32;
    }

    /// A transfer whose command was accepted (150) has ended, well or not.
    TransferEnded<'a> = "transfer", INFO, "ringftpd::transfer", "transfer ended", always {
        /// Who.
        user: &'a str;
        /// What was asked for.
        command: &'a str, in TRANSFER_COMMAND;
        /// File or directory, as the user sees it; of STOU, the directory or name it was given.
        path: &'a [u8];
        /// Octets of the file or listing that were moved.
        bytes: u64;
        /// Since the 150.
        milliseconds: u64;
        /// TLS of the data connection: `none`, or its version.
        tls: &'a str;
        /// Its cipher suite.
        suite: &'a str;
        /// Whether it resumed the control connection's session.
        resumption: &'a str, in RESUMPTION;
        /// The way of the octets.
        data_path: &'a str, in DATA_PATH;
        /// Downloads: octets from the page cache.
        read_cached: Option<u64>;
        /// Downloads: octets through the page cache that a disk was waited for.
        read_cold: Option<u64>;
        /// Downloads: octets past the page cache.
        read_direct: Option<u64>;
        /// Uploads: how the octets were written.
        storage: Option<&'a str>, in WRITE_PATH;
        /// How it ended.
        end: &'a str, in TRANSFER, STORAGE;
        /// The number of the error behind `io_error`.
        errno: Option<i32>;
    }

    /// Storage refused a transfer before its 150.
    TransferRefused<'a> =
        "transfer_refused", INFO, "ringftpd::transfer", "transfer refused", always
    {
        /// Who.
        user: &'a str;
        /// What was asked for.
        command: &'a str, in TRANSFER_COMMAND;
        /// File or directory, as the user sees it.
        path: &'a [u8];
        /// Why.
        refused: &'a str, in STORAGE;
        /// The number of the error behind `io_error`.
        errno: Option<i32>;
    }

    /// DELE has removed a file.
    Deleted<'a> = "delete", INFO, "ringftpd::files", "deleted", always {
        /// Its name, as the user sees it.
        path: &'a [u8];
    }

    /// RNFR and RNTO have renamed a file or directory.
    Renamed<'a> = "rename", INFO, "ringftpd::files", "renamed", always {
        /// The old name.
        from: &'a [u8];
        /// The new one; a file that had it is gone.
        to: &'a [u8];
    }

    /// MKD or SITE MKDIR has made a directory; the latter one line for each.
    DirectoryMade<'a> = "mkdir", INFO, "ringftpd::files", "directory made", always {
        /// Its name.
        path: &'a [u8];
    }

    /// RMD has removed a directory.
    DirectoryRemoved<'a> = "rmdir", INFO, "ringftpd::files", "directory removed", always {
        /// Its name.
        path: &'a [u8];
    }

    /// SITE CHMOD or MFF has set permission bits.
    ModeSet<'a> = "chmod", INFO, "ringftpd::files", "permissions set", always {
        /// The file or directory.
        path: &'a [u8];
        /// Its permission bits now.
        mode: Mode;
    }

    /// MFMT, MFF, MDTM or SITE UTIME has set the time of a file.
    TimeSet<'a> = "mtime", INFO, "ringftpd::files", "time set", always {
        /// The file or directory.
        path: &'a [u8];
        /// Its modification time now, UTC: `YYYYMMDDHHMMSS`, and a fraction if it has one.
        modified: &'a str;
    }

    /// A command was refused by rights: the account's, the file system's, or the policy's.
    Denied<'a> = "denied", INFO, "ringftpd::denied", "denied", bounded {
        /// The command, such as `DELE` or `SITE`.
        command: &'a str;
        /// What it was for: a pathname as the user sees it, or else what stood behind the command.
        path: &'a [u8];
        /// By what right.
        reason: Denial;
    }

    /// A session has ended.
    Disconnected =
        "disconnect", INFO, "ringftpd::session", "disconnected", bounded_before_login
    {
        /// Why.
        reason: Ending;
        /// Whether somebody had logged in on it.
        logged_in: bool;
        /// From the accept to the end, whole seconds.
        seconds: u64;
        /// Octets of files that were received.
        bytes_in: u64;
        /// Octets of files and listings that were sent.
        bytes_out: u64;
    }

    /// The configuration was read again and is in force; or changed certificates were taken.
    Reloaded<'a> = "reload", INFO, "ringftpd::reload", "reload", always {
        /// Counts what was in force since the start.
        generation: u64;
        /// The keys that changed.
        changed: &'a str;
    }

    /// The configuration could not be read again: nothing has changed. One line for each mistake.
    ReloadFailed<'a> = "reload_failed", ERROR, "ringftpd::reload", "reload_failed", always {
        /// The file.
        file: &'a str;
        /// The line in it.
        line: usize;
        /// The key.
        key: &'a str;
        /// What is wrong.
        cause: &'a str;
    }

    /// A signal ends the server: nothing more is accepted, transfers may end.
    DrainBySignal<'a> = "drain", INFO, "ringftpd::server", "shutting down", always {
        /// Its name.
        signal: &'a str;
    }

    /// `ctl drain` ends the server in the same way.
    DrainAsked = "drain", INFO, "ringftpd::server", "shutting down: `ctl drain`", always {}

    /// Another process has taken over; this one ends with its sessions.
    Upgraded<'a> = "upgrade", INFO, "ringftpd::server", "another process has taken over", always {
        /// Its process id.
        pid: u64;
        /// Its version.
        version: &'a str;
    }

    /// Another process was to take over and has not: this one goes on.
    UpgradeFailed<'a> = "upgrade_failed", ERROR, "ringftpd::server", "upgrade failed", always {
        /// Why.
        cause: &'a str;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_for_filters() {
        let lower = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        for row in rows() {
            assert!(lower(row.event) && row.target.starts_with("ringftpd::"), "{row:?}");
            assert!(row.explanation.trim_end().ends_with('.'), "{row:?}");
            let names: BTreeSet<_> = row.fields.iter().map(|field| field.name).collect();
            assert_eq!(names.len(), row.fields.len(), "{row:?}");
            for field in row.fields {
                assert!(field.explanation.trim_end().ends_with(['.', '`']), "{field:?}");
                assert!(!["event", "suppressed", "session", "message"].contains(&field.name));
            }
        }
    }
}
