//! One connection: the session of its protocol and what waits on either side of it.
//!
//! An idle connection is this struct and nothing else: both buffers are without memory, and no
//! exchange is suspended. Connections live in pages of 64, so that neither growth nor a close
//! moves any of them.

use super::exchange::Lent;
use super::peers::Ticket;
use crate::app::{
    Fault, FileRange, LaterSlot, Match, Part, Peer, PipeReader, PipeWriter, RequestOwned,
};
use crate::http::{Delimiter, Session, Status};
use crate::limits::Limits;
use crate::metrics::State;
use crate::sys::SocketId;
use std::sync::Arc;
use std::vec;

/// What a connection is doing; the table of what may follow is in `worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection is in this slot.
    Free,
    /// Waiting for the PROXY header that its listener expects.
    Proxy,
    /// Waiting for a head, or in the middle of one.
    Head,
    /// Collecting a body for a handler.
    Body,
    /// Passing a body on to an upload handler.
    Upload,
    /// Waiting for an answer from another thread.
    Waiting,
    /// Sending content that does not fit one buffer.
    Sending,
    /// Reading the rest of a body that nobody wants.
    Discard,
    /// Sending what is left, then closing.
    Closing,
    /// Closed for sending; reading on so that the peer is not reset (RFC 9112 §9.6).
    Linger,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) phase: Phase,
    /// Goes up with every use of the slot; half of the key that letters carry.
    pub(super) generation: u32,
    pub(super) peer: Peer,
    /// When the phase times out, on the driver's clock.
    pub(super) deadline_ms: u64,
    /// Bytes received and not yet understood.
    pub(super) input: Vec<u8>,
    /// Bytes the kernel has not taken.
    pub(super) output: Vec<u8>,
    /// The exchange that did not end where it began.
    pub(super) exchange: Option<Box<Suspended>>,
    /// Receiving is paused because nobody reads.
    pub(super) paused: bool,
    /// The peer sends nothing more.
    pub(super) peer_shut: bool,
    /// The phase began at this time: for bodies' rates.
    pub(super) since_ms: u64,
    /// Bytes received in this phase, likewise.
    pub(super) phase_bytes: u64,
    /// When the first byte of a request came that was not whole in one turn; 0 when it was.
    pub(super) began_us: u64,
    /// The state it is counted in.
    pub(super) counted: State,
    /// The peer is a proxy of one's own: its clients are counted, not itself.
    pub(super) proxied: bool,
    /// Its place among those of its address, or of the client behind the proxy.
    pub(super) ticket: Option<Ticket>,
}

impl Connection {
    fn free() -> Connection {
        Connection {
            session: Session::new(),
            phase: Phase::Free,
            generation: 0,
            peer: Peer::Unix,
            deadline_ms: 0,
            input: Vec::new(),
            output: Vec::new(),
            exchange: None,
            paused: false,
            peer_shut: false,
            since_ms: 0,
            phase_bytes: 0,
            began_us: 0,
            counted: State::Idle,
            proxied: false,
            ticket: None,
        }
    }

    /// What it is doing, as it is counted.
    #[inline(always)]
    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Head | Phase::Free if self.session.is_idle() => State::Idle,
            Phase::Head | Phase::Free | Phase::Proxy => State::Head,
            Phase::Body => State::Body,
            Phase::Upload => State::Upload,
            Phase::Waiting => State::Waiting,
            Phase::Sending => State::Sending,
            Phase::Discard => State::Discard,
            Phase::Closing => State::Closing,
            Phase::Linger => State::Linger,
        }
    }

    /// Tells the producer of a stream that the server drains.
    pub(super) fn ask_stream_to_end(&self) {
        if let Some(Tail::Stream(reader)) = self.exchange.as_ref().map(|exchange| &exchange.tail) {
            reader.ask_to_end();
        }
    }

    /// The next deadline of a body that comes fast enough, `None` when it does not.
    pub(super) fn rate_deadline(&self, limits: &Limits, now_ms: u64) -> Option<u64> {
        let elapsed_ms = now_ms.saturating_sub(self.since_ms);
        let counted_ms = elapsed_ms
            .saturating_sub(u64::from(limits.body_timeout_ms))
            .max(1_000);
        let needed = counted_ms * u64::from(limits.body_rate_min) / 1_000;
        // An upload that our own handler holds up is not the peer's fault.
        let held = self.phase == Phase::Upload && self.paused;
        (self.phase_bytes >= needed || held).then_some(now_ms + 1_000)
    }

    /// The key by which other threads name this connection.
    pub(super) fn key(&self, id: SocketId) -> u64 {
        u64::from(self.generation) << 32 | u64::from(id.0)
    }
}

/// An exchange that waits for bytes, for another thread, or for the peer to take its answer.
#[derive(Debug)]
pub(super) struct Suspended {
    pub(super) request: RequestOwned,
    /// The application that `matched` belongs to; a reload may have put another in force.
    pub(super) shared: Lent,
    pub(super) matched: Match,
    /// The body so far, when it is collected.
    pub(super) body: Vec<u8>,
    /// Most bytes of body that are taken.
    pub(super) body_max: u64,
    pub(super) upload: Option<PipeWriter>,
    pub(super) later: Option<LaterSlot>,
    pub(super) tail: Tail,
    pub(super) delimiter: Delimiter,
    pub(super) status: Status,
    pub(super) fault: Option<Box<Fault>>,
    /// Bytes of body passed on to an upload.
    pub(super) body_bytes: u64,
    pub(super) bytes_sent: u64,
    pub(super) started_us: u64,
    /// When the head of an answer was written whose content followed; 0 before.
    pub(super) answered_us: u64,
}

impl Suspended {
    pub(super) fn new(
        request: RequestOwned,
        shared: Lent,
        matched: Match,
        now_us: u64,
    ) -> Suspended {
        Suspended {
            request,
            shared,
            matched,
            body: Vec::new(),
            body_max: 0,
            upload: None,
            later: None,
            tail: Tail::Nothing,
            delimiter: Delimiter::Nothing,
            status: Status::OK,
            fault: None,
            body_bytes: 0,
            bytes_sent: 0,
            started_us: now_us,
            answered_us: 0,
        }
    }
}

/// Content that is still to be sent.
#[derive(Debug)]
pub(super) enum Tail {
    Nothing,
    Memory {
        bytes: Memory,
        at: usize,
    },
    File(FileRange),
    /// The parts that follow, and the file in hand.
    Parts(vec::IntoIter<Part>, Option<FileRange>),
    Stream(PipeReader),
}

/// Content in memory, whoever owns it.
#[derive(Debug)]
pub(super) enum Memory {
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Memory {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Memory::Static(bytes) => bytes,
            Memory::Owned(bytes) => bytes,
            Memory::Shared(bytes) => bytes,
        }
    }
}

/// Connections of a page.
const PAGE: usize = 64;

/// The connections of a worker, by socket.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pages: Vec<Box<[Connection]>>,
    open: usize,
}

impl Connections {
    /// Opens the slot of a socket that was just accepted.
    pub(super) fn open(&mut self, id: SocketId, peer: Peer) -> &mut Connection {
        while self.pages.len() <= id.index() / PAGE {
            self.pages
                .push((0..PAGE).map(|_| Connection::free()).collect());
        }
        self.open += 1;
        let connection = &mut self.pages[id.index() / PAGE][id.index() % PAGE];
        let generation = connection.generation.wrapping_add(1);
        *connection = Connection {
            generation,
            peer,
            phase: Phase::Head,
            ..Connection::free()
        };
        connection
    }

    /// Frees a slot with all that it held.
    pub(super) fn close(&mut self, id: SocketId) {
        if let Some(connection) = self.get(id) {
            let generation = connection.generation;
            *connection = Connection {
                generation,
                ..Connection::free()
            };
            self.open -= 1;
        }
    }

    /// An open connection.
    #[inline]
    pub(super) fn get(&mut self, id: SocketId) -> Option<&mut Connection> {
        let connection = self
            .pages
            .get_mut(id.index() / PAGE)?
            .get_mut(id.index() % PAGE)?;
        (connection.phase != Phase::Free).then_some(connection)
    }

    /// The socket that a key names, if the connection is still the same.
    pub(super) fn find(&mut self, key: u64) -> Option<SocketId> {
        let id = SocketId(key as u32);
        let connection = self.get(id)?;
        (u64::from(connection.generation) == key >> 32).then_some(id)
    }

    /// Connections that are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// All open connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, &Connection)> {
        let all = self.pages.iter().flat_map(|page| page.iter()).enumerate();
        all.filter(|(_, connection)| connection.phase != Phase::Free)
            .map(|(index, connection)| (SocketId(index as u32), connection))
    }

    /// Their sockets.
    pub(super) fn ids(&self) -> Vec<SocketId> {
        self.iter().map(|(id, _)| id).collect()
    }
}
