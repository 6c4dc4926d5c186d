//! A small FTPS server, one blocking thread a connection, files in memory, that does what a test
//! tells it to in place of the right thing.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Identity;

/// Nothing in a test takes longer; a thread that waits longer ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a script may step in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment<'a> {
    /// A connection was accepted; nothing was sent.
    Accepted,
    /// The greeting is due.
    Greeting,
    /// This command line came.
    Command(&'a str),
}

/// What it does then.
pub enum Act {
    /// The right thing.
    Right,
    /// Sends these octets instead of the reply.
    Say(&'static [u8]),
    /// Sends these octets in clear, whatever the state of TLS, then goes on without TLS.
    SayInClear(&'static [u8]),
    /// Closes the connection.
    Close,
    /// Neither says anything nor closes.
    Hang,
    /// The data connection ends without close_notify.
    Truncate,
    /// One octet of the file is wrong.
    Corrupt,
    /// The last octet of the file is missing.
    Cut,
    /// The data connection never ends.
    Endless,
    /// The data connection carries an octet now and then, and never ends.
    Trickle,
    /// Octets that are no TLS, on the data connection.
    Garbage,
    /// The data connection is accepted and closed at once.
    CutData,
    /// The transfer, and these octets instead of 226; none: closes the control connection.
    CompleteWith(&'static [u8]),
}

type Script = dyn Fn(Moment<'_>) -> Act + Send + Sync;

/// The running server.
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate.
    pub identity: Identity,
    shared: Arc<Shared>,
}

struct Shared {
    implicit: bool,
    tls: Arc<ServerConfig>,
    script: Box<Script>,
    commands: Mutex<Vec<String>>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<Vec<Vec<u8>>>,
}

impl Scripted {
    /// TLS from the first octet.
    pub fn implicit(script: impl Fn(Moment<'_>) -> Act + Send + Sync + 'static) -> Self {
        Self::start(true, true, Box::new(script))
    }

    /// TLS after AUTH.
    pub fn explicit(script: impl Fn(Moment<'_>) -> Act + Send + Sync + 'static) -> Self {
        Self::start(false, true, Box::new(script))
    }

    /// Implicit, and gives out no session to resume.
    pub fn without_tickets() -> Self {
        Self::start(true, false, Box::new(|_| Act::Right))
    }

    /// Implicit, and has not the key of the certificate that it shows.
    pub fn impostor() -> Self {
        let identity = Identity::new();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let foreign = PrivateKeyDer::Pkcs8(Identity::new().key.into());
        let key = provider.key_provider.load_private_key(foreign).unwrap();
        let shown = CertifiedKey::new(vec![identity.certificate.clone()], key);
        let tls = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        Self::serve(true, identity, tls, Box::new(|_| Act::Right))
    }

    /// Every command line so far, in the order of arrival.
    pub fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// Everything uploaded so far, in the order of arrival.
    pub fn uploads(&self) -> Vec<Vec<u8>> {
        self.shared.uploads.lock().unwrap().clone()
    }

    /// Names of the files now stored.
    pub fn files(&self) -> Vec<String> {
        self.shared.files.lock().unwrap().keys().cloned().collect()
    }

    fn start(implicit: bool, tickets: bool, script: Box<Script>) -> Self {
        let identity = Identity::new();
        let key = PrivateKeyDer::Pkcs8(identity.key.clone().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], key)
            .unwrap();
        if !tickets {
            tls.send_tls13_tickets = 0;
            tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        }
        Self::serve(implicit, identity, tls, script)
    }

    fn serve(implicit: bool, identity: Identity, tls: ServerConfig, script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            implicit,
            tls: Arc::new(tls),
            script,
            commands: Mutex::default(),
            files: Mutex::default(),
            uploads: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        // Ends with the test program; a connection that fails ends its own thread.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                std::thread::spawn(move || Connection::serve(shared, stream));
            }
        });
        Self { address, identity, shared }
    }
}

enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(tls) => &tls.sock,
        }
    }

    fn into_tls(self, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let Self::Clear(stream) = self else { return Ok(self) };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Self::Tls(Box::new(tls)))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(octets),
            Self::Tls(tls) => tls.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    wire: Option<Wire>,
    passive: Option<TcpListener>,
    private: bool,
}

impl Connection {
    fn serve(shared: Arc<Shared>, stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let private = shared.implicit;
        let mut connection =
            Self { shared, wire: Some(Wire::Clear(stream)), passive: None, private };
        // An error here is the client's leaving, or what the script wanted.
        let _ = connection.talk();
    }

    fn talk(&mut self) -> io::Result<()> {
        if !self.act(Moment::Accepted, "")? {
            return Ok(());
        }
        if self.shared.implicit {
            self.start_tls()?;
        }
        if !self.act(Moment::Greeting, "220 scripted")? {
            return Ok(());
        }
        while let Some(line) = self.line()? {
            self.shared.commands.lock().unwrap().push(line.clone());
            let act = (self.shared.script)(Moment::Command(&line));
            let goes_on = match act {
                Act::Say(_) | Act::SayInClear(_) | Act::Close | Act::Hang => self.perform(act)?,
                act => self.answer(&line, &act)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// True: go on.
    fn act(&mut self, moment: Moment<'_>, right: &str) -> io::Result<bool> {
        match (self.shared.script)(moment) {
            Act::Right if right.is_empty() => Ok(true),
            Act::Right => self.say(right).map(|()| true),
            other => self.perform(other),
        }
    }

    fn perform(&mut self, act: Act) -> io::Result<bool> {
        match act {
            Act::Say(octets) => {
                self.wire().write_all(octets)?;
                self.wire().flush()?;
                Ok(true)
            }
            Act::SayInClear(octets) => {
                let socket = self.wire().socket().try_clone()?;
                (&socket).write_all(octets)?;
                self.wire = Some(Wire::Clear(socket));
                Ok(true)
            }
            Act::Close => Ok(false),
            Act::Hang => {
                // Until the client leaves.
                let mut nothing = [0; 1];
                while self.wire().socket().read(&mut nothing)? > 0 {}
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    fn answer(&mut self, line: &str, act: &Act) -> io::Result<bool> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "USER" => self.say("331 password")?,
            "PASS" => self.say("230 in")?,
            "AUTH" => {
                self.say("234 go")?;
                self.start_tls()?;
            }
            "PBSZ" => self.say("200 PBSZ=0")?,
            "PROT" => {
                self.private = argument == "P";
                self.say("200 protection")?;
            }
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let port = listener.local_addr()?.port();
                self.passive = Some(listener);
                self.say(&format!("229 passive (|||{port}|)"))?;
            }
            "RETR" => {
                let file = self.shared.files.lock().unwrap().get(argument).cloned();
                match (file, act) {
                    (Some(file), act) => self.send_file(file, act)?,
                    (None, Act::Right) => self.say("550 no such file")?,
                    (None, act) => self.send_file(Vec::new(), act)?,
                }
            }
            "STOR" => self.receive_file(argument)?,
            "NLST" | "LIST" | "MLSD" => {
                let names: Vec<_> = self.shared.files.lock().unwrap().keys().cloned().collect();
                let listing = names.iter().map(|name| format!("{name}\r\n")).collect::<String>();
                self.send_file(listing.into_bytes(), act)?;
            }
            "DELE" => {
                self.shared.files.lock().unwrap().remove(argument);
                self.say("250 deleted")?;
            }
            "MKD" => self.say("257 \"made\"")?,
            "RMD" => self.say("250 removed")?,
            "QUIT" => {
                self.say("221 bye")?;
                return Ok(false);
            }
            _ => self.say("200 ok")?,
        }
        Ok(true)
    }

    fn data(&mut self, act: &Act) -> io::Result<Wire> {
        let listener = self.passive.take().ok_or_else(|| io::Error::other("no EPSV"))?;
        let stream = listener.accept()?.0;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        self.say("150 here")?;
        match act {
            Act::Garbage => (&stream).write_all(b"SSH-2.0-this is not TLS\r\n")?,
            // What the client has sent is left unread: the close may be seen as a reset.
            Act::CutData => return Err(io::Error::other("as told")),
            _ => {}
        }
        let wire = Wire::Clear(stream);
        if self.private { wire.into_tls(&self.shared.tls) } else { Ok(wire) }
    }

    fn send_file(&mut self, mut file: Vec<u8>, act: &Act) -> io::Result<()> {
        let mut data = self.data(act)?;
        match act {
            // Until the client leaves.
            Act::Endless => loop {
                data.write_all(&[b'\n'; 16 * 1024])?;
            },
            Act::Trickle => loop {
                data.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(20));
            },
            _ => {}
        }
        if matches!(act, Act::Cut) {
            file.pop();
        }
        if matches!(act, Act::Corrupt)
            && let Some(octet) = file.last_mut()
        {
            *octet ^= 1;
        }
        data.write_all(&file)?;
        if let Wire::Tls(tls) = &mut data {
            if !matches!(act, Act::Truncate) {
                tls.conn.send_close_notify();
            }
            tls.flush()?;
        }
        drop(data);
        match act {
            Act::CompleteWith([]) => Err(io::Error::other("as told")),
            Act::CompleteWith(octets) => {
                self.wire().write_all(octets)?;
                self.wire().flush()
            }
            _ => self.say("226 sent"),
        }
    }

    fn receive_file(&mut self, name: &str) -> io::Result<()> {
        let mut data = self.data(&Act::Right)?;
        let mut file = Vec::new();
        // rustls reports an end without close_notify as an error: then nothing is stored.
        if data.read_to_end(&mut file).is_err() {
            return self.say("426 cut");
        }
        self.shared.uploads.lock().unwrap().push(file.clone());
        self.shared.files.lock().unwrap().insert(name.to_owned(), file);
        self.say("226 stored")
    }

    fn start_tls(&mut self) -> io::Result<()> {
        let wire = self.wire.take().ok_or_else(|| io::Error::other("no connection"))?;
        self.wire = Some(wire.into_tls(&self.shared.tls)?);
        Ok(())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut octet = [0; 1];
        while !line.ends_with(b"\r\n") {
            if self.wire().read(&mut octet)? == 0 {
                return Ok(None);
            }
            line.push(octet[0]);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{text}\r\n");
        self.wire().write_all(line.as_bytes())?;
        self.wire().flush()
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("taken only while TLS begins")
    }
}
