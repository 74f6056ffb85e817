//! The operating system: the only `unsafe`, the only `cfg(target_os)`.
//!
//! The door is [`Driver`], shaped as completions: an operation is started, finishes later, and
//! its result comes out of [`Driver::next`]. The worker is generic over it, so there is no
//! dispatch at run time, and the same worker runs over [`sim`], a seeded operating system in
//! memory.
//!
//! # The contract
//!
//! *Turns.* [`Driver::turn`] waits, reads the clock once, and makes completions available;
//! [`Driver::next`] hands them out until it says `None`. Time does not move inside a turn.
//!
//! *Who is here comes first.* In a turn, what there is of open sockets is handed out before
//! connections that have just come, and of these there is a bound, however many arrive.
//!
//! *Receiving is armed until paused.* From `Accepted` on a socket delivers `Received` whenever
//! bytes are there. `receive_pause` stops that, `receive_resume` arms it again, and what arrived
//! in between is delivered then. What the driver had received already is delivered all the same:
//! one chunk at most, for it does not receive twice from a socket before it has handed out the
//! first. After `Closed` or `Failed` nothing follows.
//!
//! *A chunk is lent.* The bytes of `Received` belong to the driver: the worker hands them back
//! by [`Driver::recycle`] before it asks for the next completion. An idle socket so owns no
//! buffer, however many there are.
//!
//! *Sending takes what it can.* [`Driver::send`] removes from the vector what it has taken. What
//! remains is sent by calling again after `Sendable`, which follows exactly when something
//! remains. The same holds for [`Driver::send_file`]. One send at a time for each socket.
//!
//! *Closing is final.* After [`Driver::close`] no completion names that socket, and its id may
//! come back with the next `Accepted`. A descriptor whose peer has closed before may be given back
//! some turns later, in which the driver does not sleep.
//!
//! # One door for each thing
//!
//! What the other rooms ask of a system has the same names on every one of them, and they ask for
//! nothing else: [`SystemDriver`] and [`SystemWaker`], [`socket`] (listeners), [`dir`] (files
//! beneath a root), [`signal`], [`process`] (another process takes over), [`notify`] (a service
//! manager is told), [`services`] (one is asked), [`output`], [`descriptors`], [`sandbox`]. Where
//! a system has no such thing its door is there all the same, and says so by an `Unsupported` error
//! or by `None`.
//!
//! # How each kernel interface fits
//!
//! | | epoll | io_uring | IOCP | kqueue |
//! | --- | --- | --- | --- | --- |
//! | accept | `accept4` on readiness | multishot accept | `AcceptEx`, some posted by each worker | `accept` on `EVFILT_READ` |
//! | armed receive | edge-triggered, `recv` at once | multishot receive into a provided-buffer ring | `WSARecv` of no bytes, then `recv`; posted again unless paused | `EV_CLEAR`, `recv` at once |
//! | lent chunk | part of one buffer a driver, which a batch of receives shares | the ring's buffer, given back on recycle | one buffer a driver | as epoll |
//! | send | `send` at once, `EPOLLOUT` for the rest | takes the vector whole and swaps in an empty one; `Sendable` is not needed | `send` at once, `WSASend` of a piece that the driver keeps for the rest | as epoll, `EVFILT_WRITE` |
//! | send a file | `sendfile` in slices | linked splices | `TransmitFile` in slices | `sendfile` in slices |
//! | pause | a flag; the edge is remembered | cancel the receive | do not post again | a flag |
//! | wake | `eventfd` | an `eventfd` read | `PostQueuedCompletionStatus` | `EVFILT_USER` |
//! | turn | `epoll_wait` | `submit_and_wait` with a time-out | `GetQueuedCompletionStatusEx` | `kevent` |

#[cfg(target_os = "linux")]
mod epoll;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
mod kqueue;
#[cfg_attr(target_os = "linux", path = "landlock.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unconfined.rs")]
pub mod sandbox;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod thread;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
mod words;

#[cfg(target_os = "linux")]
use epoll::Epoll as SystemReadiness;
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
use kqueue::Kqueue as SystemReadiness;
/// The driver of this system.
#[cfg(unix)]
pub type SystemDriver = unix::readiness::ReadinessDriver<SystemReadiness>;
/// What ends a turn of it.
#[cfg(unix)]
pub type SystemWaker = <SystemDriver as Driver>::Waker;
#[cfg(unix)]
pub use unix::{descriptors, dir, notify, output, process, services, signal, socket};
#[cfg(windows)]
pub use windows::{
    Iocp as SystemDriver, PortWaker as SystemWaker, descriptors, dir, notify, output, process,
    services, signal, socket,
};

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

/// Whether file names mean here what they mean to Windows, where `NUL.txt` is a device.
pub const WINDOWS_NAMES: bool = cfg!(windows);

/// A socket, as a driver numbers them: small integers, used again after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The number as an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who is on the other side of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// TCP over IPv4 or IPv6.
    Ip(SocketAddr),
    /// A Unix socket, whose peers have no name.
    Unix,
    /// The simulated operating system.
    Memory,
}

/// Received bytes, lent by the driver until [`Driver::recycle`].
#[derive(Debug, Default)]
pub struct Chunk {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// The first `len` bytes of a buffer.
    #[cfg(any(windows, test, feature = "sim"))]
    fn new(buffer: Vec<u8>, len: usize) -> Chunk {
        debug_assert!(len <= buffer.len());
        Chunk {
            buffer,
            start: 0,
            end: len,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
}

/// What has finished.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted; receiving is armed.
    Accepted {
        /// Its socket.
        id: SocketId,
        /// Its other side.
        peer: PeerAddress,
        /// Which of the driver's listeners it came through.
        listener: usize,
    },
    /// Accepting failed for a reason that is ours: no descriptor, no memory.
    AcceptFailed {
        /// The reason.
        error: io::Error,
        /// Connections that waited to be accepted and were reset instead.
        shed: u32,
    },
    /// Bytes arrived.
    Received {
        /// Where.
        id: SocketId,
        /// The bytes, at least one.
        chunk: Chunk,
    },
    /// The peer will send nothing more.
    Closed {
        /// Whose.
        id: SocketId,
    },
    /// The connection broke.
    Failed {
        /// Which.
        id: SocketId,
        /// Why.
        error: io::Error,
    },
    /// A send that had left something may go on.
    Sendable {
        /// Where.
        id: SocketId,
    },
    /// A [`Driver::Waker`] was used.
    Woken,
}

/// The door to the operating system. The contract is this module's text.
pub trait Driver {
    /// What other threads end a turn with.
    type Waker: Wake;

    /// A handle that ends a turn from any thread.
    fn waker(&self) -> Self::Waker;

    /// Waits until something finishes or `timeout_ms` have passed (`None`: as long as it takes).
    fn turn(&mut self, timeout_ms: Option<u32>) -> io::Result<()>;

    /// The next thing that has finished in this turn.
    fn next(&mut self) -> Option<Completion>;

    /// Gives the bytes of a `Received` back.
    fn recycle(&mut self, chunk: Chunk);

    /// Milliseconds on a clock that never goes back, as of the turn's beginning.
    fn now_ms(&self) -> u64;

    /// Microseconds on the same clock, as of the turn's beginning.
    fn turn_us(&self) -> u64;

    /// Microseconds on the same clock, read now: for measuring, not for deadlines.
    fn now_us(&self) -> u64;

    /// Microseconds since 1970, as of the turn's beginning.
    fn unix_us(&self) -> u64;

    /// Stops accepting; the kernel queues connections up to the backlog.
    fn accept_pause(&mut self);

    /// Accepts again.
    fn accept_resume(&mut self);

    /// How many descriptors more are taken than should be, if any are as of the connection accepted
    /// last, and what will be the error when the rest is taken too.
    fn shortage(&self) -> Option<(usize, io::Error)> {
        None
    }

    /// Whether bytes have come for a socket that have not been received.
    fn has_input(&self, id: SocketId) -> bool;

    /// Closes the listeners for good.
    fn close_listeners(&mut self);

    /// Stops delivering `Received` for a socket.
    fn receive_pause(&mut self, id: SocketId);

    /// Delivers again.
    fn receive_resume(&mut self, id: SocketId);

    /// Sends from the front of `bytes` and removes what was taken. `more` says that a file
    /// follows at once, so that both may share a segment.
    fn send(&mut self, id: SocketId, bytes: &mut Vec<u8>, more: bool) -> io::Result<()>;

    /// Sends `remaining` bytes of a file from `offset`, at most a slice in each turn; moves both.
    /// A file that has become shorter is an `UnexpectedEof`.
    fn send_file(
        &mut self,
        id: SocketId,
        file: &File,
        offset: &mut u64,
        remaining: &mut u64,
    ) -> io::Result<()>;

    /// Says that nothing more will be sent.
    fn shutdown_send(&mut self, id: SocketId);

    /// Closes a socket. With `reset` the peer is told by a reset, without waiting for it.
    fn close(&mut self, id: SocketId, reset: bool);
}

/// Ends a driver's turn from any thread.
pub trait Wake: Clone + Send + Sync + 'static {
    /// The driver's present or next turn ends with `Woken`.
    fn wake(&self);
}

/// What of the contract only a real kernel can show, on every system.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ACCEPTS_PER_TURN, BATCH, RECEIVE_BUFFER_BYTES};
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::time::{Duration, Instant};

    /// A driver that accepts on a port of its own.
    fn driver() -> (SystemDriver, SocketAddr) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = socket::listen_tcp(any, 1_024, false).unwrap();
        let address = socket::local_address(&listener).unwrap().unwrap();
        (SystemDriver::new(vec![listener], 1).unwrap(), address)
    }

    /// What one turn of at most so long brings, in its order.
    fn told(driver: &mut SystemDriver, timeout_ms: u32) -> Vec<String> {
        driver.turn(Some(timeout_ms)).unwrap();
        let mut told = Vec::new();
        while let Some(completion) = driver.next() {
            match completion {
                Completion::Accepted { id, .. } => told.push(format!("accepted {}", id.0)),
                Completion::Received { id, chunk } => {
                    told.push(format!("received {}", id.0));
                    driver.recycle(chunk);
                }
                other => told.push(format!("{other:?}")),
            }
        }
        told
    }

    #[test]
    fn a_silent_client_is_accepted_at_once() {
        let (mut driver, address) = driver();
        let _client = TcpStream::connect(address).unwrap();
        // Deferred it would be there after a second at the earliest.
        assert_eq!(told(&mut driver, 500), ["accepted 0"]);
    }

    #[test]
    fn a_crowd_at_one_listener_does_not_lock_out_who_comes_to_another() {
        // Whoever was there first.
        for (crowded, early) in [(0, true), (1, true), (0, false), (1, false)] {
            let listen = || {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                socket::listen_tcp(any, 1_024, false).unwrap()
            };
            let listeners = vec![listen(), listen()];
            let address =
                |listener: &socket::Listener| socket::local_address(listener).unwrap().unwrap();
            let addresses = [address(&listeners[0]), address(&listeners[1])];
            let mut driver = SystemDriver::new(listeners, 1).unwrap();
            let connect = |at: usize| TcpStream::connect(addresses[at]).unwrap();
            let mut clients = Vec::new();
            if early {
                clients.push(connect(1 - crowded));
            }
            clients.extend((0..3 * ACCEPTS_PER_TURN).map(|_| connect(crowded)));
            if !early {
                clients.push(connect(1 - crowded));
            }
            let mut accepted = [0; 2];
            // The whole crowd takes three.
            for _ in 0..2 {
                driver.turn(Some(500)).unwrap();
                while let Some(completion) = driver.next() {
                    if let Completion::Accepted { listener, .. } = completion {
                        accepted[listener] += 1;
                    }
                }
            }
            assert_eq!(accepted[1 - crowded], 1, "{accepted:?}");
        }
    }

    /// The contents of what was received in at most so many turns until `enough` is there, by
    /// socket.
    fn received(
        driver: &mut SystemDriver,
        turns: usize,
        enough: impl Fn(&BTreeMap<u32, Vec<u8>>) -> bool,
        mut on_received: impl FnMut(&mut SystemDriver, SocketId),
    ) -> BTreeMap<u32, Vec<u8>> {
        let mut received = BTreeMap::<u32, Vec<u8>>::new();
        for _ in 0..turns {
            driver.turn(Some(100)).unwrap();
            while let Some(completion) = driver.next() {
                if let Completion::Received { id, chunk } = completion {
                    received.entry(id.0).or_default().extend(&*chunk);
                    driver.recycle(chunk);
                    on_received(driver, id);
                }
            }
            if enough(&received) {
                break;
            }
        }
        received
    }

    /// So many connections that are accepted.
    fn accepted(driver: &mut SystemDriver, address: SocketAddr, count: usize) -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect(address).unwrap();
        let clients: Vec<TcpStream> = (0..count).map(connect).collect();
        let mut left = count;
        for _ in 0..50 {
            left -= told(driver, 100).len();
            if left == 0 {
                break;
            }
        }
        assert_eq!(left, 0);
        clients
    }

    #[test]
    fn what_is_received_in_one_turn_is_each_ones_own() {
        let (mut driver, address) = driver();
        let mut clients = accepted(&mut driver, address, 3 * BATCH);
        for (number, client) in clients.iter_mut().enumerate() {
            // Some of them more than the buffer takes at once, and all of different lengths.
            let len = 1 + number * number * 100;
            client.set_nonblocking(true).unwrap();
            client.write_all(&vec![number as u8; len]).unwrap();
        }
        let whole = |received: &BTreeMap<u32, Vec<u8>>| {
            received.len() == clients.len()
                && received.values().all(|bytes| {
                    let number = usize::from(bytes[0]);
                    bytes.len() == 1 + number * number * 100
                })
        };
        let received = received(&mut driver, 50, whole, |_, _| {});
        assert!(whole(&received));
        for bytes in received.values() {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        }
    }

    #[test]
    fn a_socket_that_was_closed_is_not_named_again() {
        let (mut driver, address) = driver();
        let mut clients = accepted(&mut driver, address, BATCH);
        for client in &mut clients {
            client.write_all(b"a").unwrap();
        }
        // Who comes first closes all others, whatever has been received from them.
        let received = received(
            &mut driver,
            5,
            |_| false,
            |driver, id| {
                for other in (0..BATCH as u32).filter(|other| *other != id.0) {
                    driver.close(SocketId(other), true);
                }
            },
        );
        assert_eq!(received.len(), 1);
    }

    #[test]
    fn many_who_go_at_once_are_let_go_without_a_sleep() {
        let (mut driver, address) = driver();
        let clients = accepted(&mut driver, address, 200);
        for client in &clients {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let mut left = clients.len();
        let began = Instant::now();
        let patience_ms = 10_000;
        while left > 0 {
            driver.turn(Some(patience_ms)).unwrap();
            while let Some(completion) = driver.next() {
                if let Completion::Closed { id } = completion {
                    driver.close(id, false);
                    left -= 1;
                }
            }
        }
        // Nothing more happens that would end a turn.
        for mut client in &clients {
            client.set_nonblocking(true).unwrap();
            let mut turns = 0;
            while client.read(&mut [0]).is_err() {
                turns += 1;
                assert!(turns <= clients.len());
                driver.turn(Some(patience_ms)).unwrap();
                assert!(driver.next().is_none());
                assert!(began.elapsed() < Duration::from_millis(patience_ms.into()));
            }
        }
    }

    #[test]
    fn a_paused_socket_has_one_chunk_more_at_most() {
        let (mut driver, address) = driver();
        let mut clients = accepted(&mut driver, address, 2);
        for client in &mut clients {
            client.write_all(&[b'a'; 4 * RECEIVE_BUFFER_BYTES]).unwrap();
        }
        let mut chunks = [0; 2];
        received(
            &mut driver,
            5,
            |_| false,
            |driver, id| {
                chunks[id.index()] += 1;
                driver.receive_pause(SocketId(1 - id.0));
            },
        );
        assert!(chunks.iter().any(|count| *count <= 1), "{chunks:?}");
    }

    #[test]
    fn who_arrives_waits_for_who_is_here_however_many_arrive() {
        let (mut driver, address) = driver();
        let mut here = TcpStream::connect(address).unwrap();
        assert_eq!(told(&mut driver, 500), ["accepted 0"]);
        let connect = |_| TcpStream::connect(address).unwrap();
        let _crowd: Vec<TcpStream> = (0..3 * ACCEPTS_PER_TURN).map(connect).collect();
        here.write_all(b"a").unwrap();
        let turn = (0..10).find_map(|_| {
            let told = told(&mut driver, 500);
            told.contains(&"received 0".to_owned()).then_some(told)
        });
        let turn = turn.unwrap();
        assert_eq!(turn[0], "received 0");
        assert!(turn.len() <= 1 + ACCEPTS_PER_TURN);
    }
}
