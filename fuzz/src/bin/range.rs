//! The fuzz target `range`: any bytes as a Range field.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::range(bytes));
