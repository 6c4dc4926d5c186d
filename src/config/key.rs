//! What there is to know about one key, for people: the reference file and the checks of
//! documentation are made from it.

use super::kind::{Bounds, Value};

/// One key of the configuration file. All texts are for people; none is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name of its table: `limits` of `[limits]`, `users` of `[[users]]`, `tls.certificates`.
    pub section: &'static str,
    /// Its own name.
    pub name: &'static str,
    /// What is written behind it: its type, and the unit of what has one.
    pub kind: String,
    /// The words it may be, for a type that has some.
    pub words: Vec<&'static str>,
    /// Range of a number or duration, longest text; `None` where the kind says it all.
    pub bounds: Option<String>,
    /// The default as TOML; `None` for a key whose default is that it is left out.
    pub default: Option<String>,
    /// What a key that is left out, or an empty list, means.
    pub unset: Option<&'static str>,
    /// A good value as TOML, other than the default.
    pub example: Option<&'static str>,
    /// Its explanation, as lines. An empty line ends a paragraph; lines that begin with a space
    /// stand as they are.
    pub text: &'static [&'static str],
    /// First version of the server that has it.
    pub since: &'static str,
    /// When a changed value is obeyed.
    pub change: Change,
}

/// When the server obeys a changed value of a key. The word is a promise to operators: a key is
/// [`Change::Reload`] only if the code that obeys it takes the new value from a running server's
/// reload.
///
/// A reload reads the file as a start does, and refuses it as a whole if anything is wrong, or if a
/// `Restart` key would change. Of the `Reload` ones it hands the values to the shards. Each session
/// holds the [`Policy`](crate::protocol::policy::Policy) it began with, and each transfer that of
/// its beginning, so that a shard which gets another changes it for those to come and for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At a reload, by sessions and transfers that begin after it.
    Reload,
    /// At the next start.
    Restart,
}

/// A key and what it has been set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// Its value for people, as `check-config` prints it.
    pub shown: String,
}

/// A table of the file that may be there several times or not at all, whose keys are read one by
/// one (`accounts`, `certificates`, `directories`).
pub(super) struct KeyTable {
    /// What the table is, as lines.
    pub(super) text: &'static [&'static str],
    /// How its head is written, such as `[[users]]`.
    pub(super) head: &'static str,
    pub(super) keys: fn() -> Vec<Key>,
}

impl Key {
    /// Its name with its table's: `limits.idle_timeout`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// What the row says, and what its type says of it.
    pub(super) fn of<T: Value>(row: Row, default: &T, bounds: &T::Bounds) -> Self {
        let Row { section, name, unset, example, text, since, change } = row;
        let (kind, words, bounds, default) = (T::kind(), T::words(), bounds.text(), default.toml());
        Self { section, name, kind, words, bounds, default, unset, example, text, since, change }
    }
}

impl KeyValue {
    pub(super) fn new<T: Value>(key: Key, value: &T) -> Self {
        let shown = value.show();
        let shown = if shown.is_empty() { key.unset.unwrap_or_default().to_owned() } else { shown };
        Self { key, shown }
    }
}

/// The columns of a row that are mere text.
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) unset: Option<&'static str>,
    pub(super) example: Option<&'static str>,
    pub(super) text: &'static [&'static str],
    pub(super) since: &'static str,
    pub(super) change: Change,
}

/// The keys of a [`KeyTable`], written like the rows of [`table`](crate::settings); `kind` is text
/// where no type stands for it.
macro_rules! key_table {
    (
        $(#[doc = $doc:literal])+
        $head:literal;
        $(
            $(#[doc = $text:literal])+
            $key:ident: $type:ty $(, unset $unset:expr)?, example $example:expr,
            since $since:expr, change $change:ident;
        )*
    ) => {
        KeyTable {
            text: &[$($doc),+],
            head: $head,
            keys: || vec![$(
                Key::of::<Option<$type>>(
                    Row {
                        section: $head.trim_matches(['[', ']']),
                        name: stringify!($key),
                        unset: crate::config::key::optional!($($unset)?),
                        example: Some($example),
                        text: &[$($text),+],
                        since: $since,
                        change: Change::$change,
                    },
                    &None,
                    &Default::default(),
                ),
            )*],
        }
    };
}

/// `Some` of a column that a row may have, else `None`.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

pub(super) use {key_table, optional};
