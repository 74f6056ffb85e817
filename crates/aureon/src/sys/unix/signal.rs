//! Signals of POSIX systems, as values that a thread waits for.
//!
//! A handler may do almost nothing (signal-safety(7)), so ours writes the signal's number into a
//! pipe and [`Signals::wait`] reads it on a thread of the caller's. Catching is per process and
//! for good: the engine never does it by itself, a program asks for it. Children started later
//! get the default action back, because `execve` resets caught signals.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

pub use crate::sys::words::{Code, Signal};

impl Signal {
    const fn number(self) -> libc::c_int {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
            Signal::Quit => libc::SIGQUIT,
            Signal::Hangup => libc::SIGHUP,
            Signal::User1 => libc::SIGUSR1,
            Signal::User2 => libc::SIGUSR2,
        }
    }
}

/// The pipe's end for the handler; -1 before anything is caught.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// The reading end of all caught signals.
#[derive(Debug)]
pub struct Signals {
    pipe: File,
}

impl Signals {
    /// Catches every [`Signal`] from now on. `AlreadyExists` when the process does so already.
    pub fn catch() -> io::Result<Signals> {
        let (reader, writer) = io::pipe()?;
        let writer = OwnedFd::from(writer);
        set_nonblocking(&writer)?;
        let fd = writer.into_raw_fd();
        if WRITE_END
            .compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: `fd` came out of an `OwnedFd` just now and nobody else has seen it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        for signal in Signal::ALL {
            install(signal.number())?;
        }
        Ok(Signals {
            pipe: File::from(OwnedFd::from(reader)),
        })
    }

    /// Waits for the next signal.
    pub fn wait(&mut self) -> io::Result<Signal> {
        loop {
            let mut byte = [0];
            match self.pipe.read(&mut byte) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    let number = libc::c_int::from(byte[0]);
                    if let Some(signal) = Signal::ALL.into_iter().find(|s| s.number() == number) {
                        return Ok(signal);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a process is told to reload by name: `SIGHUP` does it here, by number.
pub const BY_NAME: bool = false;

/// # Errors
///
/// None: nobody is told by name here.
pub fn answer_to(_: &str) -> Result<(), Code> {
    Ok(())
}

/// # Errors
///
/// Always: nobody is told by name here.
pub fn reload(_: &str) -> Result<(), Code> {
    Err(Code(libc::ENOSYS))
}

/// The handler must not block when the pipe is full; 64 KiB of unread signals are enough.
fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: both calls take a valid descriptor and integers.
    let result = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn install(number: libc::c_int) -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: a zeroed sigaction is valid (no flags, empty mask, no restorer); the handler is a
    // function of the type `sigaction` expects without SA_SIGINFO, and safe in a handler.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(number, &raw const action, ptr::null_mut())
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

extern "C" fn on_signal(number: libc::c_int) {
    let fd = WRITE_END.load(Ordering::Acquire);
    let byte = number as u8;
    // SAFETY: `write` is async-signal-safe and the pointer describes one live byte. `errno` is
    // the interrupted thread's and is put back; the location is valid for this thread.
    unsafe {
        let errno = errno_location();
        let before = *errno;
        libc::write(fd, (&raw const byte).cast(), 1);
        *errno = before;
    }
}

#[cfg(target_os = "linux")]
fn errno_location() -> *mut libc::c_int {
    // SAFETY: no preconditions; returns this thread's `errno`.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
fn errno_location() -> *mut libc::c_int {
    // SAFETY: no preconditions; returns this thread's `errno`.
    unsafe { libc::__error() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_signals_come_out_in_order_and_catching_twice_is_refused() {
        let mut signals = Signals::catch().unwrap();
        let twice = Signals::catch().unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        for signal in [
            Signal::Interrupt,
            Signal::Terminate,
            Signal::Quit,
            Signal::Interrupt,
        ] {
            // SAFETY: raises a signal that is caught, in this thread.
            assert_eq!(unsafe { libc::raise(signal.number()) }, 0);
            assert_eq!(signals.wait().unwrap(), signal);
        }
        for signal in Signal::ALL {
            // So that Ctrl-C still ends a long test run.
            // SAFETY: sets the default action.
            unsafe { libc::signal(signal.number(), libc::SIG_DFL) };
        }
    }
}
