//! The `ringftpd` program: chooses the allocator and hands over to [`ringftpd::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringftpd::cli::run()
}
