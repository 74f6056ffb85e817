//! The fuzz target `config`: any bytes as aureon.toml.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon_service::fuzz::config(bytes));
