//! Coverage-guided run of [`ringftpd_fuzz::pathname`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::pathname(data));
