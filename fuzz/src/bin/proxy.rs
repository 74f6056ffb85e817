//! The fuzz target `proxy`: any bytes as a PROXY header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::proxy(bytes));
