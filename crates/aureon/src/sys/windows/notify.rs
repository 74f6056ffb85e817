//! Telling a service manager how a process is: systemd's protocol, which Windows has not.
//!
//! The same door as on the other systems. Nobody sets `NOTIFY_SOCKET` here, so that nobody asks.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::sync::OnceLock;
use std::time::Instant;

/// Where messages go: nowhere.
#[derive(Debug)]
pub struct Notifier(Infallible);

impl Notifier {
    /// # Errors
    ///
    /// Always: there is no such manager here.
    pub fn new(_: &OsStr) -> io::Result<Notifier> {
        let text = "Windows has no manager that is told over a socket";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Sends assignments, one a line.
    ///
    /// # Errors
    ///
    /// None: there is no such value.
    pub fn send(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }
}

/// Microseconds on a clock that never goes back, from the first call on.
pub fn monotonic_us() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let passed = FIRST.get_or_init(Instant::now).elapsed();
    passed.as_secs() * 1_000_000 + u64::from(passed.subsec_micros())
}
