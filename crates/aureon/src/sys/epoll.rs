//! epoll(7), for Linux: see `unix/readiness.rs`.
//!
//! A socket is one registration, which room to send becomes a part of when it is asked for. The
//! waker is an eventfd(2).

use super::Wake;
use super::unix::readiness::{Event, Readiness, Token, listener_data, listener_of};
use crate::limits::EVENTS_PER_TURN;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What the waker is registered with: no socket's and no listener's.
const WAKER: u64 = u64::MAX;

/// Edges that every socket is registered for. The peer's half-close comes with its own bit, so
/// that a short read behind it needs no further `recv` to find out.
const SOCKET_EVENTS: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

/// An epoll of one worker.
pub struct Epoll {
    epoll: OwnedFd,
    waker: EventFd,
    /// Used by nobody else than the kernel until `len` says so.
    events: Vec<libc::epoll_event>,
    len: usize,
    at: usize,
}

impl Epoll {
    fn control(&self, operation: i32, fd: RawFd, events: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: data };
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: `event` is a local that lives across the call; the kernel copies it.
        match unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Readiness for Epoll {
    type Waker = EventFd;

    fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers; a result that is not -1 is a descriptor nobody else owns.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let epoll = Epoll {
            epoll,
            waker: EventFd::new()?,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_TURN],
            len: 0,
            at: 0,
        };
        let waker = epoll.waker.fd.as_raw_fd();
        epoll.control(libc::EPOLL_CTL_ADD, waker, libc::EPOLLIN as u32, WAKER)?;
        Ok(epoll)
    }

    fn waker(&self) -> EventFd {
        self.waker.clone()
    }

    fn spare(&self) -> Option<OwnedFd> {
        self.waker.fd.try_clone().ok()
    }

    fn listen(&self, fd: RawFd, listener: usize, on: bool) -> io::Result<()> {
        // Exclusive: of several workers that share an inherited socket, one is woken.
        let events = (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32;
        let operation = if on {
            libc::EPOLL_CTL_ADD
        } else {
            libc::EPOLL_CTL_DEL
        };
        self.control(operation, fd, events, listener_data(listener))
    }

    fn add(&self, fd: RawFd, socket: Token, room: bool) -> io::Result<()> {
        let mut events = SOCKET_EVENTS;
        if room {
            events |= libc::EPOLLOUT as u32;
        }
        self.control(libc::EPOLL_CTL_ADD, fd, events, socket.data())
    }

    fn add_room(&self, fd: RawFd, socket: Token) -> io::Result<()> {
        let events = SOCKET_EVENTS | libc::EPOLLOUT as u32;
        self.control(libc::EPOLL_CTL_MOD, fd, events, socket.data())
    }

    fn wait(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
        let timeout = match timeout_ms {
            None => -1,
            Some(ms) => i32::try_from(ms).unwrap_or(i32::MAX),
        };
        let (epoll, room) = (self.epoll.as_raw_fd(), self.events.len() as i32);
        // SAFETY: the pointer and `room` describe our vector; the kernel fills at most that many.
        let count = unsafe { libc::epoll_wait(epoll, self.events.as_mut_ptr(), room, timeout) };
        self.at = 0;
        self.len = usize::try_from(count).unwrap_or(0);
        match count {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if self.at >= self.len {
            return None;
        }
        let event = self.events[self.at];
        self.at += 1;
        let (events, data) = (event.events, event.u64);
        if data == WAKER {
            self.waker.clear();
            return Some(Event::Woken);
        }
        if let Some(listener) = listener_of(data) {
            return Some(Event::Arrived(listener));
        }
        Some(Event::Edge {
            socket: Token::of(data),
            input: events & !(libc::EPOLLOUT as u32) != 0,
            hung_up: events & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0,
            room: events & (libc::EPOLLOUT | libc::EPOLLERR) as u32 != 0,
        })
    }
}

/// Ends a turn from any thread: an eventfd(2).
#[derive(Clone)]
pub struct EventFd {
    fd: Arc<OwnedFd>,
}

impl EventFd {
    fn new() -> io::Result<EventFd> {
        // SAFETY: no pointers; a result that is not -1 is a descriptor nobody else owns.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(EventFd { fd: Arc::new(fd) })
    }

    fn clear(&self) {
        let mut value = 0u64;
        // SAFETY: eight bytes into a local of eight bytes. EAGAIN means it was clear already.
        let _ = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut value).cast(), 8) };
    }
}

impl Wake for EventFd {
    fn wake(&self) {
        let value = 1u64;
        // SAFETY: eight bytes from a local of eight bytes. EAGAIN means it is set already.
        let _ = unsafe { libc::write(self.fd.as_raw_fd(), (&raw const value).cast(), 8) };
    }
}
