//! Which server program is tested: this build's, or another one's that the environment names.

use std::env;

/// Path of the program: `RINGFTPD_PROGRAM`, or that of this build.
#[must_use]
pub fn path() -> String {
    env::var("RINGFTPD_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ringftpd").to_owned())
}

/// Whether it was built with the feature `glommio`: `RINGFTPD_EXECUTOR` says so of another one.
#[must_use]
pub fn is_on_glommio() -> bool {
    match env::var("RINGFTPD_EXECUTOR") {
        Ok(name) => name == "glommio",
        Err(_) => cfg!(feature = "glommio"),
    }
}
