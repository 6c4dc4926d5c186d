//! Tests of the configuration as a whole: the reference file, each error's exact text, and how
//! flags and file meet.

mod certificates;
mod proxies;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::kind::Value;
use super::reference::render;
use super::*;
use crate::protocol::account::Permissions;
use crate::protocol::file::HashAlgorithm;
use crate::protocol::policy::{FileCache, FileRule};
use crate::tls::{TlsProfile, TlsVersions};

/// SHA-crypt with the fewest rounds; the password is "secret".
const HASH: &str = "$5$rounds=1000$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA";

/// A folder with `ringftpd.toml` and the home `srv`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.0.path().join("srv")).unwrap();
        folder
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Loads `text` as the configuration; the folder's own name is cut out of messages.
    fn load(&self, text: &str, overrides: &Overrides) -> Result<Config, String> {
        let path = self.write("ringftpd.toml", text);
        let folder = format!("{}/", self.0.path().display());
        Config::load(&path, overrides).map_err(|error| error.to_string().replace(&folder, ""))
    }

    fn warnings(&self, config: &Config) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        config.warnings.iter().map(|warning| warning.to_string().replace(&folder, "")).collect()
    }
}

fn overrides() -> Overrides {
    Overrides { state_dir: Some(PathBuf::from("state")), ..Overrides::default() }
}

fn read(text: &str) -> (Settings, Findings) {
    let files = Files::default();
    let document = Document::new(&files, Path::new("x.toml"), text);
    let table = document.parse().unwrap();
    let root = Section::root(&document, table.get_ref());
    let settings = Settings::read(&root);
    let mut found = Found::default();
    found.read_anonymous(&root);
    found.read_users(&document, &root, true);
    root.finish();
    (settings, document.finish())
}

#[test]
fn the_reference_states_the_defaults() {
    let (settings, findings) = read(&reference());
    assert_eq!(findings.errors, []);
    assert_eq!(settings, read("").0);
    assert_eq!(settings, Settings::default());
}

/// Each key of the code stands in the reference, in its table; the reference has no other.
#[test]
fn the_reference_names_every_key() {
    let text = render(true);
    let (_, findings) = read(&text);
    let unreadable = |message: &str| {
        message.starts_with("cannot read") || message.starts_with("cannot use the directory")
    };
    let errors: Vec<_> = findings.errors.iter().filter(|e| !unreadable(&e.message)).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let known: BTreeSet<_> = findings.known.iter().map(|key| known_name(key)).collect();
    let mut stated = BTreeSet::new();
    let table: toml::Table = text.parse().unwrap();
    let table_of =
        |value: &toml::Value| value.as_table().or_else(|| value.get(0)?.as_table()).cloned();
    for (section, value) in &table {
        stated.insert(section.clone());
        for (key, value) in table_of(value).unwrap() {
            let path = format!("{section}.{key}");
            let below = table_of(&value).into_iter().flatten();
            stated.extend(below.map(|(key, _)| format!("{path}.{key}")));
            stated.insert(path);
        }
    }
    assert_eq!(stated, known);
    let all = keys();
    assert_eq!(
        all.iter().filter(|key| !known.contains(&key.path())).collect::<Vec<_>>(),
        [&all[0]; 0]
    );
    let sections: BTreeSet<_> = all.iter().map(|key| key.section).collect();
    assert_eq!(known.len(), all.len() + sections.len());
    assert!(all.len() > 60, "{}", all.len());
}

/// The file is there for people who have no program yet.
#[test]
fn the_reference_file_is_what_the_table_makes() {
    let file = include_str!("reference.toml");
    let remedy = "cargo run -- reference-config > src/config/reference.toml";
    assert!(file == reference(), "src/config/reference.toml is not that of the table: {remedy}");
}

/// What a row has to say so that people need nothing else.
#[test]
fn every_row_explains_itself() {
    let version: Vec<u64> = numbers(env!("CARGO_PKG_VERSION"));
    for key in keys() {
        let path = key.path();
        let text = key.text.concat();
        assert!(text.ends_with('.') || text.ends_with("together"), "{path}: no sentence");
        for word in &key.words {
            assert!(text.contains(&format!("\"{word}\"")), "{path}: \"{word}\" is not explained");
        }
        let nothing = key.default.is_none() || key.default.as_deref() == Some("[]");
        let in_key_table = NAMED_TABLES.contains(&key.section);
        assert!(!nothing || in_key_table || key.unset.is_some(), "{path}: unset?");
        assert!(key.default.is_some() || key.example.is_some(), "{path}: example?");
        assert!(numbers(key.since) <= version, "{path}: since {}", key.since);
    }
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|number| number.parse().unwrap()).collect()
}

/// Tables whose keys have no default, but for what is said of them.
const NAMED_TABLES: [&str; 4] = ["tls.certificates", "directories", "anonymous", "users"];

/// Without the name of the table of several.
fn known_name(key: &str) -> String {
    match (key.find('['), key.rfind(']')) {
        (Some(from), Some(to)) => key[..from].to_owned() + &key[to + 1..],
        _ => key.to_owned(),
    }
}

/// A value that differs from the default arrives.
#[test]
fn every_kind_of_value_is_read() {
    let folder = Folder::new();
    folder.write(
        "users.toml",
        format!("[[users]]\nname = \"bob\"\npassword = \"{HASH}\"\nhome = \"srv\""),
    );
    folder.write("chain.pem", "");
    folder.write("key.pem", "");
    let config = folder
        .load(
            &format!(
                "listen = {{ implicit = [\"127.0.0.1:0\"], explicit = [], backlog = 7 }}\n\
                 shards = {{ cpus = \"0-1\", steering = \"source\", handshake_percent = 25 }}\n\
                 passive = {{ ports = \"5000-5001\", address = \"203.0.113.7\" }}\n\
                 limits = {{ sessions = 9, sessions_per_ip = 3, idle_timeout = \"10m\", \
                 handshakes = 5, client_hello_timeout = \"3s\" }}\n\
                 log = {{ format = \"json\", level = \"off\" }}\n\
                 storage = {{ failed_upload = \"keep\", durability = \"full\", \
                 hash_uploads = [\"sha-256\", \"MD5\"] }}\n\
                 process.users_file = \"users.toml\"\n\
                 [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\nversions = [\"1.3\"]\n\
                 cipher_suites = [\"TLS13_AES_256_GCM_SHA384\"]\ndata_resumption = \"require\"\n\
                 profile = \"pq\"\ngroups = [\"x25519mlkem768\", \"X25519\"]\n\
                 [[directories]]\npath = \"srv\"\ncache = \"direct\"\n\
                 [[directories]]\npath = \".\"\nimmutable = true\n\
                 [anonymous]\nhome = \"srv\"\n\
                 [[users]]\nname = \"alice\"\npassword = \"{HASH}\"\nhome = \".\"\n\
                 permissions = [\"read\", \"write\"]\nlax_upload_eof = false\n"
            ),
            &overrides(),
        )
        .unwrap();
    let settings = &config.settings;
    assert_eq!(settings.listen.implicit, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!((settings.listen.explicit.len(), settings.listen.backlog), (0, 7));
    let [direct, immutable] = &settings.directories[..] else { panic!("{settings:?}") };
    assert!(direct.path.ends_with("srv"));
    assert_eq!(direct.rule, FileRule { cache: FileCache::Direct, immutable: false });
    assert_eq!(immutable.rule, FileRule { cache: FileCache::Page, immutable: true });
    assert_eq!(settings.shards.cpus.as_ref().unwrap().as_slice(), [0, 1]);
    assert_eq!(
        (settings.shards.steering, settings.shards.handshake_percent),
        (Steering::Source, Percent(25))
    );
    let (handshakes, hello) = (settings.limits.handshakes, settings.limits.client_hello_timeout);
    assert_eq!((handshakes, hello), (5, Duration::from_secs(3)));
    assert_eq!(settings.tls.profile, TlsProfile::PostQuantum);
    let groups = settings.tls.groups.as_ref().unwrap();
    let groups: Vec<_> = groups.iter().copied().map(GroupName::as_str).collect();
    assert_eq!(groups, ["X25519MLKEM768", "X25519"]);
    assert_eq!(settings.passive.ports.unwrap().count(), 2);
    assert_eq!(Value::show(&settings.passive.address), "203.0.113.7");
    assert_eq!((settings.limits.sessions, settings.limits.sessions_per_ip), (9, Ceiling(Some(3))));
    assert_eq!(settings.policy.idle_timeout, Duration::from_secs(600));
    let log = Log { format: LogFormat::Json, level: LevelFilter::OFF, ..Log::default() };
    assert_eq!(settings.log, log);
    let CertificateSource::Files { chain, key } = &config.certificate else { panic!() };
    assert!(chain.ends_with("chain.pem") && key.ends_with("key.pem"));
    assert_eq!(settings.tls.versions, TlsVersions { tls12: false, tls13: true });
    assert_eq!(settings.tls.cipher_suites.as_ref().unwrap().len(), 1);
    let hashes = [HashAlgorithm::Sha256, HashAlgorithm::Md5];
    assert_eq!(settings.policy.hash_uploads, hashes.into_iter().collect());
    check_accounts(&config.accounts);
    assert_eq!(folder.warnings(&config), [""; 0]);
}

fn check_accounts(accounts: &Accounts) {
    let alice = accounts.users.verify(b"alice", b"secret").unwrap();
    let none = Permissions::NONE;
    let write = Permissions { create: true, overwrite: true, chmod: true, mtime: true, ..none };
    assert_eq!(alice.permissions, Permissions { read: true, ..write });
    let bob = accounts.users.verify(b"bob", b"secret").unwrap();
    assert_eq!(bob.permissions, Permissions::READ_ONLY);
    assert_eq!((alice.lax_upload_eof, bob.lax_upload_eof), (Some(false), None));
    // Homes are shared: bob and anonymous see the same one.
    assert_eq!(Some(bob.home), accounts.users.anonymous().map(|anonymous| anonymous.home));
    assert_eq!(accounts.homes.len(), 2);
}

/// `body` after a good configuration's head of two lines: errors exactly as expected.
#[track_caller]
fn check_errors(body: &str, expected: &[&str]) {
    let folder = Folder::new();
    folder.write("empty.pem", "");
    let text = format!("anonymous.home = \"srv\"\n\n{body}");
    let errors = folder.load(&text, &overrides()).map(drop).unwrap_err();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn errors_of_listeners_and_processes() {
    check_errors(
        "[listen]\nimplicit = [\n  \"nowhere\",\n  990,\n]\nbacklog = 0\n",
        &[
            "ringftpd.toml:5: listen.implicit: \"nowhere\" is not an address; write 192.0.2.1:990, \
             [2001:db8::1]:990, or :990 for all addresses (host names are not looked up)",
            "ringftpd.toml:6: listen.implicit: expected text, found 990",
            "ringftpd.toml:8: listen.backlog: 0 is not a whole number from 1 to 65535",
        ],
    );
    check_errors(
        "[listen]\nimplicit = []\nexplicit = []",
        &["ringftpd.toml: listen: nothing to listen on: both implicit and explicit are switched \
             off"],
    );
    check_errors(
        "[listen]\nimplicit = [\"127.0.0.1:21\"]",
        &["ringftpd.toml: listen: 127.0.0.1:21 and :21 are the same port"],
    );
    check_errors(
        "[passive]\nports = \"900-1000\"",
        &["ringftpd.toml: listen: the passive ports 900-1000 contain the listener :990"],
    );
    check_errors(
        "[passive]\nports = \"0-1000\"\naddress = \"::1\"",
        &[
            "ringftpd.toml:4: passive.ports: \"0-1000\" begins with port 0; leave the range out to \
             let the kernel choose ports",
            "ringftpd.toml:5: passive.address: \"::1\" is neither the IPv4 address of a host nor a \
             name; write it as \"203.0.113.7\", \"ftp.example.org\" or \"control\"",
        ],
    );
    check_errors(
        "[shards]\ncpus = \"3-1\"\n[process]\nuser = \"\"\nusers_file = \"none.toml\"",
        &[
            "ringftpd.toml:4: shards.cpus: \"3-1\": the range 3-1 is reversed",
            "ringftpd.toml:6: process.user: is empty; leave the key out for the default",
            "ringftpd.toml:7: process.users_file: cannot read none.toml: No such file or directory \
             (os error 2)",
        ],
    );
}

#[test]
fn errors_of_tls() {
    check_errors(
        "[tls]\ncertificate = \"empty.pem\"",
        &["ringftpd.toml:4: tls.certificate: is given without `key`, the file of its private key"],
    );
    check_errors(
        "[tls]\nkey = \"empty.pem\"",
        &["ringftpd.toml:4: tls.key: is given without `certificate`, the file of its chain"],
    );
    check_errors(
        "[tls]\ncertificate = \"gone.pem\"\nkey = \"srv\"\nversions = [\"1.1\"]\n\
         ticket_lifetime = \"8d\"\ndata_resumption = \"always\"",
        &[
            "ringftpd.toml:4: tls.certificate: cannot read gone.pem: No such file or directory (os \
             error 2)",
            "ringftpd.toml:5: tls.key: srv is not a file",
            "ringftpd.toml:6: tls.versions: \"1.1\" is not one of \"1.2\", \"1.3\"",
            "ringftpd.toml:7: tls.ticket_lifetime: \"8d\" is outside \"2s\" to \"7d\"",
            "ringftpd.toml:8: tls.data_resumption: \"always\" is not one of \"off\", \"prefer\", \
             \"require\"",
        ],
    );
    check_errors(
        "[tls]\nversions = []\ncipher_suites = [\"TLS13_AES_128_GCM_SHA256\"]",
        &[
            "ringftpd.toml:4: tls.versions: is empty; name \"1.2\", \"1.3\" or both",
            "ringftpd.toml:5: tls.cipher_suites: names no suite of TLS 1.2, which `versions` \
             offers; known are TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
             TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
             TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
             TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
    );
}

#[test]
fn a_profile_is_not_broken_in_silence() {
    for (body, expected) in [
        (
            "profile = \"throughput\"\nversions = [\"1.3\"]",
            "ringftpd.toml:4: tls.profile: \"throughput\" prefers TLS 1.2, which `versions` leaves \
             out",
        ),
        (
            "profile = \"pq\"\nversions = [\"1.2\"]",
            "ringftpd.toml:4: tls.profile: \"pq\" needs TLS 1.3, which `versions` leaves out",
        ),
        (
            "profile = \"pq\"\ngroups = [\"X25519\"]",
            "ringftpd.toml:4: tls.profile: \"pq\" prefers X25519MLKEM768, which `groups` \
             leaves out",
        ),
        (
            "groups = [\"X25519MLKEM768\"]",
            "ringftpd.toml:4: tls.groups: TLS 1.2, which `versions` offers, cannot use \
             X25519MLKEM768",
        ),
        (
            "groups = [\"X448\", \"X25519\"]",
            "ringftpd.toml:4: tls.groups: \"X448\" is not a key exchange group of this server; \
             known are X25519, secp256r1, secp384r1, X25519MLKEM768",
        ),
        (
            "profile = \"fast\"",
            "ringftpd.toml:4: tls.profile: \"fast\" is not one of \"balanced\", \"throughput\", \
             \"pq\"",
        ),
    ] {
        check_errors(&format!("[tls]\n{body}"), &[expected]);
    }
    check_errors(
        "[tls]\ngroups = []\n[shards]\nsteering = \"luck\"\nhandshake_percent = 100",
        &[
            "ringftpd.toml:4: tls.groups: is empty; known are X25519, secp256r1, secp384r1, \
             X25519MLKEM768",
            "ringftpd.toml:6: shards.steering: \"luck\" is not one of \"kernel\", \"cpu\", \
             \"source\"",
            "ringftpd.toml:7: shards.handshake_percent: 100 is not a whole number from 1 to 99",
        ],
    );
}

#[test]
fn errors_of_policy_limits_storage_and_log() {
    check_errors(
        "[policy]\ngreeting = \"a\\nb\"\nallow_ccc = 1\n\
         host_names = [\"ftp.example.org\", \"a b\"]",
        &[
            "ringftpd.toml:4: policy.greeting: contains a control character",
            "ringftpd.toml:5: policy.allow_ccc: expected true or false, found 1",
            "ringftpd.toml:6: policy.host_names: \"a b\" is not a host name such as \
             \"ftp.example.org\"",
        ],
    );
    check_errors(
        "[limits]\nsessions = -1\nlogin_failures = 0\nidle_timeout = 5\nlogin_timeout = \"5\"\n\
         data_timeout = \"0s\"\nstall_timeout = \"5 minutes\"",
        &[
            "ringftpd.toml:4: limits.sessions: -1 is not a whole number from 1 to 10000000",
            "ringftpd.toml:5: limits.login_failures: 0 is not a whole number from 1 to 100",
            "ringftpd.toml:6: limits.idle_timeout: expected a duration with its unit, such as \
             \"5m\", found 5",
            "ringftpd.toml:7: limits.login_timeout: \"5\" has no unit; write ms, s, m, h or d \
             after it: \"5s\"",
            "ringftpd.toml:8: limits.data_timeout: \"0s\" is outside \"1s\" to \"1d\"",
            "ringftpd.toml:9: limits.stall_timeout: \"5 minutes\" is not a duration; write a \
             number with ms, s, m, h or d: \"5m\"",
        ],
    );
    check_errors(
        "[storage]\nfailed_upload = true\nhash_uploads = [\"SHA256\"]\nwrite_size = \"3MiB\"\n\
         [log]\nlevel = \"loud\"",
        &[
            "ringftpd.toml:4: storage.failed_upload: true is not one of \"delete\", \"keep\"",
            "ringftpd.toml:5: storage.hash_uploads: \"SHA256\" is not a digest of HASH; known are \
             SHA-256, SHA-512, SHA-1, MD5, CRC32",
            "ringftpd.toml:6: storage.write_size: \"3MiB\" is not one of \"auto\", \"256KiB\", \
             \"512KiB\", \"1MiB\", \"2MiB\"",
            "ringftpd.toml:8: log.level: \"loud\" is not one of \"off\", \"error\", \"warn\", \
             \"info\", \"debug\", \"trace\"",
        ],
    );
    check_errors(
        "[metrics]\nlisten = \"localhost\"",
        &["ringftpd.toml:4: metrics.listen: \"localhost\" is not ADDR:PORT; write it as \
             \"127.0.0.1:9121\""],
    );
}

#[test]
fn errors_of_directories() {
    check_errors(
        "[[directories]]\npath = \"srv\"\n[[directories]]\ncache = \"none\"\nimmutable = 1\n\
         [[directories]]\npath = \"srv\"\ncache = \"direct\"\nimmutable = true",
        &[
            "ringftpd.toml:3: directories[srv].cache: is missing; give it, or immutable",
            "ringftpd.toml:5: directories[2].path: is missing",
            "ringftpd.toml:6: directories[2].cache: \"none\" is not one of \"page\", \"direct\"",
            "ringftpd.toml:7: directories[2].immutable: expected true or false, found 1",
            "ringftpd.toml:9: directories[srv].path: srv has its rule already",
            "ringftpd.toml:11: directories[srv].immutable: has no effect with cache = \"direct\": \
             the kernel's TLS sends from the page cache only; leave one of the two out",
        ],
    );
}

#[test]
fn errors_of_form() {
    check_errors(
        "[storage]\nfailed_uploads = \"keep\"\n[stroage]\n",
        &[
            "ringftpd.toml:4: storage.failed_uploads: unknown key; known here: failed_upload, \
             durability, leftover_age, hash_uploads, write_size",
            "ringftpd.toml:5: stroage: unknown key; known here: listen, shards, tls, policy, \
             passive, limits, storage, log, metrics, control, process, directories, anonymous, \
             users",
        ],
    );
    check_errors("log = 1", &["ringftpd.toml:3: log: expected a table, written as [log]"]);
    check_errors("users = [1]", &["ringftpd.toml:3: users: expected a table"]);
    check_errors("a = = 1\n", &["ringftpd.toml:3: not valid TOML: extra `=`, expected nothing"]);
    check_errors(
        "[log]\nlevel = \"off\"\nlevel = \"off\"",
        &["ringftpd.toml:5: not valid TOML: duplicate key"],
    );
    let folder = Folder::new();
    let path = folder.write("latin.toml", b"# \xe9t\xe9\n# a\n# b\xff\n");
    let error = Config::load(&path, &overrides()).unwrap_err().to_string();
    assert_eq!(error, format!("{}:1: not UTF-8 text", path.display()));
    let gone = folder.0.path().join("gone.toml");
    let error = Config::load(&gone, &overrides()).unwrap_err().to_string();
    let reason = "cannot read: No such file or directory (os error 2)";
    assert_eq!(error, format!("{}: {reason}", gone.display()));
}

#[test]
fn errors_of_users() {
    check_errors(
        "[[users]]\nname = \"a\"\nhome = \"gone\"\npermissions = [\"fly\"]\n\n[[users]]\n\
         home = \"srv\"\npassword = \"secret\"\ncolour = \"red\"\n",
        &[
            "ringftpd.toml:3: users[a]: cannot log in: give one of password, certificate_sha256, \
             certificate_subject",
            "ringftpd.toml:6: users[a].permissions: \"fly\" is not a permission; known are read, \
             list, create, overwrite, append, delete, rename, mkdir, chmod, mtime, and write \
             (create + overwrite + chmod + mtime)",
            "ringftpd.toml:8: users[2].name: is missing",
            "ringftpd.toml:10: users[2].password: unknown password hash format; known are argon2id \
             ($argon2id$), bcrypt ($2b$), scrypt ($scrypt$) and SHA-crypt ($5$, $6$); make one \
             with `ringftpd user passwd`",
            "ringftpd.toml:11: users[2].colour: unknown key; known here: name, password, \
             certificate_sha256, certificate_subject, home, permissions, lax_upload_eof",
        ],
    );
    check_errors(
        "[[users]]\nname = \"a\"\nhome = \"srv\"\npassword = 12345",
        &["ringftpd.toml:6: users[a].password: expected a password hash in quotes"],
    );
    let user = |name: &str| {
        format!("[[users]]\nname = \"{name}\"\nhome = \"srv\"\npassword = \"{HASH}\"\n")
    };
    check_errors(
        &[user("a"), user("b"), user("a"), user("FTP"), user(" c")].concat(),
        &[
            "ringftpd.toml:12: users[a].name: \"a\" is already the name of the user at \
             ringftpd.toml:4",
            "ringftpd.toml:16: users[FTP].name: \"anonymous\" and \"ftp\" are the names of \
             [anonymous]; choose another",
            "ringftpd.toml:20: users[ c].name: \" c\" is not a user name: 1 to 255 octets, no \
             control characters, no spaces around it",
        ],
    );
    check_errors(
        "[tls]\nclient_ca = \"empty.pem\"\n\
         [[users]]\nname = \"a\"\nhome = \"srv\"\ncertificate_subject = \"alice\"",
        &["ringftpd.toml:8: users[a].certificate_subject: \"alice\" is not TYPE=VALUE; \
             `openssl x509 -noout -subject -nameopt RFC2253 -in FILE` prints a subject"],
    );
    check_errors(
        "[[users]]\nname = \"a\"\nhome = \"srv\"\ncertificate_subject = \"CN=a\"\n\
         certificate_sha256 = \"ab:cd\"\n[[users]]\nname = \"b\"\n\
         password = \"$6$rounds=999999999$x$y\"",
        &[
            "ringftpd.toml:6: users[a].certificate_subject: needs tls.client_ca: without an \
             authority anybody can write this subject; or use certificate_sha256",
            "ringftpd.toml:7: users[a].certificate_sha256: \"ab:cd\" is not a SHA-256 fingerprint \
             of 64 hexadecimal digits; `openssl x509 -noout -fingerprint -sha256 -in FILE` prints \
             it",
            "ringftpd.toml:8: users[b].home: is missing; name the directory this user sees as /",
            "ringftpd.toml:10: users[b].password: SHA-crypt rounds 999999999 is outside 1000 to \
             5000000",
        ],
    );
}

#[test]
fn the_users_file_has_users_only() {
    let folder = Folder::new();
    folder.write("users.toml", "[log]\n[[users]]\nname = \"a\"\nhome = \"srv\"\n");
    let error = folder.load("process.users_file = \"users.toml\"", &overrides()).unwrap_err();
    assert_eq!(
        error,
        "users.toml:1: log: unknown key; known here: users\n\
         users.toml:2: users[a]: cannot log in: give one of password, certificate_sha256, \
         certificate_subject"
    );
}

#[test]
fn somebody_can_log_in() {
    let folder = Folder::new();
    let error = folder.load("", &overrides()).unwrap_err();
    assert_eq!(
        error,
        "ringftpd.toml: nobody could log in: add [[users]] or [anonymous], name \
         process.users_file, or serve one directory with `ringftpd serve DIR --config …`"
    );
    let directory = Some(folder.0.path().join("srv"));
    let with_directory = Overrides { directory, ..overrides() };
    let config = folder.load("listen.explicit = []", &with_directory).unwrap();
    assert_eq!(config.accounts.users.anonymous().unwrap().permissions, Permissions::READ_ONLY);
    let error = folder.load("anonymous.home = \"srv\"", &with_directory).unwrap_err();
    assert_eq!(
        error,
        "command line: DIR: cannot be used because ringftpd.toml configures users, and each has a \
         home there"
    );
}

/// It may come, and the other users need not wait for it.
#[test]
fn a_home_that_is_not_there_is_a_warning() {
    let folder = Folder::new();
    let config = folder.load("anonymous.home = \"gone\"", &overrides()).unwrap();
    assert_eq!(
        folder.warnings(&config),
        ["ringftpd.toml:1: anonymous.home: cannot use the directory gone: No such file or \
             directory (os error 2); its users cannot log in until it is there"]
    );
}

#[test]
fn warnings() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("chain.pem", "");
    let key = folder.write("key.pem", "");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let users = format!("[[users]]\nname = \"bob\"\npassword = \"{HASH}\"\nhome = \"srv\"");
    let users = folder.write("users.toml", users);
    fs::set_permissions(&users, fs::Permissions::from_mode(0o644)).unwrap();
    let text = "[policy]\nrequire_control_tls = false\nrequire_data_tls = false\nallow_ccc = true\n\
                allow_foreign_data_address = true\nlax_upload_eof = true\n[limits]\n\
                idle_timeout = \"30s\"\n[passive]\nports = \"100-200\"\n[tls]\n\
                certificate = \"chain.pem\"\nkey = \"key.pem\"\n[anonymous]\nhome = \"srv\"\n\
                permissions = [\"write\"]\nlax_upload_eof = true\n\
                [process]\nusers_file = \"users.toml\"\nuser = \"root\"";
    let config = folder.load(text, &Overrides { is_root: true, ..overrides() }).unwrap();
    assert_eq!(
        folder.warnings(&config),
        [
            "ringftpd.toml:2: policy.require_control_tls: passwords may travel in clear",
            "ringftpd.toml:3: policy.require_data_tls: files may travel in clear",
            "ringftpd.toml:4: policy.allow_ccc: after CCC, commands and pathnames travel in clear",
            "ringftpd.toml:5: policy.allow_foreign_data_address: clients can make this server \
             connect to other hosts (RFC 2577 §3)",
            "ringftpd.toml:6: policy.lax_upload_eof: a truncated upload cannot be told from a \
             complete one",
            "ringftpd.toml:8: limits.idle_timeout: RFC 1123 §4.1.3.2 asks for at least \"5m\"",
            "ringftpd.toml:10: passive.ports: ports below 1024 are root's; PASV fails once root is \
             given up",
            "ringftpd.toml:13: tls.key: key.pem holds secrets and is open to others; remedy: \
             chmod 600 key.pem",
            "ringftpd.toml:16: anonymous.permissions: anybody can change what others see",
            "ringftpd.toml:17: anonymous.lax_upload_eof: a truncated upload cannot be told from a \
             complete one",
            "users.toml: users.toml holds secrets and is open to others; remedy: chmod 600 \
             users.toml",
            "ringftpd.toml: process.user: the server keeps root's rights: a fault of it is one of \
             the whole host",
        ]
    );
    let text = "process.user = \"ftp\"\nanonymous.home = \"srv\"";
    let config = folder.load(text, &overrides()).unwrap();
    let expected = "ringftpd.toml: process.user: has no effect: only root can become \"ftp\"";
    assert_eq!(folder.warnings(&config), [expected]);
    let text =
        "anonymous.home = \"srv\"\n[[directories]]\npath = \"srv\"\nimmutable = true\n[tls]\n";
    let no_kernel_tls = "ringftpd.toml:4: directories[srv].immutable: has no effect without the \
                         kernel's TLS, which takes tls.ktls = \"auto\" and TLS 1.3";
    for (line, expected) in [
        ("", &[][..]),
        ("ktls = \"off\"", &[no_kernel_tls]),
        ("versions = [\"1.2\"]", &[no_kernel_tls]),
    ] {
        let config = folder.load(&format!("{text}{line}"), &overrides()).unwrap();
        assert_eq!(folder.warnings(&config), expected, "{line}");
    }
}

#[test]
fn without_a_file() {
    let config = Config::embedded(&overrides()).unwrap();
    let settings = &config.settings;
    assert_eq!(settings.listen.implicit, [ListenAddress::any(&[990, 9990])]);
    assert_eq!(settings.listen.explicit, [ListenAddress::any(&[21, 2121])]);
    assert_eq!(config.accounts.homes, [PathBuf::from(".")]);
    let account = config.accounts.users.verify(b"anonymous", b"").unwrap();
    assert_eq!(account.permissions, Permissions::READ_ONLY);
    let directory = PathBuf::from("state");
    assert_eq!(config.certificate, CertificateSource::SelfSigned { directory });
    assert_eq!(config.announced, None);
    assert_eq!(config.warnings, []);
}

#[test]
fn the_user_of_the_command_line_replaces_anonymous() {
    let user = Overrides { user: Some("alice".to_owned()), ..overrides() };
    let config = Config::embedded(&user).unwrap();
    let announced = config.announced.unwrap();
    let password = announced.generated.unwrap();
    let users = &config.accounts.users;
    let account = users.verify(b"alice", password.reveal().as_bytes()).unwrap();
    assert_eq!(account.permissions, Permissions::ALL);
    assert!(users.verify(b"anonymous", b"").is_err());
    let chosen = Password::new("chosen".to_owned()).unwrap();
    let config = Config::embedded(&Overrides { password: Some(chosen), ..user }).unwrap();
    assert_eq!(config.announced.unwrap().generated, None);
    assert!(config.accounts.users.verify(b"alice", b"chosen").is_ok());
}

#[test]
fn flags_win_over_the_file() {
    let folder = Folder::new();
    let file = folder.write("x.pem", "");
    let overrides = Overrides {
        implicit: Some(vec!["127.0.0.1:1".parse().unwrap()]),
        explicit: Some(Vec::new()),
        cpus: Some("1".parse().unwrap()),
        certificate: Some((file.clone(), file)),
        passive_ports: Some("7000-7001".parse().unwrap()),
        log_format: Some(LogFormat::Json),
        log_level: Some(LevelFilter::ERROR),
        ..Overrides::default()
    };
    let text = "anonymous.home = \"srv\"\nlisten.implicit = [\":5\"]\nshards.cpus = \"0\"\n\
                passive.ports = \"8000-8001\"\nlog.level = \"trace\"";
    let Config { settings, certificate, .. } = folder.load(text, &overrides).unwrap();
    assert_eq!(settings.listen.implicit, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(settings.listen.explicit, []);
    assert_eq!(settings.shards.cpus.unwrap().as_slice(), [1]);
    assert_eq!(settings.passive.ports.unwrap().to_string(), "7000-7001");
    assert_eq!(
        settings.log,
        Log { format: LogFormat::Json, level: LevelFilter::ERROR, ..Log::default() }
    );
    assert!(matches!(certificate, CertificateSource::Files { .. }));
}

#[test]
fn mistakes_of_the_command_line() {
    let overrides = Overrides {
        directory: Some(PathBuf::from("/nonexistent/srv")),
        certificate: Some((PathBuf::from("/nonexistent/a"), PathBuf::from("/nonexistent/b"))),
        implicit: Some(Vec::new()),
        explicit: Some(Vec::new()),
        ..Overrides::default()
    };
    let missing = "No such file or directory (os error 2)";
    assert_eq!(
        Config::embedded(&overrides).unwrap_err().to_string(),
        format!(
            "command line: --cert: cannot read /nonexistent/a: {missing}\n\
             command line: --key: cannot read /nonexistent/b: {missing}\n\
             command line: DIR: cannot use the directory /nonexistent/srv: {missing}\n\
             command line: nothing to listen on: both implicit and explicit are switched off"
        )
    );
    assert_eq!(
        Config::embedded(&Overrides::default()).unwrap_err().to_string(),
        "command line: --state-dir: no home directory to keep the self-signed certificate in; give \
         --state-dir DIR, or a certificate"
    );
}

/// Any text is answered, never a panic: every prefix of the reference, and every line mangled.
#[test]
fn broken_texts_never_panic() {
    let files = Files::default();
    let text = render(true);
    let boundaries = (0..text.len()).step_by(17).filter(|end| text.is_char_boundary(*end));
    for end in boundaries {
        let document = Document::new(&files, Path::new("x"), &text[..end]);
        if let Some(table) = document.parse() {
            Settings::read(&Section::root(&document, table.get_ref()));
        }
    }
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        for value in ["-1", "1e400", "\"\"", "[[]]", "{}", "1979-05-27", "\"\\u0000\"", "0x_"] {
            let mangled = text.replace(line, &format!("{key} = {value}"));
            let document = Document::new(&files, Path::new("x"), &mangled);
            if let Some(table) = document.parse() {
                let root = Section::root(&document, table.get_ref());
                Settings::read(&root);
                Found::default().read_users(&document, &root, true);
            }
        }
    }
}

/// Root serves from a configuration only when that is written down; from the command line alone it
/// is warned of.
#[test]
fn serving_as_root_is_written_down() {
    let folder = Folder::new();
    let as_root = Overrides { is_root: true, ..overrides() };
    let error = folder.load("anonymous.home = \"srv\"", &as_root).unwrap_err();
    assert!(error.contains("ringftpd.toml: process.user: is missing"), "{error}");
    assert!(error.contains("process.user = \"root\""), "{error}");
    for user in ["root", "0", "0:0"] {
        let text = format!("process.user = \"{user}\"\nanonymous.home = \"srv\"");
        let config = folder.load(&text, &as_root).unwrap();
        assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    }
    let config = folder.load("process.user = \"ftp\"\nanonymous.home = \"srv\"", &as_root);
    assert!(config.unwrap().warnings.is_empty());
    let config = Config::embedded(&as_root).unwrap();
    assert!(config.warnings[0].to_string().contains("keeps root's rights"));
}

/// `write` means what it meant before its parts had words of their own.
#[test]
fn write_is_four_permissions() {
    use super::{permission_word, permission_words};
    let of = |words: &[&str]| {
        let mut permissions = Permissions::NONE;
        words.iter().for_each(|word| permission_word(word, &mut permissions).unwrap());
        permissions
    };
    assert_eq!(of(&["write"]), of(&["create", "overwrite", "chmod", "mtime"]));
    let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
    assert_eq!(of(&all), Permissions::ALL);
    assert_eq!(permission_words(Permissions::ALL), all);
    for words in [&["create"][..], &["create", "overwrite", "chmod"], &["read", "mtime"], &[]] {
        assert_eq!(permission_words(of(words)), words);
    }
}
