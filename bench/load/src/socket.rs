//! Client sockets over raw calls, for the parts where std's would cost the generator time.

use std::io::{Error, Result};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(crate) fn name_of(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

fn set_option(socket: RawFd, level: i32, name: i32, value: i32) -> Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the size describe `value`.
    check(unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), size) })?;
    Ok(())
}

/// Connects, from 127.0.0.`from` when given: one source address has 28,000 ports, and a closed
/// connection occupies its port for a minute, so one-request connections take turns.
pub(crate) fn connect(address: SocketAddrV4, from: Option<u8>) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call; the descriptor is ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?) };
    let raw = socket.as_raw_fd();
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(last) = from {
        // The port is chosen by connect(2), which knows the whole pair of addresses.
        set_option(raw, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        let source = name_of(SocketAddrV4::new([127, 0, 0, last].into(), 0));
        let size = size_of_val(&source) as libc::socklen_t;
        // SAFETY: the pointer and the size describe `source`.
        check(unsafe { libc::bind(raw, (&raw const source).cast(), size) })?;
    }
    let name = name_of(address);
    let size = size_of_val(&name) as libc::socklen_t;
    // SAFETY: the pointer and the size describe `name`.
    check(unsafe { libc::connect(raw, (&raw const name).cast(), size) })?;
    Ok(socket)
}

/// Sends everything at once; a short send means the peer does not read.
pub(crate) fn send(socket: RawFd, bytes: &[u8]) -> Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the pointer and the size describe `bytes`.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    match sent {
        n if n == bytes.len() as isize => Ok(()),
        n if n < 0 => Err(Error::last_os_error()),
        n => Err(Error::other(format!(
            "only {n} of {} bytes were taken",
            bytes.len()
        ))),
    }
}

/// Receives what is there; `Some(0)` is the end, `None` nothing yet.
pub(crate) fn receive(socket: RawFd, into: &mut [u8]) -> Result<Option<usize>> {
    let (pointer, room) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: the pointer and the size describe `into`.
    let received = unsafe { libc::recv(socket, pointer, room, libc::MSG_DONTWAIT) };
    if received >= 0 {
        return Ok(Some(received as usize));
    }
    match Error::last_os_error() {
        error if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        error => Err(error),
    }
}

/// Begins to connect and does not wait for it. `window` is a size for the receive buffer.
pub(crate) fn connect_later(
    address: SocketAddrV4,
    from: SocketAddrV4,
    window: Option<i32>,
) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain system call; the descriptor is ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?) };
    let raw = socket.as_raw_fd();
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(raw, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    if let Some(bytes) = window {
        set_option(raw, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
    }
    let (source, name) = (name_of(from), name_of(address));
    let size = size_of_val(&name) as libc::socklen_t;
    // SAFETY: the pointers and the size describe `source` and `name`.
    unsafe {
        check(libc::bind(raw, (&raw const source).cast(), size))?;
        match check(libc::connect(raw, (&raw const name).cast(), size)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }
}

/// Whether a connection that was begun is made, or why it can not be.
pub(crate) fn connected(socket: RawFd) -> Result<bool> {
    let mut code: libc::c_int = 0;
    let mut size = size_of_val(&code) as libc::socklen_t;
    let mut poll = libc::pollfd {
        fd: socket,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: the pointers and sizes describe `code` and `poll`.
    unsafe {
        check(libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut code).cast(),
            &raw mut size,
        ))?;
        if code != 0 {
            return Err(Error::from_raw_os_error(code));
        }
        check(libc::poll(&raw mut poll, 1, 0))?;
    }
    Ok(poll.revents & libc::POLLOUT != 0)
}

/// Sends as much as is taken.
pub(crate) fn send_some(socket: RawFd, bytes: &[u8]) -> Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the pointer and the size describe `bytes`.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent >= 0 {
        return Ok(sent as usize);
    }
    match Error::last_os_error() {
        error if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
        error => Err(error),
    }
}

/// Has the close of a socket be a reset.
pub(crate) fn reset_on_close(socket: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the pointer and the size describe `linger`. Failing means an ordinary close.
    let _ = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
}

/// Room for what an [`Epoll`] reports.
pub(crate) struct Events([libc::epoll_event; 512]);

impl Events {
    pub(crate) fn new() -> Events {
        Events([libc::epoll_event { events: 0, u64: 0 }; 512])
    }

    pub(crate) fn room(&mut self) -> &mut [libc::epoll_event] {
        &mut self.0
    }

    pub(crate) fn token(&self, at: usize) -> usize {
        self.0[at].u64 as usize
    }
}

/// Readiness of many sockets.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Result<Epoll> {
        // SAFETY: plain system call; the descriptor is ours alone.
        unsafe {
            Ok(Epoll(OwnedFd::from_raw_fd(check(libc::epoll_create1(
                libc::EPOLL_CLOEXEC,
            ))?)))
        }
    }

    /// Reports `token` whenever the socket can be read; closing the socket ends it.
    pub(crate) fn add(&self, socket: RawFd, token: usize) -> Result<()> {
        self.register(socket, libc::EPOLLIN, token)
    }

    /// Reports `token` when the socket becomes readable or writable.
    pub(crate) fn add_both(&self, socket: RawFd, token: usize) -> Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET | libc::EPOLLRDHUP;
        self.register(socket, events, token)
    }

    /// Reports `token` when standard input has something or ends.
    pub(crate) fn add_input(&self, token: usize) -> Result<()> {
        self.register(libc::STDIN_FILENO, libc::EPOLLIN, token)
    }

    fn register(&self, socket: RawFd, events: libc::c_int, token: usize) -> Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token as u64,
        };
        let epoll = self.0.as_raw_fd();
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &mut event) })?;
        Ok(())
    }

    /// Waits and fills `events`; 0 when the time-out passed.
    pub(crate) fn wait(&self, events: &mut [libc::epoll_event], timeout_ms: i32) -> Result<usize> {
        let (pointer, room) = (events.as_mut_ptr(), events.len() as i32);
        loop {
            // SAFETY: the pointer and the count describe `events`.
            let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), pointer, room, timeout_ms) };
            match check(count) {
                Ok(count) => return Ok(count as usize),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
