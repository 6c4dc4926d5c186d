//! What it costs to write a reply: one line, a pathname to be quoted and Telnet-encoded, and the
//! many lines of FEAT.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringftpd::protocol::reply;

/// An encoder of one reply.
type Encode = fn(&mut Vec<u8>);

const FEATURES: [&str; 12] = [
    "AUTH TLS;SSL;",
    "EPRT",
    "EPSV",
    "HASH SHA-256*;SHA-512;SHA-1;MD5;CRC32",
    "MDTM",
    "MFMT",
    "MLST type*;size*;modify*;perm*;unique*;UNIX.mode;",
    "PBSZ",
    "PROT C;P;",
    "REST STREAM",
    "SIZE",
    "UTF8",
];

const ODD_NAME: &[u8] = b"/pub/a \"quoted\" name\r\nwith \xff octets that need care";

const CASES: [(&str, Encode, &[u8]); 3] = [
    (
        "line",
        |out| reply::line(out, 226, black_box(b"Transfer complete")),
        b"226 Transfer complete\r\n",
    ),
    (
        "odd_pathname",
        |out| reply::line(out, 257, &reply::quoted(black_box(ODD_NAME))),
        b"257 \"/pub/a \"\"quoted\"\" name??with \xff\xff octets that need care\"\r\n",
    ),
    (
        "features",
        |out| reply::multi(out, 211, b"Features", black_box(&FEATURES), b"End"),
        b"211-Features\r\n AUTH TLS;SSL;\r\n EPRT\r\n EPSV\r\n \
          HASH SHA-256*;SHA-512;SHA-1;MD5;CRC32\r\n MDTM\r\n MFMT\r\n \
          MLST type*;size*;modify*;perm*;unique*;UNIX.mode;\r\n PBSZ\r\n PROT C;P;\r\n \
          REST STREAM\r\n SIZE\r\n UTF8\r\n211 End\r\n",
    ),
];

fn replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply_encode");
    for (name, encode, expected) in CASES {
        let mut out = Vec::with_capacity(1024);
        encode(&mut out);
        assert_eq!(out, expected, "{name}");
        support::report_work(name, &out);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(&mut out);
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, replies);
criterion_main!(benches);
