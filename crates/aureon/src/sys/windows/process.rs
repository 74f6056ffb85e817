//! Starting another program that takes over: not on Windows, where no process inherits another's
//! sockets with their queues.
//!
//! The same door as on the other systems; starting is `Unsupported`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_READ_DATA, FILE_TRAVERSE, FILE_WRITE_DATA,
};

use super::dir::SHARE_ALL;
use crate::sys::socket::Inheritable;

pub use crate::sys::words::{Ended, Use as Access};

/// Whether the user that this process runs as may do that with a file; changes nothing: it is
/// opened for it, and closed.
///
/// # Errors
///
/// It may not, there is no such file, or its file system is read only.
pub fn may(path: &Path, access: Access) -> io::Result<()> {
    let wanted = match access {
        Access::Read => FILE_READ_DATA,
        Access::Write => FILE_WRITE_DATA,
        Access::Enter => FILE_TRAVERSE,
    };
    let mut options = OpenOptions::new();
    options.access_mode(wanted).share_mode(SHARE_ALL);
    // Without this flag directories are not opened; on files it means nothing here.
    let options = options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    options.open(path).map(drop)
}

/// A connection between this process and another of its program: there is none here.
#[derive(Debug)]
pub struct Channel(Infallible);

fn none() -> io::Error {
    let text = "no process takes over from another on Windows; stop this one and start anew";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

impl Channel {
    /// # Errors
    ///
    /// Always.
    pub fn pair() -> io::Result<(Channel, Inheritable)> {
        Err(none())
    }

    /// # Errors
    ///
    /// Always.
    pub fn inherited(_: u32) -> io::Result<Channel> {
        Err(none())
    }

    /// # Errors
    ///
    /// None: there is no such value.
    pub fn try_clone(&self) -> io::Result<Channel> {
        match self.0 {}
    }

    /// # Errors
    ///
    /// None: there is no such value.
    pub fn set_read_timeout(&self, _: Duration) -> io::Result<()> {
        match self.0 {}
    }
}

impl Read for Channel {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Channel {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// The number by which a child finds what it inherits.
pub fn number(inherited: &Inheritable) -> u32 {
    inherited.number()
}

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
    Err(none())
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
