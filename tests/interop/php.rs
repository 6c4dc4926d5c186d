//! PHP's ftp extension, which keeps one TLS session of OpenSSL for all data connections, sets the
//! protection before it logs in and knows explicit TLS only. What it does is in `php_cases.php`.

use std::path::Path;
use std::process::Command;

use crate::content;
use crate::run::{DEADLINE, run};
use crate::site::{Family, Site, VERSIONS};
use crate::support::Listener;

/// Eight uploads, eight downloads and two lists on one control connection, where each data
/// connection must resume: none is refused, in either version.
#[test]
fn each_data_connection_resumes() {
    for version in VERSIONS {
        let config = format!("[tls]\ndata_resumption = \"require\"\nversions = [\"{version}\"]");
        let site = Site::with(|builder| builder.toml(&config));
        let address = site.address(Listener::Explicit, Family::V4);
        let mut command = Command::new("php");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/php_cases.php"))
            .args([address.ip().to_string(), address.port().to_string()])
            .env("FTP_USER", "alice")
            .env("FTP_PASSWORD", "secret");
        let finished = run(&mut command, DEADLINE).success();
        for line in finished.out().lines() {
            let (name, hash) = line.strip_prefix("sha256 ").unwrap().rsplit_once(' ').unwrap();
            assert_eq!(content::sha256_of(&site.served(name)), hash, "{version} {name}");
        }
        assert_eq!(finished.out().lines().count(), 8, "{finished}");
        site.assert_log_has_resumed(18);
    }
}
