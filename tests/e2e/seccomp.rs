//! System calls that fail because a filter says so, as container runtimes have it, and as file
//! systems without a feature answer.

/// Installs a seccomp filter and becomes a program. Arguments: the error; the numbers of the calls
/// that get it, with commas between, each perhaps with `&` and bits of which the call's third
/// argument must have one; the program and its arguments.
const INSTALL: &str = r#"
import ctypes, os, struct, sys
errno, calls, argv = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
number = struct.pack("HBBI", 0x20, 0, 0, 0)
refuse = struct.pack("HBBI", 0x06, 0, 0, 0x50000 | errno)
program = [number]
for call in calls:
    call, _, bits = call.partition("&")
    rule = [refuse]
    if bits:
        third = struct.pack("HBBI", 0x20, 0, 0, 32)
        rule = [third, struct.pack("HBBI", 0x45, 0, 1, int(bits)), refuse, number]
    program += [struct.pack("HBBI", 0x15, 0, len(rule), int(call)), *rule]
program.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program), ctypes.addressof(code))), 0, 0) == 0
os.execv(argv[0], argv)
"#;

/// The command that becomes the program behind it, to which `calls` answer `errno`.
pub(crate) fn refusing<'a>(errno: &'a str, calls: &'a str) -> [&'a str; 5] {
    ["python3", "-c", INSTALL, errno, calls]
}

/// The same, without unnamed files: openat(2) with `O_TMPFILE` answers `EOPNOTSUPP`.
pub(crate) fn without_unnamed_files() -> [&'static str; 5] {
    refusing("95", if cfg!(target_arch = "aarch64") { "56&4194304" } else { "257&4194304" })
}

/// The same, without locks (flock(2)), too.
pub(crate) fn without_locks() -> [&'static str; 5] {
    refusing("95", if cfg!(target_arch = "aarch64") { "56&4194304,32" } else { "257&4194304,73" })
}
