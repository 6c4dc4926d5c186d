//! The list of facts in OPTS MLST, its reply and the FEAT line (RFC 3659 §7.8, §7.9).

use super::file::FactSet;

/// A space inside the list: 501, and the selection stays as it was [OPTS-03].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlstOptionsError;

/// Where a [`FactSet`] keeps whether a fact is selected.
type Field = fn(&mut FactSet) -> &mut bool;

/// The facts supported, in the order in which they are sent.
const FACTS: [(&str, Field); 7] = [
    ("type", |facts| &mut facts.kind),
    ("size", |facts| &mut facts.size),
    ("modify", |facts| &mut facts.modify),
    ("perm", |facts| &mut facts.perm),
    ("unique", |facts| &mut facts.unique),
    ("UNIX.mode", |facts| &mut facts.unix_mode),
    ("X.hash", |facts| &mut facts.hash),
];

/// `fact;fact;` in any case, the last semicolon optional. Nothing selects nothing [OPTS-02];
/// unknown facts are ignored [OPTS-07]. Spaces around the list are not inside it.
///
/// # Errors
///
/// See [`MlstOptionsError`].
pub fn parse(list: &[u8]) -> Result<FactSet, MlstOptionsError> {
    let list = list.trim_ascii();
    if list.iter().any(u8::is_ascii_whitespace) {
        return Err(MlstOptionsError);
    }
    let mut facts = FactSet::NONE;
    for wanted in list.split(|&octet| octet == b';') {
        for (name, field) in FACTS {
            if name.as_bytes().eq_ignore_ascii_case(wanted) {
                *field(&mut facts) = true;
            }
        }
    }
    Ok(facts)
}

/// The selected facts, `fact;fact;`; empty for none. Follows `MLST OPTS` in the reply.
#[must_use]
pub fn format(mut facts: FactSet) -> String {
    let selected = FACTS.into_iter().filter(|(_, field)| *field(&mut facts));
    selected.flat_map(|(name, _)| [name, ";"]).collect()
}

/// The FEAT line: all facts, an asterisk after the selected ones [FEAT-09 OPTS-01]. `X.hash` only
/// where there is a digest to be had (`hashes`).
#[must_use]
pub(super) fn feature(mut facts: FactSet, hashes: bool) -> String {
    let mut line = "MLST ".to_owned();
    let mut of_hash = FactSet { hash: true, ..FactSet::NONE };
    for (name, field) in FACTS {
        if *field(&mut of_hash) && !hashes {
            continue;
        }
        line.push_str(name);
        line.push_str(if *field(&mut facts) { "*;" } else { ";" });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check(list: &str, expected: Option<&str>) {
        let formatted = parse(list.as_bytes()).ok().map(format);
        assert_eq!(formatted.as_deref(), expected, "{list}");
    }

    #[test]
    fn options() {
        check("", Some(""));
        check(";", Some(""));
        check("Type;UNIX.mode;Perm;", Some("type;perm;UNIX.mode;"));
        check("lang;type;charset;create;", Some("type;"));
        check("SIZE;frogs;", Some("size;"));
        check("fish;cakes;", Some(""));
        check("size", Some("size;"));
        check(" size; ", Some("size;"));
        check("size;size;", Some("size;"));
        check("siz;sizee;", Some(""));
        check("x.HASH;size", Some("size;X.hash;"));
        check("unique type;", None);
        check("fish cakes;", None);
        check("type; size;", None);
        check("type;\tsize;", None);
        let all = "type;size;modify;perm;unique;unix.MODE;";
        check(all, Some("type;size;modify;perm;unique;UNIX.mode;"));
    }

    #[test]
    fn features() {
        let default = "MLST type*;size*;modify*;perm*;unique*;UNIX.mode;";
        assert_eq!(feature(FactSet::DEFAULT, false), default);
        assert_eq!(feature(FactSet::NONE, false), default.replace('*', ""));
        assert_eq!(feature(FactSet::DEFAULT, true), format!("{default}X.hash;"));
        let selected = FactSet { hash: true, ..FactSet::DEFAULT };
        assert_eq!(feature(selected, true), format!("{default}X.hash*;"));
    }

    #[test]
    fn no_input_panics_and_answers_select_themselves() {
        let mut random = Random::new(0xfac7);
        for _ in 0..100_000 {
            if let Ok(facts) = parse(&random.octets(12, b"sizeSIZE;; ")) {
                assert_eq!(parse(format(facts).as_bytes()), Ok(facts));
            }
        }
    }
}
