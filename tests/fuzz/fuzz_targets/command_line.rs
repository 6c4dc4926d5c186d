//! Coverage-guided run of [`ringftpd_fuzz::command_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringftpd_fuzz::command_line(data));
