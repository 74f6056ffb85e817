//! The fuzz target `clients`: any text as the fields that name a client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aureon::fuzz::clients(bytes));
