//! File contents that are cheap to make, hard to fake, and compared by SHA-256.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Nothing, one octet, and one TLS record with its neighbours.
pub(crate) const SIZES: [usize; 5] = [0, 1, 16383, 16384, 16385];

/// The large file of the tests: 100 MiB.
pub(crate) const LARGE: usize = 100 * 1024 * 1024;

/// `size` octets that do not repeat; the same for the same `seed` (xorshift64*).
pub(crate) fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(size);
    out
}

/// Writes such octets to `path`; their SHA-256.
#[track_caller]
pub(crate) fn write(path: &Path, size: usize, seed: u64) -> String {
    let content = bytes(size, seed);
    File::create(path).unwrap().write_all(&content).unwrap();
    sha256(&content)
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// SHA-256 of a file in hexadecimal.
#[track_caller]
pub(crate) fn sha256_of(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut hash, mut block) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut block).unwrap() {
            0 => return hex(&hash.finalize()),
            count => hash.update(&block[..count]),
        }
    }
}

/// Every file below `root`: its relative name, octet for octet, and the SHA-256 of its content.
/// Directories are entries with an empty hash.
#[track_caller]
pub(crate) fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if path.is_dir() {
                found.insert(name, String::new());
                pending.push(path);
            } else {
                found.insert(name, sha256_of(&path));
            }
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
