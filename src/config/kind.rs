//! Kinds of values: how each type of the table is read from TOML, what bounds it, and how it is
//! shown. A new kind of value is one `impl` here, or in the module of its type.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;
use tracing::level_filters::LevelFilter;

use super::document::Section;
use super::files::check_directory;
use super::value::{
    CpuList, ListenAddress, PortRange, boolean, duration, duration_text, number, parsed, string,
    word,
};
use super::words::{Words, words};
use crate::protocol::file::{HashAlgorithm, HashAlgorithms};
use crate::protocol::hash_command;
use crate::protocol::policy::{
    DataResumption, Durability, FailedUpload, FileCache, VirtualHost, WriteSize,
};
use crate::tls::TlsProfile;

/// The value of a key.
pub(super) trait Value: Sized {
    /// What a row may say of it.
    type Bounds: Bounds;

    /// What is written, for people.
    fn kind() -> String;

    /// The words it is one of, for a type that has some.
    fn words() -> Vec<&'static str> {
        Vec::new()
    }

    /// Reads `key`. Reports what is wrong; `None` then, and when the key is missing.
    fn read(section: &Section<'_, '_>, key: &'static str, bounds: &Self::Bounds) -> Option<Self>;

    /// The value as TOML; `None` is a key that is left out.
    fn toml(&self) -> Option<String>;

    /// The value for people; empty for a key that is left out, and for an empty list.
    fn show(&self) -> String;
}

/// A value that is one value of TOML, and may be in a list.
pub(super) trait Scalar: Sized {
    /// See [`Value::Bounds`].
    type Bounds: Bounds;

    /// Type, and the unit of what has one.
    const KIND: &'static str;

    /// Whether it is written in quotes.
    const QUOTED: bool = true;

    /// See [`Value::words`].
    fn known() -> Vec<&'static str> {
        Vec::new()
    }

    /// The value, or a sentence that says what would be right.
    fn parse(value: &DeValue<'_>, bounds: &Self::Bounds) -> Result<Self, String>;

    /// The value for people.
    fn text(&self) -> String;

    /// The value as it is written, without quotes.
    fn written(&self) -> String {
        self.text()
    }
}

/// What bounds values of a type.
pub(super) trait Bounds {
    /// For people; `None` is no bound.
    fn text(&self) -> Option<String>;
}

/// Longest text, octets; by default as long as the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtMost(pub(super) usize);

/// A share of a whole, of 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

/// The most there may be of something, if there is such a bound at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling(pub Option<u32>);

impl Ceiling {
    /// As many as may come.
    pub const NONE: Self = Self(None);
}

words! {
    TlsProfile: "balanced" Balanced, "throughput" Throughput, "pq" PostQuantum;
    DataResumption: "off" Off, "prefer" Prefer, "require" Require;
    FailedUpload: "delete" Delete, "keep" Keep;
    Durability: "none" None, "data" Data, "full" Full;
    FileCache: "page" Page, "direct" Direct;
    WriteSize: "auto" Auto, "256KiB" Kib256, "512KiB" Kib512, "1MiB" Mib1, "2MiB" Mib2;
    LevelFilter: "off" OFF, "error" ERROR, "warn" WARN, "info" INFO, "debug" DEBUG, "trace" TRACE;
}

impl<T: Words> Scalar for T {
    type Bounds = ();
    const KIND: &'static str = "word";

    fn known() -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        word(value)
    }

    fn text(&self) -> String {
        self.word().to_owned()
    }
}

/// Types whose `FromStr` and `Display` are what is written.
macro_rules! written {
    ($($type:ty: $kind:literal;)*) => {$(
        impl $crate::config::kind::Scalar for $type {
            type Bounds = ();
            const KIND: &'static str = $kind;

            fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
                parsed(value)
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
pub(super) use written;

written! {
    ListenAddress: "ADDRESS:PORT or :PORT";
    CpuList: "CPU numbers";
    PortRange: "LOW-HIGH";
    VirtualHost: "host name";
}

impl Scalar for bool {
    type Bounds = ();
    const KIND: &'static str = "true or false";
    const QUOTED: Self = false;

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        boolean(value)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Scalar for u32 {
    type Bounds = RangeInclusive<Self>;
    const KIND: &'static str = "number";
    const QUOTED: bool = false;

    fn parse(value: &DeValue<'_>, range: &Self::Bounds) -> Result<Self, String> {
        number(value, range)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Scalar for Percent {
    type Bounds = RangeInclusive<u8>;
    const KIND: &'static str = "number, per cent";
    const QUOTED: bool = false;

    fn parse(value: &DeValue<'_>, range: &Self::Bounds) -> Result<Self, String> {
        number(value, range).map(Self)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Scalar for Ceiling {
    type Bounds = RangeInclusive<u32>;
    const KIND: &'static str = "number, 0 for no limit";
    const QUOTED: bool = false;

    fn parse(value: &DeValue<'_>, range: &Self::Bounds) -> Result<Self, String> {
        number(value, range).map(|number| Self((number > 0).then_some(number)))
    }

    fn text(&self) -> String {
        self.0.map_or_else(|| "no limit".to_owned(), |number| number.to_string())
    }

    fn written(&self) -> String {
        self.0.unwrap_or(0).to_string()
    }
}

impl Scalar for Duration {
    type Bounds = RangeInclusive<Self>;
    const KIND: &'static str = "duration with its unit (ms, s, m, h, d)";

    fn parse(value: &DeValue<'_>, range: &Self::Bounds) -> Result<Self, String> {
        duration(value, range)
    }

    fn text(&self) -> String {
        duration_text(*self)
    }
}

impl Scalar for String {
    type Bounds = AtMost;
    const KIND: &'static str = "text";

    fn parse(value: &DeValue<'_>, AtMost(octets): &AtMost) -> Result<Self, String> {
        let text = string(value)?;
        if text.len() > *octets { Err(format!("is over {octets} octets")) } else { Ok(text) }
    }

    fn text(&self) -> String {
        self.clone()
    }
}

/// A file that can be read. Relative ones are found by [`Section::path`].
impl Value for Option<PathBuf> {
    type Bounds = ();

    fn kind() -> String {
        "pathname".to_owned()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        let readable = |value: &DeValue<'_>| {
            let path = section.path(value)?;
            section.files().check_readable(&path).map(|()| path)
        };
        section.get(key, readable).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_deref().map(|path| quoted(&path.display().to_string()))
    }

    fn show(&self) -> String {
        self.as_deref().map(Path::display).map_or_else(String::new, |path| path.to_string())
    }
}

/// A file that is written, and made where it is not there yet. Relative ones are found by
/// `Section::path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile(pub PathBuf);

impl Value for Option<OutputFile> {
    type Bounds = ();

    fn kind() -> String {
        "pathname".to_owned()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        let writable = |value: &DeValue<'_>| {
            let path = section.path(value)?;
            if path.is_dir() {
                return Err(format!("{} is a directory", path.display()));
            }
            let directory = path.parent().unwrap_or(&path);
            check_directory(directory).map_err(|error| format!("{error}; make it first"))?;
            Ok(OutputFile(path))
        };
        section.get(key, writable).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().map(|OutputFile(path)| quoted(&path.display().to_string()))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, |OutputFile(path)| path.display().to_string())
    }
}

/// A socket that another program listens at. Relative ones are found by `Section::path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile(pub PathBuf);

impl Value for Option<SocketFile> {
    type Bounds = ();

    fn kind() -> String {
        "pathname".to_owned()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        section.get(key, |value| section.path(value)).map(|path| Some(SocketFile(path)))
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().map(|SocketFile(path)| quoted(&path.display().to_string()))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, |SocketFile(path)| path.display().to_string())
    }
}

impl Scalar for SocketAddr {
    type Bounds = ();
    const KIND: &'static str = "ADDRESS:PORT";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        let text = string(value)?;
        Self::from_str(&text)
            .map_err(|_| format!("\"{text}\" is not ADDR:PORT; write it as \"127.0.0.1:9121\""))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// A single address is a network of one.
impl Scalar for IpNet {
    type Bounds = ();
    const KIND: &'static str = "ADDRESS or NETWORK/BITS";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        let text = string(value)?;
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Some(Self::from(address.to_canonical())),
            Err(_) => text.parse().ok(),
        };
        let network = network.ok_or_else(|| {
            format!("\"{text}\" is no network; write it as \"10.0.0.0/24\" or \"2001:db8::5\"")
        })?;
        if network.addr() != network.network() {
            return Err(format!(
                "\"{text}\" has bits behind its {}; write it as \"{}\"",
                network.prefix_len(),
                network.trunc()
            ));
        }
        Ok(network)
    }

    fn text(&self) -> String {
        if self.prefix_len() == self.max_prefix_len() {
            self.addr().to_string()
        } else {
            self.to_string()
        }
    }
}

impl Scalar for HashAlgorithm {
    type Bounds = ();
    const KIND: &'static str = "digest of HASH";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        let name = string(value)?;
        hash_command::algorithm(name.as_bytes()).ok_or_else(|| {
            let names = Self::ALL.map(hash_command::name).join(", ");
            format!("\"{name}\" is not a digest of HASH; known are {names}")
        })
    }

    fn text(&self) -> String {
        hash_command::name(*self).to_owned()
    }
}

impl Value for HashAlgorithms {
    type Bounds = ();

    fn kind() -> String {
        Vec::<HashAlgorithm>::kind()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        Vec::<HashAlgorithm>::read(section, key, &()).map(|names| names.into_iter().collect())
    }

    fn toml(&self) -> Option<String> {
        self.iter().collect::<Vec<_>>().toml()
    }

    fn show(&self) -> String {
        self.iter().collect::<Vec<_>>().show()
    }
}

impl<T: Scalar> Value for T {
    type Bounds = T::Bounds;

    fn kind() -> String {
        T::KIND.to_owned()
    }

    fn words() -> Vec<&'static str> {
        T::known()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, bounds: &T::Bounds) -> Option<Self> {
        section.get(key, |value| T::parse(value, bounds))
    }

    fn toml(&self) -> Option<String> {
        Some(scalar_toml(self))
    }

    fn show(&self) -> String {
        self.text()
    }
}

/// A list; its bounds are those of each item.
impl<T: Scalar> Value for Vec<T> {
    type Bounds = T::Bounds;

    fn kind() -> String {
        format!("list: {}", T::KIND)
    }

    fn words() -> Vec<&'static str> {
        T::known()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, bounds: &T::Bounds) -> Option<Self> {
        section.list(key, |value| T::parse(value, bounds))
    }

    fn toml(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().map(scalar_toml).collect::<Vec<_>>().join(", ")))
    }

    fn show(&self) -> String {
        self.iter().map(Scalar::text).collect::<Vec<_>>().join(", ")
    }
}

/// A key that may be left out.
impl<T: Scalar> Value for Option<T> {
    type Bounds = T::Bounds;

    fn kind() -> String {
        <T as Value>::kind()
    }

    fn words() -> Vec<&'static str> {
        T::known()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, bounds: &T::Bounds) -> Option<Self> {
        <T as Value>::read(section, key, bounds).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().map(scalar_toml)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Scalar::text)
    }
}

/// A list that may be left out.
impl<T: Scalar> Value for Option<Vec<T>> {
    type Bounds = T::Bounds;

    fn kind() -> String {
        Vec::<T>::kind()
    }

    fn words() -> Vec<&'static str> {
        T::known()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, bounds: &T::Bounds) -> Option<Self> {
        Vec::read(section, key, bounds).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(Value::toml)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Value::show)
    }
}

fn scalar_toml<T: Scalar>(value: &T) -> String {
    if T::QUOTED { quoted(&value.written()) } else { value.written() }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Bounds for () {
    fn text(&self) -> Option<String> {
        None
    }
}

impl<T: Scalar> Bounds for RangeInclusive<T> {
    fn text(&self) -> Option<String> {
        Some(format!("{} to {}", scalar_toml(self.start()), scalar_toml(self.end())))
    }
}

impl Bounds for RangeInclusive<u8> {
    fn text(&self) -> Option<String> {
        Some(format!("{} to {}", self.start(), self.end()))
    }
}

impl Default for AtMost {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

impl Bounds for AtMost {
    fn text(&self) -> Option<String> {
        (self.0 < usize::MAX).then(|| format!("at most {} octets", self.0))
    }
}
