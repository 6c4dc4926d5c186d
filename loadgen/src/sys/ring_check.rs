//! Whether this process may use io_uring, found out by using it. The executor finds out on its own
//! thread, by a panic and without the reason.

use std::{fmt, fs, io};

use super::rings;

/// Why there is no io_uring. The text says what, the likely cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    call: &'static str,
    errno: i32,
    /// What `kernel.io_uring_disabled` says, where there is such a setting.
    disabled: Option<String>,
    /// A seccomp filter is on this process.
    filtered: bool,
}

/// Makes a ring, enters it and asks it something: the three calls that the executor needs.
///
/// # Errors
///
/// The first call that is refused.
pub fn check() -> Result<(), Refusal> {
    rings::try_all_calls().map_err(|(call, error)| {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let disabled = read("/proc/sys/kernel/io_uring_disabled").trim().to_owned();
        Refusal::new(call, &error, Some(disabled), seccomp.map(str::trim) == Some("2"))
    })
}

impl Refusal {
    fn new(
        call: &'static str,
        error: &io::Error,
        disabled: Option<String>,
        filtered: bool,
    ) -> Self {
        let disabled = disabled.filter(|setting| !setting.is_empty() && setting != "0");
        Self { call, errno: error.raw_os_error().unwrap_or_default(), disabled, filtered }
    }
}

/// What a seccomp profile must allow.
const ALLOW: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
                     profile (Docker: --security-opt seccomp=PROFILE.json, Kubernetes: \
                     seccompProfile of type Localhost, systemd: SystemCallFilter=)";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "io_uring cannot be used: {} says \"{error}\"; ", self.call)?;
        match (self.errno, &self.disabled) {
            (libc::EPERM, Some(setting)) => write!(
                f,
                "kernel.io_uring_disabled is {setting}: set `sysctl -w \
                 kernel.io_uring_disabled=0`, or 1 with the service's group in \
                 kernel.io_uring_group"
            ),
            (libc::EPERM | libc::ENOSYS, _) if self.filtered => write!(
                f,
                "a seccomp filter is on this process, likely the default profile of a container \
                 runtime, which forbids it: {ALLOW}"
            ),
            (libc::ENOSYS, _) => {
                write!(f, "the kernel has none, or is too old: Linux 5.11 or later is needed")
            }
            (libc::EPERM | libc::EACCES, _) => write!(
                f,
                "a security module (SELinux, AppArmor) or a sandbox forbids it: see its audit log, \
                 and allow io_uring to this program"
            ),
            (libc::ENOMEM, _) => write!(
                f,
                "too little memory may be locked, or there is none: raise LimitMEMLOCK in the \
                 service unit or `ulimit -l`, or the memory of the container; other programs of \
                 the same user count, too"
            ),
            (libc::EMFILE, _) => write!(f, "raise LimitNOFILE in the service unit or `ulimit -n`"),
            (libc::ENFILE, _) => write!(f, "the system has no descriptors left: fs.file-max"),
            _ => write!(f, "see what `strace -f -e trace=%desc` shows of this call"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_remedy() {
        #[track_caller]
        fn text(errno: i32, disabled: &str, filtered: bool, expected: &str) {
            let error = io::Error::from_raw_os_error(errno);
            let refusal =
                Refusal::new("io_uring_setup", &error, Some(disabled.to_owned()), filtered);
            let text = refusal.to_string();
            assert!(text.starts_with("io_uring cannot be used: io_uring_setup says "), "{text}");
            assert!(text.contains(expected) && !text.contains('\n'), "{text}");
        }
        text(libc::EPERM, "0", true, "--security-opt seccomp=");
        text(libc::ENOSYS, "", true, "io_uring_register in the seccomp profile");
        text(libc::EPERM, "2", true, "kernel.io_uring_disabled is 2");
        text(libc::EPERM, "1", false, "kernel.io_uring_group");
        text(libc::EPERM, "0", false, "SELinux");
        text(libc::EACCES, "0", false, "SELinux");
        text(libc::ENOSYS, "", false, "Linux 5.11");
        text(libc::ENOMEM, "0", false, "LimitMEMLOCK");
        text(libc::EMFILE, "0", false, "LimitNOFILE");
        text(libc::ENFILE, "0", false, "fs.file-max");
    }

    #[test]
    fn a_ring_can_be_had_here() {
        assert_eq!(check(), Ok(()));
    }
}
