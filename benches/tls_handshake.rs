//! What a TLS handshake costs the server, by version, suite and resumption. The client's half of
//! the work runs in the same thread and is not counted.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]

mod support;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringftpd::tls::{Purpose, Resumption};
use support::tls::{Ends, KINDS};

fn handshakes(criterion: &mut Criterion) {
    for (group_name, resume, purpose, expected) in [
        ("handshake_full", false, Purpose::Control, Resumption::NotOffered),
        ("handshake_resumed", true, Purpose::Data, Resumption::ThisSession),
    ] {
        let mut group = criterion.benchmark_group(group_name);
        for kind in KINDS {
            let ends = Ends::new(kind, resume);
            // The first one of a client that resumes is a full one and brings the tickets.
            ends.connect(Purpose::Control);
            let facts = ends.connect(purpose).facts;
            assert_eq!(facts.resumption, expected, "{}", kind.name);
            let agreed =
                format!("{} {} {}", facts.version.name(), facts.cipher_suite, facts.resumption);
            support::report_work(&format!("{group_name}/{}", kind.name), agreed.as_bytes());
            group.bench_function(kind.name, |bencher| {
                bencher.iter_custom(|count| {
                    let mut time = Duration::ZERO;
                    for _ in 0..count {
                        let connected = ends.connect(purpose);
                        assert_eq!(connected.facts.resumption, expected);
                        time += connected.server_time;
                    }
                    time
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
