//! Systems whose kernel has no rules about files that a thread could put on itself, or none that we
//! use: the sandbox as far as it exists there, which is to say that it does not.
//!
//! The same door as `landlock.rs`. [`version`] says that there is none, and callers go on without;
//! a [`Ruleset`] can not be made.

use std::convert::Infallible;
use std::io;
use std::path::Path;

pub use super::words::Access;

/// The version of the kernel's interface: none.
pub fn version() -> Option<u32> {
    None
}

/// Rules that can be put on threads; there are none here.
#[derive(Debug)]
pub struct Ruleset(Infallible);

impl Ruleset {
    /// # Errors
    ///
    /// Always: this system has none.
    pub fn new(_: u32) -> io::Result<Ruleset> {
        let text = "this system can not confine a thread to files";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Permits access to a file, or to everything beneath a directory.
    ///
    /// # Errors
    ///
    /// None: there is no such value.
    pub fn allow(&self, _: &Path, _: Access) -> io::Result<()> {
        match self.0 {}
    }

    /// Puts the rules on this thread.
    ///
    /// # Errors
    ///
    /// None: there is no such value.
    pub fn restrict_thread(&self) -> io::Result<()> {
        match self.0 {}
    }
}
