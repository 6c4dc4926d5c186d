//! TYPE, MODE, STRU, OPTS, LANG, REST, ALLO: how the next transfer is to be done.

use super::Session;
use super::replies::Situation;
use crate::protocol::file::{FactSet, HashAlgorithm};
use crate::protocol::{hash_command, language, mlst_options, number};

/// Transfer parameters and options; REIN and AUTH bring the defaults back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Representation type ASCII Non-print, the default of RFC 959 §5.1; else Image.
    pub(super) ascii: bool,
    /// Facts of MLST and MLSD.
    pub(super) facts: FactSet,
    /// Algorithm of HASH.
    pub(super) hash: HashAlgorithm,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { ascii: true, facts: FactSet::DEFAULT, hash: HashAlgorithm::Sha256 }
    }
}

impl Session {
    pub(super) fn set_type(&mut self, argument: &[u8]) {
        let upper = argument.to_ascii_uppercase();
        let words: Vec<&[u8]> =
            upper.split(|&octet| octet == b' ').filter(|word| !word.is_empty()).collect();
        let situation = match words.as_slice() {
            [b"A"] | [b"A", b"N" | b"T"] => {
                self.parameters.ascii = true;
                Situation::TypeAscii
            }
            [b"I"] | [b"L", b"8"] => {
                self.parameters.ascii = false;
                Situation::TypeImage
            }
            [b"A", b"C"] | [b"E"] | [b"E", b"N" | b"T" | b"C"] => Situation::TypeUnsupported,
            [b"L", size] if number::decimal_u64(size).is_ok() => Situation::TypeUnsupported,
            _ => Situation::SyntaxError,
        };
        self.say(situation);
    }

    pub(super) fn set_mode(&mut self, argument: &[u8]) {
        self.say(match argument {
            b"S" | b"s" => Situation::ModeAccepted,
            [letter] if letter.is_ascii_alphabetic() => Situation::ModeUnsupported,
            _ => Situation::SyntaxError,
        });
    }

    pub(super) fn set_structure(&mut self, argument: &[u8]) {
        self.say(match argument {
            b"F" | b"f" => Situation::StruAccepted,
            [letter] if letter.is_ascii_alphabetic() => Situation::StruUnsupported,
            _ => Situation::SyntaxError,
        });
    }

    /// OPTS (RFC 2389 §4): MLST, HASH, UTF8.
    pub(super) fn opts(&mut self, argument: &[u8]) {
        let (target, rest) = match argument.iter().position(|&octet| octet == b' ') {
            Some(space) => (&argument[..space], Some(&argument[space + 1..])),
            None => (argument, None),
        };
        match target.to_ascii_uppercase().as_slice() {
            b"MLST" => self.options_mlst(rest.unwrap_or_default()),
            b"HASH" => self.options_hash(rest),
            b"UTF8" | b"UTF-8" => self.say(match rest.map(<[u8]>::to_ascii_uppercase).as_deref() {
                None | Some(b"" | b"ON" | b"NLST") => Situation::Utf8On,
                Some(b"OFF") => Situation::Utf8Always,
                Some(_) => Situation::SyntaxError,
            }),
            _ => self.say(Situation::UnsupportedOption),
        }
    }

    /// RFC 3659 §7.9: facts we do not have are dropped, not an error.
    fn options_mlst(&mut self, list: &[u8]) {
        let Ok(mut facts) = mlst_options::parse(list) else {
            return self.say(Situation::SyntaxError);
        };
        facts.hash &= !self.policy.hash_uploads.is_empty();
        self.parameters.facts = facts;
        let text = format!("MLST OPTS {}", mlst_options::format(facts));
        self.reply(200, text.trim_end().as_bytes());
    }

    fn options_hash(&mut self, name: Option<&[u8]>) {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let Some(algorithm) = hash_command::algorithm(name) else {
                return self.say(Situation::HashRefused);
            };
            self.parameters.hash = algorithm;
        }
        let name = hash_command::name(self.parameters.hash);
        self.reply(200, name.as_bytes());
    }

    pub(super) fn lang(&mut self, argument: Option<&[u8]>) {
        let situation = match argument.filter(|tag| !tag.is_empty()).map(language::parse) {
            None => Situation::LanguageEnglish,
            Some(Ok(tag)) if language::is_english(&tag) => Situation::LanguageEnglish,
            Some(Ok(_)) => Situation::LanguageUnknown,
            Some(Err(_)) => Situation::SyntaxError,
        };
        self.say(situation);
    }

    /// REST: a range error is reported by the transfer command (RFC 3659 §5.3).
    pub(super) fn rest(&mut self, argument: &[u8]) {
        let Ok(marker) = number::decimal_u64(argument) else {
            return self.say(Situation::SyntaxError);
        };
        self.restart = Some(marker);
        let text = format!("Restarting at {marker}; send RETR, STOR or APPE.");
        self.reply(350, text.as_bytes());
    }

    pub(super) fn allo(&mut self, argument: &[u8]) {
        let Ok(octets) = number::allo(argument) else { return self.say(Situation::SyntaxError) };
        self.announced = Some(octets);
        self.say(Situation::AlloAccepted);
    }
}
