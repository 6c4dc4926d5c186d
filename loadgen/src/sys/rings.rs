//! How the kernel is asked for the executor's rings. The executor itself cannot ask for more than
//! the rings of Linux 5.8, nor for less locked memory, nor for a sleep that ends. The linker puts
//! functions of ours where its copy of liburing makes the system calls (`build.rs`).

use std::{
    cell::Cell,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// The longest an executor sleeps. It may go to sleep with tasks ready to run: when its preemption
/// timer fires after the look for input and before the first task, which takes a thread that was
/// off its CPU for a time slice just there. Any event would wake it, and none need be to come.
pub const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// `struct io_uring_params` of the kernel, 120 octets; only what is named is looked at here.
#[repr(C)]
#[derive(Debug)]
pub struct Parameters {
    entries: [u32; 2],
    flags: u32,
    thread: [u32; 2],
    features: u32,
    rest: [u32; 24],
}

/// `struct io_uring_getevents_arg` of the kernel.
#[repr(C)]
struct Wait {
    signals: u64,
    signals_size: u32,
    least: u32,
    timeout: u64,
}

/// `IORING_SETUP_COOP_TASKRUN`, since Linux 5.19: what completed is looked at when the thread next
/// enters the kernel. Without it the kernel interrupts the thread for every completion, from
/// another CPU by an inter-processor interrupt, which a virtual machine pays for twice.
const COOPERATIVE: u32 = 1 << 8;

/// `IORING_FEAT_EXT_ARG`, since Linux 5.11: a wait for completions takes a [`Wait`].
const TIMED_WAITS: u32 = 1 << 8;

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

fn fail(errno: libc::c_int) -> libc::c_int {
    // SAFETY: the place of this thread's `errno`.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// io_uring_setup(2) with [`COOPERATIVE`], and without it where the kernel does not know it. -1 and
/// `errno` on failure: `ENOSYS` also where the kernel has rings but no [`TIMED_WAITS`].
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
        if unknown {
            continue;
        }
        let fd = libc::c_int::try_from(fd).unwrap_or(-1);
        // SAFETY: the caller's promise.
        if fd >= 0 && unsafe { (*parameters).features } & TIMED_WAITS == 0 {
            // SAFETY: the ring was made above and nobody has seen it.
            unsafe { libc::close(fd) };
            return fail(libc::ENOSYS);
        }
        note(flags == COOPERATIVE);
        return fd;
    }
    -1
}

/// Makes a ring of the executor's size, enters it and asks it something. On failure the name of the
/// call and why.
pub(super) fn try_all_calls() -> Result<(), (&'static str, io::Error)> {
    const ENTRIES: libc::c_uint = 1024;
    const REGISTER_PROBE: libc::c_uint = 8;
    let mut parameters =
        Parameters { entries: [0; 2], flags: 0, thread: [0; 2], features: 0, rest: [0; 24] };
    // SAFETY: `parameters` is this function's own.
    let fd = unsafe { __wrap___sys_io_uring_setup(ENTRIES, &raw mut parameters) };
    if fd < 0 {
        return Err(("io_uring_setup", io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was made above, and nobody else has it.
    let ring = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: nothing is submitted and nothing waited for, so no memory is used.
    let entered =
        unsafe { __wrap___sys_io_uring_enter2(ring.as_raw_fd(), 0, 0, 0, std::ptr::null(), 0) };
    if entered < 0 {
        return Err(("io_uring_enter", io::Error::last_os_error()));
    }
    // The head of a `struct io_uring_probe`, with room for no operation behind it.
    let mut probe = [0_u64; 2];
    // SAFETY: the kernel reads and writes no more than the head, which lives through the call.
    let registered = unsafe {
        __wrap___sys_io_uring_register(
            ring.as_raw_fd(),
            REGISTER_PROBE,
            (&raw mut probe).cast_const().cast(),
            0,
        )
    };
    if registered < 0 {
        return Err(("io_uring_register", io::Error::last_os_error()));
    }
    Ok(())
}

/// io_uring_enter(2), but a wait for completions without an end of its own ends after
/// [`LONGEST_SLEEP`], as if a signal had come; the executor then looks for what there is to do.
///
/// # Safety
///
/// That of io_uring_enter(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___sys_io_uring_enter2(
    ring: libc::c_int,
    submit: libc::c_uint,
    least: libc::c_uint,
    flags: libc::c_uint,
    argument: *const libc::c_void,
    size: libc::c_int,
) -> libc::c_int {
    const GETEVENTS: libc::c_uint = 1 << 0;
    const EXT_ARG: libc::c_uint = 1 << 3;
    // The kernel's own timespec, of 64 bits everywhere.
    let timeout: [i64; 2] = [0, i64::from(LONGEST_SLEEP.subsec_nanos())];
    let wait = Wait {
        signals: 0,
        signals_size: 0,
        least: 0,
        timeout: std::ptr::from_ref(&timeout) as u64,
    };
    let endless = least > 0 && flags & GETEVENTS != 0 && argument.is_null();
    let (flags, argument, size) = if endless {
        (flags | EXT_ARG, std::ptr::from_ref(&wait).cast(), size_of::<Wait>())
    } else {
        (flags, argument, usize::try_from(size).unwrap_or_default())
    };
    // SAFETY: the caller's promise; what `wait` points to lives until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, ring, submit, least, flags, argument, size)
    };
    if result < 0 && endless && io::Error::last_os_error().raw_os_error() == Some(libc::ETIME) {
        return fail(libc::EINTR);
    }
    libc::c_int::try_from(result).unwrap_or(-1)
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
        return fail(libc::ENOMEM);
    }
    // SAFETY: the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, operation, argument, count) };
    libc::c_int::try_from(result).unwrap_or(-1)
}
