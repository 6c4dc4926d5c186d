//! Coverage-guided run of [`ringftpd_fuzz::proxy_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::proxy_header(data));
