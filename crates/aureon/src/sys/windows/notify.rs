//! Telling a service manager how a process is: systemd's words for the manager of Windows.
//!
//! The same door as on the other systems. Nobody sets `NOTIFY_SOCKET` here: the manager that has
//! started this process is told by `services`.

use std::ffi::OsStr;
use std::io;
use std::sync::OnceLock;
use std::time::Instant;

use super::services;

/// Where messages go: to the manager that started this process.
#[derive(Debug)]
pub struct Notifier(());

impl Notifier {
    /// # Errors
    ///
    /// Always: there is no manager here that is told over a socket.
    pub fn new(_: &OsStr) -> io::Result<Notifier> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// One for the manager that started this process, where it need not be named.
    pub fn own() -> Option<Notifier> {
        services::is_entered().then_some(Notifier(()))
    }

    /// Sends assignments, one a line. That requests are answered is all it wants to know: that the
    /// end has begun it knows, because it asked for it, and a reload is no state of a service here.
    ///
    /// # Errors
    ///
    /// None.
    pub fn send(&self, text: &str) -> io::Result<()> {
        if text.starts_with("READY=1") {
            services::ready();
        }
        Ok(())
    }
}

/// Microseconds on a clock that never goes back, from the first call on.
pub fn monotonic_us() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let passed = FIRST.get_or_init(Instant::now).elapsed();
    passed.as_secs() * 1_000_000 + u64::from(passed.subsec_micros())
}
