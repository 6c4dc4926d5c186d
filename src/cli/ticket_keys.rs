//! `ringftpd ticket-keys`: makes the file of `tls.ticket_keys`, and rotates it.

use std::fs;
use std::io;
use std::process::ExitCode;

use super::args::TicketKeysArguments;
use super::private_file::PrivateFile;
use super::{fail, print};
use crate::tls::{TicketSecrets, random_ticket_secret};

pub(super) fn run(arguments: &TicketKeysArguments) -> ExitCode {
    match change(arguments) {
        Ok(text) => {
            print(text);
            ExitCode::SUCCESS
        }
        Err(message) => fail(message),
    }
}

fn change(arguments: &TicketKeysArguments) -> Result<String, String> {
    let shown = arguments.file.display();
    let failed = |error: io::Error| format!("{shown}: {error}");
    let file = PrivateFile::lock(&arguments.file).map_err(failed)?;
    let said = |error: crate::tls::TlsSetupError| error.to_string();
    let old = match fs::read(&file.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => {
            let origin = shown.to_string();
            Some(TicketSecrets::parse(&read.map_err(failed)?, &origin).map_err(said)?)
        }
    };
    let is_new = old.is_none();
    let mut secrets = match old {
        Some(secrets) => secrets,
        None => TicketSecrets::only(random_ticket_secret().map_err(said)?),
    };
    secrets.rotate(arguments.keep.into()).map_err(said)?;
    file.replace(&secrets.to_text()).map_err(failed)?;
    let done = if is_new { "made" } else { "rotated" };
    let count = secrets.count();
    Ok(format!(
        "{done} {shown}: {count} keys\nCopy it to the other nodes, and have each reload (ringftpd \
         ctl reload), before it is rotated again."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys_of(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn made_rotated_and_kept_to_oneself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticket-keys");
        let arguments = TicketKeysArguments { file: file.clone(), keep: 3 };
        let mut sealing = Vec::new();
        for (round, count) in [2, 3, 3, 3].into_iter().enumerate() {
            let said = change(&arguments).unwrap();
            let done = if round == 0 { "made" } else { "rotated" };
            assert!(
                said.starts_with(&format!("{done} {}: {count} keys\n", file.display())),
                "{said}"
            );
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(keys_of(&text).len(), count);
            assert!(!said.contains(keys_of(&text)[0]));
            sealing.push(keys_of(&text)[0].to_owned());
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        sealing.sort();
        sealing.dedup();
        assert_eq!(sealing.len(), 4);
        fs::write(&file, "half a key").unwrap();
        let error = change(&arguments).unwrap_err();
        assert!(error.contains("ticket-keys:1 is not a key"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "half a key");
    }
}
