//! The driver over a completion port.
//!
//! Receiving waits by an operation of no bytes (`WSARecv`), so that an idle connection lends the
//! kernel no buffer; then `recv` is tried at once, as in the other drivers. Sending is tried at
//! once too, and only what the kernel has no room for becomes an operation (`WSASend`), of a
//! bounded piece that the driver keeps. Files are sent by operations (`TransmitFile`). At most one
//! receiving and one sending operation of a socket are under way.
//!
//! A socket that was closed stays in its slot until its operations have come back; its memory is
//! safe in any case (`operation`), but so its number is not used again too early. One that still
//! sends is given [`CLOSE_FLUSH_MS`] for it, as POSIX kernels do by themselves.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::windows::io::OwnedSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windows_sys::Win32::Networking::WinSock::LPFN_TRANSMITFILE;
use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

use super::operation::{self, Operation, What};
use super::port::{NO_ENTRY, Port, PortWaker};
use super::slot::{Accepted, Acceptor, Flush, Fresh, Place, Ready, Slot};
use super::socket::{self, Listener};
use crate::limits::{
    ACCEPTS_POSTED, CLOSE_FLUSH_MS, EVENTS_PER_TURN, RECEIVE_BUFFER_BYTES, SEND_HELD_BYTES,
    SEND_SLICE_BYTES,
};
use crate::sys::{Chunk, Completion, Driver, PeerAddress, SocketId};

/// The completion-port driver of one worker.
pub struct Iocp {
    port: Arc<Port>,
    waker: PortWaker,
    listeners: Vec<Listener>,
    accepting: bool,
    acceptors: Vec<Acceptor>,
    accept_error: Option<io::Error>,
    /// Accepted before, or while, accepting was paused.
    accepted: VecDeque<Accepted>,
    transmit_file: LPFN_TRANSMITFILE,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// In the order of their time, which is the same for all.
    flushes: VecDeque<Flush>,
    /// Operations in the kernel.
    away: usize,
    entries: Vec<OVERLAPPED_ENTRY>,
    entries_len: usize,
    entries_at: usize,
    ready: VecDeque<Ready>,
    /// Ready work of this turn; what is added meanwhile waits for the next.
    ready_left: usize,
    fresh: Option<Fresh>,
    buffer: Option<Vec<u8>>,
    started: Instant,
    turn_us: u64,
    unix_us: u64,
}

// SAFETY: the pointers are those of `entries`, names of operations that belong to nobody while
// they lie there: whoever has the driver takes them back.
unsafe impl Send for Iocp {}

impl Iocp {
    /// A driver that accepts from these listeners. It holds back nothing that workers would have to
    /// share out.
    ///
    /// # Errors
    ///
    /// Windows has no handles or memory left.
    pub fn new(listeners: Vec<Listener>, _workers: usize) -> io::Result<Iocp> {
        let port = Arc::new(Port::new()?);
        let mut driver = Iocp {
            waker: PortWaker::new(&port),
            port,
            acceptors: Vec::new(),
            accept_error: None,
            accepted: VecDeque::new(),
            accepting: true,
            transmit_file: None,
            slots: Vec::new(),
            free: Vec::new(),
            flushes: VecDeque::new(),
            away: 0,
            entries: vec![NO_ENTRY; EVENTS_PER_TURN],
            entries_len: 0,
            entries_at: 0,
            ready: VecDeque::new(),
            ready_left: 0,
            fresh: None,
            buffer: Some(vec![0; RECEIVE_BUFFER_BYTES]),
            started: Instant::now(),
            turn_us: 0,
            unix_us: 0,
            listeners,
        };
        for (index, listener) in driver.listeners.iter().enumerate() {
            if index == 0 {
                driver.transmit_file = socket::transmit_file(listener.socket())?;
            }
            driver
                .acceptors
                .extend((0..ACCEPTS_POSTED).map(|_| Acceptor {
                    listener: index,
                    place: Place::None,
                }));
        }
        driver.read_clock();
        driver.ask_for_connections();
        match driver.accept_error.take() {
            Some(error) => Err(error),
            None => Ok(driver),
        }
    }

    fn read_clock(&mut self) {
        self.turn_us = self.now_us();
        // A clock before 1970 is an unset clock: 0 is as good as any wrong time.
        self.unix_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, microseconds);
    }

    fn is_current(&self, id: SocketId, generation: u32) -> bool {
        let slot = self.slots.get(id.index());
        slot.is_some_and(|slot| slot.generation == generation && slot.open().is_some())
    }

    /// Starts every accepting operation that is at rest.
    fn ask_for_connections(&mut self) {
        for index in 0..self.acceptors.len() {
            if self.accepting && self.accept_error.is_none() {
                self.ask_for_connection(index);
            }
        }
    }

    fn ask_for_connection(&mut self, index: usize) {
        let Some(acceptor) = self.acceptors.get_mut(index) else {
            return;
        };
        let Some(listener) = self.listeners.get(acceptor.listener) else {
            return;
        };
        if acceptor.place.is_away() {
            return;
        }
        let socket = match socket::new_socket(listener.is_ipv4()) {
            Ok(socket) => socket,
            Err(error) => {
                self.accept_error = Some(error);
                return;
            }
        };
        let mut operation = acceptor.place.take(What::Accept, index as u32, &self.port);
        operation.socket = Some(socket);
        let started = operation::accept(listener.accept_ex(), listener.socket(), operation);
        match acceptor.place.settle(started) {
            None => self.away += 1,
            error => self.accept_error = error,
        }
    }

    /// An accepting operation has come back: its connection, if there is one.
    fn on_accept(&mut self, mut operation: Box<Operation>) {
        let index = operation.number as usize;
        let result = operation.result();
        let socket = operation.socket.take();
        let Some(acceptor) = self.acceptors.get_mut(index) else {
            return;
        };
        let listener = acceptor.listener;
        acceptor.place = Place::Rest(operation);
        let from = self.listeners.get(listener);
        if let (Ok(()), Some(socket), Some(from)) = (result, socket, from) {
            // An error of these is the peer's, who has gone already, or the machine's, which the
            // next connection will tell.
            let taken = socket::take_accepted(from.socket(), &socket)
                .and_then(|peer| self.port.add(&socket).map(|()| peer));
            if let Ok(peer) = taken {
                self.accepted.push_back(Accepted {
                    socket,
                    peer,
                    listener,
                });
            }
        }
        if self.accepting && self.accept_error.is_none() {
            self.ask_for_connection(index);
        }
    }

    /// Tells of an accepted connection, or of why there is none.
    fn next_accepted(&mut self) -> Option<Completion> {
        if !self.accepting {
            return None;
        }
        if let Some(accepted) = self.accepted.pop_front() {
            let id = self.insert(accepted.socket);
            self.fresh = Some(Fresh {
                id,
                received: false,
            });
            return Some(Completion::Accepted {
                id,
                peer: PeerAddress::Ip(accepted.peer),
                listener: accepted.listener,
            });
        }
        // Nobody is turned away: whoever is not accepted stays in the listener's queue.
        self.accept_error
            .take()
            .map(|error| Completion::AcceptFailed { error, shed: 0 })
    }

    fn insert(&mut self, socket: OwnedSocket) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            socket: Some(socket),
            generation: slot.generation.wrapping_add(1),
            ..Slot::default()
        };
        SocketId(index)
    }

    /// The first receive of a fresh connection: its request has often come with it.
    fn receive_fresh(&mut self) -> Option<Completion> {
        let fresh = self.fresh.as_mut()?;
        let id = fresh.id;
        if mem::replace(&mut fresh.received, true) {
            self.fresh = None;
            self.await_bytes(id);
            return None;
        }
        self.slots.get_mut(id.index())?.readable = true;
        self.receive(id)
    }

    fn queue_receive(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.readable = true;
            self.ready.push_back(Ready(id, slot.generation));
        }
    }

    /// Has the kernel say when there is something to receive, unless it does already.
    fn await_bytes(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let waits = slot.receiving.is_away() || slot.readable || slot.paused || slot.ended;
        let (false, Some(socket)) = (waits || slot.closing, slot.socket.as_ref()) else {
            return;
        };
        let operation = slot.receiving.take(What::Receive, id.0, &self.port);
        let started = operation::receive(socket, operation);
        match slot.receiving.settle(started) {
            None => self.away += 1,
            error => {
                slot.receive_error = error;
                self.queue_receive(id);
            }
        }
    }

    /// Receives once. `None` when nothing is there.
    fn receive(&mut self, id: SocketId) -> Option<Completion> {
        let slot = self.slots.get_mut(id.index())?;
        let open = slot.socket.as_ref().filter(|_| !slot.closing)?;
        if slot.paused || slot.ended || !slot.readable {
            return None;
        }
        let mut buffer = self
            .buffer
            .take()
            .unwrap_or_else(|| vec![0; RECEIVE_BUFFER_BYTES]);
        let received = match slot.receive_error.take() {
            Some(error) => Err(error),
            None => socket::recv(open, &mut buffer),
        };
        match received {
            Ok(0) => {
                self.buffer = Some(buffer);
                slot.ended = true;
                Some(Completion::Closed { id })
            }
            Ok(len) => {
                slot.readable = len == buffer.len();
                if slot.readable {
                    self.ready.push_back(Ready(id, slot.generation));
                } else {
                    self.await_bytes(id);
                }
                Some(Completion::Received {
                    id,
                    chunk: Chunk::new(buffer, len),
                })
            }
            Err(error) => {
                self.buffer = Some(buffer);
                slot.readable = false;
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.await_bytes(id);
                    return None;
                }
                slot.ended = true;
                Some(Completion::Failed { id, error })
            }
        }
    }

    /// One completion of the kernel; `None` when it is nothing to report.
    fn completion(&mut self) -> Option<Completion> {
        let entry = mem::replace(&mut self.entries[self.entries_at], NO_ENTRY);
        self.entries_at += 1;
        if entry.lpOverlapped.is_null() {
            self.waker.clear();
            return Some(Completion::Woken);
        }
        // SAFETY: it has come out of our port, where besides the waker's only operations come out
        // that were given away for it, and the entry is gone with this.
        let operation = unsafe { operation::finish(entry.lpOverlapped) };
        self.away = self.away.saturating_sub(1);
        match operation.what {
            What::Accept => {
                self.on_accept(operation);
                None
            }
            What::Receive => self.on_receivable(operation),
            What::Send | What::SendFile => {
                self.on_sent(operation, entry.dwNumberOfBytesTransferred)
            }
        }
    }

    fn on_receivable(&mut self, operation: Box<Operation>) -> Option<Completion> {
        let id = SocketId(operation.number);
        let slot = self.slots.get_mut(id.index())?;
        slot.receiving = Place::Rest(operation);
        if slot.closing {
            self.let_go(id);
            return None;
        }
        // Whatever ended the waiting, the next receive tells.
        slot.readable = true;
        self.receive(id)
    }

    fn on_sent(&mut self, mut operation: Box<Operation>, bytes: u32) -> Option<Completion> {
        let id = SocketId(operation.number);
        let slot = self.slots.get_mut(id.index())?;
        let is_file = operation.what == What::SendFile;
        slot.send_error = operation.result().err();
        if is_file && slot.send_error.is_none() {
            slot.file_sent = Some(bytes);
        }
        let sent = (bytes as usize).min(operation.bytes.len());
        operation.bytes.drain(..sent);
        let stalled = mem::replace(&mut slot.stalled, bytes == 0);
        if !operation.bytes.is_empty() && slot.send_error.is_none() {
            // Cut short without an error: Wine does so when the peer says that it sends no more.
            if !(stalled && slot.stalled) {
                return self.send_on(id, operation);
            }
            slot.send_error = Some(io::ErrorKind::WriteZero.into());
        }
        // An idle connection owns no buffer, and no file.
        operation.bytes = Vec::new();
        operation.file = None;
        slot.sending = Place::Rest(operation);
        if slot.closing {
            self.let_go(id);
            return None;
        }
        if let (true, Some(socket)) = (slot.shuts, slot.open()) {
            socket::shutdown_send(socket);
        }
        mem::take(&mut slot.wants_room).then_some(Completion::Sendable { id })
    }

    /// Starts a send again with what is left of it.
    fn send_on(&mut self, id: SocketId, operation: Box<Operation>) -> Option<Completion> {
        let slot = self.slots.get_mut(id.index())?;
        let socket = slot.socket.as_ref()?;
        match slot.sending.settle(operation::send(socket, operation)) {
            None => {
                self.away += 1;
                return None;
            }
            error => slot.send_error = error,
        }
        if slot.closing {
            self.let_go(id);
            return None;
        }
        mem::take(&mut slot.wants_room).then_some(Completion::Sendable { id })
    }

    /// Closes a socket whose operations are back, and has its number used again.
    fn let_go(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        if slot.receiving.is_away() || slot.sending.is_away() || slot.socket.is_none() {
            return;
        }
        *slot = Slot {
            generation: slot.generation,
            ..Slot::default()
        };
        self.free.push(id.0);
    }

    fn ready(&mut self) -> Option<Completion> {
        self.ready_left -= 1;
        let Ready(id, generation) = self.ready.pop_front()?;
        match self.is_current(id, generation) {
            true => self.receive(id),
            false => None,
        }
    }

    /// Ends the sending of sockets that were closed long enough ago.
    fn cut_flushes(&mut self, now_ms: u64) {
        while let Some(flush) = self.flushes.front().copied() {
            if flush.until_ms > now_ms {
                return;
            }
            self.flushes.pop_front();
            let slot = self.slots.get(flush.id.index());
            let slot = slot.filter(|slot| slot.generation == flush.generation && slot.closing);
            if let Some((slot, socket)) = slot.and_then(|slot| Some((slot, slot.socket.as_ref()?)))
            {
                socket::reset_on_close(socket);
                if let Place::Away(flight) = slot.sending {
                    flight.cancel(socket);
                }
            }
        }
    }

    /// Hands the front of `bytes` to the kernel as an operation; the rest waits for `Sendable`.
    fn hold(&mut self, id: SocketId, bytes: &mut Vec<u8>) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return Ok(());
        };
        let Some(socket) = slot.socket.as_ref() else {
            return Ok(());
        };
        let mut operation = slot.sending.take(What::Send, id.0, &self.port);
        operation.what = What::Send;
        operation.bytes = if bytes.len() <= SEND_HELD_BYTES {
            mem::take(bytes)
        } else {
            bytes.drain(..SEND_HELD_BYTES).collect()
        };
        slot.wants_room = !bytes.is_empty();
        let started = operation::send(socket, operation);
        match slot.sending.settle(started) {
            None => {
                self.away += 1;
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    /// Waits until every operation is back, cutting off what takes too long.
    fn wind_up(&mut self) {
        self.close_listeners();
        for index in 0..self.slots.len() {
            self.close(SocketId(index as u32), true);
        }
        while self.away > 0 {
            let until_ms = self.flushes.front().map(|flush| flush.until_ms);
            let now_ms = self.now_us() / 1_000;
            let timeout_ms = until_ms.map_or(CLOSE_FLUSH_MS, |at| at.saturating_sub(now_ms));
            if self.turn(u32::try_from(timeout_ms).ok()).is_err() {
                return;
            }
            if self.entries_len == 0 && until_ms.is_none() {
                // Cancelled long ago and not back: what is leaked is safe, waiting on is not.
                return;
            }
            while self.next().is_some() {}
        }
    }
}

/// `Duration::as_micros` counts in 128 bits, for spans beyond half a million years.
fn microseconds(span: Duration) -> u64 {
    span.as_secs() * 1_000_000 + u64::from(span.subsec_micros())
}

impl Drop for Iocp {
    fn drop(&mut self) {
        self.wind_up();
    }
}

impl Driver for Iocp {
    type Waker = PortWaker;

    fn waker(&self) -> PortWaker {
        self.waker.clone()
    }

    fn turn(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let waits = self.accepting && !(self.accepted.is_empty() && self.accept_error.is_none());
        let now_ms = self.now_us() / 1_000;
        let flush_ms = self.flushes.front().map(|flush| {
            let left_ms = flush.until_ms.saturating_sub(now_ms);
            u32::try_from(left_ms).unwrap_or(u32::MAX)
        });
        let timeout_ms = match timeout_ms {
            _ if waits || !self.ready.is_empty() => Some(0),
            timeout_ms => timeout_ms.into_iter().chain(flush_ms).min(),
        };
        self.entries_at = 0;
        self.entries_len = 0;
        self.entries_len = self.port.wait(&mut self.entries, timeout_ms)?;
        self.ready_left = self.ready.len();
        self.read_clock();
        self.cut_flushes(self.turn_us / 1_000);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if self.fresh.is_some() {
                if let Some(completion) = self.receive_fresh() {
                    return Some(completion);
                }
                continue;
            }
            let completion = if self.entries_at < self.entries_len {
                self.completion()
            } else if self.ready_left > 0 {
                self.ready()
            } else {
                return self.next_accepted();
            };
            if completion.is_some() {
                return completion;
            }
        }
    }

    #[inline]
    fn recycle(&mut self, chunk: Chunk) {
        self.buffer = Some(chunk.buffer);
    }

    #[inline]
    fn now_ms(&self) -> u64 {
        self.turn_us / 1_000
    }

    #[inline]
    fn turn_us(&self) -> u64 {
        self.turn_us
    }

    #[inline]
    fn now_us(&self) -> u64 {
        microseconds(self.started.elapsed())
    }

    #[inline]
    fn unix_us(&self) -> u64 {
        self.unix_us
    }

    fn accept_pause(&mut self) {
        self.accepting = false;
        for acceptor in &self.acceptors {
            let listener = self.listeners.get(acceptor.listener);
            if let (Place::Away(flight), Some(listener)) = (&acceptor.place, listener) {
                // One that was faster is kept until accepting goes on.
                flight.cancel(listener.socket());
            }
        }
    }

    fn accept_resume(&mut self) {
        self.accepting = !self.listeners.is_empty();
        self.ask_for_connections();
    }

    fn has_input(&self, id: SocketId) -> bool {
        let slot = self.slots.get(id.index());
        let socket = slot.and_then(|slot| slot.socket.as_ref());
        socket.is_some_and(socket::has_input)
    }

    fn close_listeners(&mut self) {
        self.accept_pause();
        self.accepted.clear();
        self.listeners.clear();
    }

    fn receive_pause(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.paused = true;
        }
    }

    fn receive_resume(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        if !mem::take(&mut slot.paused) {
            return;
        }
        if slot.readable {
            self.ready.push_back(Ready(id, slot.generation));
        } else {
            self.await_bytes(id);
        }
    }

    /// `_more` could only be heeded by holding the bytes back until the file follows.
    fn send(&mut self, id: SocketId, bytes: &mut Vec<u8>, _more: bool) -> io::Result<()> {
        let slot = self.slots.get_mut(id.index());
        let Some(slot) = slot.filter(|slot| slot.open().is_some()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if slot.sending.is_away() {
            slot.wants_room |= !bytes.is_empty();
            return Ok(());
        }
        if let Some(error) = slot.send_error.take() {
            return Err(error);
        }
        let Some(socket) = slot.socket.as_ref() else {
            return Ok(());
        };
        match socket::send(socket, bytes) {
            Ok(sent) if sent == bytes.len() => {
                bytes.clear();
                return Ok(());
            }
            Ok(sent) => drop(bytes.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.hold(id, bytes)
    }

    fn send_file(
        &mut self,
        id: SocketId,
        file: &File,
        offset: &mut u64,
        remaining: &mut u64,
    ) -> io::Result<()> {
        let slot = self.slots.get_mut(id.index());
        let Some(slot) = slot.filter(|slot| slot.open().is_some()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if slot.sending.is_away() {
            slot.wants_room = true;
            return Ok(());
        }
        if let Some(error) = slot.send_error.take() {
            return Err(error);
        }
        if let Some(sent) = slot.file_sent.take() {
            *offset += u64::from(sent);
            *remaining = remaining.saturating_sub(u64::from(sent));
            // A file that ends before its slice does, or nothing sent for another reason, as in
            // `on_sent`.
            if sent == 0 && (slot.stalled_file || file.metadata()?.len() <= *offset) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            slot.stalled_file = sent == 0;
        }
        let Some(socket) = slot.socket.as_ref().filter(|_| *remaining > 0) else {
            return Ok(());
        };
        let count = (*remaining).min(SEND_SLICE_BYTES as u64) as u32;
        let mut operation = slot.sending.take(What::SendFile, id.0, &self.port);
        operation.what = What::SendFile;
        // Its own: the worker may let go of the file before the kernel does.
        operation.file = Some(file.try_clone()?);
        let started = operation::send_file(self.transmit_file, socket, operation, *offset, count);
        match slot.sending.settle(started) {
            None => {
                self.away += 1;
                slot.wants_room = true;
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    fn shutdown_send(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        slot.shuts = true;
        if let (false, Some(socket)) = (slot.sending.is_away(), slot.open()) {
            socket::shutdown_send(socket);
        }
    }

    fn close(&mut self, id: SocketId, reset: bool) {
        let until_ms = self.now_us() / 1_000 + CLOSE_FLUSH_MS;
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let (false, Some(socket)) = (slot.closing, slot.socket.as_ref()) else {
            return;
        };
        if reset {
            socket::reset_on_close(socket);
        }
        slot.closing = true;
        if let Place::Away(flight) = slot.receiving {
            flight.cancel(socket);
        }
        if let Place::Away(flight) = slot.sending {
            if reset {
                flight.cancel(socket);
            } else {
                self.flushes.push_back(Flush {
                    id,
                    generation: slot.generation,
                    until_ms,
                });
            }
        }
        if self.fresh.as_ref().is_some_and(|fresh| fresh.id == id) {
            self.fresh = None;
        }
        self.let_go(id);
    }
}
