//! Console events of Windows, as values that a thread waits for.
//!
//! Ctrl-C is [`Signal::Interrupt`]; Ctrl-Break, the closing of the console, the end of the session
//! and of the machine are [`Signal::Terminate`]. The system calls the handler on a thread of its
//! own. After the last three it ends the process as soon as the handler returns, so that ours does
//! not: the process then has the system's five to twenty seconds to end by itself.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use windows_sys::Win32::Foundation::FALSE;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

use crate::limits::SIGNALS_WAITING_MAX;
pub use crate::sys::words::Signal;

/// Whether the handler is in place.
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Events that nobody has waited for yet.
static WAITING: Mutex<VecDeque<Signal>> = Mutex::new(VecDeque::new());
static ARRIVED: Condvar = Condvar::new();

/// The receiving end of all console events.
#[derive(Debug)]
pub struct Signals(());

impl Signals {
    /// Catches every event from now on. `AlreadyExists` when the process does so already.
    pub fn catch() -> io::Result<Signals> {
        if CAUGHT.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // SAFETY: the handler has the type that is asked for, and lives as long as the program.
        if unsafe { SetConsoleCtrlHandler(Some(on_event), 1) } == FALSE {
            let error = io::Error::last_os_error();
            CAUGHT.store(false, Ordering::Release);
            return Err(error);
        }
        Ok(Signals(()))
    }

    /// Waits for the next event.
    pub fn wait(&mut self) -> io::Result<Signal> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(signal) = waiting.pop_front() {
                return Ok(signal);
            }
            waiting = ARRIVED
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn arrive(signal: Signal) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() < SIGNALS_WAITING_MAX {
        waiting.push_back(signal);
    }
    drop(waiting);
    ARRIVED.notify_one();
}

/// Runs on a thread of the system's, so that it may take locks.
extern "system" fn on_event(event: u32) -> BOOL {
    match event {
        CTRL_C_EVENT => arrive(Signal::Interrupt),
        CTRL_BREAK_EVENT => arrive(Signal::Terminate),
        _ => {
            arrive(Signal::Terminate);
            loop {
                thread::park();
            }
        }
    }
    // It is dealt with: no other handler is asked, of which the last would end the process.
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_and_catching_twice_is_refused() {
        let mut signals = Signals::catch().unwrap();
        let twice = Signals::catch().unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        for (event, signal) in [
            (CTRL_C_EVENT, Signal::Interrupt),
            (CTRL_BREAK_EVENT, Signal::Terminate),
            (CTRL_C_EVENT, Signal::Interrupt),
        ] {
            assert_eq!(on_event(event), 1);
            assert_eq!(signals.wait().unwrap(), signal);
        }
        for _ in 0..2 * SIGNALS_WAITING_MAX {
            arrive(Signal::Interrupt);
        }
        let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(waiting.len(), SIGNALS_WAITING_MAX);
    }
}
