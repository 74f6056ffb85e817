//! Telling a service manager how a process is: the protocol of sd_notify(3).
//!
//! One datagram for each message, to the socket that the manager named. An address that begins
//! with `@` has no file behind it (unix(7), abstract sockets), which only Linux knows. Nothing
//! waits: a manager that does not read loses what it is told.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where messages go.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// A notifier for what the variable `NOTIFY_SOCKET` holds.
    pub fn new(name: &OsStr) -> io::Result<Notifier> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notifier {
            socket,
            address: address_of(name)?,
        })
    }

    /// One for the manager that started this process, where it need not be named: nowhere here.
    pub fn own() -> Option<Notifier> {
        None
    }

    /// Sends assignments, one a line: `READY=1`.
    pub fn send(&self, text: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(text.as_bytes(), &self.address)
            .map(drop)
    }
}

fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            return SocketAddr::from_abstract_name(name);
        }
    }
    SocketAddr::from_pathname(name)
}

/// Microseconds on `CLOCK_MONOTONIC`, which sd_notify(3) wants with `RELOADING=1`.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local that lives across the call. This clock always exists;
    // if it did not, the time would stay zero.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let us = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1_000;
    u64::try_from(us).unwrap_or(0)
}
