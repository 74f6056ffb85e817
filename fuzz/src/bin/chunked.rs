//! The fuzz target `chunked`: any bytes as a chunked body, and as the data of one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::chunked(bytes));
