//! Everything the file says but accounts: what is made of the [table](crate::settings), and what is
//! looked at when all keys are read, because it concerns several or deserves a warning.

#![allow(rustdoc::broken_intra_doc_links, reason = "operators read the texts of keys, too")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use super::accounts::LAX_UPLOAD_EOF_RISK;
use super::certificates::{NamedCertificate, read_certificates};
use super::directories::{Directory, read_directories};
use super::document::Section;
use super::key::{Change, Key, KeyValue, Row, optional};
use super::kind::{AtMost, Ceiling, OutputFile, Percent, SocketFile, Value};
use super::passive_address::PassiveAddresses;
use super::suites::{CipherSuite, GroupName, KernelTls};
use super::value::{CpuList, ListenAddress, PortRange};
use super::words::words;
use crate::protocol::file::HashAlgorithms;
use crate::protocol::policy::{
    DataResumption, Durability, FailedUpload, Policy, VirtualHost, WriteSize,
};
use crate::tls::{TlsProfile, TlsVersions};

/// Who decides which shard a connection comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The kernel, by a hash of both addresses and ports.
    Kernel,
    /// The CPU on which the kernel handled the connection's first packet.
    Cpu,
    /// The client's address alone, so that one client's sessions are all on one shard.
    Source,
}

/// Whether data connections may come from other addresses than the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherAddress {
    /// They are closed.
    Never,
    /// If they show a ticket of the session, and resume it.
    WithTicket,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

words! {
    Steering: "kernel" Kernel, "cpu" Cpu, "source" Source;
    OtherAddress: "never" Never, "with-ticket" WithTicket;
    LogFormat: "text" Text, "json" Json;
}

/// Makes [`Settings`], and a struct for each section with keys of the process.
macro_rules! structs {
    ($(
        [$section:ident]
        $(start $Start:ident { $(
            $(#[doc = $text:literal])+
            $key:ident: $type:ty = $default:expr $(, $column:ident $value:expr)*;
        )* })?
        $(session { $($session:tt)* })?
    )*) => {
        /// The validated settings. A key `section.name` is the field of that name, but those that
        /// sessions obey are in `policy`, whatever their section.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($(
                #[doc = concat!("Keys of `[", stringify!($section), "]`.")]
                pub $section: $Start,
            )?)*
            /// What the sessions obey.
            pub policy: Policy,
            /// Certificates for server names, beside that of `tls.certificate`.
            pub certificates: Vec<NamedCertificate>,
            /// Directories with rules of their own, each once.
            pub directories: Vec<Directory>,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($( $section: $Start::default(), )?)*
                    policy: Policy::default(),
                    certificates: Vec::new(),
                    directories: Vec::new(),
                }
            }
        }

        $($(
            #[doc = concat!("Keys of `[", stringify!($section), "]` that the process obeys.")]
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Start {
                $( $(#[doc = $text])+ pub $key: $type, )*
            }

            impl Default for $Start {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )?)*
    };
}

/// Makes what is done with each key, in the order of the table.
macro_rules! walks {
    ($(
        [$section:ident]
        $(start $Start:ident { $($start:tt)* })?
        $(session { $($session:tt)* })?
    )*) => {
        impl Settings {
            fn read_keys(&mut self, root: &Section<'_, '_>) {
                $(
                    let section = root.section(stringify!($section));
                    $( read!(section, self.$section; $($start)*); )?
                    $( read!(section, self.policy; $($session)*); )?
                    self.read_tables(stringify!($section), &section);
                    section.finish();
                )*
            }

            /// Every key with its value, in the order of the reference file.
            #[must_use]
            pub fn values(&self) -> Vec<KeyValue> {
                let mut values = Vec::new();
                $(
                    $( show!(values, $section, self.$section, $Start::default(); $($start)*); )?
                    $( show!(values, $section, self.policy, Policy::default(); $($session)*); )?
                )*
                values
            }
        }
    };
}

/// Reads keys of a section.
macro_rules! read {
    ($from:ident, $to:expr; $(
        $(#[doc = $text:literal])+
        $key:ident: $type:ty = $default:expr
        $(, within $within:expr)?
        $(, unset $unset:expr)?
        $(, example $example:expr)?,
        since $since:expr,
        change $change:ident;
    )*) => { $(
        let found = <$type as Value>::read(&$from, stringify!($key), &bounds!($($within)?));
        if let Some(value) = found {
            $to.$key = value;
        }
    )* };
}

/// Shows keys of a section.
macro_rules! show {
    ($to:ident, $section:ident, $from:expr, $defaults:expr; $(
        $(#[doc = $text:literal])+
        $key:ident: $type:ty = $default:expr
        $(, within $within:expr)?
        $(, unset $unset:expr)?
        $(, example $example:expr)?,
        since $since:expr,
        change $change:ident;
    )*) => {
        let defaults = $defaults;
        $(
            let row = Row {
                section: stringify!($section),
                name: stringify!($key),
                unset: optional!($($unset)?),
                example: optional!($($example)?),
                text: &[$($text),+],
                since: $since,
                change: Change::$change,
            };
            let key = Key::of::<$type>(row, &defaults.$key, &bounds!($($within)?));
            $to.push(KeyValue::new(key, &$from.$key));
        )*
    };
}

/// The bounds of a row, or those of a type that needs none.
macro_rules! bounds {
    () => {
        Default::default()
    };
    ($within:expr) => {
        $within
    };
}

crate::settings::table!(structs);
crate::settings::table!(walks);

impl Tls {
    /// Whether the kernel may seal anything at all.
    fn may_use_kernel(&self) -> bool {
        self.ktls == KernelTls::Auto && self.versions.tls13
    }
}

/// A section, a key of it, whether its value deserves a second look, and why.
type Doubt = (&'static str, &'static str, bool, &'static str);

impl Settings {
    /// Reads every section but the accounts'. Relative pathnames start at the directory of the
    /// file.
    pub(super) fn read(root: &Section<'_, '_>) -> Self {
        let mut settings = Self::default();
        settings.read_keys(root);
        settings.directories = read_directories(root, settings.tls.may_use_kernel());
        settings.warn(root);
        settings
    }

    /// Reads the tables of a section that may be there several times.
    fn read_tables(&mut self, name: &str, section: &Section<'_, '_>) {
        if name == "tls" {
            self.certificates = read_certificates(section);
        }
    }

    /// Two listeners, or a listener and the passive range, that want the same port: says which.
    pub(super) fn port_clash(&self) -> Option<String> {
        let listeners = || self.listen.implicit.iter().chain(&self.listen.explicit);
        for (index, address) in listeners().enumerate() {
            if let Some(other) = listeners().skip(index + 1).find(|a| a.clashes_with(address)) {
                return Some(format!("{address} and {other} are the same port"));
            }
        }
        let range = self.passive.ports?;
        let inside = |port: &u16| (range.low()..=range.high()).contains(port);
        let address = listeners().find(|address| address.ports.iter().any(inside))?;
        Some(format!("the passive ports {range} contain the listener {address}"))
    }

    /// The key that asks for proxies where nobody may be one.
    pub(super) const fn without_proxies(&self) -> Option<&'static str> {
        if !self.listen.proxy_from.is_empty() {
            None
        } else if self.listen.proxy_protocol {
            Some("listen.proxy_protocol")
        } else if self.passive.proxy_protocol {
            Some("passive.proxy_protocol")
        } else {
            None
        }
    }

    /// Warns of good values that deserve a second look.
    fn warn(&self, root: &Section<'_, '_>) {
        let doubts = self.doubts_of_network().into_iter().chain(self.doubts_of_policy());
        for (section, key, doubtful, consequence) in doubts {
            if doubtful {
                root.section(section).warn(key, consequence);
            }
        }
    }

    fn doubts_of_network(&self) -> [Doubt; 6] {
        let listen = &self.listen;
        let asked_for = listen.proxy_protocol || self.passive.proxy_protocol;
        let by_source = listen.proxy_protocol && self.shards.steering == Steering::Source;
        let low_ports = self.passive.ports.is_some_and(|range| range.low() < 1024);
        let no_tickets = self.passive.other_address == OtherAddress::WithTicket
            && self.policy.data_resumption == DataResumption::Off;
        let public_metrics = self.metrics.listen.is_some_and(|at| !at.ip().is_loopback());
        [
            (
                "listen",
                "proxy_from",
                listen.proxy_from.iter().any(|network| network.prefix_len() == 0),
                "everybody can name any address as the client's",
            ),
            (
                "listen",
                "proxy_from",
                !asked_for && !listen.proxy_from.is_empty(),
                "has no effect without listen.proxy_protocol or passive.proxy_protocol",
            ),
            (
                "shards",
                "steering",
                by_source,
                "the kernel sees the proxy's address only: all clients of one proxy share one \
                 shard; \"kernel\" spreads them",
            ),
            (
                "passive",
                "ports",
                low_ports,
                "ports below 1024 are root's; PASV fails once root is given up",
            ),
            (
                "passive",
                "other_address",
                no_tickets,
                "has no effect while tls.data_resumption is \"off\": nothing shows a ticket",
            ),
            (
                "metrics",
                "listen",
                public_metrics,
                "whoever reaches this address can read the counters",
            ),
        ]
    }

    fn doubts_of_policy(&self) -> [Doubt; 6] {
        let policy = &self.policy;
        let short_idle = policy.idle_timeout < Duration::from_mins(5);
        [
            (
                "policy",
                "require_control_tls",
                !policy.require_control_tls,
                "passwords may travel in clear",
            ),
            ("policy", "require_data_tls", !policy.require_data_tls, "files may travel in clear"),
            (
                "policy",
                "allow_ccc",
                policy.allow_ccc,
                "after CCC, commands and pathnames travel in clear",
            ),
            (
                "policy",
                "allow_foreign_data_address",
                policy.allow_foreign_data_address,
                "clients can make this server connect to other hosts (RFC 2577 §3)",
            ),
            ("policy", "lax_upload_eof", policy.lax_upload_eof, LAX_UPLOAD_EOF_RISK),
            ("limits", "idle_timeout", short_idle, "RFC 1123 §4.1.3.2 asks for at least \"5m\""),
        ]
    }
}
