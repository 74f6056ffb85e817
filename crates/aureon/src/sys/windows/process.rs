//! Starting another program that takes over: not on Windows, where no process inherits another's
//! sockets with their queues.
//!
//! The same door as on the other systems; starting is `Unsupported`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::Path;

pub use crate::sys::words::Ended;

/// A process that was started and has not been waited for: there is none here.
#[derive(Debug)]
pub struct Child(Infallible);

/// Starts a program that takes over from this one.
///
/// # Errors
///
/// Always.
pub fn start(
    _: &Path,
    _: impl Iterator<Item = OsString>,
    _: impl Iterator<Item = (OsString, OsString)>,
) -> io::Result<Child> {
    let text = "no process takes over from another on Windows; stop this one and start anew";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

impl Child {
    /// The process's number.
    pub fn id(&self) -> u32 {
        match self.0 {}
    }

    /// Ends the process at once and waits for it.
    ///
    /// # Errors
    ///
    /// None: there is no such value.
    pub fn kill(self) -> io::Result<Ended> {
        match self.0 {}
    }
}
