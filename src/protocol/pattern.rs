//! Patterns in the operand of LIST and NLST (RFC 1123 §4.1.2.7): `*`, `?` and `[…]`, matched
//! against one name. Work is bounded by the product of the two lengths, whatever the pattern.

/// Whether `name` has a character that makes it a pattern.
#[must_use]
pub fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|octet| matches!(octet, b'*' | b'?' | b'['))
}

/// Whether the whole of `name` matches `pattern`. `?` and `[…]` stand for one character, which is
/// one octet where the name is not UTF-8. A `[` without its `]` stands for itself. As in a shell, a
/// name that starts with a dot is matched only by a pattern that does.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut pattern, mut name) = (pattern, name);
    // Where to go on when what follows the last `*` did not match: it takes one character more.
    // An earlier `*` need not be tried again, for the last one can take what that would.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((rest, name));
            continue;
        }
        if pattern.is_empty() && name.is_empty() {
            return true;
        }
        if let Some((rest, tail)) = one(pattern, name) {
            (pattern, name) = (rest, tail);
            continue;
        }
        match retry {
            Some((after_star, taken)) if !taken.is_empty() => {
                let taken = character(taken).1;
                retry = Some((after_star, taken));
                (pattern, name) = (after_star, taken);
            }
            _ => return false,
        }
    }
}

/// What is left of both after one character of `name` has matched the head of `pattern`.
fn one<'p, 'n>(pattern: &'p [u8], name: &'n [u8]) -> Option<(&'p [u8], &'n [u8])> {
    if name.is_empty() {
        return None;
    }
    let (first, tail) = character(name);
    match pattern {
        [b'?', rest @ ..] => Some((rest, tail)),
        [b'[', inner @ ..] if set_len(inner).is_some() => {
            let (set, rest) = inner.split_at(set_len(inner)?);
            is_in_set(set, first).then_some((&rest[1..], tail))
        }
        [literal, rest @ ..] if *literal == name[0] => Some((rest, &name[1..])),
        _ => None,
    }
}

/// Length of a set up to its `]`, which as the first member stands for itself.
fn set_len(inner: &[u8]) -> Option<usize> {
    let negation = usize::from(matches!(inner.first(), Some(b'!' | b'^')));
    let start = negation + 1;
    inner.get(start..)?.iter().position(|&octet| octet == b']').map(|at| start + at)
}

fn is_in_set(set: &[u8], wanted: &[u8]) -> bool {
    let (negated, mut members) = match set {
        [b'!' | b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    let mut found = false;
    while !members.is_empty() {
        let (low, rest) = character(members);
        match rest {
            [b'-', end @ ..] if !end.is_empty() => {
                let (high, rest) = character(end);
                // Among octets of one length, which UTF-8 orders as it does characters.
                found |= (low.len()..=high.len()).contains(&wanted.len())
                    && (wanted.len() > low.len() || low <= wanted)
                    && (wanted.len() < high.len() || wanted <= high);
                members = rest;
            }
            rest => {
                found |= low == wanted;
                members = rest;
            }
        }
    }
    found != negated
}

/// The first character of `text`, which is not empty, and what follows it.
fn character(text: &[u8]) -> (&[u8], &[u8]) {
    let length = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match text.get(1..length) {
        Some(tail) if tail.iter().all(|octet| octet & 0xc0 == 0x80) => text.split_at(length),
        _ => text.split_at(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[test]
    fn patterns() {
        #[track_caller]
        fn check(pattern: &str, matching: &[&str], others: &[&str]) {
            assert!(is_pattern(pattern.as_bytes()));
            for name in matching {
                assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
        check("*", &["a", "a.b", "\u{e9}"], &[".a"]);
        check("*.csv", &["a.csv", "a.b.csv"], &["a.csv.gz", "csv", ".csv"]);
        check(".*", &[".a", ".csv"], &["a", "a.b"]);
        check("a?c", &["abc", "a\u{20ac}c", "a.c"], &["ac", "abbc"]);
        check("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb", "abcd"]);
        check("[a-c]x", &["ax", "bx", "cx"], &["dx", "-x", "x"]);
        check("[!a-c]x", &["dx", "-x"], &["ax", "bx"]);
        check("[^a]", &["b"], &["a", "bb"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[\u{e0}-\u{e9}]", &["\u{e0}", "\u{e5}"], &["\u{ea}", "a", "\u{20ac}"]);
        check("[a", &["[a"], &["a"]);
        check("[]", &["[]"], &["]"]);
        check("**a", &["a", "ba"], &["b"]);
        assert!(!is_pattern(b"plain-name!^]"));
        assert!(matches(b"?", b"\xff") && !matches(b"?", b"\xff\xff"));
    }

    /// The classic that costs naive matchers exponential time.
    #[test]
    fn many_stars_are_cheap() {
        let pattern = [b"*a".repeat(100), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(255)));
    }

    #[test]
    fn agrees_with_the_definition() {
        fn slow(pattern: &[u8], name: &[u8]) -> bool {
            match pattern {
                [] => name.is_empty(),
                [b'*', rest @ ..] => (0..=name.len()).any(|taken| slow(rest, &name[taken..])),
                _ => one(pattern, name).is_some_and(|(rest, tail)| slow(rest, tail)),
            }
        }
        let mut random = Random::new(0x9106);
        for _ in 0..50_000 {
            let (mut pattern, mut name) =
                (random.octets(8, b"ab*?[]-!"), random.octets(8, b"ab]-"));
            for octet in pattern.iter_mut().chain(&mut name) {
                *octet = if *octet & 0x7f == b'.' { b'a' } else { *octet & 0x7f };
            }
            assert_eq!(matches(&pattern, &name), slow(&pattern, &name), "{pattern:?} {name:?}");
        }
    }
}
