//! What `tuning/` has for Prometheus and Grafana, tried with a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::metrics::{endpoint, scrape};
use crate::reload::set;
use crate::run::{DEADLINE, run};
use crate::support::wait::{PATIENCE, pause};
use crate::support::{Client, Server, wait_until};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/files").join(name)
}

/// A program of Debian's package, which `tests/run` has unpacked.
fn program(name: &str) -> Command {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = || directory("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let peers = directory("PEERS_DIR").unwrap_or_else(|| target().join("peers"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(peers);
    let path = root.join("prometheus/usr/bin").join(name);
    assert!(path.exists(), "{} is missing: run benches/peers/install prometheus", path.display());
    Command::new(path)
}

/// Prometheus with the shipped configuration, which scrapes one server each second.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    fn start(server: &Server) -> Self {
        Self::start_with(server, &[])
    }

    fn start_with(server: &Server, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(shipped("prometheus.yml")).unwrap();
        let target = endpoint(server).to_string();
        assert!(config.contains("127.0.0.1:9121") && config.contains("15s"), "{config}");
        let config = config.replace("127.0.0.1:9121", &target).replace("15s", "1s");
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let rules = folder.path().join("ringftpd-alerts.yml");
        fs::copy(shipped("ringftpd-alerts.yml"), &rules).unwrap();
        run(program("promtool").args(["check", "rules"]).arg(rules), DEADLINE).success();
        let file = folder.path().join("prometheus.yml");
        run(program("promtool").args(["check", "config"]).arg(&file), DEADLINE).success();

        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = program("prometheus");
        command.arg("--config.file").arg(file);
        command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg(format!("--web.listen-address={address}")).args(options);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let prometheus = Self { process, address, _folder: folder };
        wait_until("Prometheus", || {
            prometheus.get("/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
        });
        prometheus
    }

    /// In HTTP/1.0, so that the answer comes in one piece.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What the API says; it must be a success.
    #[track_caller]
    fn api(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1/{path}")).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let value: Value = serde_json::from_str(body).expect(body);
        assert_eq!(value["status"], "success", "{path}: {body}");
        value["data"].clone()
    }

    /// How many series an expression has now.
    #[track_caller]
    fn count(&self, expression: &str) -> usize {
        self.query(expression).as_array().unwrap().len()
    }

    /// What an expression is now, the one series of it.
    #[track_caller]
    fn value(&self, expression: &str) -> Option<f64> {
        let value = &self.query(expression)[0]["value"][1];
        value.as_str().map(|value| value.parse().unwrap())
    }

    #[track_caller]
    fn query(&self, expression: &str) -> Value {
        let octets = expression.bytes().map(|octet| format!("%{octet:02X}"));
        let mut data = self.api(&format!("query?query={}", octets.collect::<String>()));
        data["result"].take()
    }

    /// The expression of an alert, as Prometheus has understood it.
    #[track_caller]
    fn alerts(&self) -> Vec<(String, String)> {
        let data = self.api("rules");
        let rules = data["groups"][0]["rules"].as_array().unwrap();
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
        rules.iter().map(|rule| (text(rule, "name"), text(rule, "query"))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let ours = words.filter(|word| word.starts_with("ringftpd_"));
    ours.map(str::to_owned).collect()
}

fn server() -> Server {
    let server = Server::builder().toml("[metrics]\nlisten = \"127.0.0.1:0\"").start();
    Client::implicit(&server).login().quit();
    server
}

#[test]
fn alerts_and_dashboard_name_what_there_is() {
    let server = server();
    let page = names(&scrape(endpoint(&server)));
    for file in ["ringftpd-alerts.yml", "ringftpd-dashboard.json"] {
        let used = names(&fs::read_to_string(shipped(file)).unwrap());
        let unknown: Vec<_> = used.difference(&page).collect();
        assert!(used.len() > 10 && unknown.is_empty(), "{file}: {unknown:?}");
    }
}

/// promtool takes the page; what it has against it is the unit of the one figure in days.
#[test]
fn the_page_is_as_prometheus_wants_it() {
    let server = server();
    let mut promtool = program("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).spawn().unwrap();
    let page = scrape(endpoint(&server));
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let days = "ringftpd_certificate_days_left use base unit \"seconds\" instead of \"days\"";
    assert_eq!(String::from_utf8(said).unwrap().trim(), days);
}

/// Every panel has something to show, and no alert is about a server that is well; what three of
/// them are about, they see.
#[test]
fn a_real_prometheus_understands_them() {
    let server = server();
    let prometheus = Prometheus::start(&server);
    let up = "count(count_over_time(up{job=\"ringftpd\"}[1m]) > 2)";
    wait_until("three scrapes", || prometheus.count(up) == 1);

    let dashboard = fs::read_to_string(shipped("ringftpd-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!expression.contains('$'), "{expression}");
        assert!(prometheus.count(&expression) > 0, "nothing to show: {expression}");
    }

    let alerts = prometheus.alerts();
    assert!(alerts.len() > 10);
    // The certificate of a test ends soon.
    let well = alerts.iter().filter(|(name, _)| name != "RingftpdCertificateEnds");
    for (name, expression) in well {
        assert_eq!(prometheus.count(expression), 0, "{name}");
    }
    let seen = |wanted: &str| {
        let (_, expression) = alerts.iter().find(|(name, _)| name == wanted).unwrap();
        wait_until(wanted, || prometheus.count(expression) > 0);
    };
    set(&server, "[limits]\nsesions = 1");
    server.signal(Signal::HUP);
    seen("RingftpdReloadFailed");
    let (root, away) = (server.root(), server.root().with_extension("away"));
    fs::rename(&root, &away).unwrap();
    let mut client = Client::implicit(&server);
    client.expect("USER alice", 331);
    client.expect("PASS secret", 530);
    fs::rename(away, root).unwrap();
    seen("RingftpdHomesAbsent");
    drop(client);
    server.stop();
    seen("RingftpdDown");
}

/// An upload of 700 ms is in a classic bucket from 500 ms to 1 s, and in a native one from 648 ms
/// to 707 ms, or the next, to 771 ms.
#[test]
fn a_real_prometheus_reads_native_histograms() {
    let server = server();
    let prometheus = Prometheus::start_with(&server, &["--enable-feature=native-histograms"]);
    let mut client = Client::implicit(&server).login();
    for _ in 0..3 {
        let data = client.begin("STOR file");
        pause(Duration::from_millis(700));
        client.deliver(data, b"content");
    }
    let series = "ringftpd_phase_seconds{phase=\"transfer\",kind=\"upload\"}";
    let count = format!("histogram_count({series})");
    wait_until("three of them", || prometheus.value(&count) == Some(3.0));
    let page = scrape(endpoint(&server));
    let of = |part: &str| {
        let told = series.replace("seconds", &format!("seconds_{part}"));
        let told = page.lines().find_map(|line| line.strip_prefix(&told)).unwrap();
        told.trim().parse::<f64>().unwrap()
    };
    let sum = prometheus.value(&format!("histogram_sum({series})")).unwrap();
    assert!(of("count") == 3.0 && (sum - of("sum")).abs() < 1e-9, "{sum}\n{page}");
    // None was shorter; on a busy machine one may have been longer, by no more than is left.
    let most = sum - 2.0 * 0.7;
    let median = prometheus.value(&format!("histogram_quantile(0.5, {series})")).unwrap();
    let least = prometheus.value(&format!("histogram_quantile(0, {series})")).unwrap();
    assert!((0.64..=most).contains(&least), "{least}, at most {most}");
    assert!((0.64..most * 1.1).contains(&median), "{median}, at most {most}");
    // The others are what they are in text.
    assert_eq!(prometheus.value("sum(ringftpd_logins_total)"), Some(2.0));
    assert_eq!(prometheus.count("ringftpd_build_info == 1"), 1);
    assert!(prometheus.count("histogram_count(ringftpd_turn_seconds) > 0") > 0);
    client.quit();
}
