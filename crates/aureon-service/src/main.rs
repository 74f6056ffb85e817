//! The `aureond` binary.
fn main() {}
