//! Coverage-guided run of [`ringftpd_fuzz::listing`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::listing(data));
