//! The crate suppaftp over rustls: another implementation of FTP, and a client that resumes
//! sessions without being told to.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use suppaftp::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use suppaftp::types::FileType;
use suppaftp::{Mode, RustlsConnector, RustlsFtpStream};

use crate::content::{self, LARGE, SIZES};
use crate::site::{Family, Site};
use crate::support::Listener;
use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::PATIENCE;

/// Every size both ways in every mode, each resumed. rustls uses a TLS 1.3 ticket once and suppaftp
/// reads none that an upload brings: what it has left is what the control connection gives it.
#[test]
fn sizes_both_ways() {
    let site = &Site::requiring_resumption();
    for versions in [TLS12, TLS13] {
        for listener in BOTH_LISTENERS {
            let modes = [Mode::Passive, Mode::ExtendedPassive, Mode::Active];
            for (family, mode) in [Family::V4; 3].into_iter().zip(modes) {
                round_trip(login(site, listener, family, versions, mode), site);
            }
            let extended = login(site, listener, Family::V6, versions, Mode::ExtendedPassive);
            round_trip(extended, site);
        }
    }
    let transfers = 2 * 2 * 4 * 2 * SIZES.len();
    site.assert_log_has_resumed(transfers);
}

#[test]
fn hundred_mebibytes() {
    let site = Site::start();
    let mut ftp = login(&site, Listener::Implicit, Family::V4, TLS13, Mode::ExtendedPassive);
    let bytes = content::bytes(LARGE, 1);
    assert_eq!(ftp.put_file("large", &mut bytes.as_slice()).unwrap(), LARGE as u64);
    let hash = content::sha256(&bytes);
    assert_eq!(content::sha256_of(&site.served("large")), hash);
    let back = ftp.retr_as_buffer("large").unwrap().into_inner();
    assert_eq!(content::sha256(&back), hash);
    ftp.quit().unwrap();
}

#[test]
fn files_restart_and_abort() {
    let site = Site::start();
    for listener in BOTH_LISTENERS {
        let mut ftp = login(&site, listener, Family::V4, TLS13, Mode::ExtendedPassive);
        let bytes = content::bytes(3_000_000, 8);
        ftp.mkdir("directory").unwrap();
        ftp.cwd("directory").unwrap();
        assert_eq!(ftp.pwd().unwrap(), "/directory");

        // Restart both ways.
        ftp.put_file("file", &mut &bytes[..1_000_001]).unwrap();
        ftp.resume_transfer(1_000_001).unwrap();
        ftp.put_file("file", &mut &bytes[1_000_001..]).unwrap();
        assert_eq!(std::fs::read(site.served("directory/file")).unwrap(), bytes);
        ftp.resume_transfer(2_999_990).unwrap();
        assert_eq!(ftp.retr_as_buffer("file").unwrap().into_inner(), &bytes[2_999_990..]);
        ftp.append_file("file", &mut &b"tail"[..]).unwrap();
        assert_eq!(ftp.size("file").unwrap(), bytes.len() + 4);

        // Abort, and the session goes on. Larger than all buffers between the two, or the transfer
        // would be over before: then ABOR is answered 226, 226, which this client does not expect.
        let large = site.served("directory/large");
        std::fs::File::create(&large).unwrap().set_len(256 << 20).unwrap();
        let mut stream = ftp.retr_as_stream("large").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        ftp.abort(stream).unwrap();
        ftp.noop().unwrap();
        std::fs::remove_file(&large).unwrap();

        // A stream written by hand.
        let mut stream = ftp.put_with_stream("ünï \"quoted\"").unwrap();
        stream.write_all(b"by hand").unwrap();
        stream.finish().unwrap();
        assert_eq!(std::fs::read(site.served("directory/ünï \"quoted\"")).unwrap(), b"by hand");

        let mut names = ftp.nlst(None).unwrap();
        names.sort();
        assert_eq!(names, ["file", "ünï \"quoted\""]);
        let facts = ftp.mlsd(None).unwrap();
        assert_eq!(facts.iter().filter(|line| line.contains("type=file;")).count(), 2);
        assert_eq!(ftp.list(None).unwrap().len(), 2);
        assert!(ftp.mlst(Some("file")).unwrap().contains("type=file;"));
        assert!(ftp.feat().unwrap().contains_key("PBSZ"));
        ftp.mdtm("file").unwrap();
        ftp.opts("UTF8", Some("ON")).unwrap();
        ftp.rename("file", "renamed").unwrap();
        ftp.rm("renamed").unwrap();
        ftp.rm("ünï \"quoted\"").unwrap();
        assert!(ftp.retr_as_buffer("renamed").is_err());
        ftp.cdup().unwrap();
        ftp.rmdir("directory").unwrap();
        assert!(ftp.nlst(None).unwrap().is_empty());
        ftp.quit().unwrap();
    }
}

#[track_caller]
fn round_trip(mut ftp: RustlsFtpStream, site: &Site) {
    for size in SIZES {
        let bytes = content::bytes(size, size as u64);
        let name = format!("size-{size}");
        assert_eq!(ftp.put_file(&name, &mut bytes.as_slice()).unwrap(), size as u64);
        assert_eq!(content::sha256_of(&site.served(&name)), content::sha256(&bytes));
        assert_eq!(ftp.retr_as_buffer(&name).unwrap().into_inner(), bytes, "size {size}");
        ftp.rm(&name).unwrap();
    }
    ftp.quit().unwrap();
}

#[track_caller]
fn login(
    site: &Site,
    listener: Listener,
    family: Family,
    versions: &[&'static SupportedProtocolVersion],
    mode: Mode,
) -> RustlsFtpStream {
    let mut roots = RootCertStore::empty();
    roots.add(site.server.authority().der()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = RustlsConnector::from(Arc::new(config));
    let address = site.address(listener, family);
    let name = address.ip().to_string();
    let ftp = match listener {
        Listener::Explicit => RustlsFtpStream::connect_timeout(address, PATIENCE)
            .unwrap()
            .into_secure(connector, &name),
        Listener::Implicit => RustlsFtpStream::connect_secure_implicit(address, connector, &name),
    };
    let mut ftp = ftp.unwrap().active_mode(Duration::from_secs(10));
    ftp.get_ref().set_read_timeout(Some(3 * PATIENCE)).unwrap();
    ftp.set_mode(mode);
    ftp.login("alice", "secret").unwrap();
    ftp.transfer_type(FileType::Binary).unwrap();
    ftp
}
