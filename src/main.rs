//! The `ringftpd` program: hands over to [`ringftpd::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ringftpd::cli::run()
}
