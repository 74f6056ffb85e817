//! The fuzz target `head`: any bytes as a request head.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::head(bytes));
