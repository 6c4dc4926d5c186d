//! `ringftpd user`.

use std::process::ExitCode;

use super::args::UserCommand;

pub(super) fn run(_command: &UserCommand) -> ExitCode {
    ExitCode::SUCCESS
}
