//! Coverage-guided run of [`ringftpd_fuzz::host_port`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::host_port(data));
