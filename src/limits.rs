//! Every hard bound of the server on one page, with its unit and its reason. Values that an
//! operator can change are in `config`; these are fixed and bound what a client can cost.

use std::time::Duration;

/// Longest command line after decoding, octets without CRLF. PATH_MAX (4,096) plus the longest
/// verb and its space, doubled so that RNFR of a deep path with odd names still fits.
pub const COMMAND_LINE_BYTES_MAX: usize = 8 * 1024;

/// Received control bytes kept while a transfer or a request is running. Past this the shell
/// stops reading, and TCP pushes back on the client.
pub const PIPELINE_BYTES_MAX: usize = 16 * 1024;

/// Reply bytes waiting to be sent before no further command is executed.
pub const REPLY_BACKLOG_BYTES_MAX: usize = 64 * 1024;

/// Longest pathname accepted, octets (PATH_MAX without its NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// Longest single name in a pathname, octets (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// Largest plaintext fragment of a TLS record, octets (RFC 8446 §5.1).
pub const TLS_FRAGMENT_BYTES_MAX: usize = 16 * 1024;

/// Largest TLS record on the wire, octets: 5 of header, 16 KiB and 2,048 of expansion
/// (RFC 5246 §6.2.3, the larger of the two versions).
pub const TLS_RECORD_BYTES_MAX: usize = 5 + TLS_FRAGMENT_BYTES_MAX + 2048;

/// Bytes a client may send before its TLS handshake is complete: a ClientHello with post-quantum
/// key shares is 2 KiB, a client certificate chain rarely 16 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Octets of a ClientHello, its records' headers included, that are read before it is known which
/// session a data connection is for: 2 KiB with post-quantum key shares, and some tickets, each of
/// which may hold the chain of a client's certificate.
pub const UNDECIDED_BYTES_MAX: usize = 16 * 1024;

/// Data connections per shard of which it is not known yet for which session they are: a descriptor
/// each, and what came of its ClientHello. The oldest is closed for the next.
pub const UNDECIDED_PER_SHARD_MAX: usize = 1024;

/// The same of one client address at one port. A client waits a round trip or two between the
/// connection and its ClientHello, so this many come in that time before one is closed too early.
pub const UNDECIDED_PER_ADDRESS_MAX: usize = 64;

/// Sessions that left a shared passive port without a connection, and are remembered there, one a
/// user and address: their clients may still come. The oldest is forgotten for the next.
pub const MISSED_PER_PORT_MAX: usize = 1024;

/// Largest TLS 1.2 session kept for resumption by session ID, one a control session: a few hundred
/// octets and the client's certificate chain.
pub const TLS_STORED_SESSION_BYTES_MAX: usize = 16 * 1024;

/// Connections by proxies whose PROXY header a listening socket waits for at the same time. A proxy
/// sends it at once, so there are many of them only when something is wrong.
pub const INTRODUCTIONS_MAX: usize = 256;

/// TLS records in a row that carry no data (empty, warnings, key updates) before the connection is
/// ended: each costs a decryption, a key update four hashes and an answer.
pub const TLS_QUIET_RECORDS_MAX: u32 = 32;

/// Alerts in the clear that a client may send in a TLS handshake and go on: warnings of TLS 1.2
/// (RFC 5246 §7.2). As many as rustls takes.
pub const TLS_HANDSHAKE_WARNINGS_MAX: u32 = 4;

/// Bytes of an old TLS session dropped while waiting for its close_notify: what was pipelined
/// behind REIN or CCC, several times over.
pub const TLS_DRAIN_BYTES_MAX: usize = 256 * 1024;

/// Bytes moved per turn of a transfer: 256 KiB to 512 KiB was the measured optimum
/// (smaller batches cost 15 to 40 % more CPU time per byte, 1 MiB falls out of the L2 cache).
pub const TRANSFER_BATCH_BYTES: usize = 256 * 1024;

/// Bytes before a restart marker that one call of a helper thread copies: ≈ 10 ms from the page
/// cache, ≈ 100 ms where the disk limits.
pub const COPY_PIECE_BYTES: u64 = 16 * 1024 * 1024;

/// Most bytes that one upload may receive before another upload of the shard gets its turn (≈ 10
/// ms): well above what a socket buffers, so most of it is read while still in the CPU's caches.
pub const UPLOAD_TURN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes in which every waiting upload gets a turn (≈ 50 ms), unless there are so many that each
/// gets a single batch.
pub const UPLOAD_ROUND_BYTES: usize = 64 * 1024 * 1024;

/// Bytes for which one wait of a fast upload is: a block. Waking for every one or two segments was
/// measured to cost half as much again.
pub const UPLOAD_LOW_WATER_BYTES: usize = TRANSFER_BATCH_BYTES;

/// Longest wait for [`UPLOAD_LOW_WATER_BYTES`]; uploads below 50 MB/s are read as data arrives. The
/// last octets of an upload wait as long if the client does not close the connection behind them.
pub const UPLOAD_PATIENCE: Duration = Duration::from_millis(5);

/// How long the reply to a transfer that failed waits for storage to give it up. A disk that
/// answers does in less, so that the next command finds everything as it was before.
pub const GIVING_UP_PATIENCE: Duration = Duration::from_millis(200);

/// How long an upload that was received whole may still be written, synced and named after ABOR, or
/// the end of what the client sends. Longer than a busy disk takes; one that hangs gives no answer
/// at all.
pub const STORING_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an upload that are dropped after storage or policy has refused it: many clients read
/// the reply only after they have sent everything. Dropping costs less than sending, and less than
/// storing would have.
pub const REFUSED_UPLOAD_BYTES_MAX: u64 = 1 << 30;

/// How long the rest of a refused upload is dropped.
pub const REFUSED_UPLOAD_SPAN: Duration = Duration::from_secs(30);

/// Largest file sent in one write with its TLS ticket and close_notify: what fits into a socket's
/// send buffer at once.
pub const WHOLE_FILE_BYTES_MAX: usize = TRANSFER_BATCH_SMALL_BYTES;

/// Batch used when the shard's pool of large blocks is exhausted.
pub const TRANSFER_BATCH_SMALL_BYTES: usize = 32 * 1024;

/// Large blocks per shard: 64 MiB, enough for 128 transfers with two blocks each; the 129th gets
/// small blocks. An upload that waits for storage has one that is received into, one being filled,
/// and [`WRITE_BEHIND_WRITES_MAX`] writes: ten in all in writes of 1 MiB, 18 in those of 2 MiB; six
/// in shorter ones ([`WRITE_BEHIND_BLOCKS_MIN`]), and while half the blocks are lent.
pub const TRANSFER_BLOCKS_PER_SHARD: usize = 256;

/// Bytes of one read that waits for a disk: as many whole records as one block takes.
pub const READ_AHEAD_BYTES: usize = TRANSFER_BATCH_BYTES - TLS_FRAGMENT_BYTES_MAX;

/// Bytes of one read when the shard already reads ahead as much as it may.
pub const READ_AHEAD_SMALL_BYTES: usize = TRANSFER_BATCH_SMALL_BYTES - TLS_FRAGMENT_BYTES_MAX;

/// Reads from disk in flight per transfer: enough to keep an NVMe busy.
pub const READ_AHEAD_DEPTH: usize = 8;

/// Reads from disk in flight per shard, including those whose octets wait to be sent: 30 MiB.
/// Beyond it, a transfer has one small read at a time.
pub const READ_AHEAD_PER_SHARD: usize = 128;

/// Data connections per shard that stay open for a slow reader after their transfer: each is a
/// descriptor for up to `limits.stall_timeout`. One more is closed after two seconds, as if its
/// client had read all.
pub const LINGERING_PER_SHARD: usize = 256;

/// Other data connections per shard that outlive their transfer, for up to some seconds: until the
/// client has closed, or has read why it was refused. A descriptor each; the oldest is closed for
/// the next.
pub const KEPT_CONNECTIONS_PER_SHARD_MAX: usize = 1024;

/// Octets of one upload that are written together, in full blocks, where `storage.write_size` is
/// "auto" and that costs less: larger folios saved a fifth of an upload's CPU time on ext4, and
/// more on XFS (benches/README.md). Elsewhere each block is written by itself.
pub const WRITE_TOGETHER_BYTES: usize = 1024 * 1024;

/// Writes of one upload whose blocks are full and not yet stored: the one under way, and one that
/// fills meanwhile and bridges pauses of the disk. Beyond it the server stops reading.
pub const WRITE_BEHIND_WRITES_MAX: usize = 2;

/// Blocks of one upload that may be full and not yet stored, however short its writes are, and also
/// while half of the shard's blocks are lent; none waits for others then.
pub const WRITE_BEHIND_BLOCKS_MIN: usize = 4;

/// How long PASV and EPSV wait for a port, where all are taken by others whose data connections are
/// to be expected any moment: some round trips, and no longer than a client waits for a reply.
pub const PASSIVE_PORT_PATIENCE: Duration = Duration::from_secs(5);

/// Closed passive ports per shard that are kept for their session's next transfer: a descriptor
/// each. The oldest is freed for the next.
pub const PASSIVE_PARKED_PER_SHARD_MAX: usize = 1024;

/// Octets of names that one listing keeps to sort them: ≈ 10,000 entries. A larger directory is
/// listed in its own order.
pub const LISTING_SORT_BYTES_MAX: usize = 256 * 1024;

/// Pattern matching in one call of a listing (octets of each name times those of the pattern): a
/// few milliseconds, also where no name matches.
pub const LISTING_NAMES_WORK_MAX: usize = 1024 * 1024;

/// Octets of the names of directories found and not yet listed by one LIST -R: ≈ 10,000
/// directories. Beyond it the listing ends with an error.
pub const LISTING_DIRECTORIES_BYTES_MAX: usize = 1024 * 1024;

/// Entries searched for the one that a listing shows by a name: ≈ 10 ms.
pub const SHOWN_NAME_ENTRIES_MAX: usize = 100_000;

/// Bytes of listing text formatted before they are handed to the data connection.
pub const LISTING_BATCH_BYTES: usize = 64 * 1024;

/// Largest listing sent on the control connection by STAT with a pathname.
pub const CONTROL_LISTING_BYTES_MAX: usize = 256 * 1024;

/// Largest file whose exact ASCII size SIZE will compute by reading it (RFC 3659 §4.1).
pub const ASCII_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Helper threads per shard for file work that may wait for a disk. They start on demand, and cost
/// a stack each.
pub const HELPER_THREADS_PER_SHARD: usize = 8;

/// Helper threads per shard when some are held by work older than [`HELPER_STUCK_AFTER`]: each of
/// those gets a replacement, up to this number. Five devices that hang leave two threads.
pub const HELPER_THREADS_PER_SHARD_MAX: usize = 32;

/// Helper threads that the work of one device may hold in a shard: a file system that does not
/// answer leaves the others free.
pub const HELPERS_PER_DEVICE_MAX: usize = 6;

/// Helper threads that the work of one user may hold in a shard, on all devices together.
pub const HELPERS_PER_USER_MAX: usize = 4;

/// Age at which work on a thread counts as stuck: ten times the slowest answers of a busy disk.
pub const HELPER_STUCK_AFTER: Duration = Duration::from_millis(500);

/// Devices below homes of which a shard remembers whether their file system is local.
pub const DEVICES_PER_SHARD_MAX: usize = 1024;

/// Helper threads per shard for long work: digests, sizes of texts, long listings, copies before a
/// restart marker.
pub const LONG_THREADS_PER_SHARD: usize = 3;

/// Threads for long work per shard when some are stuck.
pub const LONG_THREADS_PER_SHARD_MAX: usize = 8;

/// Pieces of long work of one device at the same time; long work takes turns piece by piece.
pub const LONG_PER_DEVICE_MAX: usize = 2;

/// Pieces of long work of one user at the same time: the digests of others go on.
pub const LONG_PER_USER_MAX: usize = 1;

/// Octets of an announced upload (ALLO) for which blocks are reserved at a time, and never more
/// than an eighth of what is free: an announcement must not take the space from other uploads.
pub const RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Octets of an upload that nobody has announced from which on blocks are reserved ahead where that
/// saves CPU time (ext4): up to [`RESERVE_BYTES_MAX`] at a time, an eighth of what is free at most.
pub const RESERVE_AHEAD_FROM_BYTES: u64 = 1024 * 1024;

/// Least octets reserved ahead.
pub const RESERVE_AHEAD_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Queued file work of one user per shard. A session has one request and one transfer; more than
/// this comes from ended sessions whose work still waits for a file system that hangs. Beyond it
/// requests are refused (450).
pub const FILE_WORK_WAITING_PER_USER_MAX: usize = 4096;

/// Queued file work per shard, of all users.
pub const FILE_WORK_WAITING_MAX: usize = 64 * 1024;

/// Homes up to which every shard has handles of its own. The kernel counts references to a handle
/// at each lookup, so a common one is traffic between the shards' caches; but 64 shards with 10,000
/// homes each would need 640,000 descriptors. More homes than this are opened once for all shards.
pub const HOMES_PER_SHARD_MAX: usize = 256;

/// Password hashes computed at the same time per shard, on threads of their own: file work does not
/// delay them, and a flood of log-ins does not delay file work.
pub const HASHING_PER_SHARD_MAX: usize = 3;

/// Longest password checked, octets; a longer one is wrong. SHA-crypt's time grows with it.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// Log-ins per shard that wait for a password hash: each is a session that holds its name and
/// password. Beyond it, log-ins from an address that has others waiting are refused (421).
pub const LOGINS_WAITING_MAX: usize = 16 * 1024;

/// Log-ins of one client address that wait for a password hash: more than the sessions of a site
/// that reconnect at once.
pub const LOGINS_WAITING_PER_NETWORK_MAX: usize = 2 * 1024;

/// Client addresses per shard whose wrong passwords are counted: ≈ 2 MiB. The least recently used
/// is evicted.
pub const FAILING_NETWORKS_MAX: usize = 16 * 1024;

/// Correct passwords remembered per shard, as keyed digests: ≈ 3 MiB. The oldest is evicted.
pub const PROOFS_PER_SHARD_MAX: usize = 16 * 1024;

/// Wrong passwords for a name from an address before the remembered one is forgotten: each is a
/// guess that is checked without a hash. A log-in that waits counts twice.
pub const PROOF_MISSES_MAX: u8 = 8;

/// Age at which a temporary file counts as left by a killed server where the file system has no
/// locks, and its name does not tell that its machine was started anew since: longer than an upload
/// may live without receiving an octet.
pub const LEFTOVER_AGE_WITHOUT_LOCKS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Octets of entries read by one step of a sweep: ≈ 1,000 names, 1 ms.
pub const SWEEP_READ_BYTES: usize = 32 * 1024;

/// Entries that a sweep examines in one home.
pub const SWEEP_ENTRIES_MAX: u64 = 100_000_000;

/// Octets of names of directories that a sweep has still to read.
pub const SWEEP_DIRECTORIES_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () = assert!(COMMAND_LINE_BYTES_MAX > PATH_BYTES_MAX + 16);
const _: () = assert!(PIPELINE_BYTES_MAX > COMMAND_LINE_BYTES_MAX);
const _: () = assert!(HELPERS_PER_USER_MAX < HELPERS_PER_DEVICE_MAX);
const _: () = assert!(HELPERS_PER_DEVICE_MAX < HELPER_THREADS_PER_SHARD);
const _: () = assert!(LONG_PER_USER_MAX < LONG_PER_DEVICE_MAX);
const _: () = assert!(LONG_PER_DEVICE_MAX < LONG_THREADS_PER_SHARD);
const _: () = assert!(TRANSFER_BATCH_BYTES.is_multiple_of(TLS_FRAGMENT_BYTES_MAX));

/// Sessions that a shard looks at in one turn for somebody who lists or ends them: some 50 µs.
/// The next ones are the next message of its inbox.
pub const SESSIONS_PER_PART_MAX: usize = 128;
