//! Console events of Windows, as values that a thread waits for.
//!
//! Ctrl-C is [`Signal::Interrupt`]; Ctrl-Break, the closing of the console and the end of the
//! machine are [`Signal::Terminate`]. The system calls the handler on a thread of its own. After
//! the last two it ends the process as soon as the handler returns, so that ours does not: the
//! process then has the system's five to twenty seconds to end by itself. `services` adds what a
//! service is told, and an event with a name stands for `SIGHUP`.

use std::collections::VecDeque;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, FALSE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_LOGOFF_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, EVENT_MODIFY_STATE, INFINITE, OpenEventW, SetEvent, WaitForSingleObject,
};
use windows_sys::core::BOOL;

use super::services::{done, wide};
use crate::limits::{SIGNALS_WAITING_MAX, WAITING_STACK_BYTES};
use crate::sys::thread;
pub use crate::sys::words::{Code, Signal};

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

/// Whether a process is told to reload by name: there is no `SIGHUP` here.
pub const BY_NAME: bool = true;

/// The event by which a process of that name is told.
///
/// `Global`, because services have a session of their own. Nobody is named who may open it: then it
/// is who this process runs as, and the system; whoever else made one of that name is not heard.
fn event_of(name: &str) -> Vec<u16> {
    wide(&["Global\\aureond-", name, "-reload"].concat())
}

/// Has [`Signal::Hangup`] arrive whenever somebody says [`reload`] with this name.
///
/// # Errors
///
/// There is such a name already, or no thread left.
pub fn answer_to(name: &str) -> Result<(), Code> {
    let name = event_of(name);
    // SAFETY: the name ends with a zero and lives across the call. A handle that is not null is
    // nobody else's.
    let event = unsafe {
        let event = CreateEventW(ptr::null(), FALSE, FALSE, name.as_ptr());
        let code = Code::last();
        if event.is_null() {
            return Err(code);
        }
        let event = OwnedHandle::from_raw_handle(event);
        if code.0 == ERROR_ALREADY_EXISTS.cast_signed() {
            return Err(code);
        }
        event
    };
    let body = move || {
        // SAFETY: the event is open as long as this thread waits for it.
        while unsafe { WaitForSingleObject(event.as_raw_handle(), INFINITE) } == WAIT_OBJECT_0 {
            arrive(Signal::Hangup);
        }
        Ok(())
    };
    thread::start("reload", WAITING_STACK_BYTES, Box::new(body))
        .map(drop)
        .map_err(|error| Code(error.raw_os_error().unwrap_or(0)))
}

/// Tells the process of that name to reload; what comes of it, it tells itself.
///
/// # Errors
///
/// There is none, or it is somebody else's.
pub fn reload(name: &str) -> Result<(), Code> {
    let name = event_of(name);
    // SAFETY: the name ends with a zero and lives across the call. A handle that is not null is
    // nobody else's, and open until the end of the block.
    unsafe {
        let event = OpenEventW(EVENT_MODIFY_STATE, FALSE, name.as_ptr());
        if event.is_null() {
            return Err(Code::last());
        }
        let event = OwnedHandle::from_raw_handle(event);
        done(SetEvent(event.as_raw_handle()))
    }
}

pub(super) fn arrive(signal: Signal) {
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
        // Only services hear of it, whenever anybody logs off: what runs in his session was ended.
        CTRL_LOGOFF_EVENT => {}
        _ => {
            arrive(Signal::Terminate);
            loop {
                std::thread::park();
            }
        }
    }
    // It is dealt with: no other handler is asked, of which the last would end the process.
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;

    #[test]
    fn events_and_what_is_told_by_name_come_out_in_order() {
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
        let code = |code: u32| Err(Code(code.cast_signed()));
        assert_eq!(reload("nobody"), code(ERROR_FILE_NOT_FOUND));
        answer_to("somebody").unwrap();
        assert_eq!(answer_to("somebody"), code(ERROR_ALREADY_EXISTS));
        reload("somebody").unwrap();
        assert_eq!(signals.wait().unwrap(), Signal::Hangup);
        for _ in 0..2 * SIGNALS_WAITING_MAX {
            arrive(Signal::Interrupt);
        }
        let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(waiting.len(), SIGNALS_WAITING_MAX);
    }
}
