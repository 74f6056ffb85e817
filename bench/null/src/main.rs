//! The null server: what remains of a server when nothing is parsed, and so the yardstick for CPU
//! time per request. epoll, one `recv`, count the blank lines, one `send` of fixed bytes, on one
//! thread. It refuses nothing and must never face a network.
//!
//! `null ADDRESS [BODY_BYTES] [--close]`: answers each blank line with a fixed 200 of BODY_BYTES
//! (13 by default: "Hello, World!"). `--close` answers one request a connection and closes it,
//! without registering the connection with epoll when the request is already there.
//!
//! Shape, each point measured by others to be the fastest: level-triggered epoll, no `epoll_ctl`
//! after accept; one receive buffer for all connections; `TCP_DEFER_ACCEPT` and a `recv` straight
//! after `accept4`; `TCP_NODELAY` inherited from the listener; all answers of a read in one send.

use std::io::{Error, Result};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Enough for sixteen pipelined requests with a browser's headers, several times over.
const RECEIVE_BYTES: usize = 512 * 1024;
/// Answers prepared back to back, so that a pipelined batch is one `send`.
const ANSWERS: usize = 64;
const EVENTS: usize = 512;
/// The process's descriptor limit bounds the connections; this bounds the table of tails.
const DESCRIPTORS: usize = 1 << 16;
/// The end of a head.
const BLANK_LINE: &[u8] = b"\r\n\r\n";

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set_option(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the size describe `value`.
    check(unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), size) })?;
    Ok(())
}

fn listen(address: SocketAddrV4) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call; the descriptor is ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?) };
    let raw = socket.as_raw_fd();
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)?;
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let size = size_of_val(&name) as libc::socklen_t;
    // SAFETY: the pointer and the size describe `name`.
    check(unsafe { libc::bind(raw, (&raw const name).cast(), size) })?;
    // SAFETY: plain system call on a descriptor of ours.
    check(unsafe { libc::listen(raw, 4096) })?;
    Ok(socket)
}

/// The loop's state: one set for the whole process.
struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// `ANSWERS` times the same answer.
    answers: Vec<u8>,
    answer_bytes: usize,
    close: bool,
    input: Vec<u8>,
    /// How much of `BLANK_LINE` the connection's bytes ended with, by descriptor.
    tails: Vec<u8>,
}

/// What a connection is to do next.
#[derive(PartialEq)]
enum Next {
    Wait,
    Close,
}

impl Server {
    fn new(address: SocketAddrV4, body_bytes: usize, close: bool) -> Result<Server> {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {body_bytes}\r\n{}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
            if close { "Connection: close\r\n" } else { "" }
        )
        .into_bytes();
        answer.extend(b"Hello, World!".iter().cycle().take(body_bytes));
        // SAFETY: plain system call; the descriptor is ours alone.
        let epoll =
            unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let server = Server {
            epoll,
            listener: listen(address)?,
            answers: answer.repeat(ANSWERS),
            answer_bytes: answer.len(),
            close,
            input: vec![0; RECEIVE_BYTES],
            tails: vec![0; DESCRIPTORS],
        };
        server.register(server.listener.as_raw_fd())?;
        Ok(server)
    }

    fn register(&self, descriptor: RawFd) -> Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: descriptor as u64,
        };
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor, &mut event) })?;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            // SAFETY: the pointer and the count describe `events`.
            let count = match check(unsafe {
                libc::epoll_wait(
                    self.epoll.as_raw_fd(),
                    events.as_mut_ptr(),
                    EVENTS as i32,
                    -1,
                )
            }) {
                Ok(count) => count as usize,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) => return Err(error),
            };
            for event in &events[..count] {
                let descriptor = event.u64 as RawFd;
                if descriptor == self.listener.as_raw_fd() {
                    self.accept()?;
                } else if self.answer(descriptor) == Next::Close {
                    close(descriptor);
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        // Bounded: a flood of connections must not starve those that are open.
        for _ in 0..EVENTS {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let nowhere = std::ptr::null_mut();
            // SAFETY: no address is asked for.
            let descriptor = unsafe {
                libc::accept4(
                    self.listener.as_raw_fd(),
                    nowhere,
                    std::ptr::null_mut(),
                    flags,
                )
            };
            if descriptor < 0 {
                return match Error::last_os_error() {
                    error if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
                    error if error.raw_os_error() == Some(libc::ECONNABORTED) => continue,
                    error => Err(error),
                };
            }
            self.tails[descriptor as usize] = 0;
            match self.answer(descriptor) {
                Next::Close => close(descriptor),
                Next::Wait => self.register(descriptor)?,
            }
        }
        Ok(())
    }

    /// One `recv`, and one `send` when it completed at least one head.
    fn answer(&mut self, descriptor: RawFd) -> Next {
        let (pointer, room) = (self.input.as_mut_ptr().cast(), self.input.len());
        // SAFETY: the pointer and the size describe `input`.
        let received = unsafe { libc::recv(descriptor, pointer, room, 0) };
        if received < 0 {
            let error = Error::last_os_error();
            return if error.kind() == std::io::ErrorKind::WouldBlock {
                Next::Wait
            } else {
                Next::Close
            };
        }
        if received == 0 {
            return Next::Close;
        }
        let tail = &mut self.tails[descriptor as usize];
        let mut heads = count_heads(&self.input[..received as usize], tail);
        let answered = heads > 0;
        while heads > 0 {
            let batch = heads.min(ANSWERS);
            if send_all(descriptor, &self.answers[..batch * self.answer_bytes]).is_err() {
                return Next::Close;
            }
            heads -= batch;
        }
        if answered && self.close {
            Next::Close
        } else {
            Next::Wait
        }
    }
}

/// How many heads end in `input`; `tail` carries a blank line cut by the end of a read.
fn count_heads(input: &[u8], tail: &mut u8) -> usize {
    let mut heads = 0;
    let mut rest = input;
    while *tail > 0 && !rest.is_empty() {
        let wanted = BLANK_LINE[*tail as usize];
        *tail = match rest[0] {
            byte if byte == wanted => *tail + 1,
            b'\r' => 1,
            _ => 0,
        };
        rest = &rest[1..];
        if *tail == 4 {
            heads += 1;
            *tail = 0;
        }
    }
    if rest.is_empty() {
        return heads;
    }
    loop {
        // SAFETY: both pointers and sizes describe live slices.
        let found = unsafe {
            libc::memmem(
                rest.as_ptr().cast(),
                rest.len(),
                BLANK_LINE.as_ptr().cast(),
                4,
            )
        };
        if found.is_null() {
            break;
        }
        heads += 1;
        rest = &rest[found as usize - rest.as_ptr() as usize + 4..];
    }
    *tail = (1..4)
        .rev()
        .find(|&n| rest.ends_with(&BLANK_LINE[..n]))
        .unwrap_or(0) as u8;
    heads
}

/// Sends everything; a full socket is waited for, which never happens to a load generator that
/// reads, and keeps the ordinary path at one call.
fn send_all(descriptor: RawFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let flags = libc::MSG_NOSIGNAL;
        // SAFETY: the pointer and the size describe `bytes`.
        let sent = unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags) };
        if sent < 0 {
            let error = Error::last_os_error();
            if error.kind() != std::io::ErrorKind::WouldBlock {
                return Err(error);
            }
            let mut wait = libc::pollfd {
                fd: descriptor,
                events: libc::POLLOUT,
                revents: 0,
            };
            // SAFETY: one live entry.
            check(unsafe { libc::poll(&mut wait, 1, 1000) })?;
            continue;
        }
        bytes = &bytes[sent as usize..];
    }
    Ok(())
}

fn close(descriptor: RawFd) {
    // SAFETY: accepted by us, and used by nobody after this.
    unsafe { libc::close(descriptor) };
}

fn main() -> Result<()> {
    let mut address = None;
    let mut body_bytes = 13;
    let mut close = false;
    for argument in std::env::args().skip(1) {
        if argument == "--close" {
            close = true;
        } else if let Ok(number) = argument.parse() {
            body_bytes = number;
        } else {
            address = argument.parse().ok();
        }
    }
    let Some(address) = address else {
        return Err(Error::other(
            "usage: null ADDRESS:PORT [BODY_BYTES] [--close]",
        ));
    };
    Server::new(address, body_bytes, close)?.run()
}

#[cfg(test)]
mod tests {
    use super::count_heads;

    #[test]
    fn counts_the_same_heads_however_the_bytes_were_cut() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\r\r\n\r\nx\r\n\r\r\n\r\n\n\r\n";
        assert_eq!(count_heads(input, &mut 0), 3);
        for first in 0..input.len() {
            for second in first..input.len() {
                let mut tail = 0;
                let heads = count_heads(&input[..first], &mut tail)
                    + count_heads(&input[first..second], &mut tail)
                    + count_heads(&input[second..], &mut tail);
                assert_eq!(heads, 3, "cut at {first} and {second}");
            }
        }
    }
}
