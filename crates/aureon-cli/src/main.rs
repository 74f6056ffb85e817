//! The `aureon` binary: nothing but the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    aureon_cli::main()
}
