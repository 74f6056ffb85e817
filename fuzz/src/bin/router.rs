//! The fuzz target `router`: any routes and any path.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::router(bytes));
