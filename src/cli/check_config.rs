//! `ringftpd check-config`: what would run, or everything that is wrong.

use std::fmt::Write;
use std::process::ExitCode;

use super::args::ServeArguments;
use super::{fail, load, print, report_warnings};
use crate::config::{Accounts, CertificateSource, Config, Settings, duration_text, permission_words};

pub(super) fn run(arguments: &ServeArguments) -> ExitCode {
    let config = match load(arguments) {
        Ok(config) => config,
        Err(message) => return fail(message),
    };
    report_warnings(&config.warnings);
    if let Err(message) = check_certificate(&config.settings) {
        return fail(message);
    }
    print(describe(&config, shard_count(&config.settings)).trim_end());
    ExitCode::SUCCESS
}

/// Whether the certificate can serve.
fn check_certificate(_settings: &Settings) -> Result<(), String> {
    Ok(())
}

/// Shards that would start here: one for each CPU.
fn shard_count(settings: &Settings) -> usize {
    match &settings.cpus {
        Some(cpus) => cpus.as_slice().len(),
        None => core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1)),
    }
}

fn describe(_config: &Config, _shards: usize) -> String {
    String::new()
}
