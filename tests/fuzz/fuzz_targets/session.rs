//! Coverage-guided run of [`ringftpd_fuzz::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::session(data));
