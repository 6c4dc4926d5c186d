//! How rings can be set up, and why one cannot be had: one sentence with the likely cause and the
//! remedy.

use std::{fmt, fs, io};

/// How a ring is set up. What the kernel has is found by trying, the best first; the levels differ
/// in cost only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Linux 6.1 (`IORING_SETUP_SINGLE_ISSUER`, `IORING_SETUP_DEFER_TASKRUN`): the kernel's part of
    /// a completion runs when this thread asks for completions, and at no other time.
    Deferred,
    /// Linux 5.19 (`IORING_SETUP_COOP_TASKRUN`): it runs when this thread next enters the kernel,
    /// for whatever reason. No interrupt is sent to it.
    Cooperative,
    /// Linux 5.11: it interrupts the thread, from another CPU by an inter-processor interrupt.
    Plain,
}

impl Level {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::Deferred, Self::Cooperative, Self::Plain];

    const fn kernel(self) -> &'static str {
        match self {
            Self::Deferred => "6.1",
            Self::Cooperative => "5.19",
            Self::Plain => "5.11",
        }
    }
}

/// Why there is no ring. The text says what, the likely cause and the remedy, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    call: &'static str,
    errno: i32,
    level: Level,
    /// What `kernel.io_uring_disabled` says, unless it is 0 or there is no such setting.
    disabled: Option<String>,
    /// A seccomp filter is on this process.
    filtered: bool,
    /// io_uring_register(2) is needed, too.
    registers: bool,
}

impl Refusal {
    /// For a call that failed just now.
    pub(crate) fn new(call: &'static str, error: &io::Error, level: Level) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let disabled = read("/proc/sys/kernel/io_uring_disabled").trim().to_owned();
        Self {
            call,
            errno: error.raw_os_error().unwrap_or_default(),
            level,
            disabled: Some(disabled).filter(|setting| !setting.is_empty() && setting != "0"),
            filtered: seccomp.map(str::trim) == Some("2"),
            registers: false,
        }
    }

    /// The error of the call that was refused.
    #[must_use]
    pub fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }

    /// What a seccomp profile must allow.
    const fn calls(&self) -> &'static str {
        if self.registers {
            "io_uring_setup, io_uring_enter and io_uring_register"
        } else {
            "io_uring_setup and io_uring_enter"
        }
    }

    /// For who needs io_uring_register(2), too.
    pub(crate) const fn of_one_that_registers(mut self) -> Self {
        self.registers = true;
        self
    }

    /// Whether the kernel does not know this way of setting a ring up, and another may do.
    pub(crate) const fn is_about_the_level(&self) -> bool {
        self.errno == libc::EINVAL
    }
}

/// How a seccomp profile is changed.
const PROFILE: &str = "in the seccomp profile (Docker: --security-opt seccomp=PROFILE.json, \
                       Kubernetes: seccompProfile of type Localhost, systemd: SystemCallFilter=)";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring cannot be used: {} says \"{}\"; ", self.call, self.error())?;
        match (self.errno, &self.disabled) {
            (libc::EPERM, Some(setting)) => write!(
                f,
                "kernel.io_uring_disabled is {setting}: set `sysctl -w \
                 kernel.io_uring_disabled=0`, or 1 with the service's group in \
                 kernel.io_uring_group"
            ),
            (libc::EPERM | libc::EACCES | libc::ENOSYS, _) if self.filtered => write!(
                f,
                "a seccomp filter is on this process, likely the default profile of a container \
                 runtime, which forbids it: allow {} {PROFILE}",
                self.calls()
            ),
            (libc::ENOSYS, _) => {
                write!(f, "the kernel has none, or is too old: Linux 5.11 or later is needed")
            }
            (libc::EINVAL, _) => write!(
                f,
                "the kernel does not know rings set up like this: Linux {} or later is needed",
                self.level.kernel()
            ),
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
            (libc::ENFILE, _) => {
                write!(f, "the system has no descriptors left: raise fs.file-max")
            }
            (libc::EAGAIN, _) => write!(
                f,
                "the kernel has no memory or no thread for it at the moment: start again, and raise \
                 TasksMax and MemoryMax of the service unit if it stays so"
            ),
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
        fn text(errno: i32, disabled: Option<&str>, filtered: bool, expected: &str) {
            let refusal = Refusal {
                call: "io_uring_setup",
                errno,
                level: Level::Cooperative,
                disabled: disabled.map(str::to_owned),
                filtered,
                registers: false,
            };
            let text = refusal.to_string();
            assert!(text.starts_with("io_uring cannot be used: io_uring_setup says "), "{text}");
            assert!(text.contains(expected) && !text.contains('\n'), "{text}");
        }
        text(libc::EPERM, None, true, "--security-opt seccomp=");
        text(libc::EACCES, None, true, "SystemCallFilter=");
        text(libc::ENOSYS, None, true, "io_uring_enter in the seccomp profile");
        text(libc::EPERM, Some("2"), true, "kernel.io_uring_disabled is 2");
        text(libc::EPERM, Some("1"), false, "kernel.io_uring_group");
        text(libc::EPERM, None, false, "SELinux");
        text(libc::EACCES, None, false, "AppArmor");
        text(libc::ENOSYS, None, false, "Linux 5.11");
        text(libc::EINVAL, None, false, "Linux 5.19");
        text(libc::ENOMEM, None, false, "LimitMEMLOCK");
        text(libc::EMFILE, None, false, "LimitNOFILE");
        text(libc::ENFILE, None, false, "fs.file-max");
        text(libc::EAGAIN, None, false, "TasksMax");
        text(libc::EFAULT, None, false, "strace");
    }

    #[test]
    fn the_host_is_asked_when_a_call_fails() {
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let refusal = Refusal::new("io_uring_setup", &error, Level::Plain);
        assert_eq!(refusal.error().raw_os_error(), Some(libc::EMFILE));
        assert!(!refusal.is_about_the_level());
    }
}
