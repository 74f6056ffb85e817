//! The driver over kqueue(2), for macOS and FreeBSD: readiness made to look like completions.
//!
//! Built as `epoll.rs` is: every call is tried at once and waited for only when the kernel says
//! `EAGAIN`; events are edges (`EV_CLEAR`); a connection is registered only when it outlived its
//! first receive; `EVFILT_WRITE` is asked for the first time a send is cut short. What differs:
//! reading and writing are two registrations, an end of the peer's is a flag of the event
//! (`EV_EOF`), and the waker is an event of the queue itself (`EVFILT_USER`).
//!
//! Checked by the compiler for these systems and never run here: docs/PLATFORMS.md.

use super::socket::{self, Listener};
use super::{Chunk, Completion, Driver, SocketId, Wake, descriptors};
use crate::limits::{ACCEPTS_PER_TURN, EVENTS_PER_TURN, RECEIVE_BUFFER_BYTES, SEND_SLICE_BYTES};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Marks the event data of a listener; that of a socket is its id and generation. The waker is
/// told by its filter.
const LISTENER: u64 = 1 << 63;

/// One socket.
struct Slot {
    fd: Option<OwnedFd>,
    /// Goes up with each use of the slot, so that an event for its last owner is not ours.
    generation: u32,
    registered: bool,
    /// `EVFILT_WRITE` is, or will be, registered too.
    wants_out: bool,
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
        wants_out: false,
        paused: false,
        readable: false,
        hung_up: false,
        sending: false,
        ended: false,
    };
}

/// Work that needs no event: a full receive buffer, a resumed socket, the next slice of a file.
#[derive(Clone, Copy)]
enum Ready {
    Receive(SocketId, u32),
    Send(SocketId, u32),
}

/// A connection that is not registered yet.
struct Fresh {
    id: SocketId,
    /// Its first receive was tried.
    received: bool,
}

/// The kqueue driver of one worker.
pub struct Kqueue {
    queue: Arc<OwnedFd>,
    listeners: Vec<Listener>,
    accepting: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Used by nobody else than the kernel until `events_len` says so.
    events: Vec<libc::kevent>,
    events_len: usize,
    events_at: usize,
    accepts_left: usize,
    /// A descriptor to give up when there is none left: see `shed`.
    reserve: Option<OwnedFd>,
    /// From this descriptor on they are short, and so many of them were taken last.
    short_from: RawFd,
    excess: usize,
    ready: VecDeque<Ready>,
    /// Ready work of this turn; what is added meanwhile waits for the next.
    ready_left: usize,
    /// The connection accepted last, not yet received from or registered.
    fresh: Option<Fresh>,
    buffer: Option<Vec<u8>>,
    started: Instant,
    turn_us: u64,
    unix_us: u64,
}

// SAFETY: the pointers in `events` are numbers of ours that the kernel carries (`udata`); nobody
// follows them, so that the driver may move to another thread as any other value.
unsafe impl Send for Kqueue {}

/// A change to the queue, or an event's place before the kernel has filled it.
fn change(ident: usize, filter: i16, flags: u16, data: u64) -> libc::kevent {
    // SAFETY: an all-zero kevent is a valid value of that plain C struct.
    let mut change: libc::kevent = unsafe { mem::zeroed() };
    change.ident = ident;
    change.filter = filter;
    change.flags = flags;
    change.udata = ptr::without_provenance_mut(data as usize);
    change
}

/// Gives one change to a queue.
fn control(queue: &OwnedFd, change: &libc::kevent) -> io::Result<()> {
    // SAFETY: one change, which lives across the call, and room for no events; the kernel copies.
    let result = unsafe {
        let none = ptr::null_mut();
        libc::kevent(
            queue.as_raw_fd(),
            &raw const *change,
            1,
            none,
            0,
            ptr::null(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl Kqueue {
    /// A driver that accepts from these listeners.
    pub fn new(listeners: Vec<Listener>) -> io::Result<Kqueue> {
        // SAFETY: no pointers; a result that is not -1 is a descriptor nobody else owns. A queue
        // is not inherited by children (kqueue(2)).
        let queue = unsafe {
            let fd = libc::kqueue();
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let mut driver = Kqueue {
            queue: Arc::new(queue),
            listeners,
            accepting: false,
            slots: Vec::new(),
            free: Vec::new(),
            events: vec![change(0, 0, 0, 0); EVENTS_PER_TURN],
            events_len: 0,
            events_at: 0,
            accepts_left: 0,
            reserve: None,
            short_from: descriptors::short_from(),
            excess: 0,
            ready: VecDeque::new(),
            ready_left: 0,
            fresh: None,
            buffer: Some(vec![0; RECEIVE_BUFFER_BYTES]),
            started: Instant::now(),
            turn_us: 0,
            unix_us: 0,
        };
        let waker = change(0, libc::EVFILT_USER, libc::EV_ADD | libc::EV_CLEAR, 0);
        control(&driver.queue, &waker)?;
        driver.reserve = driver.spare();
        driver.read_clock();
        driver.listen(true)?;
        Ok(driver)
    }

    /// A descriptor that stands for nothing.
    fn spare(&self) -> Option<OwnedFd> {
        let any = self.listeners.first();
        any.and_then(|listener| listener.try_clone().ok())
    }

    fn listen(&mut self, accepting: bool) -> io::Result<()> {
        if self.accepting == accepting {
            return Ok(());
        }
        self.accepting = accepting;
        for (index, listener) in self.listeners.iter().enumerate() {
            let data = LISTENER | index as u64;
            let flags = match accepting {
                true => libc::EV_ADD,
                false => libc::EV_DELETE,
            };
            let ident = listener.as_raw_fd() as usize;
            control(&self.queue, &change(ident, libc::EVFILT_READ, flags, data))?;
        }
        Ok(())
    }

    fn read_clock(&mut self) {
        self.turn_us = self.now_us();
        // A clock before 1970 is an unset clock: 0 is as good as any wrong time.
        self.unix_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, microseconds);
    }

    /// The descriptor of an open socket.
    fn fd(&self, id: SocketId) -> Option<RawFd> {
        let slot = self.slots.get(id.index())?;
        slot.fd.as_ref().map(AsRawFd::as_raw_fd)
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
                self.excess = usize::try_from(above.saturating_add(1)).unwrap_or(0);
                let id = self.insert(fd);
                self.fresh = Some(Fresh {
                    id,
                    received: false,
                });
                Some(Completion::Accepted { id, peer, listener })
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    self.accepts_left = 0;
                    let shed = self.shed(listener);
                    Some(Completion::AcceptFailed { error, shed })
                }
                // Nobody is there any more (EAGAIN, as another worker was faster), or whoever it
                // was has gone (ECONNABORTED).
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
                    self.reserve = self.spare();
                }
                Err(_) => break,
            }
        }
        // Another thread may have taken it meanwhile; then the next shedding does without.
        self.reserve = self.spare();
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
    fn receive_fresh(&mut self) -> Option<Completion> {
        let fresh = self.fresh.as_mut()?;
        let id = fresh.id;
        if !mem::replace(&mut fresh.received, true) {
            self.slots.get_mut(id.index())?.readable = true;
            return self.receive(id);
        }
        self.fresh = None;
        self.register(id);
        None
    }

    /// Asks for edges of one kind. Adding reports what is ready already, so nothing that came in
    /// between is missed.
    fn add(&self, fd: RawFd, filter: i16, data: u64) -> io::Result<()> {
        let flags = libc::EV_ADD | libc::EV_CLEAR;
        control(&self.queue, &change(fd as usize, filter, flags, data))
    }

    /// Registers a connection that outlived its first receive.
    fn register(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        let Some(fd) = slot.fd.as_ref().map(AsRawFd::as_raw_fd) else {
            return;
        };
        if mem::replace(&mut slot.registered, true) {
            return;
        }
        let (data, wants_out) = (event_data(id, slot.generation), slot.wants_out);
        let mut added = self.add(fd, libc::EVFILT_READ, data);
        if wants_out {
            added = added.and_then(|()| self.add(fd, libc::EVFILT_WRITE, data));
        }
        if added.is_err() {
            // ENOMEM: a socket that can't be waited for is shut, its peer sees it.
            socket::reset_on_close(fd);
            socket::shutdown_send(fd);
            self.queue_receive(id);
        }
    }

    fn queue_receive(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.readable = true;
            self.ready.push_back(Ready::Receive(id, slot.generation));
        }
    }

    /// Receives once. `None` when nothing is there.
    fn receive(&mut self, id: SocketId) -> Option<Completion> {
        let slot = self.slots.get_mut(id.index())?;
        let fd = slot.fd.as_ref()?.as_raw_fd();
        if slot.paused || slot.ended || !slot.readable {
            return None;
        }
        let mut buffer = self
            .buffer
            .take()
            .unwrap_or_else(|| vec![0; RECEIVE_BUFFER_BYTES]);
        match socket::recv(fd, &mut buffer) {
            Ok(0) => {
                self.buffer = Some(buffer);
                slot.ended = true;
                Some(Completion::Closed { id })
            }
            Ok(len) => {
                // A read of less than was asked for has emptied a stream socket; what comes later
                // is another edge.
                slot.readable = len == buffer.len() || slot.hung_up;
                if slot.readable {
                    self.ready.push_back(Ready::Receive(id, slot.generation));
                }
                Some(Completion::Received {
                    id,
                    chunk: Chunk::new(buffer, len),
                })
            }
            Err(error) => {
                self.buffer = Some(buffer);
                slot.readable = false;
                match error.kind() {
                    io::ErrorKind::WouldBlock => None,
                    io::ErrorKind::Interrupted => {
                        self.queue_receive(id);
                        None
                    }
                    _ => {
                        slot.ended = true;
                        Some(Completion::Failed { id, error })
                    }
                }
            }
        }
    }

    /// One event of the kernel; `None` when it gave nothing (more) to report.
    fn event(&mut self) -> Option<Completion> {
        let event = self.events[self.events_at];
        let (filter, flags, data) = (event.filter, event.flags, event.udata.addr() as u64);
        if filter == libc::EVFILT_USER {
            self.events_at += 1;
            return Some(Completion::Woken);
        }
        if data & LISTENER != 0 {
            let accepted = self.accept((data & !LISTENER) as usize);
            if accepted.is_none() {
                self.events_at += 1;
            }
            return accepted;
        }
        self.events_at += 1;
        let id = SocketId(data as u32);
        let slot = self.slots.get_mut(id.index())?;
        if u64::from(slot.generation) != data >> 32 || slot.fd.is_none() {
            return None;
        }
        if filter == libc::EVFILT_WRITE {
            // With EV_EOF too: the next send tells what broke.
            return mem::take(&mut slot.sending).then_some(Completion::Sendable { id });
        }
        slot.readable = true;
        slot.hung_up |= flags & libc::EV_EOF != 0;
        self.receive(id)
    }

    fn ready(&mut self) -> Option<Completion> {
        self.ready_left -= 1;
        match self.ready.pop_front()? {
            Ready::Receive(id, generation) if self.is_current(id, generation) => self.receive(id),
            Ready::Send(id, generation) if self.is_current(id, generation) => {
                Some(Completion::Sendable { id })
            }
            _ => None,
        }
    }

    fn is_current(&self, id: SocketId, generation: u32) -> bool {
        let slot = self.slots.get(id.index());
        slot.is_some_and(|slot| slot.generation == generation && slot.fd.is_some())
    }

    /// A send was cut short: the kernel says when there is room again.
    fn await_room(&mut self, id: SocketId) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return Ok(());
        };
        slot.sending = true;
        if mem::replace(&mut slot.wants_out, true) {
            return Ok(());
        }
        // One that is not registered yet will be with this filter.
        let (true, Some(fd)) = (slot.registered, slot.fd.as_ref()) else {
            return Ok(());
        };
        let (fd, data) = (fd.as_raw_fd(), event_data(id, slot.generation));
        self.add(fd, libc::EVFILT_WRITE, data)
    }
}

/// `Duration::as_micros` counts in 128 bits, for spans beyond half a million years.
fn microseconds(span: Duration) -> u64 {
    span.as_secs() * 1_000_000 + u64::from(span.subsec_micros())
}

fn event_data(id: SocketId, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(id.0)
}

impl Driver for Kqueue {
    type Waker = Trigger;

    fn waker(&self) -> Trigger {
        Trigger {
            queue: Arc::clone(&self.queue),
        }
    }

    fn turn(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let timeout_ms = match timeout_ms {
            _ if !self.ready.is_empty() => Some(0),
            timeout_ms => timeout_ms,
        };
        let timeout = timeout_ms.map(|ms| libc::timespec {
            tv_sec: libc::time_t::from(ms / 1_000),
            tv_nsec: libc::c_long::from(ms % 1_000) * 1_000_000,
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let (queue, room) = (self.queue.as_raw_fd(), self.events.len() as i32);
        // SAFETY: no changes; the pointer and `room` describe our vector, of which the kernel
        // fills at most that many; `timeout` is null or a local that lives across the call.
        let count = unsafe {
            let events = self.events.as_mut_ptr();
            libc::kevent(queue, ptr::null(), 0, events, room, timeout)
        };
        self.events_at = 0;
        self.events_len = usize::try_from(count).unwrap_or(0);
        self.accepts_left = ACCEPTS_PER_TURN;
        self.ready_left = self.ready.len();
        self.read_clock();
        if count == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
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
            let completion = if self.events_at < self.events_len {
                self.event()
            } else if self.ready_left > 0 {
                self.ready()
            } else {
                return None;
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
            self.ready.push_back(Ready::Receive(id, slot.generation));
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
            let generation = self.slots.get(id.index()).map_or(0, |slot| slot.generation);
            self.ready.push_back(Ready::Send(id, generation));
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
        // Closing takes the socket out of the queue too (kqueue(2)).
        drop(fd);
        if self.fresh.as_ref().is_some_and(|fresh| fresh.id == id) {
            self.fresh = None;
        }
        self.free.push(id.0);
    }
}

/// Ends a turn from any thread: an event of the queue itself.
#[derive(Clone)]
pub struct Trigger {
    queue: Arc<OwnedFd>,
}

impl Wake for Trigger {
    fn wake(&self) {
        let mut trigger = change(0, libc::EVFILT_USER, 0, 0);
        trigger.fflags = libc::NOTE_TRIGGER;
        // The event was added when the queue was made; there is nothing that could fail.
        let _ = control(&self.queue, &trigger);
    }
}
