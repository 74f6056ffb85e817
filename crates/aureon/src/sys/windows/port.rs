//! A completion port: where finished operations come out, and how a turn is ended from outside.
//!
//! Owns the handle and the waiting. What a completion belongs to is its caller's business; `iocp`
//! and `accepting` are the callers.

use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle, OwnedSocket};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};

use crate::sys::Wake;

/// `INFINITE` of the waiting functions.
const INFINITE: u32 = u32::MAX;

/// An entry that the kernel has not filled yet.
pub(super) const NO_ENTRY: OVERLAPPED_ENTRY = OVERLAPPED_ENTRY {
    lpCompletionKey: 0,
    lpOverlapped: ptr::null_mut(),
    Internal: 0,
    dwNumberOfBytesTransferred: 0,
};

/// A completion port.
#[derive(Debug)]
pub(super) struct Port {
    handle: OwnedHandle,
}

impl Port {
    /// A port that one thread at a time waits on.
    pub(super) fn new() -> io::Result<Port> {
        // SAFETY: without a file a new port is made; no pointers. A result that is not null is a
        // handle nobody else owns.
        unsafe {
            let handle = CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1);
            if handle.is_null() {
                return Err(io::Error::last_os_error());
            }
            let handle = OwnedHandle::from_raw_handle(handle);
            Ok(Port { handle })
        }
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Has the operations of a socket come out here, for good.
    pub(super) fn add(&self, socket: &OwnedSocket) -> io::Result<()> {
        let file = socket.as_raw_socket() as HANDLE;
        // SAFETY: both handles are open for the whole call, and no pointers are taken.
        let added = unsafe { CreateIoCompletionPort(file, self.raw(), 0, 0) };
        if added.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Puts a completion in by hand. Without an operation it only ends a wait.
    pub(super) fn post(&self, bytes: u32, overlapped: *mut OVERLAPPED) -> io::Result<()> {
        // SAFETY: the pointer is carried and not followed.
        let posted = unsafe { PostQueuedCompletionStatus(self.raw(), bytes, 0, overlapped) };
        if posted == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits for completions, at most `timeout_ms` (`None`: as long as it takes), and gives how
    /// many there are now at the front of `entries`.
    pub(super) fn wait(
        &self,
        entries: &mut [OVERLAPPED_ENTRY],
        timeout_ms: Option<u32>,
    ) -> io::Result<usize> {
        let room = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        // The largest number means for ever.
        let timeout_ms = timeout_ms.map_or(INFINITE, |ms| ms.min(INFINITE - 1));
        let mut count = 0;
        // SAFETY: pointer and room describe the caller's slice, of which at most that many are
        // written; `count` is a local that lives across the call.
        let done = unsafe {
            let first = entries.as_mut_ptr();
            GetQueuedCompletionStatusEx(self.raw(), first, room, &raw mut count, timeout_ms, 0)
        };
        if done == 0 {
            // What `count` says then means nothing.
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(code) if code.cast_unsigned() == WAIT_TIMEOUT => Ok(0),
                _ => Err(error),
            };
        }
        Ok(count as usize)
    }
}

/// Ends a turn from any thread: a completion without an operation.
#[derive(Clone, Debug)]
pub struct PortWaker {
    port: Arc<Port>,
    /// One is under way already: the kernel's memory for them is not for the asking.
    posted: Arc<AtomicBool>,
}

impl PortWaker {
    pub(super) fn new(port: &Arc<Port>) -> PortWaker {
        PortWaker {
            port: Arc::clone(port),
            posted: Arc::new(AtomicBool::new(false)),
        }
    }

    /// It has come out; the next one is posted again.
    pub(super) fn clear(&self) {
        self.posted.store(false, Ordering::Release);
    }
}

impl Wake for PortWaker {
    fn wake(&self) {
        if !self.posted.swap(true, Ordering::AcqRel) && self.port.post(0, ptr::null_mut()).is_err()
        {
            // No memory in the kernel: the next one tries again.
            self.clear();
        }
    }
}
