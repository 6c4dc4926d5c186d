//! STOU: a free name, held from the 150 that announces it to the end of the upload.
//!
//! The name is held by a reserved hidden name derived from it (see `temporary`), which is also
//! where the octets go: whoever creates that name (`O_EXCL`) and then finds the wanted name absent
//! owns the wanted name among all sessions and processes of this server, and the final rename
//! replaces nothing. If another process takes the name meanwhile, it keeps it and the upload fails.
//! A reservation left by a crash makes later STOUs take the next name until it is old enough to be
//! removed (see `leftovers`).

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::facts;
use super::leftovers::{LeftoverRule, Swept, remove_leftover, sweep_beginning};
use super::temporary::{create_hidden, random_digits, with_digits};
use crate::limits::NAME_BYTES_MAX;
use crate::protocol::file::FileError;

/// STOU: `name.1`, `name.2` and so on up to here, then as many names with random endings.
const UNIQUE_TRIES_MAX: u32 = 100;

/// A name held for one upload.
pub(super) struct Claim {
    /// Empty, under the hidden name.
    pub(super) file: OwnedFd,
    /// The name that was free.
    pub(super) name: Vec<u8>,
    /// What holds it.
    pub(super) hidden: Vec<u8>,
    /// Leftovers removed on the way.
    pub(super) swept: Swept,
}

/// Holds the first free name: `wanted`, `wanted.1`, and so on. Leftovers of `rule` do not count.
pub(super) fn claim(
    directory: &OwnedFd,
    wanted: &[u8],
    rule: LeftoverRule,
) -> Result<Claim, FileError> {
    let mut swept = sweep_beginning(directory, rule);
    for attempt in 0..2 * UNIQUE_TRIES_MAX {
        let name = match attempt {
            0 => wanted.to_vec(),
            1..UNIQUE_TRIES_MAX => with_suffix(wanted, attempt.to_string().as_bytes()),
            _ => with_suffix(wanted, &random_digits()?),
        };
        swept.add(remove_leftover(directory, &reservation_of(&name), rule));
        if let Some((file, hidden)) = reserve_name(directory, &name)? {
            return Ok(Claim { file, name, hidden, swept });
        }
    }
    Err(FileError::AlreadyExists)
}

/// Holds `name` for a STOU if it is free: the reservation is made before the check, so that only
/// one of two sessions gets it. `None` when it is taken.
fn reserve_name(directory: &OwnedFd, name: &[u8]) -> Result<Option<(OwnedFd, Vec<u8>)>, FileError> {
    let hidden = reservation_of(name);
    let file = match create_hidden(directory, &hidden) {
        Err(Errno::EXIST) => return Ok(None),
        created => created?,
    };
    let taken = match facts::stat_name(directory, name) {
        Err(Errno::NOENT) => return Ok(Some((file, hidden))),
        Err(errno) => Err(errno.into()),
        Ok(_) => Ok(None),
    };
    let _ = unlinkat(directory, hidden.as_slice(), AtFlags::empty());
    taken
}

/// The reserved name that stands for `name` while STOU holds it, for every node with this tree. Two
/// names may share one: the second STOU then takes its next candidate.
fn reservation_of(name: &[u8]) -> Vec<u8> {
    with_digits(format!("{:08x}", crc32fast::hash(name)).as_bytes())
}

/// `name.suffix`, the name shortened between characters when the whole would be too long.
fn with_suffix(name: &[u8], suffix: &[u8]) -> Vec<u8> {
    let longest = NAME_BYTES_MAX - 1 - suffix.len();
    let mut length = name.len().min(longest);
    // At most 3 octets of one UTF-8 character; other encodings are cut where they stand.
    while length < name.len() && length + 3 > longest && name[length] & 0xC0 == 0x80 {
        length -= 1;
    }
    [&name[..length], b".", suffix].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_fit_in_a_name_and_do_not_cut_a_character() {
        assert_eq!(with_suffix(b"f", b"1"), b"f.1");
        assert_eq!(with_suffix(&[b'x'; 255], b"12").len(), 255);
        let name = "\u{20ac}".repeat(85);
        let suffixed = with_suffix(name.as_bytes(), b"1");
        assert_eq!(suffixed.len(), 84 * 3 + 2);
        assert!(String::from_utf8(suffixed).is_ok());
        assert!(with_suffix(&[0x80; 255], b"1").len() > 249);
    }
}
