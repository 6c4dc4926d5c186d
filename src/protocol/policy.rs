//! What the operator decided, as the session needs to know it. Read by `config`; pure values.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::file::HashAlgorithms;

/// When a data connection must resume the TLS session of its own control connection
/// (RFC 4217 §10.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataResumption {
    /// No tickets are issued; every data connection makes a full handshake.
    Off,
    /// Resumption is offered and logged, never demanded.
    #[default]
    Prefer,
    /// A data connection that does not resume *this* control session is refused with 522.
    Require,
}

/// What is left of an upload that did not end cleanly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedUpload {
    /// Nothing: the name shows what it showed before.
    #[default]
    Delete,
    /// What arrived is published under the name if the name did not exist before, so that the
    /// client can resume with SIZE and REST. An existing file is never replaced by a part.
    Keep,
}

/// What 226 after an upload promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The kernel has the bytes: survives a crash of the server, not of the machine.
    None,
    /// `fdatasync` of the file before it gets its name.
    #[default]
    Data,
    /// `fsync` of the file, and of the directory after the file got its name.
    Full,
}

/// Whether files that are sent pass through the kernel's page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCache {
    /// They do: what is sent often costs no disk.
    #[default]
    Page,
    /// They do not (`O_DIRECT`): what is sent rarely takes no memory from what is sent often.
    Direct,
}

/// How many octets of an upload are written to its file at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteSize {
    /// What has been measured for file systems like the file's.
    #[default]
    Auto,
    /// 256 KiB.
    Kib256,
    /// 512 KiB.
    Kib512,
    /// 1 MiB.
    Mib1,
    /// 2 MiB.
    Mib2,
}

impl WriteSize {
    /// The octets, where they do not depend on the file system.
    #[must_use]
    pub const fn octets(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Kib256 => Some(256 * 1024),
            Self::Kib512 => Some(512 * 1024),
            Self::Mib1 => Some(1024 * 1024),
            Self::Mib2 => Some(2 * 1024 * 1024),
        }
    }
}

/// How the files below a directory are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRule {
    /// Whether they pass through the page cache.
    pub cache: FileCache,
    /// The operator vouches that no file changes while it is sent.
    pub immutable: bool,
}

/// A name that HOST accepts (RFC 7151): letters, digits and hyphens in labels of 1 to 63 octets,
/// 253 octets in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost(String);

impl VirtualHost {
    /// Whether `name` is this name; case does not matter.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for VirtualHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VirtualHost {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("\"{name}\" is not a host name such as \"ftp.example.org\""))
    }
}

/// Makes [`Policy`] of the rows for sessions.
macro_rules! policy {
    ($(
        [$section:ident]
        $(start $Start:ident { $($start:tt)* })?
        $(session { $(
            $(#[doc = $text:literal])+
            $key:ident: $type:ty = $default:expr $(, $column:ident $value:expr)*;
        )* })?
    )*) => {
        /// What the sessions obey: the keys of the configuration that are theirs, from several
        /// sections, under their own names. Timeouts are wall-clock spans.
        #[allow(rustdoc::broken_intra_doc_links, reason = "operators read these texts, too")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Policy {
            $($($( $(#[doc = $text])+ pub $key: $type, )*)?)*
        }

        impl Default for Policy {
            fn default() -> Self {
                Self { $($($( $key: $default, )*)?)* }
            }
        }
    };
}

crate::settings::table!(policy);
