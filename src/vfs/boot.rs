//! Which machine made a temporary file, and since which of its boots: what a host that has a file
//! system without locks can still know of a hidden file's owner.

use std::fmt;
use std::fs;

use sha2::{Digest, Sha256};

/// One boot of one machine, as names of temporary files tell it: 32 bits of a digest of
/// machine-id(5), and of one of the kernel's boot id. Containers of one host have the host's boot,
/// which is right: as long as it lasts, so may they.
///
/// A machine has one boot at a time, so another boot of it is over, and with it whatever ran. But
/// machines can have one machine id against the rules (copies of an image of a virtual machine or a
/// container), and then a living one looks like an earlier boot. So an earlier boot is no proof by
/// itself, see `leftovers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    machine: u32,
    boot: u32,
}

/// Hexadecimal digits of a boot in a name.
pub(super) const BOOT_DIGITS: usize = 16;

impl Boot {
    /// The one that this process runs in; reads two files. `None` where the machine has no id
    /// (containers seldom have one) or `/proc` does not tell the kernel's.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(
            &fs::read_to_string("/etc/machine-id").ok()?,
            &fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?,
        )
    }

    /// Neither id may be told as it is (machine-id(5)). An empty one, or "uninitialized", is none.
    fn of(machine: &str, boot: &str) -> Option<Self> {
        let digest = |id: &str| {
            let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
            let rest = id.trim_end().bytes().filter(|octet| !octet.is_ascii_hexdigit());
            if digits != 32 || rest.into_iter().any(|octet| octet != b'-') {
                return None;
            }
            let digest = Sha256::new_with_prefix(b"ringftpd ").chain_update(id.trim_end());
            let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
            Some(u32::from_be_bytes([a, b, c, d]))
        };
        Some(Self { machine: digest(machine)?, boot: digest(boot)? })
    }

    /// Whether this is another boot of the machine that runs in `current`, and so over.
    pub(super) const fn is_before(self, current: Self) -> bool {
        self.machine == current.machine && self.boot != current.boot
    }

    /// What [`fmt::Display`] writes; nothing else.
    pub(super) fn parse(digits: &[u8]) -> Option<Self> {
        if digits.len() != BOOT_DIGITS || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let whole = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let [a, b, c, d, e, f, g, h] = whole.to_be_bytes();
        let [machine, boot] = [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes);
        Some(Self { machine, boot })
    }
}

/// The machine's eight hexadecimal digits, and eight of the boot.
impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.machine, self.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef\n";
    const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef\n";

    #[test]
    fn another_boot_of_the_same_machine_is_over() {
        let own = Boot::of(MACHINE, BOOT).unwrap();
        let earlier = Boot::of(MACHINE, &BOOT.replace('0', "f")).unwrap();
        let other = Boot::of(&MACHINE.replace('0', "f"), BOOT).unwrap();
        assert!(earlier.is_before(own));
        assert!(!own.is_before(own) && !other.is_before(own));
        for boot in [own, earlier, other] {
            assert_eq!(Boot::parse(boot.to_string().as_bytes()), Some(boot));
            assert!(!MACHINE.contains(&boot.to_string()[..8]));
        }
        assert_eq!(Boot { machine: 0, boot: 0xa }.to_string(), "000000000000000a");
    }

    #[test]
    fn an_id_that_is_none_is_not_hashed() {
        for machine in ["", "\n", "uninitialized\n", "0123", &format!("{MACHINE}{MACHINE}")] {
            assert_eq!(Boot::of(machine, BOOT), None, "{machine}");
        }
        assert_eq!(Boot::of(MACHINE, ""), None);
        for digits in [&b"000000000000000"[..], b"00000000-0000000", b"+000000000000000"] {
            assert_eq!(Boot::parse(digits), None);
        }
    }
}
