//! Passwords and their hashes: the four accepted formats, the bounds on what one verification may
//! cost, and the making of new ones. Nothing here ever shows a password or a hash in `Debug`.

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc;
use password_hash::{PasswordHasher, PasswordVerifier};
use scrypt::Scrypt;
use sha_crypt::ShaCrypt;

use crate::limits::PASSWORD_BYTES_MAX;

/// Most memory one verification may take: 256 MiB. Three run at a time on every shard
/// ([`crate::limits::HASHING_PER_SHARD_MAX`]).
const MEMORY_KIB_MAX: u64 = 256 * 1024;

/// Most memory times passes of one verification: 2 GiB, about two seconds.
const MEMORY_WORK_KIB_MAX: u64 = 2 * 1024 * 1024;

/// Most lanes of argon2; they are computed one after the other here.
const LANES_MAX: u32 = 16;

/// bcrypt's logarithmic cost: 2^16 takes about four seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// SHA-crypt's fewest rounds, by the format's definition.
const SHA_CRYPT_ROUNDS_MIN: u64 = 1000;

/// SHA-crypt's most rounds: five million take about four seconds.
const SHA_CRYPT_ROUNDS_MAX: u64 = 5_000_000;

/// Shortest hash accepted, octets: below it a wrong password might match.
const OUTPUT_BYTES_MIN: usize = 16;

/// A checked password hash. Holding one proves: the format is one of argon2id, bcrypt, scrypt and
/// SHA-crypt, it is complete, and verifying a password against it takes at most 256 MiB and a few
/// seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    format: Format,
}

/// A password in memory. Only [`Password::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Why a string is not an acceptable password hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Known format, but its fields are broken.
    #[error("malformed {format} hash: {cause}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// What is wrong with it; never a part of the hash.
        cause: String,
    },
    /// A new hash could not be made: no memory or no randomness.
    #[error("cannot hash the password: {0}")]
    NotMade(String),
    /// The cost parameters are outside the bounds.
    #[error("{parameter} {value} is outside {low} to {high}")]
    TooCostly {
        /// Name of the parameter.
        parameter: &'static str,
        /// Its value.
        value: u64,
        /// Lowest accepted.
        low: u64,
        /// Highest accepted.
        high: u64,
    },
    /// Not a hash of a known format.
    #[error(
        "unknown password hash format; known are argon2id ($argon2id$), bcrypt ($2b$), scrypt \
         ($scrypt$) and SHA-crypt ($5$, $6$); make one with `ringftpd user passwd`"
    )]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Argon2id,
    Bcrypt,
    Scrypt,
    ShaCrypt,
}

impl PasswordHash {
    /// Checks form and cost of a hash in PHC or crypt(3) form.
    ///
    /// # Errors
    ///
    /// See [`HashError`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let id = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        let format = match id {
            Some("argon2id") => Format::Argon2id,
            Some("2a" | "2b" | "2y") => Format::Bcrypt,
            Some("scrypt") => Format::Scrypt,
            Some("5" | "6") => Format::ShaCrypt,
            _ => return Err(HashError::Unknown),
        };
        match format {
            Format::Argon2id => check_argon2(text),
            Format::Bcrypt => check_bcrypt(text),
            Format::Scrypt => check_scrypt(text),
            Format::ShaCrypt => check_sha_crypt(text),
        }?;
        Ok(Self { text: text.to_owned(), format })
    }

    /// A new hash: argon2id with 19 MiB, two passes and one lane (the OWASP recommendation) and a
    /// random salt.
    ///
    /// # Errors
    ///
    /// [`HashError::NotMade`] when the system has no memory or no randomness to give.
    pub fn new(password: &Password) -> Result<Self, HashError> {
        let hash = Argon2::default()
            .hash_password(password.0.as_bytes())
            .map_err(|error| HashError::NotMade(error.to_string()))?;
        Ok(Self { text: hash.to_string(), format: Format::Argon2id })
    }

    /// The text form, for the users file. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Name of the format.
    #[must_use]
    pub fn format(&self) -> &'static str {
        self.format.name()
    }

    /// A hash of nothing anybody knows, with the cost of a new one.
    pub(super) fn decoy() -> Self {
        // The salt and output are zeros: they decide nothing but the time spent.
        let text = format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", "A".repeat(22), "A".repeat(43));
        Self { text, format: Format::Argon2id }
    }

    /// Whether `password` is the one. Takes the time the parameters ask for.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self.format {
            Format::Argon2id => phc::PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            // Only 72 octets count, as in every crypt(3).
            Format::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Format::Scrypt => phc::PasswordHash::new(&self.text)
                .is_ok_and(|hash| Scrypt::new().verify_password(password, &hash).is_ok()),
            Format::ShaCrypt => {
                ShaCrypt::default().verify_password(password, self.text.as_str()).is_ok()
            }
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.format.name())
    }
}

impl Password {
    /// Takes a password chosen by a person.
    ///
    /// # Errors
    ///
    /// A sentence for the person when no client could send it: it is empty, longer than
    /// [`PASSWORD_BYTES_MAX`] or has control characters.
    pub fn new(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the password is empty".to_owned());
        }
        if text.len() > PASSWORD_BYTES_MAX {
            return Err(format!("the password is longer than {PASSWORD_BYTES_MAX} octets"));
        }
        if text.chars().any(char::is_control) {
            return Err("the password contains a control character".to_owned());
        }
        Ok(Self(text))
    }

    /// A random password of 98 bits: four groups of five letters and digits that cannot be
    /// mistaken for one another.
    ///
    /// # Errors
    ///
    /// [`HashError::NotMade`] without a source of randomness.
    pub fn generate() -> Result<Self, HashError> {
        const ALPHABET: &[u8; 30] = b"abcdefghjkmnpqrstvwxyz23456789";
        // The largest multiple of the alphabet below 256: what lies above would make the first
        // letters likelier.
        let fair = 256 / ALPHABET.len() * ALPHABET.len();
        let mut text = String::with_capacity(23);
        let mut octet = [0];
        while text.len() < 23 {
            if matches!(text.len(), 5 | 11 | 17) {
                text.push('-');
            }
            aws_lc_rs::rand::fill(&mut octet)
                .map_err(|_| HashError::NotMade("no randomness".to_owned()))?;
            let number = usize::from(octet[0]);
            if number < fair {
                text.push(char::from(ALPHABET[number % ALPHABET.len()]));
            }
        }
        Ok(Self(text))
    }

    /// The password itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
            Self::Scrypt => "scrypt",
            Self::ShaCrypt => "SHA-crypt",
        }
    }

    fn malformed(self, cause: impl ToString) -> HashError {
        HashError::Malformed { format: self.name(), cause: cause.to_string() }
    }
}

fn check_argon2(text: &str) -> Result<(), HashError> {
    let format = Format::Argon2id;
    let hash = parse_phc(format, text)?;
    let parameter = |name: &str| -> Result<u32, HashError> {
        hash.params
            .get_decimal(name)
            .ok_or_else(|| format.malformed(format!("parameter {name} is missing")))
    };
    let (memory, passes, lanes) = (parameter("m")?, parameter("t")?, parameter("p")?);
    within("argon2id p (lanes)", lanes, 1, LANES_MAX)?;
    within("argon2id m (memory, KiB)", memory, 8 * u64::from(lanes), MEMORY_KIB_MAX)?;
    let passes_max = MEMORY_WORK_KIB_MAX / u64::from(memory);
    within("argon2id t (passes with this memory)", passes, 1, passes_max)?;
    argon2::Params::try_from(&hash).map(drop).map_err(|error| format.malformed(error))
}

fn check_scrypt(text: &str) -> Result<(), HashError> {
    let format = Format::Scrypt;
    let hash = parse_phc(format, text)?;
    let parameter = |name: &str| -> Result<u32, HashError> {
        hash.params
            .get_decimal(name)
            .ok_or_else(|| format.malformed(format!("parameter {name} is missing")))
    };
    let (log_n, r, p) = (parameter("ln")?, parameter("r")?, parameter("p")?);
    // RFC 7914 §2: 128·N·r octets, p times over.
    within("scrypt ln (log2 of N)", log_n, 1, 20u32)?;
    within("scrypt r (block size)", r, 1, MEMORY_KIB_MAX * 8 / (1 << log_n))?;
    let memory_kib = (u64::from(r) << log_n).div_ceil(8);
    within("scrypt p (passes with this memory)", p, 1, MEMORY_WORK_KIB_MAX / memory_kib / 2)?;
    scrypt::Params::try_from(&hash).map(drop).map_err(|error| format.malformed(error))
}

fn check_bcrypt(text: &str) -> Result<(), HashError> {
    let parts: bcrypt::HashParts =
        text.parse().map_err(|error: bcrypt::BcryptError| Format::Bcrypt.malformed(error))?;
    within("bcrypt cost", parts.get_cost(), 4, BCRYPT_COST_MAX)
}

/// `$5$[rounds=N$]salt$hash`, after Drepper's "Unix crypt using SHA-256 and SHA-512".
fn check_sha_crypt(text: &str) -> Result<(), HashError> {
    let format = Format::ShaCrypt;
    let output_len = if text.starts_with("$5$") { 43 } else { 86 };
    let mut fields = text[3..].split('$').peekable();
    if let Some(rounds) = fields.next_if(|field| field.starts_with("rounds=")) {
        let rounds: u32 = rounds["rounds=".len()..]
            .parse()
            .map_err(|_| format.malformed("rounds is not a number"))?;
        within("SHA-crypt rounds", rounds, SHA_CRYPT_ROUNDS_MIN, SHA_CRYPT_ROUNDS_MAX)?;
    }
    let (Some(salt), Some(output), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format.malformed("expected salt and hash"));
    };
    let of_crypt =
        |text: &str| text.bytes().all(|o| o.is_ascii_alphanumeric() || b"./".contains(&o));
    if salt.len() > 16 || !of_crypt(salt) {
        return Err(format.malformed("the salt is not at most 16 letters, digits, `.` or `/`"));
    }
    if output.len() != output_len || !of_crypt(output) {
        return Err(
            format.malformed(format!("the hash is not {output_len} letters, digits, `.` or `/`"))
        );
    }
    Ok(())
}

fn parse_phc(format: Format, text: &str) -> Result<phc::PasswordHash, HashError> {
    let hash = phc::PasswordHash::new(text).map_err(|error| format.malformed(error))?;
    if hash.salt.is_none() {
        return Err(format.malformed("the salt is missing"));
    }
    match &hash.hash {
        Some(output) if output.len() >= OUTPUT_BYTES_MIN => Ok(hash),
        Some(_) => Err(format.malformed(format!("the hash is under {OUTPUT_BYTES_MIN} octets"))),
        None => Err(format.malformed("the hash itself is missing")),
    }
}

fn within(
    parameter: &'static str,
    value: impl Into<u64>,
    low: u64,
    high: impl Into<u64>,
) -> Result<(), HashError> {
    let (value, high) = (value.into(), high.into());
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(HashError::TooCostly { parameter, value, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO_SALT: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    #[track_caller]
    fn check(text: &str, password: &[u8], format: &str) {
        let hash = PasswordHash::parse(text).unwrap();
        assert_eq!(hash.format(), format);
        assert!(hash.verify(password), "the right password is refused");
        assert!(!hash.verify(b""), "the empty password is accepted");
        let mut wrong = password.to_vec();
        wrong[0] ^= 1;
        assert!(!hash.verify(&wrong), "a wrong password is accepted");
        assert_eq!(format!("{hash:?}"), format!("PasswordHash({format})"));
    }

    /// Vectors of the formats' own authors, or made by other implementations.
    #[test]
    fn verifies_every_format() {
        // phc-winner-argon2's test.c, version 0x13, and one by this crate's own hasher.
        let made = PasswordHash::new(&Password::new("hunter2".to_owned()).unwrap()).unwrap();
        assert!(made.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        check(made.as_str(), b"hunter2", "argon2id");
        check(
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            b"password",
            "argon2id",
        );
        // libxcrypt.
        for version in ["2a", "2b", "2y"] {
            let text =
                format!("${version}$06$If6bvum7DFjUnE9p2uDeDugSm/r4ClComu5mWRI4RIK8QxNtrr8pm");
            check(&text, b"abcdefghijklmnopqrstuvwxyz", "bcrypt");
        }
        // passlib's documentation.
        check(
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$\
             nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            b"password",
            "scrypt",
        );
        // Drepper's specification.
        check(
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            b"Hello world!",
            "SHA-crypt",
        );
        check(
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0\
             Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
            b"Hello world!",
            "SHA-crypt",
        );
    }

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        assert_eq!(PasswordHash::parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn refuses_malformed_and_costly_hashes() {
        let output = "A".repeat(43);
        let argon2 = |parameters: &str| format!("$argon2id$v=19${parameters}${ZERO_SALT}${output}");
        let scrypt = |parameters: &str| format!("$scrypt${parameters}${ZERO_SALT}${output}");
        let unknown = HashError::Unknown.to_string();
        for text in ["", "secret", "$1$salt$x", "$argon2i$v=19$", "$2x$06$", "$2$", "$", "é"] {
            refuse(text, &unknown);
        }
        refuse(
            &argon2("m=4194304,t=3,p=1"),
            "argon2id m (memory, KiB) 4194304 is outside 8 to 262144",
        );
        refuse(
            &argon2("m=65536,t=33,p=1"),
            "argon2id t (passes with this memory) 33 is outside 1 to 32",
        );
        refuse(
            &argon2("m=65536,t=0,p=1"),
            "argon2id t (passes with this memory) 0 is outside 1 to 32",
        );
        refuse(&argon2("m=65536,t=1,p=64"), "argon2id p (lanes) 64 is outside 1 to 16");
        refuse(&argon2("m=65536,t=1"), "malformed argon2id hash: parameter p is missing");
        refuse("$argon2id$v=19$m=65536,t=1,p=1", "malformed argon2id hash: the salt is missing");
        refuse(
            &format!("$argon2id$v=19$m=65536,t=1,p=1${ZERO_SALT}"),
            "malformed argon2id hash: the hash itself is missing",
        );
        refuse(
            &format!("$argon2id$v=19$m=65536,t=1,p=1${ZERO_SALT}${}", "A".repeat(15)),
            "malformed argon2id hash: the hash is under 16 octets",
        );
        refuse(&scrypt("ln=21,r=8,p=1"), "scrypt ln (log2 of N) 21 is outside 1 to 20");
        refuse(&scrypt("ln=20,r=8,p=1"), "scrypt r (block size) 8 is outside 1 to 2");
        refuse(
            &scrypt("ln=17,r=8,p=4294967295"),
            "scrypt p (passes with this memory) 4294967295 is outside 1 to 8",
        );
        refuse(&scrypt("ln=17,r=8"), "malformed scrypt hash: parameter p is missing");
        let bcrypt = "$06$If6bvum7DFjUnE9p2uDeDugSm/r4ClComu5mWRI4RIK8QxNtrr8pm";
        refuse(&format!("$2b{}", bcrypt.replace("06", "31")), "bcrypt cost 31 is outside 4 to 16");
        assert!(matches!(
            PasswordHash::parse(&format!("$2b{}", &bcrypt[..50])),
            Err(HashError::Malformed { format: "bcrypt", .. })
        ));
        refuse(
            &format!("$6$rounds=900000000$salt${}", "A".repeat(86)),
            "SHA-crypt rounds 900000000 is outside 1000 to 5000000",
        );
        refuse(
            &format!("$6$rounds=x$salt${}", "A".repeat(86)),
            "malformed SHA-crypt hash: rounds is not a number",
        );
        refuse("$6$salt", "malformed SHA-crypt hash: expected salt and hash");
        refuse(
            "$6$salt$short",
            "malformed SHA-crypt hash: the hash is not 86 letters, digits, `.` or `/`",
        );
        refuse(
            &format!("$5$saltsaltsaltsalt1${output}"),
            "malformed SHA-crypt hash: the salt is not at most 16 letters, digits, `.` or `/`",
        );
    }

    #[test]
    fn the_decoy_is_a_proper_hash() {
        let decoy = PasswordHash::decoy();
        assert_eq!(PasswordHash::parse(decoy.as_str()), Ok(decoy.clone()));
        assert!(!decoy.verify(b""));
    }

    #[test]
    fn generates_passwords() {
        let (a, b) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.reveal().len(), 23);
        assert_eq!(a.reveal().split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert_eq!(format!("{a:?}"), "Password(…)");
        assert_eq!(Password::new(a.reveal().to_owned()), Ok(a));
    }

    #[test]
    fn refuses_passwords_no_client_can_send() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Password::new(text.to_owned()), Err(expected.to_owned()));
        };
        check("", "the password is empty");
        check(&"x".repeat(PASSWORD_BYTES_MAX + 1), "the password is longer than 512 octets");
        check("a\nb", "the password contains a control character");
        assert!(Password::new("pässwörd mit Leerzeichen".to_owned()).is_ok());
    }
}
