//! Services of POSIX systems: their managers, systemd and launchd, have commands of their own, and
//! start programs that need not know them.
//!
//! The same door as on Windows. Who looks at [`PRESENT`] first needs nothing else of it.

use std::fs::File;

pub use crate::sys::words::{Code, Order, Plan, State, Status};

/// Whether this system has a manager that starts services and is asked here.
pub const PRESENT: bool = false;

/// What everything here comes to.
const NONE: Code = Code(libc::ENOSYS);

/// # Errors
///
/// Always.
pub fn install(_: &Plan<'_>) -> Result<(), Code> {
    Err(NONE)
}

/// # Errors
///
/// Always.
pub fn order(_: &str, _: Order) -> Result<(), Code> {
    Err(NONE)
}

/// # Errors
///
/// Always.
pub fn status(_: &str) -> Result<Status, Code> {
    Err(NONE)
}

/// # Errors
///
/// Always.
pub fn own_directory(_: &str, _: &str) -> Result<(), Code> {
    Err(NONE)
}

/// Whether standard error is a file that nobody else puts the time into.
pub fn is_redirected() -> bool {
    false
}

/// # Errors
///
/// Always.
pub fn redirect(_: File) -> Result<(), Code> {
    Err(NONE)
}

/// # Errors
///
/// Always.
pub fn enter() -> Result<(), Code> {
    Err(NONE)
}

/// Nobody is told.
pub fn leave(_: u8, _: bool) {}
