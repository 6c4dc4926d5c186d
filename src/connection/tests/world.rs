//! A server's shard in a simulation: the shipped shells over a directory of its own, and what must
//! hold when all clients are gone.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::auth::{Anonymous, UserTable};
use crate::clock;
use crate::config::Settings;
use crate::connection::context::{Context, ContextParts, Queues};
use crate::connection::control::{Accepted, serve};
use crate::connection::logins::homes::OpenedHome;
use crate::protocol::account::{HomeId, Permissions};
use crate::protocol::policy::DataResumption;
use crate::protocol::session::Mode;
use crate::runtime::simulated::{Simulation, Stuck, Weather, current};
use crate::runtime::{Helpers, Stream, sleep_until, timeout_at};
use crate::tls::{PemText, ServerCertificate, ServerTls, TlsOptions, TlsProfile, TlsVersions};
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

static TLS: LazyLock<Arc<ServerTls>> = LazyLock::new(|| {
    ServerTls::new(TlsOptions {
        certificates: vec![CERTIFICATE.0.clone()],
        profile: TlsProfile::Balanced,
        versions: TlsVersions::default(),
        groups: None,
        cipher_suites: None,
        client_ca: None,
        client_fingerprints: std::collections::BTreeSet::new(),
        resumption: DataResumption::Prefer,
        ticket_secret: [7; 32],
        ticket_lifetime: Duration::from_secs(3_600),
    })
    .unwrap()
});

/// One shard, and the home of its one user.
pub(super) struct World {
    pub(super) context: Rc<Context>,
    pub(super) simulation: Simulation,
    directory: tempfile::TempDir,
}

/// How one run is made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) weather: Weather,
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
            let world = Rc::new(World::new(simulation));
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
    fn new(simulation: Simulation) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Arc::new(Home::new(directory.path().to_owned(), Arc::new([])));
        let root = Some(Arc::new(home.open().unwrap()));
        let anonymous =
            Anonymous { home: HomeId(0), permissions: Permissions::ALL, lax_upload_eof: None };
        let mut settings = Settings::default();
        settings.policy.require_control_tls = false;
        settings.policy.require_data_tls = false;
        let context = Context::new(ContextParts {
            settings: Arc::new(settings),
            tls: TLS.clone(),
            users: Arc::new(Arc::new(UserTable::new(Vec::new(), Some(anonymous)).unwrap())),
            homes: vec![OpenedHome { home, root }],
            helpers: Helpers::new().unwrap(),
            passive_range: Some(50_000..=50_099),
            kernel_tls: None,
            queues: Queues::new(),
        });
        Self { context: Rc::new(context), simulation, directory }
    }

    /// A new control connection; the client's end.
    pub(super) fn accept(&self, mode: Mode) -> Stream {
        let (theirs, ours) = self.simulation.pair().unwrap();
        let address = |octets: [u8; 4], port: u16| SocketAddr::from((octets, port));
        let (local, peer) = (address(SERVER, 21), address(CLIENT, 4_000));
        let stream = Stream::adopt(ours, peer);
        let (refused, permit, guard) = (false, None, Box::new(()));
        serve(&self.context, Accepted { stream, mode, local, peer, refused, permit, guard });
        Stream::adopt(theirs, local)
    }

    /// What one client's connections are made with; it resumes its own sessions.
    #[expect(clippy::unused_self, reason = "a client is one of a world")]
    pub(super) fn client_tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CERTIFICATE.1.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn put(&self, name: &str, octets: &[u8]) {
        fs::write(self.path(name), octets).unwrap();
    }

    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
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
    async fn rest(&self) {
        let context = &self.context;
        let ended =
            timeout_at(clock::now() + Duration::from_secs(3_600), context.tasks.idle()).await;
        assert!(ended.is_ok(), "{} tasks are left", context.tasks.len());
        let held: Vec<_> = context.gauges.snapshot();
        let held: Vec<_> = held.into_iter().filter(|(_, count)| *count > 0).collect();
        assert!(held.is_empty(), "still held: {held:?}");
        assert!(context.parts.helpers.end(Duration::from_secs(3_600)).await, "helpers are at work");
        let hidden: Vec<_> =
            self.tree().into_keys().filter(|name| name.contains(".ringftpd-")).collect();
        assert!(hidden.is_empty(), "left behind: {hidden:?}");
        assert!(current().is_some());
    }
}
