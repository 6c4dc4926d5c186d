//! A server that is upgraded three times under load: no operation fails, and none is reset.

use std::thread;
use std::time::Duration;

use crate::support::ringftpd::{Ringftpd, Setup};
use crate::support::run;

/// What the downloads read; nothing of it is on a disk.
const LARGE: u64 = 1 << 30;

#[test]
fn upgrades_under_load_cost_no_operation() {
    let server = Ringftpd::start_with(&Setup { cpus: "0-1", ..Setup::default() });
    server.put_sparse("large", LARGE);
    let target = server.implicit.to_string();
    let rest = "--duration 5s --warm-up 0s --drain 40s";
    thread::scope(|scope| {
        let load = |line: String| {
            let target = &target;
            scope.spawn(move || run(target, &line).good())
        };
        let loads = [
            // Each has a connection of its own.
            (200, load(format!("login --clients 64 {rest}"))),
            (2, load(format!("download --clients 2 --path large {rest}"))),
            (2, load(format!("upload --clients 2 --size 64MiB {rest}"))),
        ];
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1200));
            server.upgrade();
        }
        for (least, load) in loads {
            let outcome = load.join().unwrap();
            assert_eq!(outcome.total("errors"), 0, "{}", outcome.result["errors"]);
            assert!(outcome.total("operations") >= least, "{}", outcome.result["totals"]);
        }
    });
}
