//! Threads, started in one place.
//!
//! What the standard library needs to start one (packet, handle, catch, name) is a kilobyte of
//! code for each kind of closure. Boxed, all are of one kind.

use std::io;
use std::thread::{Builder, JoinHandle};

/// What a thread does, and what came of it.
pub type Body = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Starts a thread.
///
/// # Errors
///
/// The system has none left.
pub fn start(name: &str, stack_bytes: usize, body: Body) -> io::Result<JoinHandle<io::Result<()>>> {
    Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes)
        .spawn(body)
}
