//! One listener, several workers: who gets a connection that `AcceptEx` has finished.
//!
//! A socket can belong to one port only, and each worker has its own. So listeners belong to a
//! port that no worker waits on; the one thread that does hands each completion to the port that
//! its operation names. Every worker asks for connections of its own, in the order in which they
//! are to be given out, and the thread decides nothing. It is started with the first listener and
//! lives as long as the process.

use std::io;
use std::os::windows::io::OwnedSocket;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::IO::OVERLAPPED;

use super::operation;
use super::port::{NO_ENTRY, Port};
use crate::limits::{ACCEPT_RETRY_MS, EVENTS_PER_TURN};

/// Bytes of stack of the thread that hands on. 64 KiB.
const STACK_BYTES: usize = 64 * 1024;

/// The port of all listeners; it is never closed.
static HALL: Mutex<Option<&'static Port>> = Mutex::new(None);

/// Has the completions of a listener's accepting operations handed to the ports they name.
pub(super) fn share(listener: &OwnedSocket) -> io::Result<()> {
    hall()?.add(listener)
}

fn hall() -> io::Result<&'static Port> {
    let mut hall = HALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(port) = *hall {
        return Ok(port);
    }
    let port: &'static Port = Box::leak(Box::new(Port::new()?));
    let builder = thread::Builder::new()
        .name("aureon-accept".to_owned())
        .stack_size(STACK_BYTES);
    builder.spawn(move || hand_on(port))?;
    *hall = Some(port);
    Ok(port)
}

fn hand_on(port: &Port) {
    let mut entries = [NO_ENTRY; EVENTS_PER_TURN];
    loop {
        // An error could only be of the kernel's memory: it is asked again a little later.
        let Ok(count) = port.wait(&mut entries, None) else {
            thread::sleep(Duration::from_millis(ACCEPT_RETRY_MS));
            continue;
        };
        for entry in entries.iter().take(count) {
            deliver(entry.lpOverlapped, entry.dwNumberOfBytesTransferred);
        }
    }
}

/// Hands one completion to where it is wanted. It is never given up: its worker waits for it.
fn deliver(name: *mut OVERLAPPED, bytes: u32) {
    if name.is_null() {
        return;
    }
    // SAFETY: the name has just come out of the port of the listeners, of which only operations
    // are started that `operation::accept` gives away; its worker takes it back after us.
    let wanted = unsafe { operation::wanted_at(name) };
    while wanted.post(bytes, name).is_err() {
        thread::sleep(Duration::from_millis(ACCEPT_RETRY_MS));
    }
}
