//! What is pressed, out of the octets that a terminal sends.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Escape,
    /// The keyboard's interrupt, which no signal follows: the terminal is raw.
    Interrupt,
}

/// The keys in `octets`, which were read at once; what means nothing here is passed over.
pub(super) fn keys(mut octets: &[u8]) -> Vec<Key> {
    let mut found = Vec::new();
    while let Some((&first, rest)) = octets.split_first() {
        octets = rest;
        let key = match first {
            0x03 => Some(Key::Interrupt),
            0x1b => {
                let (key, length) = sequence(rest);
                octets = &rest[length..];
                key
            }
            b' '..=b'~' => Some(Key::Letter(first.into())),
            _ => None,
        };
        found.extend(key);
    }
    found
}

/// What follows an escape, and how long that is (ECMA-48 §5.4, and SS3 of cursor keys).
fn sequence(octets: &[u8]) -> (Option<Key>, usize) {
    let Some((introducer @ (b'[' | b'O'), rest)) = octets.split_first() else {
        return (Some(Key::Escape), 0);
    };
    let parameters = if *introducer == b'[' {
        rest.iter().take_while(|octet| (0x20..0x40).contains(*octet)).count()
    } else {
        0
    };
    let key = match (&rest[..parameters], rest.get(parameters)) {
        (_, Some(b'A')) => Some(Key::Up),
        (_, Some(b'B')) => Some(Key::Down),
        (_, Some(b'H')) | (b"1" | b"7", Some(b'~')) => Some(Key::Home),
        (_, Some(b'F')) | (b"4" | b"8", Some(b'~')) => Some(Key::End),
        (b"5", Some(b'~')) => Some(Key::PageUp),
        (b"6", Some(b'~')) => Some(Key::PageDown),
        _ => None,
    };
    (key, octets.len().min(parameters + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_to_keys() {
        use Key::*;
        assert_eq!(keys(b"q\x1b[A\x1bOBs"), [Letter('q'), Up, Down, Letter('s')]);
        assert_eq!(keys(b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~"), [PageUp, PageDown, Home, End]);
        assert_eq!(keys(b"\x1b[1;5A\x1b[H\x1b[F"), [Up, Home, End]);
        assert_eq!(keys(b"\x1b"), [Escape]);
        assert_eq!(keys(b"\x1bq"), [Escape, Letter('q')]);
        assert_eq!(keys(b"\x03"), [Interrupt]);
        // Cut off, or of no meaning.
        for octets in
            [&b"\x1b["[..], b"\x1bO", b"\x1b[12", b"\x1b[15~", b"\xc3\xa4\r", b"\x1b[<0;1;1M"]
        {
            assert_eq!(keys(octets), [], "{octets:?}");
        }
    }
}
