//! The fuzz target `path`: any bytes as the URL path of a file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::path(bytes));
