//! The `aureond` binary: the service with no routes but its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    aureon_service::main(|_| {})
}
