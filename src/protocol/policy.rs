//! What the operator decided, as the session needs to know it. Built by `config`; pure values.

use std::time::Duration;

use super::file::HashAlgorithms;

/// When a data connection must resume the TLS session of its own control connection
/// (RFC 4217 §10.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataResumption {
    /// No tickets are issued; every data connection makes a full handshake.
    Off,
    /// Resumption is offered and logged, never demanded.
    #[default]
    Prefer,
    /// A data connection that does not resume *this* control session is refused with 522.
    Require,
}

/// What is left of an upload that did not end cleanly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedUpload {
    /// Nothing: the name shows what it showed before.
    #[default]
    Delete,
    /// What arrived is published under the name if the name did not exist before, so that the
    /// client can resume with SIZE and REST. An existing file is never replaced by a part.
    Keep,
}

/// What 226 after an upload promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The kernel has the bytes: survives a crash of the server, not of the machine.
    None,
    /// `fdatasync` of the file before it gets its name.
    #[default]
    Data,
    /// `fsync` of the file, and of the directory after the file got its name.
    Full,
}

/// Whether files that are sent pass through the kernel's page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCache {
    /// They do: what is sent often costs no disk.
    #[default]
    Page,
    /// They do not (`O_DIRECT`): what is sent rarely takes no memory from what is sent often.
    Direct,
}

/// How the files below a directory are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRule {
    /// Whether they pass through the page cache.
    pub cache: FileCache,
    /// The operator vouches that no file changes while it is sent.
    pub immutable: bool,
}

/// Policy of a listener's sessions. Durations are wall-clock spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Name in the 220 greeting and in HOST checks.
    pub greeting: String,
    /// Explicit port: refuse USER before TLS with 530 (RFC 4217 §10.1).
    pub require_control_tls: bool,
    /// Refuse transfers at protection level Clear with 522.
    pub require_data_tls: bool,
    /// Allow CCC on explicit (RFC 4217 §5). Never on implicit.
    pub allow_ccc: bool,
    /// AUTH SSL also sets PBSZ 0 and PROT P, as pre-RFC drafts had it. Off: MS-FTPS 2.2.1.
    pub auth_ssl_implies_prot_p: bool,
    /// Data-to-control binding.
    pub data_resumption: DataResumption,
    /// PORT and EPRT may name a host other than the control peer (FXP). Off: RFC 2577 §3.
    pub allow_foreign_data_address: bool,
    /// PORT and EPRT at all.
    pub allow_active: bool,
    /// An upload that ends by TCP FIN without close_notify counts as complete. Off: RFC 8446 §6.1.
    pub lax_upload_eof: bool,
    /// `MDTM YYYYMMDDHHMMSS name` sets the time when no file has that whole name.
    pub mdtm_may_set: bool,
    /// Host names HOST accepts; empty accepts any syntactically valid name (one virtual host).
    pub host_names: Vec<String>,
    /// 421 after this many failed log-ins on one control connection.
    pub login_failures_max: u32,
    /// Delay before the 530 of a failed log-in.
    pub login_failure_delay: Duration,
    /// Control connection without a command (RFC 1123 §4.1.3.2 asks for at least 5 minutes).
    pub idle_timeout: Duration,
    /// From the greeting to a successful log-in.
    pub login_timeout: Duration,
    /// From accept or AUTH to the end of the TLS handshake. REIN and CCC have as long to leave TLS,
    /// and implicit FTPS then as long again for the new handshake.
    pub handshake_timeout: Duration,
    /// From the 150 to an established data connection, handshake included.
    pub data_timeout: Duration,
    /// A transfer that moves no byte for so long is ended with 426.
    pub stall_timeout: Duration,
    /// What a failed upload leaves.
    pub failed_upload: FailedUpload,
    /// What 226 promises.
    pub durability: Durability,
    /// How long nobody must have touched what a killed server left, before it is removed.
    pub leftover_age: Duration,
    /// Digests made of uploads while they are stored, and kept with the file.
    pub hash_uploads: HashAlgorithms,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            greeting: "ringftpd ready".to_owned(),
            require_control_tls: true,
            require_data_tls: true,
            allow_ccc: false,
            auth_ssl_implies_prot_p: false,
            data_resumption: DataResumption::Prefer,
            allow_foreign_data_address: false,
            allow_active: true,
            lax_upload_eof: false,
            mdtm_may_set: true,
            host_names: Vec::new(),
            login_failures_max: 3,
            login_failure_delay: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(300),
            login_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(20),
            data_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(120),
            failed_upload: FailedUpload::Delete,
            durability: Durability::Data,
            leftover_age: Duration::from_secs(60 * 60),
            hash_uploads: HashAlgorithms::default(),
        }
    }
}
