//! One run shared by several processes (`--part`, `--start-at`), and their results put together
//! (`merge`): nothing is asked twice, nothing is left out, every count is exact.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::ringftpd::Ringftpd;
use crate::support::ringload;
use crate::support::scripted::{Act, Scripted};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;
use tempfile::TempDir;

/// Time enough for two processes to get ready on a busy machine.
const AHEAD: Duration = Duration::from_secs(4);

/// Runs both parts of `line` at once; the results are files `1.json` and `2.json` in `scratch`.
#[track_caller]
fn both_parts(line: &str, scratch: &Path) -> [PathBuf; 2] {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + AHEAD;
    let parts = [1, 2].map(|number| {
        let file = scratch.join(format!("{number}.json"));
        let child = Command::new(env!("CARGO_BIN_EXE_ringload"))
            .args(line.split_whitespace())
            .args(["--start-at", &format!("{:.3}", at.as_secs_f64())])
            .args(["--part", &format!("{number}/2"), "--json"])
            .arg(&file)
            .env("RINGLOAD_PASSWORD", "secret")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (file, child)
    });
    parts.map(|(file, child)| {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("begins at 20"), "it says what it waits for: {said}");
        file
    })
}

fn merge(files: &[&Path], options: &[&str]) -> Output {
    let mut merge = Command::new(env!("CARGO_BIN_EXE_ringload"));
    merge.arg("merge").args(files).args(options).output().unwrap()
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn decode(text: &Value) -> Histogram<u64> {
    let text = text.as_str().unwrap();
    let octets = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Deserializer::new().deserialize(&mut octets.as_slice()).unwrap()
}

/// At a real server: 200 operations a second of one second, half from each process.
#[test]
fn parts_of_a_run_add_up_to_it() {
    let (server, scratch) = (Ringftpd::start(), TempDir::new().unwrap());
    let line = format!(
        "download {} --user alice --cpus 0 --rate 200 --arrivals poisson --files 3 --size 4KiB \
         --duration 1s --warm-up 200ms --slo errors=0",
        server.implicit
    );
    let files = both_parts(&line, scratch.path());
    assert_eq!(server.files(), [""; 0], "the last one has deleted what both used");
    let [merged, page] = ["both.json", "both.html"].map(|name| scratch.path().join(name));
    let options =
        ["--json", merged.to_str().unwrap(), "--html", page.to_str().unwrap(), "--hdr-log", "-"];
    let output = merge(&files.each_ref().map(PathBuf::as_path), &options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(log.contains("Tag=total.operation,"), "{log}");
    assert!(std::fs::read_to_string(page).unwrap().contains("part 2"));
    let ([a, b], whole) = (files.each_ref().map(|file| read(file)), read(&merged));
    for path in [
        "/totals/operations",
        "/totals/bytes_down",
        "/totals/within/due",
        "/totals/within/operations",
        "/phases/operation/corrected/count",
        "/phases/first_byte/uncorrected/count",
        "/lateness/count",
        "/resumption/data/handshakes",
    ] {
        let [a, b, sum] = [&a, &b, &whole].map(|run| run.pointer(path).unwrap().as_u64().unwrap());
        assert!(a > 0 && b > 0 && sum == a + b, "{path}: {a} and {b} are not {sum}");
    }
    assert_eq!(whole["totals"]["errors"], 0);
    // One process with the same seed has the same operations due, and as many in its measured part.
    let alone = ringload(&line).good().result;
    for path in ["/totals/operations", "/totals/within/due", "/phases/operation/corrected/count"] {
        assert_eq!(whole.pointer(path), alone.pointer(path), "{path}");
    }
    // What a histogram of all operations says is what the whole says.
    for phase in ["operation", "data_tls"] {
        let [one, other] =
            [&a, &b].map(|run| decode(&run["phases"][phase]["corrected"]["histogram"]));
        let mut all = one;
        all.add(other).unwrap();
        let whole = &whole["phases"][phase]["corrected"];
        assert_eq!(decode(&whole["histogram"]), all);
        for (figure, quantile) in [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99)] {
            let rank = quantile * (1.0 - 4.0 * f64::EPSILON);
            assert_eq!(whole[figure], all.value_at_quantile(rank).min(all.max()), "{figure}");
        }
    }
    let over_time = |run: &Value, field: &str| -> u64 {
        let rows = run["intervals"].as_array().unwrap();
        rows.iter().map(|row| row.pointer(field).unwrap().as_u64().unwrap()).sum()
    };
    for field in ["/operations", "/due", "/phase_ns/first_byte", "/phase_ns/operation"] {
        let [a, b, sum] = [&a, &b, &whole].map(|run| over_time(run, field));
        assert!(a > 0 && b > 0 && sum == a + b, "{field}: {a} and {b} are not {sum}");
    }
    assert_eq!(over_time(&whole, "/due"), over_time(&whole, "/operations"), "all have ended");
    assert!(whole["cpu"][0]["client_s"].as_f64().unwrap() > 0.0, "{}", whole["cpu"]);
    assert_eq!(whole["objective"]["conditions"][0]["holds"], true, "{}", whole["objective"]);
    let first = |run: &Value| run["intervals"][0]["operations"].as_u64().unwrap();
    assert_eq!(first(&whole), first(&a) + first(&b), "by the clock");
    assert_eq!(whole["parts"][1]["number"], 2);
    assert!(whole["part"].is_null());
    refusals(&files, &a);
}

/// What is not all parts of one run, each with the key and both values.
fn refusals(files: &[PathBuf; 2], first: &Value) {
    let [one, two] = files;
    #[track_caller]
    fn check(files: &[&Path], part: &str) {
        let output = merge(files, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{part}\nnot in\n{said}");
    }
    check(&[one, one], "part 1/2 is there twice");
    let changed = one.with_file_name("changed.json");
    let change = |path: &str, value: Value| {
        let mut run = first.clone();
        *run.pointer_mut(path).unwrap() = value;
        std::fs::write(&changed, run.to_string()).unwrap();
    };
    for (path, value, part) in [
        ("/seed", Value::from(9), "seed is 9 in the one and 1 in the other"),
        ("/version", "0.0.9".into(), "version of ringload is 0.0.9 in the one and 0.1.0 in the"),
        ("/workload/name", "upload".into(), "workload is upload in the one and download in the"),
        ("/workload/parameters/rate", "300".into(), "rate is 300 in the one and 200 in the other"),
        ("/timing/warmup_s", 5.into(), "warm-up is 5 s in the one and 0.2 s in the other"),
        (
            "/timing/started_unix_ms",
            0.into(),
            "--start-at is 1970-01-01T00:00:00Z in the one and 20",
        ),
        ("/part", Value::Null, "changed.json is no part of a run: it was made without --part"),
        ("/schema_version", 3.into(), "schema ringload-result version 3, wanted"),
        ("/totals/within", Value::Null, "changed.json: it has no `totals.within`"),
        ("/phases/login/corrected/histogram", "".into(), "changed.json: a histogram in it"),
    ] {
        if first.pointer(path).is_some() {
            change(path, value);
            check(&[&changed, two], part);
        }
    }
    let third = one.with_file_name("third.json");
    for (from, of, to) in [(one, 3, &changed), (two, 3, &third)] {
        let mut run = read(from);
        run["part"]["of"] = of.into();
        std::fs::write(to, run.to_string()).unwrap();
    }
    check(&[&changed, &third], "part 3/3 is missing");
    check(&[&changed, two], "--part K/N: N is 3 in the one and 2 in the other");
}

/// The same files in the same order of numbers, the same names of uploads: two processes ask for
/// what one asks for.
#[test]
fn parts_ask_for_what_one_process_asks_for() {
    let scratch = TempDir::new().unwrap();
    let asked = |server: &Scripted, verb: &str| {
        let commands = server.commands().into_iter();
        let mut asked: Vec<_> = commands.filter(|command| command.starts_with(verb)).collect();
        asked.sort();
        asked
    };
    for (workload, verb) in [
        ("download --rate 300 --count 31 --files 5 --size 1KiB", "RETR"),
        ("upload --clients 3 --count 12 --size 1KiB", "STOR"),
    ] {
        let (alone, shared) =
            (Scripted::implicit(|_| Act::Right), Scripted::implicit(|_| Act::Right));
        let (name, options) = workload.split_once(' ').unwrap();
        let line = |server: &Scripted| format!("{name} {} --cpus 0 {options}", server.address);
        ringload(&line(&alone)).good();
        let results = both_parts(&line(&shared), scratch.path()).map(|file| read(&file));
        if verb == "RETR" {
            assert_eq!(asked(&shared, verb), asked(&alone, verb));
            let done = results.map(|run| run["totals"]["operations"].as_u64().unwrap());
            assert_eq!(done, [16, 15]);
        } else {
            let [mut alone, mut shared] = [&alone, &shared].map(|server| asked(server, verb));
            alone.dedup();
            shared.dedup();
            assert_eq!(alone, shared, "each client has one name");
            assert_eq!(alone.len(), 3);
        }
    }
}

#[test]
fn a_run_that_is_not_ready_in_time_does_not_begin() {
    let server = Scripted::implicit(|moment| {
        if moment == crate::support::scripted::Moment::Greeting {
            std::thread::sleep(Duration::from_millis(1500));
        }
        Act::Right
    });
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64() + 1.0;
    let line = format!("idle {} --cpus 0 -c 1 --count 1 --start-at {at:.3}", server.address);
    let outcome = ringload(&line);
    assert_ne!(outcome.status, 0, "{}", outcome.output);
    let late = outcome.output.contains("not ready at --start-at 20");
    assert!(late || outcome.output.contains("is past by"), "{}", outcome.output);
    assert!(!server.commands().contains(&"NOOP".to_owned()));
}
