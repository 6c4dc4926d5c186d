//! The table of the settings, a row for each key of the configuration file. Nothing is defined
//! here: whoever needs the rows expands them with a macro of its own.
//!
//! - `protocol::policy` makes a field of [`Policy`](crate::protocol::policy::Policy) of each key
//!   that sessions obey.
//! - `config::settings` makes a field of its section's struct of each other key; and of all of them
//!   the default, the reading, the line of `check-config` and the [`Key`](crate::config::Key), from
//!   which the reference file is made.
//!
//! A section is `[name]` with the keys that the process obeys (`start`) and those that sessions
//! obey (`session`). A row is
//!
//! ```text
//! /// What people read about the key, in the reference file and in the documentation of its field.
//! name: Type = default, within bounds, unset "words", example "TOML", since "0.1.0", change When;
//! ```
//!
//! - The type says how the value is written, read and shown (`config::kind`). An `Option` is a key
//!   that may be left out.
//! - `within` is the range of a number or a duration, or the length of a text. Types that have
//!   bounds of their own go without.
//! - `unset` says for people what a key means that is left out, or an empty list.
//! - `example` is a value other than the default, where none can be derived from type and bounds.
//!   It is shown where there is no default.
//! - `since` is the first version of the server that has the key.
//! - `change` says when a changed value is obeyed: see [`Change`](crate::config::Change).

/// Hands all rows to the macro `$with`.
macro_rules! table {
    ($with:ident) => {
        $with! {
[listen]
start Listen {
    /// Implicit TLS (MS-FTPS): the TLS handshake comes first. "192.0.2.1:990",
    /// "[2001:db8::1]:990", or ":990" for all addresses of both families (IPv6 is left out where
    /// the host has none). Port 0 picks a free port; [] switches the listener off.
    implicit: Vec<ListenAddress> = vec![ListenAddress::any(&[990])],
        unset "off", example "[\"127.0.0.1:9990\"]", since "0.1.0", change Restart;
    /// Explicit TLS (RFC 4217): starts in clear, the client sends AUTH TLS. Written like
    /// `implicit`.
    explicit: Vec<ListenAddress> = vec![ListenAddress::any(&[21])],
        unset "off", example "[\"127.0.0.1:2121\"]", since "0.1.0", change Restart;
    /// Connections the kernel keeps for each listening socket until they are accepted; the kernel's
    /// own bound is net.core.somaxconn.
    backlog: u32 = 4096, within 1..=65_535, since "0.1.0", change Restart;
    /// Connections to these ports come from load balancers or other proxies, each with a header of
    /// the PROXY protocol (version 1 or 2) that says for which client: its address then rules
    /// limits, bans, log and data connections. What comes without one is refused.
    proxy_protocol: bool = false, since "0.1.0", change Restart;
    /// The proxies: whose headers are believed. Whoever connects from these networks can name any
    /// address as the client's, so list none that clients are in.
    proxy_from: Vec<IpNet> = Vec::new(),
        unset "nobody", example "[\"10.0.0.0/24\", \"2001:db8::5\"]",
        since "0.1.0", change Reload;
}

[shards]
start Shards {
    /// CPUs that get a shard each.
    cpus: Option<CpuList> = None,
        unset "every online CPU of the affinity mask", example "\"0-3,8\"",
        since "0.1.0", change Restart;
    /// Which shard a new connection comes to: "kernel" (by a hash of both addresses and ports: the
    /// most even), "cpu" (that of the CPU that received its first packet; for network cards with
    /// one queue per CPU), "source" (by the client's address alone: the limits per address below
    /// are then exact, and all clients behind one address share one shard).
    steering: Steering = Steering::Kernel, since "0.1.0", change Restart;
    /// What accepting and the TLS handshakes of control connections may take of a shard when
    /// established sessions want all of it, in per cent. What either leaves, the other takes.
    handshake_percent: Percent = Percent(5), within 1..=99, since "0.1.0", change Restart;
}

[tls]
start Tls {
    /// Certificate chain (PEM), the server's own certificate first; only together with `key`.
    certificate: Option<PathBuf> = None,
        unset "a self-signed one, made once and kept in the state directory",
        example "\"/etc/ringftpd/chain.pem\"", since "0.1.0", change Reload;
    /// Private key (PEM) of the first certificate of the chain.
    key: Option<PathBuf> = None,
        unset "that of the self-signed certificate",
        example "\"/etc/ringftpd/key.pem\"", since "0.1.0", change Reload;
    /// How often the files of certificate and key are looked at: a new pair that matches is taken
    /// without a reload, and a self-signed one is made anew 30 days before its end. "0s" is never.
    watch: Duration = Duration::from_secs(60),
        within Duration::ZERO..=Duration::from_hours(24), since "0.1.0", change Reload;
    /// What matters most. "balanced": TLS 1.3 where the client has it, key exchange as the client
    /// prefers. "throughput": TLS 1.2 for every client that offers it, because its resumed
    /// handshakes cost the server a seventh of the cryptography; gives up, for those, TLS 1.3 with
    /// all it hides and mends: certificates go in clear, the key of a resumed session is only as
    /// fresh as its ticket (no forward secrecy until the ticket key expires, see
    /// `ticket_lifetime`), and the client is not told of the choice by the mark of RFC 8446 section
    /// 4.1.3, or it would refuse. "pq": X25519MLKEM768 for every client that has it, even if it
    /// prefers another group; gives up about 25 us of CPU time a handshake, 1.1 KiB more each way,
    /// and a round trip where the client did not guess it.
    profile: TlsProfile = TlsProfile::Balanced, since "0.1.0", change Reload;
    /// Versions offered: "1.2", "1.3".
    versions: TlsVersions = TlsVersions::default(),
        example "[\"1.3\"]", since "0.1.0", change Reload;
    /// Cipher suites in the server's order of preference.
    cipher_suites: Option<Vec<CipherSuite>> = None, unset "all, AES-128-GCM first",
        example "[\"TLS13_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]",
        since "0.1.0", change Reload;
    /// Key exchange groups allowed: X25519, secp256r1, secp384r1, X25519MLKEM768 (TLS 1.3 only).
    /// Among them the client's order decides, except with the profile "pq".
    groups: Option<Vec<GroupName>> = None,
        unset "all", example "[\"X25519\", \"secp256r1\"]", since "0.1.0", change Reload;
    /// Authorities (PEM) whose client certificates (X.509 version 3) are asked for and verified.
    client_ca: Option<PathBuf> = None,
        unset "none", example "\"/etc/ringftpd/clients.pem\"", since "0.1.0", change Reload;
    /// How long a session ticket resumes. On data connections tickets and session IDs resume as
    /// long as their control connection lives.
    ticket_lifetime: Duration = Duration::from_hours(12),
        within Duration::from_secs(2)..=Duration::from_hours(7 * 24),
        since "0.1.0", change Reload;
    /// File with the keys of session tickets, so that nodes with the same file resume one another's
    /// sessions; `ringftpd ticket-keys` makes and rotates it. The first key seals, all open, and
    /// those of the process itself open what it sealed before it had the file.
    ticket_keys: Option<PathBuf> = None,
        unset "keys that are made at the start, for this process alone",
        example "\"/etc/ringftpd/ticket-keys\"", since "0.1.0", change Reload;
    /// Whether the kernel seals the records of downloads, so that files go from the page cache to
    /// the network without a copy: "auto" (TLS 1.3, where the kernel's `tls` module has the cipher;
    /// tried at the start) or "off".
    ktls: KernelTls = KernelTls::Auto, since "0.1.0", change Restart;
}
session {
    /// Whether data connections resume the TLS session of their control connection (RFC 4217
    /// §10.2): "off" (never), "prefer" (offered and logged; demanded of clients that resume with a
    /// ticket they keep; after a log-in by certificate each must resume or show that certificate),
    /// "require" (refused with 522 otherwise). A connection that resumes gets the transfer before
    /// one that does not; of two that do not, neither gets it. A client that never resumes cannot
    /// be told from another program at its address that is there first; PROT C has no such proof at
    /// all.
    data_resumption: DataResumption = DataResumption::Prefer, since "0.1.0", change Reload;
}

[policy]
session {
    /// Text of the 220 greeting.
    greeting: String = "ringftpd ready".to_owned(),
        within AtMost(200), example "\"The archive\"", since "0.1.0", change Reload;
    /// Explicit port: refuse USER before AUTH TLS (530, RFC 4217 §10.1).
    require_control_tls: bool = true, since "0.1.0", change Reload;
    /// Refuse transfers at protection level Clear (522).
    require_data_tls: bool = true, since "0.1.0", change Reload;
    /// Explicit port: let clients end TLS on the control connection with CCC (RFC 4217 §5).
    allow_ccc: bool = false, since "0.1.0", change Reload;
    /// AUTH SSL also sets PBSZ 0 and PROT P, as clients older than RFC 4217 expect.
    auth_ssl_implies_prot_p: bool = false, since "0.1.0", change Reload;
    /// Active mode: PORT and EPRT.
    allow_active: bool = true, since "0.1.0", change Reload;
    /// PORT and EPRT may name another host than the client's (server-to-server transfers; a bounce
    /// risk, RFC 2577 §3).
    allow_foreign_data_address: bool = false, since "0.1.0", change Reload;
    /// Count an upload as complete that ends without TLS close_notify, as some clients end it
    /// (Mono, wput, PyFilesystem and old Perl always, curl now and then); then a cut connection
    /// passes for a complete file, and whoever can cut it decides where the file ends (RFC 8446
    /// §6.1). Better set for the users of such clients alone, see [[users]].
    lax_upload_eof: bool = false, since "0.1.0", change Reload;
    /// `MDTM 20260101000000 name` sets the time of a file, as some clients expect, where no file
    /// has that whole name.
    mdtm_may_set: bool = true, since "0.1.0", change Reload;
    /// Names that HOST accepts (RFC 7151); [] accepts any.
    host_names: Vec<VirtualHost> = Vec::new(),
        unset "any", example "[\"ftp.example.org\"]", since "0.1.0", change Reload;
}

[passive]
start Passive {
    /// Ports for passive data connections; each shard begins with its part and takes what others
    /// do not need. Without it the kernel chooses (net.ipv4.ip_local_port_range without the
    /// reserved ones).
    ports: Option<PortRange> = None,
        unset "any ephemeral port", example "\"50000-50999\"", since "0.1.0", change Restart;
    /// IPv4 address shown in the reply to PASV, for servers behind NAT: an address, a name that is
    /// looked up while the server runs, or "control", the address that the client has connected to.
    /// Several for clients of several networks, "10.0.0.0/8 control"; the first that fits counts.
    address: PassiveAddresses = PassiveAddresses::default(),
        unset "that of the control connection",
        example "[\"10.0.0.0/8 control\", \"203.0.113.7\"]", since "0.1.0", change Reload;
    /// How often names of `address` are looked up. A name keeps its last address while no name
    /// server answers.
    lookup: Duration = Duration::from_secs(60),
        within Duration::from_secs(1)..=Duration::from_hours(24), since "0.1.0", change Reload;
    /// Connections to passive ports, too, come by the proxies of `listen.proxy_from`, each with a
    /// header; without this they come from the client itself, or by a proxy that keeps its address.
    proxy_protocol: bool = false, since "0.1.0", change Reload;
    /// Whether a data connection may come from another address than its control connection, as
    /// behind carriers' NAT and with IPv6 privacy addresses: "never", or "with-ticket", if under
    /// PROT P its first octets show a ticket or session ID of the session, and the handshake then
    /// resumes it.
    other_address: OtherAddress = OtherAddress::Never, since "0.1.0", change Reload;
}

[limits]
start Limits {
    /// Sessions of the whole process, divided evenly among the shards.
    sessions: u32 = 20_000, within 1..=10_000_000, since "0.1.0", change Reload;
    /// Sessions of one client address (of IPv6: of one /64, from which a client may choose); 0 is
    /// no limit. Each shard counts its own, so the process may have as many times more as it has
    /// shards; with `shards.steering = "source"` all sessions of an address are on one shard, and
    /// its limit is exact.
    sessions_per_ip: Ceiling = Ceiling::NONE,
        within 0..=10_000_000, since "0.1.0", change Reload;
    /// Sessions of one user; 0 is no limit. Each shard counts its own.
    sessions_per_user: Ceiling = Ceiling::NONE,
        within 0..=10_000_000, since "0.1.0", change Reload;
    /// TLS handshakes of control connections at the same time, on each shard. Beyond it new
    /// connections wait, and a handshake whose client is silent is dropped for them, the one that
    /// has been silent for longest first: after 0.5 s without a ClientHello, or 2 s in the middle
    /// of the handshake.
    handshakes: u32 = 1024, within 1..=1_000_000, since "0.1.0", change Reload;
    /// Time for the client's first TLS message, the ClientHello. On implicit ports the kernel first
    /// keeps a connection to itself until its client sends, which costs no shard; a silent one is
    /// handed over after this time, rounded up to 1, 3, 7 or 15 seconds and so on, and has this
    /// time once more then.
    client_hello_timeout: Duration = Duration::from_secs(10),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Restart;
    /// How long a right password is remembered after the log-in, and again after the session's end,
    /// so that clients which come back to a shard cost no hash; "0s" is not at all. What is kept is
    /// a keyed digest of address, name, password and the account's hash, in memory alone; some
    /// wrong passwords, and it is forgotten.
    remember_logins: Duration = Duration::from_mins(5),
        within Duration::ZERO..=Duration::from_hours(1), since "0.1.0", change Reload;
    /// How long running transfers may take after SIGTERM.
    shutdown_timeout: Duration = Duration::from_secs(30),
        within Duration::ZERO..=Duration::from_hours(24), since "0.1.0", change Reload;
    /// How long connections are still accepted after SIGTERM or `ringftpd ctl drain`, while the
    /// server already says that it is not ready: as long as a load balancer needs to notice. A
    /// second SIGTERM, and SIGINT, end this time; the time for transfers comes after it.
    drain_delay: Duration = Duration::ZERO,
        within Duration::ZERO..=Duration::from_hours(1), since "0.1.0", change Reload;
}
session {
    /// Whether the sessions of a user whom a reload removes or changes (password, certificate,
    /// home, permissions) end at their next command, with 421. Their transfers in progress go on to
    /// their end. Without it they go on as they began.
    end_revoked: bool = true, since "0.1.0", change Reload;
    /// Failed log-ins on one connection until it is closed with 421.
    login_failures: u32 = 3, within 1..=100, since "0.1.0", change Reload;
    /// Delay of the reply to a failed log-in.
    login_failure_delay: Duration = Duration::from_secs(1),
        within Duration::ZERO..=Duration::from_secs(60), since "0.1.0", change Reload;
    /// Time without a command on a control connection (RFC 1123 §4.1.3.2 asks for at least "5m").
    idle_timeout: Duration = Duration::from_mins(5),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Reload;
    /// Time from the greeting to a successful log-in.
    login_timeout: Duration = Duration::from_secs(60),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Reload;
    /// Time for a whole TLS handshake on the control connection. REIN and CCC have as long to leave
    /// TLS, and implicit FTPS then as long again for the new handshake.
    handshake_timeout: Duration = Duration::from_secs(20),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Reload;
    /// Time for a data connection to be established, its TLS handshake included; and how long a
    /// passive port waits for the command that makes use of it.
    data_timeout: Duration = Duration::from_secs(30),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Reload;
    /// How much later than another connection to the same passive port the client's own may come,
    /// if it can be expected to resume the TLS session: behind one that was refused, and, in a
    /// session that has been resumed, behind one that resumes a session of nobody known, until it
    /// has once not come. Clients on long ways need their round trips (0.6 s each by satellite); a
    /// client that has stopped resuming is refused this long after it has come. "0s" waits for
    /// nobody.
    data_proof_timeout: Duration = Duration::from_millis(500),
        within Duration::ZERO..=Duration::from_secs(60), since "0.1.0", change Reload;
    /// Time after which a transfer that moves no byte is ended (426); up to twice as long for a
    /// protected download, whose socket may take a little more at the first deadline.
    stall_timeout: Duration = Duration::from_mins(2),
        within Duration::from_secs(1)..=Duration::from_hours(24),
        since "0.1.0", change Reload;
}

[storage]
session {
    /// What is left of an upload that did not end cleanly: "delete" (nothing), "keep" (what
    /// arrived, if the name was free).
    failed_upload: FailedUpload = FailedUpload::Delete, since "0.1.0", change Reload;
    /// What the 226 after an upload promises: "none" (survives a crash of the server), "data" (the
    /// contents survive a crash of the machine), "full" (so does the name). With "none" on a shared
    /// file system another node may see the name before its octets.
    durability: Durability = Durability::Data, since "0.1.0", change Reload;
    /// A server that is killed leaves the hidden files of STOU, and of every upload where the file
    /// system has no unnamed files (O_TMPFILE). They are removed when no process has them locked
    /// and nobody has touched them for this long: at the start, after this time, from then on after
    /// 24 times this time, and beside a new one of their kind. Longer than limits.stall_timeout, if
    /// other hosts have the same files and not their locks.
    leftover_age: Duration = Duration::from_hours(1),
        within Duration::from_secs(1)..=Duration::from_hours(30 * 24),
        since "0.1.0", change Reload;
    /// Digests to make of each upload while it is stored: any of "SHA-256", "SHA-512", "SHA-1",
    /// "MD5" and "CRC32". They are kept with the file (extended attribute user.ringftpd.hash), and
    /// HASH, the X-hash commands and the fact X.hash of MLST are answered from there while inode,
    /// size and modification time are the same. Costs CPU time on the helper threads.
    hash_uploads: HashAlgorithms = HashAlgorithms::NONE,
        unset "none", example "[\"SHA-256\"]", since "0.1.0", change Reload;
    /// How much of an upload is written to its file at once, in blocks of 256 KiB (of 240 KiB
    /// under TLS): "auto" (by the file system that the file is on: 256 KiB where files are memory,
    /// tmpfs, and 1 MiB elsewhere, because long writes let file systems take larger folios), or
    /// whatever has been measured to cost less CPU time on this host: "256KiB", "512KiB", "1MiB" or
    /// "2MiB". An upload that waits for its disk holds twice as much in memory, and at least 1 MiB,
    /// of the 64 MiB that each shard has for all transfers. While half of those are lent, and when
    /// a client pauses, blocks are written without waiting for more. Uploads that have begun keep
    /// their size.
    write_size: WriteSize = WriteSize::Auto, since "0.1.0", change Reload;
}

[log]
start Log {
    /// Where log lines go: a file, which the server makes (mode 0640) or adds to with the rights of
    /// its user, in a directory that is there. It is opened again by `ringftpd ctl reopen` and at
    /// each reload, so logrotate needs no restart.
    file: Option<OutputFile> = None,
        unset "standard error", example "\"/var/log/ringftpd/ringftpd.log\"",
        since "0.1.0", change Reload;
    /// Where a line goes for each file that was transferred, or was not to its end: a file, as with
    /// `file`, in the form that wu-ftpd gave it (xferlog), for programs that make statistics. Times
    /// are UTC.
    xferlog: Option<OutputFile> = None,
        unset "off", example "\"/var/log/ringftpd/xferlog.log\"", since "0.1.0", change Reload;
    /// The socket of systemd's journal, which takes the lines in the place of `file` and standard
    /// error, as entries with fields: MESSAGE is the line as text without its time, PRIORITY its
    /// level, and each of its fields is one more, such as RINGFTPD_EVENT and RINGFTPD_SESSION.
    journal: Option<SocketFile> = None,
        unset "off", example "\"/run/systemd/journal/socket\"",
        since "0.1.0", change Restart;
    /// Form of a log line, but of the journal's: "text" or "json". Warnings about the configuration
    /// come before the log starts, on standard error, and are text.
    format: LogFormat = LogFormat::Text, since "0.1.0", change Restart;
    /// Most verbose level written: "off", "error", "warn", "info", "debug" or "trace".
    level: LevelFilter = LevelFilter::INFO, since "0.1.0", change Restart;
    /// Lines a second, on each shard, of each kind that strangers can cause without end:
    /// connections, refusals, failed log-ins, denied commands. What is beyond is counted, and the
    /// next line of its kind says so (`suppressed`). What was done is always written. 0 is no
    /// limit.
    events_per_second: Ceiling = Ceiling(Some(20)),
        within 0..=1_000_000, since "0.1.0", change Reload;
}

[metrics]
start Metrics {
    /// Where counters and gauges of every shard can be read over HTTP, at /metrics, in the format
    /// of Prometheus, and whether the server is well (/healthz) and ready (/readyz). There is no
    /// password: keep it to this host. SIGUSR1 writes the same figures to the log.
    listen: Option<SocketAddr> = None,
        unset "off", example "\"127.0.0.1:9121\"", since "0.1.0", change Restart;
}

[control]
start Control {
    /// Where `ringftpd ctl` finds the server: a socket for its user and root alone, or "off". A
    /// server without a configuration file has none.
    socket: Option<String> = None,
        unset "ctl.sock in the service's runtime directory, else in /run/ringftpd (root) or \
               $XDG_RUNTIME_DIR/ringftpd",
        example "\"/run/ringftpd/ctl.sock\"", since "0.1.0", change Restart;
}

[process]
start Process {
    /// User to become after binding; needed when started as root. "root" stays root, with a
    /// warning: then a fault of the server is one of the whole host.
    user: Option<String> = None,
        unset "unchanged", example "\"ftp\"", since "0.1.0", change Restart;
    /// File with further [[users]] tables and nothing else; keep it readable by its owner alone.
    users_file: Option<PathBuf> = None,
        unset "none", example "\"/etc/ringftpd/users.toml\"", since "0.1.0", change Reload;
}
        }
    };
}

pub(crate) use table;
