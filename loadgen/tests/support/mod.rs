//! For the tests of `ringload`: the program itself with its JSON result, certificates, a scripted
//! FTPS server that misbehaves on demand, and the real ringftpd. Loopback only, free ports only.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub mod peer;
pub mod ringftpd;
pub mod scripted;

use std::collections::BTreeMap;
use std::io::{BufRead, Lines};
use std::path::PathBuf;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

/// What one run of the program left.
pub struct Outcome {
    /// Exit status.
    pub status: i32,
    /// The JSON result; null when there is none.
    pub result: Value,
    /// Standard output and standard error.
    pub output: String,
}

/// Runs `ringload` on one thread, with the result as JSON. `line` is split at spaces.
#[track_caller]
pub fn ringload(line: &str) -> Outcome {
    let scratch = TempDir::new().unwrap();
    let json = scratch.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(line.split_whitespace())
        .args(["--quiet", "--json"])
        .arg(&json)
        .env("RINGLOAD_PASSWORD", "secret")
        .output()
        .unwrap();
    let result = std::fs::read_to_string(&json)
        .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    let text = [output.stdout, output.stderr].concat();
    Outcome {
        status: output.status.code().unwrap_or(-1),
        result,
        output: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Runs `ringload` as `alice`; `line` is a workload and its options, `target` comes between.
#[track_caller]
pub fn run(target: &str, line: &str) -> Outcome {
    let (workload, options) = line.split_once(' ').unwrap_or((line, ""));
    ringload(&format!("{workload} {target} --cpus 0 --user alice {options}"))
}

/// What `ringload check` says of this target; it has to be content.
#[track_caller]
pub fn checked(target: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["check", "--user", "alice"])
        .args(target.split_whitespace())
        .env("RINGLOAD_PASSWORD", "secret")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What a server says until it is `ready`: `listening implicit ADDRESS` and the like, by the word
/// before the value. `None`: it ended before.
pub fn announced(lines: &mut Lines<impl BufRead>) -> Option<BTreeMap<String, String>> {
    let mut announced = BTreeMap::new();
    for line in lines {
        let line = line.unwrap();
        let line = line.strip_prefix("listening ").unwrap_or(&line);
        match line.split_once(' ') {
            Some((word, value)) => drop(announced.insert(word.to_owned(), value.to_owned())),
            None if line == "ready" => return Some(announced),
            None => {}
        }
    }
    None
}

/// SHA-256, hexadecimal.
fn fingerprint(octets: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Outcome {
    /// The program did what it was asked.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.status, 0, "{}", self.output);
        assert!(!self.result.is_null(), "{}", self.output);
        self
    }

    /// Exactly this many operations, and no error.
    #[track_caller]
    pub fn all_succeeded(self, operations: u64) -> Self {
        let this = self.good();
        let errors = &this.result["errors"];
        assert_eq!(this.total("operations"), operations, "{errors}");
        assert_eq!(this.total("errors"), 0, "{errors}");
        this
    }

    /// Nothing succeeded, which the exit status says.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert_eq!(self.status, 3, "{}", self.output);
        assert!(self.output.contains("nothing succeeded"), "{}", self.output);
        self
    }

    /// Every one of `operations` failed in this way.
    #[track_caller]
    pub fn all_failed(self, operations: u64, phase: &str, kind: &str) -> Self {
        let this = self.failed();
        let errors = &this.result["errors"];
        assert_eq!(this.total("errors"), operations, "{errors}");
        assert_eq!(this.total("operations"), 0, "{errors}");
        let rows = errors.as_array().unwrap();
        assert!(
            rows.iter().all(|row| row["phase"] == phase && row["kind"] == kind),
            "expected {phase} {kind}, got {errors}"
        );
        this
    }

    /// A count of the result.
    #[track_caller]
    pub fn total(&self, name: &str) -> u64 {
        self.result["totals"][name].as_u64().unwrap()
    }

    /// How often a phase was recorded.
    pub fn phase_count(&self, phase: &str) -> u64 {
        self.result["phases"][phase]["corrected"]["count"].as_u64().unwrap_or(0)
    }

    /// Handshakes, of them offered, of them resumed.
    #[track_caller]
    pub fn resumption(&self, channel: &str) -> (u64, u64, u64) {
        let row = &self.result["resumption"][channel];
        let count = |name: &str| row[name].as_u64().unwrap();
        (count("handshakes"), count("offered"), count("resumed"))
    }
}

/// An authority that issues certificates for `localhost`, 127.0.0.1 and ::1, as files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    scratch: TempDir,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let scratch = TempDir::new().unwrap();
        std::fs::write(scratch.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, scratch }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.scratch.path().join("ca.pem").display().to_string()
    }

    /// A certificate and its key, in files that begin with `name`; and its SHA-256.
    pub fn issue(&self, name: &str) -> (String, String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let params = CertificateParams::new(names.to_vec()).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, text: String| {
            let path = self.scratch.path().join(format!("{name}.{end}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let print = fingerprint(certificate.der());
        (file("pem", certificate.pem()), file("key", key.serialize_pem()), print)
    }
}

/// A self-signed certificate for `localhost` and 127.0.0.1, as files and in memory.
pub struct Identity {
    /// Directory of the files.
    pub scratch: TempDir,
    /// The certificate, DER.
    pub certificate: rustls::pki_types::CertificateDer<'static>,
    /// Its key, PKCS#8 DER.
    pub key: Vec<u8>,
}

impl Identity {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let scratch = TempDir::new().unwrap();
        std::fs::write(scratch.path().join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(scratch.path().join("key.pem"), key.serialize_pem()).unwrap();
        let key = key.serialize_der();
        Self { scratch, certificate: certificate.der().clone(), key }
    }

    /// The certificate's file.
    pub fn certificate_pem(&self) -> PathBuf {
        self.scratch.path().join("certificate.pem")
    }

    /// The key's file.
    pub fn key_pem(&self) -> PathBuf {
        self.scratch.path().join("key.pem")
    }

    /// SHA-256 of the certificate, hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }
}
