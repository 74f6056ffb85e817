//! What the driver knows of a socket, and of the operations on it.
//!
//! Only state: which operation is at rest and which is the kernel's, and what was said to the
//! worker. `iocp` decides.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::windows::io::OwnedSocket;
use std::sync::Arc;

use super::operation::{Flight, Operation, Refused, What};
use super::port::Port;
use crate::sys::SocketId;

/// An operation that is at rest, or under way in the kernel.
#[derive(Default)]
pub(super) enum Place {
    /// It was not needed yet.
    #[default]
    None,
    Rest(Box<Operation>),
    Away(Flight),
}

impl Place {
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Place::Away(_))
    }

    /// Takes the operation to start it, and makes it the first time.
    pub(super) fn take(&mut self, what: What, number: u32, port: &Arc<Port>) -> Box<Operation> {
        match mem::take(self) {
            Place::Rest(operation) => operation,
            // One that is away is never taken: callers have looked.
            Place::None | Place::Away(_) => Operation::new(what, number, port),
        }
    }

    /// Puts what came of starting it back; gives the error if it was not.
    pub(super) fn settle(&mut self, started: Result<Flight, Refused>) -> Option<io::Error> {
        match started {
            Ok(flight) => {
                *self = Place::Away(flight);
                None
            }
            Err((operation, error)) => {
                *self = Place::Rest(operation);
                Some(error)
            }
        }
    }
}

/// One socket.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) socket: Option<OwnedSocket>,
    /// Goes up with each use of the slot, so that what waits for its last owner is not ours.
    pub(super) generation: u32,
    /// The worker has closed it; it goes when its operations are back.
    pub(super) closing: bool,
    pub(super) paused: bool,
    /// Something is there to receive, as far as is known.
    pub(super) readable: bool,
    /// `Closed` or `Failed` was said: nothing may follow it.
    pub(super) ended: bool,
    /// The worker waits for `Sendable`.
    pub(super) wants_room: bool,
    /// Nothing more is sent behind the operation under way.
    pub(super) shuts: bool,
    pub(super) receiving: Place,
    pub(super) sending: Place,
    /// Why waiting to receive, or a send, failed; the next one tells.
    pub(super) receive_error: Option<io::Error>,
    pub(super) send_error: Option<io::Error>,
    /// The last send, or slice of a file, ended well and had sent nothing.
    pub(super) stalled: bool,
    pub(super) stalled_file: bool,
    /// Bytes of a file that the last operation has sent.
    pub(super) file_sent: Option<u32>,
}

impl Slot {
    /// The socket, unless the worker has closed it.
    pub(super) fn open(&self) -> Option<&OwnedSocket> {
        self.socket.as_ref().filter(|_| !self.closing)
    }
}

/// A receive that needs no completion: the buffer was full, the socket is resumed, or waiting
/// failed. With the generation of the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready(pub(super) SocketId, pub(super) u32);

/// A connection whose first receive was, or was not, tried.
pub(super) struct Fresh {
    pub(super) id: SocketId,
    pub(super) received: bool,
}

/// One of the accepting operations.
pub(super) struct Acceptor {
    pub(super) listener: usize,
    pub(super) place: Place,
}

/// A connection that was accepted, and of which the worker has not heard.
pub(super) struct Accepted {
    pub(super) socket: OwnedSocket,
    pub(super) peer: SocketAddr,
    pub(super) listener: usize,
}

/// A closed socket that still sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flush {
    pub(super) id: SocketId,
    pub(super) generation: u32,
    pub(super) until_ms: u64,
}
