//! The fuzz target `session`: any bytes as all that a connection receives.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::session(bytes));
