//! kqueue(2), for macOS and FreeBSD: see `unix/readiness.rs`. Reading and writing are two
//! registrations, an end of the peer's is a flag of the event (`EV_EOF`), and the waker is an event
//! of the queue itself (`EVFILT_USER`).
//!
//! Checked by the compiler for these systems and never run here: docs/PLATFORMS.md.

use super::Wake;
use super::unix::readiness::{Event, Readiness, Token, listener_data, listener_of};
use crate::limits::EVENTS_PER_TURN;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// A kqueue of one worker.
pub struct Kqueue {
    queue: Arc<OwnedFd>,
    /// Used by nobody else than the kernel until `len` says so.
    events: Vec<libc::kevent>,
    len: usize,
    at: usize,
}

// SAFETY: the pointers in `events` are numbers of ours that the kernel carries (`udata`); nobody
// follows them, so that the queue may move to another thread as any other value.
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
    /// Asks for edges of one kind.
    fn add_filter(&self, fd: RawFd, filter: i16, socket: Token) -> io::Result<()> {
        let flags = libc::EV_ADD | libc::EV_CLEAR;
        control(
            &self.queue,
            &change(fd as usize, filter, flags, socket.data()),
        )
    }
}

impl Readiness for Kqueue {
    type Waker = Trigger;

    fn new() -> io::Result<Kqueue> {
        // SAFETY: no pointers; a result that is not -1 is a descriptor nobody else owns. A queue
        // is not inherited by children (kqueue(2)).
        let queue = unsafe {
            let fd = libc::kqueue();
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let waker = change(0, libc::EVFILT_USER, libc::EV_ADD | libc::EV_CLEAR, 0);
        control(&queue, &waker)?;
        Ok(Kqueue {
            queue: Arc::new(queue),
            events: vec![change(0, 0, 0, 0); EVENTS_PER_TURN],
            len: 0,
            at: 0,
        })
    }

    fn waker(&self) -> Trigger {
        Trigger {
            queue: Arc::clone(&self.queue),
        }
    }

    fn spare(&self) -> Option<OwnedFd> {
        self.queue.try_clone().ok()
    }

    fn listen(&self, fd: RawFd, listener: usize, on: bool) -> io::Result<()> {
        let flags = match on {
            true => libc::EV_ADD,
            false => libc::EV_DELETE,
        };
        let data = listener_data(listener);
        control(
            &self.queue,
            &change(fd as usize, libc::EVFILT_READ, flags, data),
        )
    }

    fn add(&self, fd: RawFd, socket: Token, room: bool) -> io::Result<()> {
        self.add_filter(fd, libc::EVFILT_READ, socket)?;
        if room {
            self.add_room(fd, socket)?;
        }
        Ok(())
    }

    fn add_room(&self, fd: RawFd, socket: Token) -> io::Result<()> {
        self.add_filter(fd, libc::EVFILT_WRITE, socket)
    }

    fn wait(&mut self, timeout_ms: Option<u32>) -> io::Result<()> {
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
        let (filter, data) = (event.filter, event.udata.addr() as u64);
        if filter == libc::EVFILT_USER {
            return Some(Event::Woken);
        }
        if let Some(listener) = listener_of(data) {
            return Some(Event::Arrived(listener));
        }
        // One of room with EV_EOF too: the next send tells what broke.
        let room = filter == libc::EVFILT_WRITE;
        Some(Event::Edge {
            socket: Token::of(data),
            input: !room,
            hung_up: !room && event.flags & libc::EV_EOF != 0,
            room,
        })
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
