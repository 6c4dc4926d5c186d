//! Transfers of a session: agreeing on a data connection, opening it, TLS on it, moving octets,
//! the completion reply. RFC 959 §3, §5.3; RFC 4217 §7; RFC 2428.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Channel, ConnectionError, DataMode, Endpoint, Failure, OperationRecord, Protection, Received,
    Reply, Session, active_command, parse_epsv, parse_pasv,
    session::{late, within},
};
use crate::{
    engine::{net, sleep_until, timeout_at, yield_if_needed},
    measure::{Channel as Which, ConnectionState, ErrorKind, Phase},
    verify::{Check, Content, Expected},
};

/// Octets per read or write of a transfer at full speed.
const PIECE_BYTES: usize = 64 * 1024;

/// How fast a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    Full,
    /// This many octets a second, in small pieces: a client on a bad line.
    BytesPerSecond(u64),
}

/// Which command lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Listing {
    /// LIST, RFC 959 §4.1.3.
    List,
    /// NLST, RFC 959 §4.1.3.
    Nlst,
    /// MLSD, RFC 3659 §7.
    Mlsd,
}

impl Listing {
    const fn verb(self) -> &'static str {
        match self {
            Self::List => "LIST",
            Self::Nlst => "NLST",
            Self::Mlsd => "MLSD",
        }
    }
}

impl Session {
    /// RETR, checked against `expected`. After `abandon_after` octets the client vanishes: both
    /// connections are cut, and the result is `Ok(false)`.
    ///
    /// # Errors
    ///
    /// [`Failure`]; the session is then of no more use.
    pub async fn download(
        &mut self,
        name: &str,
        expected: Expected,
        pace: Pace,
        abandon_after: Option<u64>,
        record: &mut OperationRecord,
    ) -> Result<bool, Failure> {
        let mut data = self.begin(&format!("RETR {name}"), record).await?;
        let mut check = Check::new(expected);
        if matches!(expected, Expected::Anything | Expected::Length(_)) {
            data.count_only();
        }
        let most = if check.is_open_ended() { self.client.endpoint().bytes_max } else { u64::MAX };
        let bounds = Bounds::new(self.client.endpoint(), pace, expected.size());
        let more = |check: &mut Check, octets: &[u8]| {
            check.take(octets);
            let wanted = abandon_after.is_none_or(|limit| check.received() < limit);
            wanted && !check.is_hopeless() && check.received() <= most
        };
        let whole =
            self.receive_all(&mut data, bounds, record, |octets| more(&mut check, octets)).await?;
        let wrong =
            |detail: String| Failure::new(Phase::LastByte, ErrorKind::VerificationMismatch, detail);
        if !whole {
            data.reset();
            if check.received() > most {
                return Err(too_long(most));
            }
            // A file longer than expected might never end.
            return if check.is_hopeless() {
                check.finish().map_err(wrong).map(|()| false)
            } else {
                Ok(false)
            };
        }
        data.close().await;
        self.complete(record).await?;
        check.finish().map_err(wrong)?;
        Ok(true)
    }

    /// STOR of contents made from a seed. Otherwise as [`Self::download`].
    ///
    /// # Errors
    ///
    /// As [`Self::download`].
    pub async fn upload(
        &mut self,
        name: &str,
        content: Content,
        pace: Pace,
        abandon_after: Option<u64>,
        record: &mut OperationRecord,
    ) -> Result<bool, Failure> {
        let mut data = self.begin(&format!("STOR {name}"), record).await?;
        let bounds = Bounds::new(self.client.endpoint(), pace, content.size());
        if !self.send_all(&mut data, content, bounds, abandon_after, record).await? {
            data.reset();
            return Ok(false);
        }
        let timeout = self.client.endpoint().timeout;
        within(Phase::LastByte, timeout, data.close_notify()).await?;
        data.stream().shutdown_write();
        if let Some(trace) = self.client.trace() {
            let octets = content.size();
            trace.tell(format_args!("data connection: its end, {octets} octets sent"));
        }
        record.phase(Phase::LastByte);
        // The data connection stays until the reply: closing it with unread tickets in it would
        // reset it, and the server could lose the end of the file.
        self.complete(record).await?;
        data.close_with_tickets();
        Ok(true)
    }

    /// Lists `path`, or the working directory if it is empty, and returns how many lines came.
    ///
    /// # Errors
    ///
    /// As [`Self::download`].
    pub async fn list(
        &mut self,
        listing: Listing,
        path: &str,
        record: &mut OperationRecord,
    ) -> Result<u64, Failure> {
        let command = format!("{} {path}", listing.verb());
        let mut data = self.begin(command.trim_end(), record).await?;
        let most = self.client.endpoint().bytes_max;
        let bounds = Bounds::new(self.client.endpoint(), Pace::Full, 0);
        let (mut lines, mut received) = (0, 0);
        let count = |octets: &[u8]| {
            lines += octets.iter().filter(|octet| **octet == b'\n').count() as u64;
            received += octets.len() as u64;
            received <= most
        };
        if !self.receive_all(&mut data, bounds, record, count).await? {
            data.reset();
            return Err(too_long(most));
        }
        data.close().await;
        self.complete(record).await?;
        Ok(lines)
    }

    /// Agrees on a data connection, sends `command` and opens the connection.
    async fn begin(
        &mut self,
        command: &str,
        record: &mut OperationRecord,
    ) -> Result<Channel, Failure> {
        self.set_state(ConnectionState::Waiting);
        let mut data = match self.client.endpoint().data {
            DataMode::Epsv | DataMode::Pasv | DataMode::PasvReply => {
                let address = self.passive().await?;
                record.phase(Phase::Epsv);
                let timeout = self.client.endpoint().timeout;
                self.client.enter(Phase::DataConnect);
                if let Some(trace) = self.client.trace() {
                    trace.tell(format_args!("data connection to {address}"));
                }
                // From the control connection's own address: servers check it.
                let source = self.client.source();
                let stream = within(Phase::DataConnect, timeout, async {
                    Ok(net::connect(source, address).await?)
                })
                .await?;
                record.phase(Phase::DataConnect);
                self.client.tell("data connection established");
                self.preliminary(command).await?;
                stream
            }
            DataMode::Port | DataMode::Eprt => self.active(command, record).await?,
        }
        .into();
        self.protect_data(&mut data, record).await?;
        self.set_state(ConnectionState::Transferring);
        Ok(data)
    }

    /// EPSV or PASV: where to connect.
    async fn passive(&mut self) -> Result<SocketAddr, Failure> {
        const PHASE: Phase = Phase::Epsv;
        let peer = self.channel().stream().peer_addr();
        let mode = self.client.endpoint().data;
        let (command, code) = if mode == DataMode::Epsv { ("EPSV", 229) } else { ("PASV", 227) };
        let reply = self.exchange(PHASE, command).await?;
        if reply.code != code {
            return Err(Failure::unexpected(PHASE, &reply));
        }
        let malformed = || Failure::new(PHASE, ErrorKind::ReplyParse, reply.text.clone());
        if mode == DataMode::Epsv {
            let port = parse_epsv(&reply.text).ok_or_else(malformed)?;
            // With the scope of a link-local address.
            let mut address = peer;
            address.set_port(port);
            return Ok(address);
        }
        let (ip, port) = parse_pasv(&reply.text).ok_or_else(malformed)?;
        if mode == DataMode::Pasv {
            return Ok(SocketAddr::new(peer.ip(), port));
        }
        // A server must not direct this load to another host.
        if peer.ip() != ip && !(ip.is_loopback() && peer.ip().is_loopback()) {
            return Err(Failure::new(PHASE, ErrorKind::ReplyParse, format!("points at {ip}")));
        }
        Ok(SocketAddr::new(ip.into(), port))
    }

    /// PORT or EPRT, `command`, and the server's connection.
    async fn active(
        &mut self,
        command: &str,
        record: &mut OperationRecord,
    ) -> Result<net::Stream, Failure> {
        let error = |error: std::io::Error| ConnectionError::from(error).during(Phase::Epsv);
        let control = self.channel().stream();
        let peer = control.peer_addr();
        let local = control.local_addr().map_err(error)?;
        let listener = net::Listener::bind(local.ip()).map_err(error)?;
        let endpoint = self.client.endpoint();
        let (mode, timeout) = (endpoint.data, endpoint.timeout);
        self.expect(Phase::Epsv, &active_command(mode, listener.address()), 200).await?;
        record.phase(Phase::Epsv);
        // Whether the server connects before or after its reply: the kernel keeps the connection.
        self.preliminary(command).await?;
        self.client.enter(Phase::DataConnect);
        let stream = within(Phase::DataConnect, timeout, async {
            loop {
                let stream = listener.accept().await?;
                if stream.peer_addr().ip() == peer.ip() {
                    return Ok(stream);
                }
            }
        })
        .await?;
        record.phase(Phase::DataConnect);
        if let Some(trace) = self.client.trace() {
            trace.tell(format_args!("data connection from {}", stream.peer_addr()));
        }
        Ok(stream)
    }

    /// Sends the transfer command and reads its 1yz reply.
    async fn preliminary(&mut self, command: &str) -> Result<(), Failure> {
        let reply = self.exchange(Phase::FirstByte, command).await?;
        if reply.is_preliminary() {
            return Ok(());
        }
        Err(Failure::unexpected(Phase::FirstByte, &reply))
    }

    /// TLS on the data connection. The FTP server is the TLS server in active mode, too
    /// (RFC 4217 §7).
    async fn protect_data(
        &mut self,
        data: &mut Channel,
        record: &mut OperationRecord,
    ) -> Result<(), Failure> {
        if self.client.endpoint().protection == Protection::Clear {
            return Ok(());
        }
        if let Err(mut failure) = self.client.handshake(data, Which::Data, record).await {
            if self.client.endpoint().implied_prot {
                failure.detail.push_str(
                    "; a server that wants PBSZ and PROT sends in clear until they come: leave out \
                     --implied-prot",
                );
            }
            return Err(self.explained(failure).await);
        }
        record.phase(Phase::DataTls);
        Ok(())
    }

    /// Reads to the end. `false` when `take` wanted no more.
    async fn receive_all(
        &mut self,
        data: &mut Channel,
        bounds: Bounds,
        record: &mut OperationRecord,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, Failure> {
        let mut pacer = Pacer::new(bounds.pace);
        let mut sum = 0_u64;
        let (mut phase, mut more) = (Phase::FirstByte, true);
        self.client.enter(phase);
        loop {
            let mut count = 0;
            let receiving = data.receive(pacer.piece(), |octets| {
                count += octets.len();
                more = take(octets) && more;
            });
            let failure = match bounds.within(phase, receiving).await {
                Err(failure) => failure,
                Ok(received) => {
                    record.bytes_down(count);
                    sum += count as u64;
                    if count > 0 && phase == Phase::FirstByte {
                        self.client.tell("data connection: the first octets came");
                        record.phase(phase);
                        phase = Phase::LastByte;
                        self.client.enter(phase);
                    }
                    // Whether the end has come with the last octets is chance, and must not decide.
                    if !more {
                        return Ok(false);
                    }
                    if received == Received::End {
                        if let Some(trace) = self.client.trace() {
                            trace.tell(format_args!("data connection: its end, {sum} octets came"));
                        }
                        record.phase(Phase::LastByte);
                        return Ok(true);
                    }
                    pacer.wait(count as u64).await;
                    continue;
                }
            };
            return Err(self.explained(failure).await);
        }
    }

    /// Sends all of `content`. `false` when it was abandoned.
    async fn send_all(
        &mut self,
        data: &mut Channel,
        content: Content,
        bounds: Bounds,
        abandon_after: Option<u64>,
        record: &mut OperationRecord,
    ) -> Result<bool, Failure> {
        let mut pacer = Pacer::new(bounds.pace);
        let size = usize::try_from(content.size()).unwrap_or(usize::MAX);
        let mut buffer = vec![0; pacer.piece().min(size)];
        let mut offset = 0;
        loop {
            let count = content.fill(offset, &mut buffer);
            if count == 0 {
                return Ok(true);
            }
            let phase = if offset == 0 { Phase::FirstByte } else { Phase::LastByte };
            self.client.enter(phase);
            if let Err(failure) = bounds.within(phase, data.send(&buffer[..count])).await {
                return Err(self.explained(failure).await);
            }
            record.bytes_up(count);
            if offset == 0 {
                record.phase(Phase::FirstByte);
            }
            offset += count as u64;
            if abandon_after.is_some_and(|limit| offset >= limit) {
                return Ok(false);
            }
            pacer.wait(count as u64).await;
        }
    }

    /// Reads the completion reply.
    async fn complete(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        const PHASE: Phase = Phase::Completion;
        self.set_state(ConnectionState::Waiting);
        let reply: Reply = self.reply(PHASE).await?;
        if reply.code != 226 && reply.code != 250 {
            return Err(Failure::unexpected(PHASE, &reply));
        }
        record.phase(PHASE);
        self.set_state(ConnectionState::Idle);
        Ok(())
    }

    /// A data connection failed: what the server says about it on the control connection, if it
    /// says it soon, is the better explanation.
    async fn explained(&mut self, mut failure: Failure) -> Failure {
        const PATIENCE: Duration = Duration::from_millis(200);
        let reply = timeout_at(Instant::now() + PATIENCE, self.reply(failure.phase)).await;
        if let Some(Ok(reply)) = reply {
            failure.detail = format!("{}; {} {}", failure.detail, reply.code, reply.text);
        }
        failure
    }
}

impl From<net::Stream> for Channel {
    fn from(stream: net::Stream) -> Self {
        Self::new(stream)
    }
}

/// How long a transfer may take.
#[derive(Clone, Copy)]
struct Bounds {
    pace: Pace,
    /// One step.
    step: Duration,
    /// The whole.
    deadline: Instant,
}

impl Bounds {
    /// For a transfer of `size` octets, zero if that is not known.
    fn new(endpoint: &Endpoint, pace: Pace, size: u64) -> Self {
        let own = match pace {
            Pace::Full => Duration::ZERO,
            Pace::BytesPerSecond(rate) => Duration::from_secs(size / rate.max(1)),
        };
        let longest = endpoint.transfer_timeout.saturating_add(own).min(TRANSFER_MAX);
        Self { pace, step: endpoint.timeout, deadline: Instant::now() + longest }
    }

    /// Runs one step.
    async fn within<T>(
        &self,
        phase: Phase,
        step: impl Future<Output = Result<T, ConnectionError>>,
    ) -> Result<T, Failure> {
        let now = Instant::now();
        if now < self.deadline {
            let until = (now + self.step).min(self.deadline);
            match timeout_at(until, step).await {
                Some(result) => return result.map_err(|error| error.during(phase)),
                None if until < self.deadline => return Err(late(phase, self.step)),
                None => {}
            }
        }
        Err(Failure::new(phase, ErrorKind::DataTimeout, "longer than --transfer-timeout"))
    }
}

/// No transfer lasts longer: beyond the longest run, and far from the end of the clock.
const TRANSFER_MAX: Duration = Duration::from_secs(10 * 86_400);

fn too_long(most: u64) -> Failure {
    let detail = format!("more than --max-bytes {most}");
    Failure::new(Phase::LastByte, ErrorKind::DataTooLong, detail)
}

/// Keeps a transfer to its pace.
struct Pacer {
    pace: Pace,
    begin: Instant,
    moved: u64,
}

impl Pacer {
    fn new(pace: Pace) -> Self {
        Self { pace, begin: Instant::now(), moved: 0 }
    }

    /// Octets to move at once: a tenth of a second's worth.
    fn piece(&self) -> usize {
        match self.pace {
            Pace::Full => PIECE_BYTES,
            Pace::BytesPerSecond(rate) => {
                usize::try_from(rate / 10).unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES)
            }
        }
    }

    /// Waits until `count` more may have moved.
    async fn wait(&mut self, count: u64) {
        self.moved += count;
        match self.pace {
            Pace::Full => yield_if_needed().await,
            Pace::BytesPerSecond(rate) => {
                let due = self.moved.saturating_mul(1000) / rate.max(1);
                sleep_until(self.begin + Duration::from_millis(due)).await;
            }
        }
    }
}
