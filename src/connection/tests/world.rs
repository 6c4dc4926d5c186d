//! A server's shard in a simulation: the shipped shells over a directory of its own, and what must
//! hold when all clients are gone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::model::tree::Tree;
use super::workload::{BIG, VAST};
use crate::auth::{Anonymous, PasswordHash, User, UserTable};
use crate::clock;
use crate::config::Settings;
use crate::connection::context::{Context, ContextParts, NewState, Queues};
use crate::connection::control::{Accepted, serve};
use crate::connection::logins::homes::OpenedHome;
use crate::connection::proxied::Ends;
use crate::protocol::account::{HomeId, Permissions};
use crate::protocol::policy::DataResumption;
use crate::protocol::proxy_header::Introduced;
use crate::protocol::session::Mode;
use crate::runtime::simulated::{Simulation, Stuck, Weather, current};
use crate::runtime::{Helpers, Stream, sleep_until, timeout_at};
use crate::sys::sendfile::is_cached;
use crate::tls::{
    PemText, ServerCertificate, ServerTls, TicketSecrets, TlsOptions, TlsProfile, TlsVersions,
};
use crate::vfs::Home;

pub(super) const SERVER: [u8; 4] = [192, 0, 2, 1];
pub(super) const CLIENT: [u8; 4] = [192, 0, 2, 7];

/// Ed25519, because its signatures are all of one length: a run has as many octets each time.
static CERTIFICATE: LazyLock<(ServerCertificate, CertificateDer<'static>)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["server.test".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let pem = |text: String| PemText { origin: "memory".to_owned(), pem: text.into_bytes() };
    let server = ServerCertificate::from_pem(&pem(certificate.pem()), &pem(key.serialize_pem()));
    (server.unwrap(), certificate.der().clone())
});

static TLS: LazyLock<Arc<ServerTls>> = LazyLock::new(|| server_tls(DataResumption::Prefer));

fn server_tls(resumption: DataResumption) -> Arc<ServerTls> {
    ServerTls::new(TlsOptions {
        certificates: vec![CERTIFICATE.0.clone()],
        profile: TlsProfile::Balanced,
        versions: TlsVersions::default(),
        groups: None,
        cipher_suites: None,
        client_ca: None,
        client_fingerprints: std::collections::BTreeSet::new(),
        resumption,
        ticket_secrets: TicketSecrets::only([7; 32]),
        ticket_lifetime: Duration::from_secs(3_600),
    })
    .unwrap()
}

/// Whose directories there are.
const HOMES: [&str; 4] = ["anonymous", "ann", "bob", "limited"];

/// Anonymous and ann may do everything, bob may read; in one home, adder may append and mover may
/// rename, and nothing else. The passwords are "secret".
static USERS: LazyLock<Arc<UserTable>> = LazyLock::new(|| Arc::new(users_without(None)));

fn users_without(gone: Option<&str>) -> UserTable {
    const CHEAP: &str = "$5$rounds=1000$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA";
    let user = |name: &str, home, permissions| User {
        name: name.to_owned(),
        password: Some(PasswordHash::parse(CHEAP).unwrap()),
        certificate: None,
        home: HomeId(home),
        permissions,
        lax_upload_eof: None,
    };
    let mut users = vec![
        user("ann", 1, Permissions::ALL),
        user("bob", 2, Permissions::READ_ONLY),
        user("adder", 3, Permissions { append: true, ..Permissions::NONE }),
        user("mover", 3, Permissions { rename: true, ..Permissions::NONE }),
    ];
    users.retain(|user| Some(&*user.name) != gone);
    let anonymous =
        Anonymous { home: HomeId(0), permissions: Permissions::ALL, lax_upload_eof: None };
    UserTable::new(users, Some(anonymous)).unwrap()
}

/// The octets of [`BIG`].
static BIG_OCTETS: LazyLock<Vec<u8>> =
    LazyLock::new(|| b"a line\n".iter().copied().cycle().take(250_000).collect());

/// The length of the longest file that the file system of temporary files has; none where that is
/// the end of all numbers, and to append to it is another fault.
pub(super) fn vast_length() -> Option<u64> {
    static LENGTH: LazyLock<Option<u64>> = LazyLock::new(|| {
        let file = tempfile::tempfile().unwrap();
        let all = i64::MAX.cast_unsigned();
        if file.set_len(all).is_ok() {
            return None;
        }
        let (mut good, mut bad) = (0, all);
        while bad - good > 1 {
            let length = good + (bad - good) / 2;
            *if file.set_len(length).is_ok() { &mut good } else { &mut bad } = length;
        }
        Some(good)
    });
    *LENGTH
}

/// One shard, and the homes of its users.
pub(super) struct World {
    pub(super) context: Rc<Context>,
    pub(super) simulation: Simulation,
    directory: tempfile::TempDir,
    tls12: bool,
}

/// How one run is made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) weather: Weather,
    /// Neither log-ins nor data connections in clear.
    pub(super) require_tls: bool,
    /// Clients have TLS 1.2 only.
    pub(super) tls12: bool,
    /// How many passive ports there are; 0 is 100.
    pub(super) ports: u16,
    /// What else the configuration says.
    pub(super) configure: Option<fn(&mut Settings)>,
}

/// Counts what a shell logs as an error: a panic that was caught, above all.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl std::io::Write for Errors {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `clients` against a fresh shard, then ends it, and checks that nothing is left.
#[track_caller]
pub(super) fn run<T: 'static, F: Future<Output = T> + 'static>(
    plan: Plan,
    clients: impl FnOnce(Rc<World>) -> F + 'static,
) -> T {
    let errors = Errors::default();
    let writer = errors.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(move || writer.clone())
        .finish();
    let outcome: Result<T, Stuck> = tracing::subscriber::with_default(subscriber, || {
        Simulation::run(plan.seed, plan.weather, |simulation| async move {
            let world = Rc::new(World::new(simulation, plan));
            let result = clients(world.clone()).await;
            world.rest().await;
            result
        })
    });
    let result = outcome.unwrap_or_else(|stuck| panic!("{plan:?}: {stuck}"));
    assert_eq!(errors.0.load(Ordering::Relaxed), 0, "{plan:?}: an error was logged");
    result
}

impl World {
    fn new(simulation: Simulation, plan: Plan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let homes = HOMES.map(|name| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            let home = Arc::new(Home::new(path, Arc::new([])));
            let root = Some(Arc::new(home.open().unwrap()));
            OpenedHome { home, root }
        });
        let mut settings = Settings::default();
        settings.policy.require_control_tls = plan.require_tls;
        settings.policy.require_data_tls = plan.require_tls;
        settings.policy.allow_ccc = true;
        if let Some(configure) = plan.configure {
            configure(&mut settings);
        }
        let tls = match settings.policy.data_resumption {
            DataResumption::Prefer => TLS.clone(),
            other => server_tls(other),
        };
        let context = Context::new(ContextParts {
            shard: 0,
            settings: Arc::new(settings),
            tls,
            users: Arc::new(USERS.clone()),
            homes: homes.into(),
            helpers: Helpers::new().unwrap(),
            passive_range: Some(50_000..=49_999 + if plan.ports == 0 { 100 } else { plan.ports }),
            kernel_tls: None,
            boot: None,
            queues: Queues::new(),
        });
        Self { context: Rc::new(context), simulation, directory, tls12: plan.tls12 }
    }

    /// A reload, which `change` makes of the settings there are, and takes the account `gone` away.
    pub(super) fn reload(&self, gone: Option<&str>, change: impl FnOnce(&mut Settings)) {
        let old = self.context.state();
        let generation = old.generation + 1;
        let mut settings = Settings::clone(&old.settings);
        change(&mut settings);
        let mut users = users_without(gone);
        users.succeed(&old.users, generation, |now, before| now == before);
        let home = |name| Arc::new(Home::new(self.directory.path().join(name), Arc::new([])));
        self.context.replace(NewState {
            generation,
            settings: Arc::new(settings),
            tls: old.tls.clone(),
            users: Arc::new(Arc::new(users)),
            homes: HOMES.map(home).into(),
        });
    }

    /// A new control connection; the client's end.
    pub(super) fn accept(&self, mode: Mode) -> Stream {
        self.accept_from(CLIENT, mode)
    }

    /// The same, from another address.
    pub(super) fn accept_from(&self, client: [u8; 4], mode: Mode) -> Stream {
        let (theirs, ours) = self.simulation.pair().unwrap();
        let address = |octets: [u8; 4], port: u16| SocketAddr::from((octets, port));
        let (local, peer) = (address(SERVER, 21), address(client, 4_000));
        let stream = Stream::adopt(ours, peer);
        let (refused, permit, guard) = (None, None, Box::new(()));
        let ends = Ends::new(peer, local, Introduced::Nobody);
        serve(&self.context, Accepted { stream, mode, local, ends, refused, permit, guard });
        Stream::adopt(theirs, local)
    }

    /// What one client's connections are made with; it resumes its own sessions.
    pub(super) fn client_tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CERTIFICATE.1.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let versions =
            if self.tls12 { &[&rustls::version::TLS12][..] } else { rustls::ALL_VERSIONS };
        let builder = builder.with_protocol_versions(versions).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Whether clients have TLS 1.2 only.
    pub(super) const fn is_tls12(&self) -> bool {
        self.tls12
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path_of("anonymous", name)
    }

    pub(super) fn path_of(&self, user: &str, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(user).join(name)
    }

    pub(super) fn put(&self, name: &str, octets: &[u8]) {
        fs::write(self.path(name), octets).unwrap();
    }

    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    /// Takes a file out of the page cache; false where there is no disk behind it.
    pub(super) fn evict(&self, name: &str) -> bool {
        let file = fs::File::open(self.path(name)).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        !is_cached(&file, 0, 1).unwrap_or(true)
    }

    /// Fills the homes of ann and bob. Gives what is in each, and whether ann's has besides a file
    /// that is as long as its file system has them.
    pub(super) fn furnish(&self) -> (Tree, bool) {
        let tree = Tree::from([
            (b"/".to_vec(), None),
            (b"/dir".to_vec(), None),
            (b"/a".to_vec(), Some(b"0123456789".to_vec())),
            (BIG.to_vec(), Some(BIG_OCTETS.clone())),
        ]);
        for user in ["ann", "bob"] {
            for (path, octets) in &tree {
                match octets {
                    Some(octets) => self.put_for(user, path, octets),
                    None if path == b"/" => {}
                    None => fs::create_dir(self.place_of(user, path)).unwrap(),
                }
            }
        }
        if let Some(length) = vast_length() {
            let vast = fs::File::create(self.place_of("ann", VAST)).unwrap();
            vast.set_len(length).unwrap();
        }
        (tree, vast_length().is_some())
    }

    fn place_of(&self, user: &str, path: &[u8]) -> PathBuf {
        self.path_of(user, OsStr::from_bytes(&path[1..]))
    }

    pub(super) fn put_for(&self, user: &str, path: &[u8], octets: &[u8]) {
        // The part of an upload to what is a directory by now.
        let _ = fs::write(self.place_of(user, path), octets);
    }

    /// What is in a home, but for a file that is as long as its file system has them.
    pub(super) fn tree_of(&self, user: &str) -> Tree {
        let mut tree = Tree::from([(b"/".to_vec(), None)]);
        let mut directories = vec![Vec::new()];
        while let Some(directory) = directories.pop() {
            let there = self.path_of(user, OsStr::from_bytes(&directory));
            for entry in fs::read_dir(there).unwrap() {
                let entry = entry.unwrap();
                let mut path = [&directory[..], entry.file_name().as_bytes()].concat();
                let facts = entry.metadata().unwrap();
                if facts.is_dir() {
                    tree.insert([b"/", &path[..]].concat(), None);
                    path.push(b'/');
                    directories.push(path);
                } else if Some(facts.len()) != vast_length() {
                    let octets = fs::read(entry.path()).unwrap();
                    tree.insert([b"/", &path[..]].concat(), Some(octets));
                }
            }
        }
        tree
    }

    /// Every file below the home, hidden ones included, and its octets; a directory has none.
    pub(super) fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut tree = BTreeMap::new();
        let mut directories = vec![String::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(self.path(&directory)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{directory}{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    directories.push(format!("{name}/"));
                    tree.insert(name, None);
                } else {
                    tree.insert(name.clone(), self.get(&name));
                }
            }
        }
        tree
    }

    /// Lets virtual time pass.
    pub(super) async fn pause(&self, span: Duration) {
        sleep_until(clock::now() + span).await;
    }

    /// All clients are gone: whatever there was of them must end by itself, the longest timeout
    /// included, and leave nothing.
    pub(super) async fn rest(&self) {
        let context = &self.context;
        let ended =
            timeout_at(clock::now() + Duration::from_secs(3_600), context.tasks.idle()).await;
        assert!(ended.is_ok(), "{} tasks are left", context.tasks.len());
        // What a session had started goes with it, each task in a step of its own.
        self.pause(Duration::from_millis(1)).await;
        let held: Vec<_> = context.gauges.snapshot();
        let held: Vec<_> = held.into_iter().filter(|(_, count)| *count > 0).collect();
        assert!(held.is_empty(), "still held: {held:?}");
        assert!(context.helpers().end(Duration::from_secs(3_600)).await, "helpers are at work");
        let hidden: Vec<_> =
            self.tree().into_keys().filter(|name| name.contains(".ringftpd-")).collect();
        assert!(hidden.is_empty(), "left behind: {hidden:?}");
        assert!(current().is_some());
    }
}
