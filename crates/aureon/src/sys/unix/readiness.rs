//! The driver over what tells of readiness, epoll(7) or kqueue(2), made to look like completions.
//!
//! Every call is tried at once and waited for only when the kernel says `EAGAIN`. Sockets are
//! edge-triggered and registered once: a keep-alive request costs its `recv`, its `send` and a
//! share of the wait. A connection is registered only when the worker has gone on and it is still
//! open, so one that carries a single request costs no registration at all. Room to send is asked
//! for the first time a send is cut short. Who has sent something is received from in batches, one
//! after the other, before any of it is handed out: code of the kernel and code of ours that run
//! by turns drive each other out of the processor's nearest cache. What the two kernels' interfaces
//! differ in is behind [`Readiness`].

use super::super::{Chunk, Completion, Driver, SocketId, Wake};
use super::closing::Closing;
use super::descriptors;
use super::socket::{self, Listener};
use crate::limits::{
    ACCEPTS_PER_TURN, BATCH, RECEIVE_BUFFER_BYTES, RECEIVE_ROOM_MIN, SEND_SLICE_BYTES,
};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A kernel's interface that tells when descriptors are ready.
pub trait Readiness: Sized {
    /// What ends a wait from any thread.
    type Waker: Wake;

    /// One that knows of no descriptor, with room for the events of a turn.
    fn new() -> io::Result<Self>;

    /// A handle that ends a wait.
    fn waker(&self) -> Self::Waker;

    /// A descriptor that stands for nothing.
    fn spare(&self) -> Option<OwnedFd>;

    /// Tells, or tells no more, while somebody waits to be accepted.
    fn listen(&self, fd: RawFd, listener: usize, on: bool) -> io::Result<()>;

    /// Tells of edges of a socket: of input, and with `room` of room to send. What is ready already
    /// is told at once, so that nothing that came in between is missed.
    fn add(&self, fd: RawFd, socket: Token, room: bool) -> io::Result<()>;

    /// Tells of room to send too.
    fn add_room(&self, fd: RawFd, socket: Token) -> io::Result<()>;

    /// Waits for events, `None` as long as it takes. What was left of the last wait is forgotten.
    fn wait(&mut self, timeout_ms: Option<u32>) -> io::Result<()>;

    /// The next event of this wait.
    fn next(&mut self) -> Option<Event>;
}

/// What was told.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The waker was used.
    Woken,
    /// Somebody waits at this listener.
    Arrived(usize),
    /// An edge of a socket.
    Edge {
        /// Whose.
        socket: Token,
        /// Bytes, an end or an error can be received.
        input: bool,
        /// The peer's side is closed, or the connection broken.
        hung_up: bool,
        /// There is room to send, or sending tells what broke.
        room: bool,
    },
}

/// A socket's number and which of its owners is meant, so that an event for the last one is not
/// taken for the next one's.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Its number.
    pub id: SocketId,
    /// 31 bits.
    generation: u32,
}

/// Marks what a listener is registered with.
const LISTENER: u64 = 1 << 63;

/// What the kernel carries for a listener.
pub(in crate::sys) fn listener_data(listener: usize) -> u64 {
    LISTENER | listener as u64
}

/// What it carries that was given for a listener.
#[inline]
pub(in crate::sys) fn listener_of(data: u64) -> Option<usize> {
    (data & LISTENER != 0).then_some((data & !LISTENER) as usize)
}

impl Token {
    /// What the kernel carries for a socket.
    pub fn data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.id.0)
    }

    /// The other way.
    #[inline]
    pub fn of(data: u64) -> Token {
        Token {
            id: SocketId(data as u32),
            generation: (data >> 32) as u32,
        }
    }
}

/// One socket.
struct Slot {
    fd: Option<OwnedFd>,
    /// Goes up with each use of the slot.
    generation: u32,
    registered: bool,
    /// Room to send is, or will be, registered too.
    wants_room: bool,
    paused: bool,
    /// An edge came and `recv` has not said `EAGAIN` or less than asked since.
    readable: bool,
    /// The peer's side is closed: `recv` must go on to the end.
    hung_up: bool,
    /// A send left something behind.
    sending: bool,
    /// `Closed` or `Failed` was said: nothing may follow it.
    ended: bool,
}

impl Slot {
    const FREE: Slot = Slot {
        fd: None,
        generation: 0,
        registered: false,
        wants_room: false,
        paused: false,
        readable: false,
        hung_up: false,
        sending: false,
        ended: false,
    };

    #[inline]
    fn token(&self, id: SocketId) -> Token {
        Token {
            id,
            generation: self.generation,
        }
    }
}

/// Work that needs no event: a full receive buffer, a resumed socket, the next slice of a file.
#[derive(Clone, Copy)]
enum Ready {
    Receive(Token),
    Send(Token),
}

/// What has finished and is not handed out yet.
struct Finished {
    /// Whose it is: once that is closed nobody wants to know.
    socket: Option<Token>,
    /// A chunk in it is without its buffer, which the one handed out before may have.
    completion: Completion,
}

/// A connection that is not registered yet.
struct Fresh {
    id: SocketId,
    /// Its first receive was tried.
    received: bool,
}

/// The driver of one worker.
pub struct ReadinessDriver<R> {
    readiness: R,
    listeners: Vec<Listener>,
    accepting: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Listeners that have somebody: accepted from when all else of the turn is done, so that a
    /// flood of connections holds up nobody who has one.
    arrivals: Vec<usize>,
    accepts_left: usize,
    /// A descriptor to give up when there is none left: see `shed`.
    reserve: Option<OwnedFd>,
    /// From this descriptor on they are short: the kernel gives the lowest that is free
    /// (open(2)), so that all below it are taken.
    short_from: RawFd,
    /// So many of them were taken when a connection was accepted last.
    excess: usize,
    /// Work of the next turn, which does not wait while there is any.
    ready: Vec<Ready>,
    /// Work of this turn, the last first.
    ready_now: Vec<Ready>,
    /// The connection accepted last, not yet received from or registered.
    fresh: Option<Fresh>,
    closing: Closing,
    finished: Vec<Finished>,
    /// So many of them are handed out.
    handed: usize,
    /// Lent with each chunk.
    buffer: Option<Vec<u8>>,
    /// Bytes of it that this batch has taken.
    used: usize,
    started_us: u64,
    turn_us: u64,
    unix_us: u64,
}

impl<R: Readiness> ReadinessDriver<R> {
    /// A driver that accepts from these listeners, for one of so many workers.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptors or memory left.
    pub fn new(listeners: Vec<Listener>, workers: usize) -> io::Result<ReadinessDriver<R>> {
        let short_from = descriptors::short_from();
        let mut driver = ReadinessDriver {
            readiness: R::new()?,
            listeners,
            accepting: false,
            slots: Vec::new(),
            free: Vec::new(),
            arrivals: Vec::new(),
            accepts_left: 0,
            reserve: None,
            short_from,
            excess: 0,
            ready: Vec::new(),
            ready_now: Vec::new(),
            fresh: None,
            closing: Closing::new(usize::try_from(short_from).unwrap_or(0), workers),
            finished: Vec::new(),
            handed: 0,
            buffer: Some(vec![0; RECEIVE_BUFFER_BYTES]),
            used: 0,
            started_us: read_us(libc::CLOCK_MONOTONIC),
            turn_us: 0,
            unix_us: 0,
        };
        driver.reserve = driver.readiness.spare();
        driver.read_clock();
        driver.listen(true)?;
        Ok(driver)
    }

    fn listen(&mut self, accepting: bool) -> io::Result<()> {
        if self.accepting == accepting {
            return Ok(());
        }
        self.accepting = accepting;
        for (index, listener) in self.listeners.iter().enumerate() {
            let fd = listener.as_raw_fd();
            self.readiness.listen(fd, index, accepting)?;
        }
        Ok(())
    }

    fn read_clock(&mut self) {
        self.turn_us = self.now_us();
        self.unix_us = read_us(libc::CLOCK_REALTIME);
    }

    /// The descriptor of an open socket.
    fn fd(&self, id: SocketId) -> Option<RawFd> {
        self.slots
            .get(id.index())?
            .fd
            .as_ref()
            .map(AsRawFd::as_raw_fd)
    }

    /// Says that something has finished.
    fn finish(&mut self, socket: Option<Token>, completion: Completion) {
        self.finished.push(Finished { socket, completion });
    }

    /// The next of what has finished, with its buffer.
    fn hand_out(&mut self) -> Option<Completion> {
        while let Some(finished) = self.finished.get_mut(self.handed) {
            self.handed += 1;
            let mut completion = mem::replace(&mut finished.completion, Completion::Woken);
            let socket = finished.socket;
            if socket.is_some_and(|socket| self.current(socket).is_none()) {
                continue;
            }
            if let Completion::Received { chunk, .. } = &mut completion {
                chunk.buffer = self.buffer.take().unwrap_or_default();
            }
            return Some(completion);
        }
        self.finished.clear();
        self.handed = 0;
        None
    }

    /// Lets a batch of what this turn brought finish, of those who are here before those who come;
    /// false when nothing is left. A socket has one chunk in it at most: whose first receive left
    /// something behind has filled the buffer, and that ends the batch.
    fn gather(&mut self) -> bool {
        self.used = 0;
        if self.fresh.is_some() {
            self.receive_fresh();
            return true;
        }
        while self.finished.len() < BATCH && self.used <= RECEIVE_BUFFER_BYTES - RECEIVE_ROOM_MIN {
            if let Some(event) = self.readiness.next() {
                self.on_event(event);
            } else if let Some(ready) = self.ready_now.pop() {
                self.on_ready(ready);
            } else {
                return !self.finished.is_empty() || self.accept_next();
            }
        }
        true
    }

    /// Accepts one connection, or has done with a listener; false when nobody waits.
    fn accept_next(&mut self) -> bool {
        let Some(listener) = self.arrivals.last() else {
            return false;
        };
        match self.accept(*listener) {
            Some(completion) => self.finish(None, completion),
            None => {
                self.arrivals.pop();
                self.accepts_left = ACCEPTS_PER_TURN;
            }
        }
        true
    }

    /// Accepts one connection, or says why not.
    fn accept(&mut self, listener: usize) -> Option<Completion> {
        let fd = self.listeners.get(listener)?.as_raw_fd();
        if !self.accepting || self.accepts_left == 0 {
            return None;
        }
        self.accepts_left -= 1;
        match socket::accept(fd) {
            Ok((fd, peer)) => {
                let above = fd.as_raw_fd().saturating_sub(self.short_from);
                let taken = usize::try_from(above.saturating_add(1)).unwrap_or(0);
                // Those that are given back soon are as good as free.
                self.excess = taken.saturating_sub(self.closing.len());
                let id = self.insert(fd);
                self.fresh = Some(Fresh {
                    id,
                    received: false,
                });
                Some(Completion::Accepted { id, peer, listener })
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    if self.closing.len() > 0 {
                        self.closing.close_all();
                        return self.accept(listener);
                    }
                    self.accepts_left = 0;
                    let shed = self.shed(listener);
                    Some(Completion::AcceptFailed { error, shed })
                }
                // accept(2): errors of the network that are already pending on the new socket
                // are reported here; they are to be treated like EAGAIN.
                _ => None,
            },
        }
    }

    /// No descriptor is left: tells those who wait to be accepted, by a reset, rather than let
    /// them wait for a time-out; how many. Each is accepted on the descriptor that was kept for
    /// this.
    fn shed(&mut self, listener: usize) -> u32 {
        let mut count = 0;
        let Some(fd) = self.listeners.get(listener).map(AsRawFd::as_raw_fd) else {
            return count;
        };
        for _ in 0..ACCEPTS_PER_TURN {
            self.reserve = None;
            match socket::accept(fd) {
                Ok((shed, _)) => {
                    socket::reset_on_close(shed.as_raw_fd());
                    drop(shed);
                    count += 1;
                    self.reserve = self.readiness.spare();
                }
                Err(_) => break,
            }
        }
        // Another thread may have taken it meanwhile; then the next shedding does without.
        self.reserve = self.readiness.spare();
        count
    }

    fn insert(&mut self, fd: OwnedFd) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::FREE);
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        // 31 bits: the highest bit of the event data tells listeners from sockets.
        let generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
        *slot = Slot {
            fd: Some(fd),
            generation,
            ..Slot::FREE
        };
        SocketId(index)
    }

    /// The first receive of a fresh connection, before it costs a registration.
    fn receive_fresh(&mut self) {
        let Some(fresh) = &mut self.fresh else { return };
        let id = fresh.id;
        if mem::replace(&mut fresh.received, true) {
            self.fresh = None;
            return self.register(id);
        }
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.readable = true;
        }
        self.receive(id);
    }

    /// Registers a connection that outlived its first receive.
    fn register(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let Some(fd) = slot.fd.as_ref().map(AsRawFd::as_raw_fd) else {
            return;
        };
        if slot.registered {
            return;
        }
        slot.registered = true;
        let (token, room) = (slot.token(id), slot.wants_room);
        if self.readiness.add(fd, token, room).is_err() {
            // ENOSPC or ENOMEM: a socket that can't be waited for is shut, its peer sees it.
            socket::reset_on_close(fd);
            socket::shutdown_send(fd);
            self.queue_receive(id);
        }
    }

    fn queue_receive(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.readable = true;
            self.ready.push(Ready::Receive(slot.token(id)));
        }
    }

    /// Receives once, if anything is there.
    fn receive(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let Some(fd) = slot.fd.as_ref().map(AsRawFd::as_raw_fd) else {
            return;
        };
        if slot.paused || slot.ended || !slot.readable {
            return;
        }
        let socket = slot.token(id);
        let buffer = self
            .buffer
            .get_or_insert_with(|| vec![0; RECEIVE_BUFFER_BYTES]);
        let room = buffer.get_mut(self.used..).unwrap_or_default();
        let completion = match socket::recv(fd, room) {
            Ok(0) => {
                slot.ended = true;
                Completion::Closed { id }
            }
            Ok(len) => {
                // epoll(7): a read of less than was asked for has emptied a stream socket.
                slot.readable = len == room.len() || slot.hung_up;
                if slot.readable {
                    self.ready.push(Ready::Receive(socket));
                }
                let start = self.used;
                self.used += len;
                Completion::Received {
                    id,
                    chunk: Chunk {
                        buffer: Vec::new(),
                        start,
                        end: self.used,
                    },
                }
            }
            Err(error) => {
                slot.readable = false;
                match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted => return self.queue_receive(id),
                    _ => {
                        slot.ended = true;
                        Completion::Failed { id, error }
                    }
                }
            }
        };
        self.finish(Some(socket), completion);
    }

    fn on_event(&mut self, event: Event) {
        let (socket, input, hung_up, room) = match event {
            Event::Woken => return self.finish(None, Completion::Woken),
            Event::Arrived(listener) => return self.arrivals.push(listener),
            Event::Edge {
                socket,
                input,
                hung_up,
                room,
            } => (socket, input, hung_up, room),
        };
        let Some(slot) = self.current(socket) else {
            return;
        };
        slot.readable |= input;
        slot.hung_up |= hung_up;
        if room && mem::take(&mut slot.sending) {
            if slot.readable && !slot.paused {
                self.ready.push(Ready::Receive(socket));
            }
            return self.finish(Some(socket), Completion::Sendable { id: socket.id });
        }
        self.receive(socket.id);
    }

    fn on_ready(&mut self, ready: Ready) {
        match ready {
            Ready::Receive(socket) => {
                if self.current(socket).is_some() {
                    self.receive(socket.id);
                }
            }
            Ready::Send(socket) => {
                self.finish(Some(socket), Completion::Sendable { id: socket.id });
            }
        }
    }

    /// The slot of a socket that is still the one that was meant.
    fn current(&mut self, socket: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(socket.id.index())?;
        (slot.generation == socket.generation && slot.fd.is_some()).then_some(slot)
    }

    /// A send was cut short: the kernel says when there is room again.
    fn await_room(&mut self, id: SocketId) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return Ok(());
        };
        slot.sending = true;
        if slot.wants_room {
            return Ok(());
        }
        slot.wants_room = true;
        // One that is not registered yet will be for this too.
        let (true, Some(fd)) = (slot.registered, slot.fd.as_ref()) else {
            return Ok(());
        };
        self.readiness.add_room(fd.as_raw_fd(), slot.token(id))
    }
}

/// A clock's microseconds. std's arithmetic of times costs five times as much as reading one, and
/// this is done for each exchange.
#[inline]
fn read_us(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to the local that it is given. It cannot fail: both clocks that are
    // asked for exist everywhere (clock_gettime(2)).
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // A clock before 1970 is an unset clock: 0 is as good as any wrong time.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + time.tv_nsec as u64 / 1_000
}

impl<R: Readiness> Driver for ReadinessDriver<R> {
    type Waker = R::Waker;

    fn waker(&self) -> R::Waker {
        self.readiness.waker()
    }

    fn turn(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let waits = self.ready.is_empty() && self.closing.len() == 0;
        let waited = self
            .readiness
            .wait(if waits { timeout_ms } else { Some(0) });
        self.arrivals.clear();
        self.accepts_left = ACCEPTS_PER_TURN;
        mem::swap(&mut self.ready, &mut self.ready_now);
        self.read_clock();
        match waited {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.hand_out() {
                return Some(completion);
            }
            if !self.gather() {
                self.closing.close_some();
                return None;
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
        read_us(libc::CLOCK_MONOTONIC).saturating_sub(self.started_us)
    }

    #[inline]
    fn unix_us(&self) -> u64 {
        self.unix_us
    }

    fn accept_pause(&mut self) {
        // A listener that is closed already is not registered: nothing to undo.
        let _ = self.listen(false);
    }

    fn accept_resume(&mut self) {
        // ENOMEM: stay paused; the worker asks again.
        if self.listen(true).is_err() {
            self.accepting = false;
        }
    }

    fn shortage(&self) -> Option<(usize, io::Error)> {
        (self.excess > 0).then(|| (self.excess, io::Error::from_raw_os_error(libc::EMFILE)))
    }

    fn has_input(&self, id: SocketId) -> bool {
        self.fd(id).is_some_and(socket::has_input)
    }

    fn close_listeners(&mut self) {
        self.accept_pause();
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
        if mem::take(&mut slot.paused) && slot.readable {
            self.ready.push(Ready::Receive(slot.token(id)));
        }
    }

    #[inline]
    fn send(&mut self, id: SocketId, bytes: &mut Vec<u8>, more: bool) -> io::Result<()> {
        let Some(fd) = self.fd(id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match socket::send(fd, bytes, more) {
            Ok(sent) if sent == bytes.len() => {
                bytes.clear();
                Ok(())
            }
            Ok(sent) => {
                bytes.drain(..sent);
                self.await_room(id)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.await_room(id),
                io::ErrorKind::Interrupted => self.send(id, bytes, more),
                _ => Err(error),
            },
        }
    }

    fn send_file(
        &mut self,
        id: SocketId,
        file: &File,
        offset: &mut u64,
        remaining: &mut u64,
    ) -> io::Result<()> {
        let Some(fd) = self.fd(id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut slice = usize::try_from(*remaining)
            .unwrap_or(usize::MAX)
            .min(SEND_SLICE_BYTES);
        // A call that takes less than was asked for met the end of the socket's room or of the
        // file. Only another call tells which, and only the former has an edge to wait for.
        while slice > 0 {
            match socket::sendfile(fd, file, *offset, slice) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => {
                    *offset += sent as u64;
                    *remaining -= sent as u64;
                    slice -= sent;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return self.await_room(id),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        if *remaining > 0 {
            // The slice is used up, not the socket's room: go on in the next turn.
            if let Some(slot) = self.slots.get(id.index()) {
                self.ready.push(Ready::Send(slot.token(id)));
            }
        }
        Ok(())
    }

    fn shutdown_send(&mut self, id: SocketId) {
        if let Some(fd) = self.fd(id) {
            socket::shutdown_send(fd);
        }
    }

    #[inline]
    fn close(&mut self, id: SocketId, reset: bool) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let Some(fd) = slot.fd.take() else { return };
        if reset {
            socket::reset_on_close(fd.as_raw_fd());
        }
        // Closing takes the socket out of what tells of it too (epoll(7), kqueue(2)): nobody else
        // has a copy of it. What is told of one that is held is of a generation that has gone.
        match slot.ended && !reset {
            true => self.closing.push(fd),
            false => drop(fd),
        }
        if self.fresh.as_ref().is_some_and(|fresh| fresh.id == id) {
            self.fresh = None;
        }
        self.free.push(id.0);
    }
}
