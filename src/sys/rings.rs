//! How the kernel is asked for the executor's rings. The executor itself cannot ask for more than
//! the rings of Linux 5.8, nor for less locked memory, so the linker puts functions of ours in the
//! place where its copy of liburing makes the system calls (`src/sys/build.rs`).

use std::{cell::Cell, io};

/// `struct io_uring_params` of the kernel, 120 octets; only the flags are looked at here.
#[repr(C)]
#[derive(Debug)]
pub struct Parameters {
    entries: [u32; 2],
    flags: u32,
    rest: [u32; 27],
}

/// `IORING_SETUP_COOP_TASKRUN`, since Linux 5.19: what completed is looked at when the thread next
/// enters the kernel. Without it the kernel interrupts the thread for every completion, from
/// another CPU by an inter-processor interrupt, which a virtual machine pays for twice.
const COOPERATIVE: u32 = 1 << 8;

thread_local! {
    static ALL_COOPERATIVE: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether all rings this thread has set up complete their work cooperatively; not so on kernels
/// before 5.19, nor without rings.
#[must_use]
pub fn cooperative() -> bool {
    ALL_COOPERATIVE.get() == Some(true)
}

fn note(cooperative: bool) {
    ALL_COOPERATIVE.set(Some(ALL_COOPERATIVE.get().unwrap_or(true) && cooperative));
}

/// io_uring_setup(2) with [`COOPERATIVE`], and without it where the kernel does not know it. -1 and
/// `errno` on failure.
///
/// # Safety
///
/// `parameters` points to a `struct io_uring_params` that nothing else uses meanwhile.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___sys_io_uring_setup(
    entries: libc::c_uint,
    parameters: *mut Parameters,
) -> libc::c_int {
    // SAFETY: the caller's promise.
    let asked = unsafe { (*parameters).flags };
    for flags in [COOPERATIVE, 0] {
        // SAFETY: the caller's promise; the kernel reads and writes nothing but this structure.
        let fd = unsafe {
            (*parameters).flags = asked | flags;
            libc::syscall(libc::SYS_io_uring_setup, entries, parameters)
        };
        let unknown = fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        if !unknown {
            note(flags == COOPERATIVE);
            return libc::c_int::try_from(fd).unwrap_or(-1);
        }
    }
    -1
}

/// io_uring_register(2), but for `IORING_REGISTER_BUFFERS`, which is refused as if too little
/// memory might be locked; the executor goes on without. It would register 64 KiB in each of its
/// rings, which none of our reads fit into, and where they lie in a huge page the kernel counts all
/// its 2 MiB as locked: six shards would use up the usual limit of 8 MiB.
///
/// # Safety
///
/// That of io_uring_register(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___sys_io_uring_register(
    ring: libc::c_int,
    operation: libc::c_uint,
    argument: *const libc::c_void,
    count: libc::c_uint,
) -> libc::c_int {
    const REGISTER_BUFFERS: libc::c_uint = 0;
    if operation == REGISTER_BUFFERS {
        // SAFETY: the place of this thread's `errno`.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        return -1;
    }
    // SAFETY: the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, operation, argument, count) };
    libc::c_int::try_from(result).unwrap_or(-1)
}
