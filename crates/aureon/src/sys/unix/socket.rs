//! Sockets of POSIX systems: listening, accepting, receiving, sending, one function a call.
//!
//! Addresses go through `std::net`, descriptors are `OwnedFd`, so closing can't be forgotten.
//! Names are those of the manual pages; each function says what it adds to the bare call.

use std::fs::{File, Permissions};
use std::io;
use std::mem;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(target_os = "linux")]
use crate::limits::UNSENT_BYTES_MAX;
use crate::sys::PeerAddress;

/// A listening socket.
pub type Listener = OwnedFd;

/// A descriptor that a child process inherits.
pub type Inheritable = OwnedFd;

/// A connection to a Unix socket.
pub use std::os::unix::net::UnixStream as LocalStream;

/// Whether the kernel spreads connections over several listeners of one address. macOS and the
/// older BSDs allow them and give all connections to one.
pub const SPREADS: bool = cfg!(any(target_os = "linux", target_os = "freebsd"));

/// Lets several listeners of one address share its connections.
#[cfg(target_os = "freebsd")]
const SHARE_OPTION: i32 = libc::SO_REUSEPORT_LB;
#[cfg(not(target_os = "freebsd"))]
const SHARE_OPTION: i32 = libc::SO_REUSEPORT;

/// A `-1` becomes the `errno` behind it.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Flags of a send besides Linux's; on macOS SIGPIPE is off on the socket itself.
#[cfg(all(not(target_os = "linux"), not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives across the call.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// A socket that closes on exec and does not block.
fn socket(family: i32) -> io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[cfg(target_vendor = "apple")]
    let kind = libc::SOCK_STREAM;
    // SAFETY: no pointers; a result that is not -1 is a descriptor nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    #[cfg(target_vendor = "apple")]
    prepare(fd.as_raw_fd())?;
    Ok(fd)
}

/// Sets `O_NONBLOCK` and `FD_CLOEXEC`.
fn prepare(fd: RawFd) -> io::Result<()> {
    // SAFETY: fcntl with integer arguments touches no memory of ours.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFD))?;
        check(libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC))?;
    }
    Ok(())
}

/// macOS has no flag for it in `send`: a socket is told once that it never raises SIGPIPE.
#[cfg(target_vendor = "apple")]
fn silence(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)
}

/// Whether a TCP address is free: binds it unshared and lets go again. Gives the address with
/// the port that the kernel chose for port 0.
///
/// Nothing listens meanwhile, so no client can connect to a socket that is about to close.
pub fn probe_tcp(address: SocketAddr) -> io::Result<SocketAddr> {
    let fd = bind_tcp(address, false)?;
    Ok(local_address(&fd)?.unwrap_or(address))
}

/// Listens on a TCP address. `share` lets every worker bind one of its own where the kernel
/// [`SPREADS`] connections over them.
///
/// An IPv6 listener takes IPv6 only, so that `0.0.0.0` and `[::]` may both be listed.
pub fn listen_tcp(address: SocketAddr, backlog: u32, share: bool) -> io::Result<Listener> {
    let fd = bind_tcp(address, share)?;
    let raw = fd.as_raw_fd();
    listen_on(raw, backlog)?;
    set_tcp_options(raw)?;
    Ok(fd)
}

/// Connects from the loopback address of its family to an address of this machine, so that who
/// listens there sees a peer of this machine whichever interface the address is on. `patience`
/// bounds the connecting and each write.
pub fn connect_from_loopback(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let from = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let stream = TcpStream::from(bind_tcp(SocketAddr::new(from, 0), false)?);
    stream.set_nonblocking(false)?;
    // SO_SNDTIMEO, which bounds connect(2) too (socket(7)).
    stream.set_write_timeout(Some(patience))?;
    let (storage, length) = to_kernel(to);
    // SAFETY: `storage` holds an address of `length` bytes and lives across the call.
    check(unsafe { libc::connect(stream.as_raw_fd(), (&raw const storage).cast(), length) })?;
    Ok(stream)
}

fn bind_tcp(address: SocketAddr, share: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = socket(family)?;
    let raw = fd.as_raw_fd();
    // A restart must not wait for connections in TIME_WAIT (socket(7)).
    set_option(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if share && SPREADS {
        set_option(raw, libc::SOL_SOCKET, SHARE_OPTION, 1)?;
    }
    if address.is_ipv6() {
        set_option(raw, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (storage, length) = to_kernel(address);
    // SAFETY: `storage` holds an address of `length` bytes and lives across the call.
    check(unsafe { libc::bind(raw, (&raw const storage).cast(), length) })?;
    Ok(fd)
}

/// Accepted sockets inherit these options from the listener (tcp(7)), which saves a call each.
///
/// Not among them is `TCP_DEFER_ACCEPT`, which keeps a client among the handshakes until it speaks.
/// Silent ones fill their queue, so that whoever comes gets a SYN cookie, and the last ACK of a
/// connection with a cookie, when it comes twice, is taken for a new one that has no client. And
/// a second later the kernel asks them all again, a hundred in one go. What it would save is
/// little: a server with much to do finds the request there when it accepts (bench/exact).
fn set_tcp_options(raw: RawFd) -> io::Result<()> {
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    // A peer that takes nothing would otherwise have the kernel hold what it holds at most for a
    // connection, 4 MiB, and a few hundred of them all the memory that it has for TCP (tcp_mem in
    // tcp(7)): then nobody on this machine gets another byte.
    #[cfg(target_os = "linux")]
    set_option(
        raw,
        libc::IPPROTO_TCP,
        libc::TCP_NOTSENT_LOWAT,
        UNSENT_BYTES_MAX,
    )?;
    Ok(())
}

fn listen_on(raw: RawFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: no pointers.
    check(unsafe { libc::listen(raw, backlog) })?;
    Ok(())
}

/// Listens on a Unix socket. A socket file that nobody listens on any more is replaced; one that
/// somebody does is `AddrInUse`. `mode` are the permissions of the file, in force before anybody
/// can connect; without it they are what the process's umask leaves.
pub fn listen_unix(path: &Path, backlog: u32, mode: Option<u32>) -> io::Result<OwnedFd> {
    let address = unix_address(path)?;
    if is_stale(path)? {
        std::fs::remove_file(path)?;
    }
    let fd = bind_unix(&address)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    listen_on(fd.as_raw_fd(), backlog)?;
    Ok(fd)
}

/// Whether a Unix socket can be listened on, without making one; its directory is not looked at.
pub fn probe_unix(path: &Path) -> io::Result<()> {
    unix_address(path)?;
    is_stale(path).map(drop)
}

/// Whether a socket file lies there that nobody listens on any more.
fn is_stale(path: &Path) -> io::Result<bool> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(false);
    };
    if !found.file_type().is_socket() {
        let text = "a file that is no socket is in the way";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => Ok(true),
    }
}

fn unix_address(path: &Path) -> io::Result<libc::sockaddr_un> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all zeros is a valid address of this type.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    // One byte stays zero, which ends the path.
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        let text = "the path is longer than a socket's may be, about 100 bytes, or has a NUL";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(address)
}

/// Binds without listening, which std does in one: until then connecting is refused.
fn bind_unix(address: &libc::sockaddr_un) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_UNIX)?;
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `address` is of `length` bytes and lives across the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const *address).cast(), length) })?;
    Ok(fd)
}

/// Takes over a listening socket that a parent process left open. The number is ours from now
/// on, and closed with what is returned.
///
/// An error when the descriptor is closed or is no listening stream socket.
pub fn listen_inherited(number: u32) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if raw <= 2 {
        let text = "0, 1 and 2 are standard input, output and error";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if option_value(raw, libc::SO_TYPE)? != libc::SOCK_STREAM
        || option_value(raw, libc::SO_ACCEPTCONN)? == 0
    {
        let text = "the descriptor is no listening stream socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    prepare(raw)?;
    // SAFETY: getsockopt has just shown that the descriptor is open; whoever names its number
    // hands it over, so that it is ours alone.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // A Unix socket has no TCP options; then there is nothing to inherit either.
    let _ = set_tcp_options(fd.as_raw_fd());
    Ok(fd)
}

fn option_value(fd: RawFd, name: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: both pointers are to locals that live across the call, and `length` is their size.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// The address a TCP listener is bound to, `None` for a Unix one.
pub fn local_address(fd: &OwnedFd) -> io::Result<Option<SocketAddr>> {
    // The listener is a copy that is dropped again; `fd` keeps its own.
    let listener = TcpListener::from(fd.try_clone()?);
    match listener.local_addr() {
        Ok(address) => Ok(Some(address)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path of a Unix listener, `None` for one without a path or another kind of socket.
pub fn local_path(fd: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let listener = std::os::unix::net::UnixListener::from(fd.try_clone()?);
    match listener.local_addr() {
        Ok(address) => Ok(address.as_pathname().map(Path::to_path_buf)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// A copy of a descriptor that a child process inherits.
pub fn inheritable(fd: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; 3 keeps standard input, output and error free. A result that is not
    // -1 is a descriptor nobody else owns; F_DUPFD leaves FD_CLOEXEC off (fcntl(2)).
    unsafe {
        let copy = check(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 3))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

/// Takes over a descriptor that a parent process left open, of whatever kind; it closes on exec
/// from now on.
pub fn take_inherited(number: u32) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: fcntl with integers touches no memory of ours, and says whether it is open.
    unsafe {
        let flags = check(libc::fcntl(raw, libc::F_GETFD))?;
        check(libc::fcntl(raw, libc::F_SETFD, flags | libc::FD_CLOEXEC))?;
    }
    // SAFETY: it is open, as was just shown; whoever names its number hands it over.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Accepts a connection, closing on exec and not blocking.
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, PeerAddress)> {
    // SAFETY: an all-zero sockaddr_storage is a valid value of that plain C struct.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let address = (&raw mut storage).cast();
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: the pointers are to locals that live across the call; `length` is the room there
    // is. A result that is not -1 is a descriptor nobody else owns.
    let fd = unsafe {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        OwnedFd::from_raw_fd(check(libc::accept4(
            listener,
            address,
            &raw mut length,
            flags,
        ))?)
    };
    #[cfg(target_vendor = "apple")]
    // SAFETY: as above.
    let fd =
        unsafe { OwnedFd::from_raw_fd(check(libc::accept(listener, address, &raw mut length))?) };
    #[cfg(target_vendor = "apple")]
    prepare(fd.as_raw_fd()).and_then(|()| silence(fd.as_raw_fd()))?;
    Ok((fd, from_kernel(&storage)))
}

/// Receives what is there, at most the buffer's length.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are the buffer's own.
    check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Sends what there is room for. Never raises SIGPIPE.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8], more: bool) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    #[cfg(not(target_os = "linux"))]
    let flags = {
        // Only Linux can hold a segment back for what follows.
        let _ = more;
        NO_SIGNAL
    };
    // SAFETY: pointer and length are the slice's own.
    check_size(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Sends from a file without copying it through us. `Ok(0)`: the file ends before `offset`.
#[cfg(target_os = "linux")]
pub fn sendfile(fd: RawFd, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    let mut offset =
        libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: `offset` is a local that lives across the call; both descriptors are open.
    check_size(unsafe { libc::sendfile(fd, file.as_raw_fd(), &raw mut offset, count) })
}

/// The same where the call also fails after having sent something: then that counts.
#[cfg(not(target_os = "linux"))]
pub fn sendfile(fd: RawFd, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    if count == 0 {
        // To the call it would mean the whole file.
        return Ok(0);
    }
    let too_large = |_| io::Error::from_raw_os_error(libc::EOVERFLOW);
    let offset = libc::off_t::try_from(offset).map_err(too_large)?;
    let (result, sent) = sendfile_bsd(fd, file.as_raw_fd(), offset, count);
    if result == -1 && sent == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(sent).unwrap_or(0))
}

#[cfg(target_vendor = "apple")]
fn sendfile_bsd(
    fd: RawFd,
    file: RawFd,
    offset: libc::off_t,
    count: usize,
) -> (libc::c_int, libc::off_t) {
    let mut length = libc::off_t::try_from(count).unwrap_or(libc::off_t::MAX);
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open; `length` is a local that lives across the call, which
    // reads what to send from it and writes what was; there are no headers.
    let result = unsafe { libc::sendfile(file, fd, offset, &raw mut length, none, 0) };
    (result, length)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn sendfile_bsd(
    fd: RawFd,
    file: RawFd,
    offset: libc::off_t,
    count: usize,
) -> (libc::c_int, libc::off_t) {
    let mut sent: libc::off_t = 0;
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open; `sent` is a local that lives across the call, which
    // writes it in any case; there are no headers.
    let result = unsafe { libc::sendfile(file, fd, offset, count, none, &raw mut sent, 0) };
    (result, sent)
}

/// Whether there is something to receive.
pub fn has_input(fd: RawFd) -> bool {
    let mut byte = 0u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one byte into a local of one byte.
    unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) > 0 }
}

/// Says that nothing more will be sent. A connection that is gone already is no error for us.
pub fn shutdown_send(fd: RawFd) {
    // SAFETY: no pointers. The result says only that the peer was faster.
    let _ = unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Makes the coming close a reset: nothing waits in the kernel for a peer that is gone.
pub fn reset_on_close(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer and the length describe `linger`, which lives across the call. Failing
    // means an ordinary close.
    let _ = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

fn to_kernel(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: an all-zero sockaddr_storage is a valid value of that plain C struct.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: sockaddr_storage is made to hold every address type, in size and alignment.
            let inner: &mut libc::sockaddr_in = unsafe { &mut *(&raw mut storage).cast() };
            inner.sin_family = libc::AF_INET as libc::sa_family_t;
            inner.sin_port = v4.port().to_be();
            inner.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let inner: &mut libc::sockaddr_in6 = unsafe { &mut *(&raw mut storage).cast() };
            inner.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            inner.sin6_port = v6.port().to_be();
            inner.sin6_addr.s6_addr = v6.ip().octets();
            inner.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

fn from_kernel(storage: &libc::sockaddr_storage) -> PeerAddress {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds this type.
            let inner: &libc::sockaddr_in = unsafe { &*(&raw const *storage).cast() };
            let ip = Ipv4Addr::from(inner.sin_addr.s_addr.to_ne_bytes());
            PeerAddress::Ip(SocketAddrV4::new(ip, u16::from_be(inner.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds this type.
            let inner: &libc::sockaddr_in6 = unsafe { &*(&raw const *storage).cast() };
            let ip = Ipv6Addr::from(inner.sin6_addr.s6_addr);
            let port = u16::from_be(inner.sin6_port);
            PeerAddress::Ip(SocketAddrV6::new(ip, port, 0, inner.sin6_scope_id).into())
        }
        _ => PeerAddress::Unix,
    }
}
