//! What a person, or a test, reads when the server has started: addresses, fingerprint, shards,
//! and client commands that work as printed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tls_setup::Served;
use crate::config::{CertificateSource, Config};

/// The facts of a start.
pub(super) struct Banner<'a> {
    /// As configured.
    pub(super) config: &'a Config,
    /// Where implicit TLS listens.
    pub(super) implicit: &'a [SocketAddr],
    /// Where the clear port listens.
    pub(super) explicit: &'a [SocketAddr],
    /// Where the counters are.
    pub(super) metrics: Option<SocketAddr>,
    /// What clients get, the default one first.
    pub(super) certificates: &'a [Served],
    /// Whether clients must be told to trust it.
    pub(super) self_signed: bool,
    /// One shard each.
    pub(super) cpus: &'a [usize],
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ringftpd {}", env!("CARGO_PKG_VERSION"))?;
        for address in self.implicit {
            writeln!(f, "listening implicit {address}")?;
        }
        for address in self.explicit {
            writeln!(f, "listening explicit {address}")?;
        }
        if let Some(address) = self.metrics {
            writeln!(f, "metrics http://{address}/metrics")?;
        }
        for (index, Served { certificate, .. }) in self.certificates.iter().enumerate() {
            let octets = certificate.fingerprint();
            let hex: Vec<String> = octets.iter().map(|octet| format!("{octet:02X}")).collect();
            write!(f, "certificate SHA-256 {}", hex.join(":"))?;
            match index {
                0 => writeln!(f)?,
                _ => writeln!(f, " {}", certificate.served_names().join(" "))?,
            }
        }
        let cpus: Vec<String> = self.cpus.iter().map(ToString::to_string).collect();
        writeln!(f, "shards {} on CPU {}", self.cpus.len(), cpus.join(","))?;
        if let Some(user) = &self.config.announced {
            match &user.generated {
                Some(password) => {
                    writeln!(f, "user {} password {}", user.name, password.reveal())?;
                }
                None => writeln!(f, "user {} password from RINGFTPD_PASSWORD", user.name)?,
            }
        }
        self.examples(f)?;
        f.write_str("ready")
    }
}

impl Banner<'_> {
    fn examples(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(user) = self.user() else { return Ok(()) };
        if let Some(address) = self.implicit.first() {
            let host = example_host(*address);
            writeln!(f, "curl {}{} ftps://{host}/", self.curl_ca(), user.curl)?;
            writeln!(f, "lftp {}-e '{}ls; quit' ftps://{host}", user.lftp, self.lftp_ca())?;
        }
        if let Some(address) = self.explicit.first() {
            let host = example_host(*address);
            let ca = self.curl_ca();
            writeln!(f, "curl --ssl-reqd {ca}{} ftp://{host}/", user.curl)?;
            let force = "set ftp:ssl-force true; set ftp:ssl-protect-data true; ";
            let ca = self.lftp_ca();
            writeln!(f, "lftp {}-e '{ca}{force}ls; quit' ftp://{host}", user.lftp)?;
        }
        Ok(())
    }

    /// Log-in options of the example commands.
    fn user(&self) -> Option<Example> {
        if let Some(user) = &self.config.announced {
            let name = &user.name;
            let password = match &user.generated {
                Some(password) => password.reveal().to_owned(),
                None => "$RINGFTPD_PASSWORD".to_owned(),
            };
            return Some(Example {
                curl: format!("--user \"{name}:{password}\""),
                lftp: format!("-u \"{name},{password}\" "),
            });
        }
        self.config.accounts.users.anonymous().map(|_| Example {
            curl: "--user anonymous:guest@".to_owned(),
            lftp: "-u anonymous,guest@ ".to_owned(),
        })
    }

    fn certificate_file(&self) -> Option<String> {
        match &self.config.certificate {
            CertificateSource::SelfSigned { directory } if self.self_signed => {
                Some(crate::tls::self_signed_chain(directory).display().to_string())
            }
            CertificateSource::SelfSigned { .. } | CertificateSource::Files { .. } => None,
        }
    }

    fn curl_ca(&self) -> String {
        self.certificate_file().map(|file| format!("--cacert \"{file}\" ")).unwrap_or_default()
    }

    fn lftp_ca(&self) -> String {
        self.certificate_file()
            .map(|file| format!("set ssl:ca-file \"{file}\"; "))
            .unwrap_or_default()
    }
}

struct Example {
    curl: String,
    lftp: String,
}

/// The certificate names `localhost` and both loopback addresses.
fn example_host(address: SocketAddr) -> String {
    let address = reachable(address);
    if address.ip().is_loopback() && address.ip().to_canonical().is_ipv4() {
        return format!("localhost:{}", address.port());
    }
    address.to_string()
}

/// An address a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
