//! Coverage-guided run of [`ringftpd_fuzz::tls_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::tls_record(data));
