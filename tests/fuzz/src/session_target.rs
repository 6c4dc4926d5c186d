//! A session that is fed anything, in two segmentations, with answers to everything it asks.

use std::sync::Arc;
use std::time::Instant;

use ringftpd::clock;
use ringftpd::limits::REPLY_BACKLOG_BYTES_MAX;
use ringftpd::protocol::account::{Account, HomeId, Permissions};
use ringftpd::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, HashAlgorithm, Metadata, NameFacts,
    Opened, TransferRequest,
};
use ringftpd::protocol::policy::Policy;
use ringftpd::protocol::session::{
    AuthenticationError, ControlTls, Input, Mode, Output, Session, SessionStart, TransferError,
};

/// The first octet chooses port and policy, the rest is sent. Replies are well formed and do not
/// depend on how the octets were cut; nothing follows Close; nothing is asked before log-in.
pub fn session(data: &[u8]) {
    let Some((&flags, octets)) = data.split_first() else { return };
    let whole = replies(flags, octets, octets.len().max(1));
    let cut = replies(flags, octets, 1);
    // Only what stands behind AUTH, REIN and CCC may depend on the cuts: 503 or nothing.
    let moves = [b"AUTH".as_slice(), b"REIN", b"CCC", b"ABOR", b"STAT"];
    let upper = octets.to_ascii_uppercase();
    if !moves.iter().any(|verb| upper.windows(verb.len()).any(|window| window == *verb)) {
        assert_eq!(whole.escape_ascii().to_string(), cut.escape_ascii().to_string());
    }
}

fn replies(flags: u8, octets: &[u8], segment: usize) -> Vec<u8> {
    let mut shell = Shell::new(flags);
    shell.input(Input::Connected);
    for mut segment in octets.chunks(segment) {
        while !segment.is_empty() && !shell.session.is_closed() {
            let taken = shell.session.feed(shell.now, segment);
            segment = &segment[taken..];
            shell.perform();
            assert!(taken > 0 || shell.session.is_closed(), "octets that nobody will ever take");
        }
    }
    shell.input(Input::Disconnected);
    assert!(shell.session.is_closed() && shell.session.poll_timeout().is_none());
    shell.sent
}

struct Shell {
    session: Session,
    now: Instant,
    sent: Vec<u8>,
    closed: bool,
}

impl Shell {
    fn new(flags: u8) -> Self {
        let now = clock::now();
        let lax = flags & 2 != 0;
        let policy = Policy {
            require_control_tls: !lax,
            require_data_tls: !lax,
            allow_ccc: lax,
            allow_foreign_data_address: flags & 4 != 0,
            ..Policy::default()
        };
        let start = SessionStart {
            policy: Arc::new(policy),
            mode: if flags & 1 != 0 { Mode::Implicit } else { Mode::Explicit },
            local: ([192, 0, 2, 1], 21).into(),
            peer: ([192, 0, 2, 7], 40_000).into(),
            refused: flags & 0x80 != 0,
        };
        Self { session: Session::new(now, start), now, sent: Vec::new(), closed: false }
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.perform();
    }

    fn perform(&mut self) {
        let mut answers = Vec::new();
        let before = self.sent.len();
        while let Some(output) = self.session.poll_output() {
            assert!(!self.closed, "{output:?} after Close");
            answers.extend(self.answer(output));
        }
        // One listing more than the backlog; then nothing is executed until it is sent.
        assert!(self.sent.len() - before <= 2 * REPLY_BACKLOG_BYTES_MAX);
        if self.sent.len() > before {
            self.input(Input::Flushed);
        }
        for answer in answers {
            self.input(answer);
        }
    }

    fn answer(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Reply(reply) => {
                self.sent.extend_from_slice(&reply);
                None
            }
            Output::StartTls { .. } => Some(Input::TlsEstablished(ControlTls::default())),
            Output::ShutdownTls(_) => Some(Input::TlsEnded),
            Output::Identify { .. } => Some(Input::Identified(Ok(None))),
            Output::Authenticate { password, .. } => {
                Some(Input::Authenticated(if password.0.is_empty() {
                    Err(AuthenticationError::TooManySessions)
                } else {
                    Ok(Account {
                        name: "ann".to_owned(),
                        home: HomeId(0),
                        permissions: Permissions::ALL,
                        lax_upload_eof: None,
                    })
                }))
            }
            Output::File(request) => Some(Input::File(self.storage(&request))),
            Output::ListenPassive => {
                Some(Input::PassiveListening(Ok(([192, 0, 2, 1], 50_000).into())))
            }
            Output::OpenTransfer(request) => {
                assert!(self.session.account().is_some());
                Some(Input::TransferOpened(match request {
                    TransferRequest::Retrieve { offset, .. } if offset > 10 => {
                        Err(FileError::BeyondEnd)
                    }
                    _ => Ok(Opened::default()),
                }))
            }
            Output::RunTransfer { .. } => Some(Input::TransferFinished(Ok(()))),
            Output::AbortTransfer => Some(Input::TransferFinished(Err(TransferError::Aborted))),
            Output::ReportProgress => Some(Input::Progress(1)),
            Output::ClosePassive | Output::GiveUpFile | Output::Event(_) => None,
            Output::Close => {
                self.closed = true;
                None
            }
        }
    }

    fn storage(&self, request: &FileRequest) -> Result<FileReply, FileError> {
        assert!(self.session.account().is_some(), "{request:?} of nobody");
        let metadata = |name: Option<&[u8]>| Metadata {
            kind: if name.is_some_and(|name| name.len() % 2 == 1) {
                FileKind::File
            } else {
                FileKind::Directory
            },
            size: 10,
            modified: FileTime::default(),
            mode: 0o644,
            links: 1,
            unique: (1, 2),
            writable: true,
            searchable: true,
        };
        Ok(match request {
            FileRequest::Metadata(path) | FileRequest::SetFacts { path, .. } => {
                FileReply::Metadata(metadata(path.file_name()))
            }
            FileRequest::Facts { path, .. } => FileReply::Facts(NameFacts {
                metadata: metadata(path.file_name()),
                link: b"to".to_vec(),
                digests: vec![(HashAlgorithm::Md5, vec![1; 16])],
            }),
            FileRequest::AsciiSize(_) | FileRequest::Available(_) => FileReply::Octets(10),
            FileRequest::Hash { start, .. } if *start > 10 => return Err(FileError::BeyondEnd),
            FileRequest::Hash { start, .. } => {
                FileReply::Hash { digest: vec![1; 32], start: *start, end: 10 }
            }
            FileRequest::ControlListing(_) => FileReply::Listing(b"213 x\r\ny\r\n".to_vec()),
            FileRequest::MakeDirectory(_)
            | FileRequest::MakeDirectories(_)
            | FileRequest::RemoveDirectory(_)
            | FileRequest::Delete(_)
            | FileRequest::Rename { .. } => FileReply::Done,
        })
    }
}
