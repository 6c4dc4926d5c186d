//! Types whose values are words.

/// A type whose values are words.
pub trait Words: Copy + PartialEq + 'static {
    /// Each word and its value.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this value.
    #[must_use]
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or("?", |(word, _)| word)
    }

    /// The value of `word`.
    #[must_use]
    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }
}

/// A row a type: each word and its variant.
macro_rules! words {
    ($($type:ident: $($word:literal $variant:ident),+;)*) => {$(
        impl $crate::config::words::Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    )*};
}
pub(super) use words;
