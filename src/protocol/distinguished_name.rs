//! Distinguished names of certificates: their text form (RFC 4514) read, written and compared.
//! Compared as structure, never as text, so no value can pass for another attribute.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::hexadecimal;

/// Names of attribute types: those of RFC 4514 §3, then what openssl and others write. The first
/// name of a type is the one written.
const TYPES: [(&str, &str); 28] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("email", "1.2.840.113549.1.9.1"),
    ("serialNumber", "2.5.4.5"),
    ("SN", "2.5.4.4"),
    ("surname", "2.5.4.4"),
    ("GN", "2.5.4.42"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("generationQualifier", "2.5.4.44"),
    ("dnQualifier", "2.5.4.46"),
    ("pseudonym", "2.5.4.65"),
    ("title", "2.5.4.12"),
    ("name", "2.5.4.41"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("organizationIdentifier", "2.5.4.97"),
    ("S", "2.5.4.8"),
];

/// Tags of the character strings whose octets are UTF-8: UTF8String, NumericString,
/// PrintableString, IA5String (X.690 §8.23).
const STRING_TAGS: [u8; 4] = [0x0c, 0x12, 0x13, 0x16];

/// A distinguished name. Equal when the same relative names stand in the same order; the
/// attributes inside a relative name have none. Values are compared octet by octet, so case counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    /// Most specific first, as in the text, each sorted.
    relative: Vec<Vec<Attribute>>,
}

/// One attribute of a relative name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Object identifier in dotted form.
    pub oid: String,
    /// Its value.
    pub value: AttributeValue,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttributeValue {
    /// A character string of whatever kind.
    Text(String),
    /// Anything else, encoded in BER, tag and length included.
    Encoded(Vec<u8>),
}

/// A text is no distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DistinguishedNameError {
    /// A part has no `=`, or nothing before it.
    #[error("\"{0}\" is not TYPE=VALUE")]
    NoType(String),
    /// An attribute type that is neither known nor an object identifier.
    #[error("\"{name}\" is not an attribute type; known are {}; or write its OID", known_types())]
    UnknownType {
        /// The type given.
        name: String,
    },
    /// A character that needs a backslash, or a backslash before something else than a special
    /// character or two hexadecimal digits.
    #[error("the value \"{0}\" is not escaped as in RFC 4514: write \\, for a comma in a value")]
    Escape(String),
}

impl DistinguishedName {
    /// The name of these relative names in the order of the certificate, most general first.
    #[must_use]
    pub fn from_certificate(relative: Vec<Vec<Attribute>>) -> Self {
        let mut relative = relative;
        relative.reverse();
        for attributes in &mut relative {
            attributes.sort_unstable();
        }
        Self { relative }
    }
}

/// Reads RFC 4514, most specific relative name first: `CN=alice,OU=Ops+L=Berlin,O=Example`. Spaces
/// around `,`, `+` and `=` and the case of types do not matter; types may be object identifiers,
/// and values `#` and hexadecimal BER.
impl FromStr for DistinguishedName {
    type Err = DistinguishedNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut relative = Vec::new();
        for part in split(text, ',') {
            let attributes: Result<Vec<_>, _> = split(part, '+').map(attribute).collect();
            let mut attributes = attributes?;
            attributes.sort_unstable();
            relative.push(attributes);
        }
        Ok(Self { relative })
    }
}

/// RFC 4514 text for people: nothing in a value looks like a separator or breaks a line.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attributes) in self.relative.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            for (index, attribute) in attributes.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { "+" })?;
                write!(f, "{attribute}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TYPES.iter().find(|(_, oid)| *oid == self.oid);
        write!(f, "{}=", name.map_or(self.oid.as_str(), |(name, _)| name))?;
        match &self.value {
            AttributeValue::Text(text) => write_escaped(f, text),
            AttributeValue::Encoded(octets) => {
                write!(f, "#{}", hexadecimal::lower(octets))
            }
        }
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => write!(f, "\\{character}")?,
            ' ' if index == 0 || index == last => f.write_str("\\ ")?,
            '#' if index == 0 => f.write_str("\\#")?,
            _ if character.is_control() => {
                for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                    write!(f, "\\{octet:02x}")?;
                }
            }
            _ => f.write_char(character)?,
        }
    }
    Ok(())
}

/// The parts of `text` between separators that no backslash precedes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |character| {
        let separates = character == separator && !escaped;
        escaped = character == '\\' && !escaped;
        separates
    })
}

fn attribute(text: &str) -> Result<Attribute, DistinguishedNameError> {
    let parts = text.split_once('=').map(|(name, value)| (name.trim(), value));
    let Some((name, value)) = parts.filter(|(name, _)| !name.is_empty()) else {
        return Err(DistinguishedNameError::NoType(text.trim().to_owned()));
    };
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let oid = match known {
        Some((_, oid)) => (*oid).to_owned(),
        None if is_oid(name) => name.to_owned(),
        None => return Err(DistinguishedNameError::UnknownType { name: name.to_owned() }),
    };
    let read = attribute_value(value.trim_start_matches(' '));
    let value = read.ok_or_else(|| DistinguishedNameError::Escape(value.trim().to_owned()))?;
    Ok(Attribute { oid, value })
}

fn is_oid(name: &str) -> bool {
    let number = |arc: &str| !arc.is_empty() && arc.bytes().all(|octet| octet.is_ascii_digit());
    name.contains('.') && name.split('.').all(number)
}

fn attribute_value(text: &str) -> Option<AttributeValue> {
    if let Some(digits) = text.strip_prefix('#') {
        let octets = hexadecimal::decode(digits.trim_end_matches(' ').as_bytes())?;
        let string = string_in_ber(&octets).map(str::to_owned);
        return Some(string.map_or(AttributeValue::Encoded(octets), AttributeValue::Text));
    }
    let mut octets = Vec::with_capacity(text.len());
    // Up to here the value reaches at least: spaces behind an escape are not padding.
    let mut escaped_to = 0;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                let special = rest.chars().next().filter(|c| " \"#+,;<=>\\".contains(*c));
                let (octet, length) = match special {
                    Some(special) => (u8::try_from(special).ok()?, 1),
                    None => (*hexadecimal::decode(rest.get(..2)?.as_bytes())?.first()?, 2),
                };
                octets.push(octet);
                escaped_to = octets.len();
                rest = &rest[length..];
            }
            '"' | ';' | '<' | '>' | '\0' => return None,
            _ => octets.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    while octets.len() > escaped_to && octets.last() == Some(&b' ') {
        octets.pop();
    }
    String::from_utf8(octets).ok().map(AttributeValue::Text)
}

/// The text of an encoded character string, so that both ways to write it are equal.
fn string_in_ber(octets: &[u8]) -> Option<&str> {
    let (length, contents) = match octets {
        [tag, ..] if !STRING_TAGS.contains(tag) => return None,
        [_, length @ 0..=0x7f, contents @ ..] => (usize::from(*length), contents),
        [_, 0x81, length, contents @ ..] => (usize::from(*length), contents),
        [_, 0x82, high, low, contents @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), contents)
        }
        _ => return None,
    };
    if contents.len() == length { str::from_utf8(contents).ok() } else { None }
}

fn known_types() -> String {
    TYPES.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is how the name is written again, or a part of what is wrong with it.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<DistinguishedName>(), expected) {
            (Ok(name), Ok(expected)) => {
                assert_eq!(name.to_string(), expected);
                assert_eq!(expected.parse(), Ok(name), "written and read again");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (result, _) => panic!("{text:?}: {result:?}"),
        }
    }

    #[test]
    fn reads_and_writes_rfc4514() {
        // RFC 4514 §4.
        check("UID=jsmith,DC=example,DC=net", Ok("UID=jsmith,DC=example,DC=net"));
        check("OU=Sales+CN=J.  Smith,DC=net", Ok("OU=Sales+CN=J.  Smith,DC=net"));
        check(r#"CN=James \"Jim\" Smith\, III"#, Ok(r#"CN=James \"Jim\" Smith\, III"#));
        check(r"CN=Before\0dAfter,DC=net", Ok(r"CN=Before\0dAfter,DC=net"));
        check("1.3.6.1.4.1.1466.0=#04024869", Ok("1.3.6.1.4.1.1466.0=#04024869"));
        check(r"CN=Lu\C4\8Di\C4\87", Ok("CN=Lučić"));

        check(" cn = alice , o=Example ", Ok("CN=alice,O=Example"));
        check("2.5.4.3=alice,e=a@b", Ok("CN=alice,emailAddress=a@b"));
        check("CN=#0c05616c696365", Ok("CN=alice"));
        check("CN=#0c8105616c696365", Ok("CN=alice"));
        check("CN=#0c06616c696365", Ok("CN=#0c06616c696365"));
        check("CN=a=b", Ok("CN=a=b"));
        check(r"CN=\ a\ ,O=\#1", Ok(r"CN=\ a\ ,O=\#1"));
        check(r"CN=a\\,O=b", Ok(r"CN=a\\,O=b"));
        check("CN=", Ok("CN="));
        check("", Err("\"\" is not TYPE=VALUE"));
        check("CN=a,", Err("\"\" is not TYPE=VALUE"));
        check("alice", Err("\"alice\" is not TYPE=VALUE"));
        check("=alice", Err("is not TYPE=VALUE"));
        check("NICK=alice", Err("\"NICK\" is not an attribute type; known are CN, L, ST"));
        check("1..2=a", Err("not an attribute type"));
        for wrong in ["\"a\"", "a;b", "a<b", r"a\", r"a\g0", r"a\f", r"\ff", "#0", "#zz", r"\ä"] {
            check(&format!("CN={wrong}"), Err("is not escaped as in RFC 4514"));
        }
    }

    #[track_caller]
    fn check_equal(a: &str, b: &str, expected: bool) {
        let [a, b] = [a, b].map(|text| text.parse::<DistinguishedName>().unwrap());
        assert_eq!(a == b, expected, "{a} and {b}");
    }

    #[test]
    fn compares_structure() {
        check_equal("CN=a,O=b", "cn = a, 2.5.4.10=b", true);
        check_equal("CN=a+UID=1,O=b", "uid=1 + cn=a, O=b", true);
        check_equal("CN=a,O=b", "O=b,CN=a", false);
        check_equal("CN=a", "CN=A", false);
        check_equal("CN=a,O=b", "CN=a", false);
        check_equal("CN=a,O=b", "CN=a+O=b", false);
        check_equal("CN=a,O=b", r"CN=a\,O=b", false);
        check_equal("CN=a", "O=a", false);
    }

    #[test]
    fn most_specific_first_is_the_reverse_of_the_certificate() {
        let attribute = |oid: &str, value: &str| Attribute {
            oid: oid.to_owned(),
            value: AttributeValue::Text(value.to_owned()),
        };
        let name = DistinguishedName::from_certificate(vec![
            vec![attribute("2.5.4.6", "DE")],
            vec![attribute("2.5.4.3", "alice"), attribute("0.9.2342.19200300.100.1.1", "7")],
        ]);
        assert_eq!(name, "CN=alice+UID=7,C=DE".parse().unwrap());
        assert_eq!(name.to_string(), "UID=7+CN=alice,C=DE");
    }
}
