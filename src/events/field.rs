//! Types of fields: how each is handed to the log, and how the page describes it.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use tracing::field::{DisplayValue, display};

/// A word that a field may have, and what it means.
pub type Word = (&'static str, &'static str);

/// What a field of an event may be.
pub trait Field {
    /// What the log takes; made only when the line is written.
    type Value<'v>: tracing::Value
    where
        Self: 'v;

    /// What it is, in the words of the page.
    const FORM: &'static str;

    /// The words it may be, where they are a closed list.
    const WORDS: &'static [Word] = &[];

    /// For the log.
    fn value(&self) -> Self::Value<'_>;

    /// Counts it, if it is of a kind that is counted.
    fn count(&self) {}
}

macro_rules! copied {
    ($($type:ty, $form:literal;)+) => {
        $(
            impl Field for $type {
                type Value<'v> = $type;
                const FORM: &'static str = $form;

                fn value(&self) -> $type {
                    *self
                }
            }
        )+
    };
}

copied! {
    bool, "`true` or `false`";
    u32, "number";
    u64, "number";
    i32, "number";
    usize, "number";
}

impl Field for &str {
    type Value<'v>
        = &'v str
    where
        Self: 'v;
    const FORM: &'static str = "text";

    fn value(&self) -> &str {
        self
    }
}

impl Field for &[u8] {
    type Value<'v>
        = &'v [u8]
    where
        Self: 'v;
    const FORM: &'static str = "octets";

    fn value(&self) -> &[u8] {
        self
    }
}

impl Field for &dyn Display {
    type Value<'v>
        = DisplayValue<&'v dyn Display>
    where
        Self: 'v;
    const FORM: &'static str = "text";

    fn value(&self) -> DisplayValue<&dyn Display> {
        display(*self)
    }
}

impl Field for SocketAddr {
    type Value<'v> = DisplayValue<Self>;
    const FORM: &'static str = "address and port";

    fn value(&self) -> DisplayValue<Self> {
        display(canonical(*self))
    }
}

/// Left out when there is none.
impl<T: Field> Field for Option<T> {
    type Value<'v>
        = Option<T::Value<'v>>
    where
        Self: 'v;
    const FORM: &'static str = T::FORM;
    const WORDS: &'static [Word] = T::WORDS;

    fn value(&self) -> Option<T::Value<'_>> {
        self.as_ref().map(T::value)
    }
}

/// Permission bits, in octal.
#[derive(Clone, Copy, Debug)]
pub struct Mode(pub u32);

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Field for Mode {
    type Value<'v> = DisplayValue<Self>;
    const FORM: &'static str = "four octal digits";

    fn value(&self) -> DisplayValue<Self> {
        display(*self)
    }
}

/// An address of IPv4 as one, however its socket has it.
#[must_use]
pub fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        // With its scope.
        IpAddr::V6(_) => peer,
    }
}
