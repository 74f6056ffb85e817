//! Sockets of Windows: listening, receiving, sending, one function a call.
//!
//! A listener has its address to itself (`SO_EXCLUSIVEADDRUSE`): without that any other process
//! could bind it too and take the connections. It is shared by the workers, see `accepting`.
//! Sockets have no paths here, and none is handed to a child; asking for it is `Unsupported`.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream};
use std::os::windows::io::{AsRawSocket, FromRawSocket, OwnedSocket};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Once};
use std::time::Duration;

use windows_sys::Win32::Networking::WinSock::{
    ADDRESS_FAMILY, AF_INET, AF_INET6, FIONBIO, INVALID_SOCKET, IPPROTO_IPV6, IPPROTO_TCP,
    IPV6_V6ONLY, LINGER, LPFN_ACCEPTEX, LPFN_TRANSMITFILE, MSG_PEEK, SD_SEND, SEND_RECV_FLAGS,
    SIO_GET_EXTENSION_FUNCTION_POINTER, SO_EXCLUSIVEADDRUSE, SO_LINGER, SO_SNDBUF,
    SO_UPDATE_ACCEPT_CONTEXT, SOCK_STREAM, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_STORAGE, SOCKET,
    SOCKET_ERROR, SOL_SOCKET, TCP_NODELAY, WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED,
    WSADATA, WSAGetLastError, WSAID_ACCEPTEX, WSAID_TRANSMITFILE, WSAIoctl, WSASocketW, WSAStartup,
    bind, connect, getpeername, getsockname, ioctlsocket, listen, recv as receive,
    send as transmit, setsockopt, shutdown,
};
use windows_sys::core::GUID;

use super::accepting;
use crate::limits::UNSENT_BYTES_MAX;

/// Whether the kernel spreads connections over several listeners of one address. It has only one.
pub const SPREADS: bool = false;

/// A backlog up to which the system takes the number as it is; a larger one is written negative
/// (`SOMAXCONN_HINT`).
const PLAIN_BACKLOG: i32 = 200;

/// A listening socket, shared by whoever accepts from it.
#[derive(Clone, Debug)]
pub struct Listener {
    shared: Arc<Listening>,
}

#[derive(Debug)]
struct Listening {
    socket: OwnedSocket,
    address: SocketAddr,
    accept_ex: LPFN_ACCEPTEX,
}

impl Listener {
    /// Another handle of the same listener.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn try_clone(&self) -> io::Result<Listener> {
        Ok(self.clone())
    }

    pub(super) fn socket(&self) -> &OwnedSocket {
        &self.shared.socket
    }

    pub(super) fn accept_ex(&self) -> LPFN_ACCEPTEX {
        self.shared.accept_ex
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.shared.address.is_ipv4()
    }
}

/// What a child process inherits: there is no such thing here.
#[derive(Debug)]
pub struct Inheritable(Infallible);

impl Inheritable {
    pub(super) fn number(&self) -> u32 {
        match self.0 {}
    }
}

/// A connection to a socket with a path, of which there is none here.
#[derive(Debug)]
pub struct LocalStream(Infallible);

impl LocalStream {
    /// # Errors
    ///
    /// Always: sockets have no paths here.
    pub fn connect(_: impl AsRef<Path>) -> io::Result<LocalStream> {
        Err(no_paths())
    }

    /// # Errors
    ///
    /// None: there is no such value.
    pub fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        match self.0 {}
    }

    /// # Errors
    ///
    /// None: there is no such value.
    pub fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        match self.0 {}
    }
}

impl Read for &LocalStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for &LocalStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

fn no_paths() -> io::Error {
    let text = "sockets have no paths on Windows; listen on an address, such as 127.0.0.1:8080";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

fn no_inheritance() -> io::Error {
    let text = "no process takes over the sockets of another on Windows; stop this one, start anew";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error behind a call that has just failed.
fn last_error() -> io::Error {
    // SAFETY: the thread's last error; no pointers.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

fn check(result: i32) -> io::Result<()> {
    match result {
        SOCKET_ERROR => Err(last_error()),
        _ => Ok(()),
    }
}

/// Every use of sockets begins with this once; the system ends it with the process.
fn start_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut data = WSADATA::default();
        // SAFETY: `data` is a local that lives across the call. If it fails, so does making a
        // socket, and says so.
        let _ = unsafe { WSAStartup(0x202, &raw mut data) };
    });
}

/// A TCP socket whose operations overlap and that no child inherits.
pub(super) fn new_socket(is_ipv4: bool) -> io::Result<OwnedSocket> {
    start_up();
    let family = i32::from(if is_ipv4 { AF_INET } else { AF_INET6 });
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: the pointer may be null; a result that is not INVALID_SOCKET is a socket nobody
    // else owns.
    unsafe {
        let socket = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, ptr::null(), 0, flags);
        if socket == INVALID_SOCKET {
            return Err(last_error());
        }
        Ok(OwnedSocket::from_raw_socket(socket as u64))
    }
}

fn raw(socket: &OwnedSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

fn set_option<T>(socket: &OwnedSocket, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as i32;
    let value = ptr::from_ref(value).cast();
    // SAFETY: the pointer and the length describe `value`, which lives across the call.
    check(unsafe { setsockopt(raw(socket), level, name, value, length) })
}

/// Whether a TCP address is free: binds it and lets go again. Gives the address with the port
/// that the kernel chose for port 0.
pub fn probe_tcp(address: SocketAddr) -> io::Result<SocketAddr> {
    bound_to(&bind_tcp(address)?)
}

/// Listens on a TCP address. An IPv6 listener takes IPv6 only, so that `0.0.0.0` and `[::]` may
/// both be listed. `share` means nothing here: see [`SPREADS`].
pub fn listen_tcp(address: SocketAddr, backlog: u32, _share: bool) -> io::Result<Listener> {
    let socket = bind_tcp(address)?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let backlog = if backlog > PLAIN_BACKLOG {
        -backlog
    } else {
        backlog
    };
    // SAFETY: no pointers.
    check(unsafe { listen(raw(&socket), backlog) })?;
    // SAFETY: the id is that of a function of this type.
    let accept_ex = unsafe { extension::<LPFN_ACCEPTEX>(&socket, WSAID_ACCEPTEX)? };
    accepting::share(&socket)?;
    Ok(Listener {
        shared: Arc::new(Listening {
            address: bound_to(&socket)?,
            socket,
            accept_ex,
        }),
    })
}

/// Connects from the loopback address of its family to an address of this machine, so that who
/// listens there sees a peer of this machine whichever interface the address is on. `patience`
/// bounds each write; a connection within the machine is made or refused by itself.
pub fn connect_from_loopback(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let from = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let stream = TcpStream::from(bind_tcp(SocketAddr::new(from, 0))?);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(patience))?;
    let (storage, length) = to_kernel(to);
    // SAFETY: `storage` holds an address of `length` bytes and lives across the call.
    check(unsafe {
        connect(
            stream.as_raw_socket() as SOCKET,
            (&raw const storage).cast(),
            length,
        )
    })?;
    Ok(stream)
}

/// Whether there is something to receive.
pub(super) fn has_input(socket: &OwnedSocket) -> bool {
    let mut byte = 0u8;
    // SAFETY: one byte into a local of one byte. The sockets of the driver do not block.
    unsafe { receive(raw(socket), &raw mut byte, 1, MSG_PEEK) > 0 }
}

fn bind_tcp(address: SocketAddr) -> io::Result<OwnedSocket> {
    let socket = new_socket(address.is_ipv4())?;
    set_option(&socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, &1i32)?;
    if address.is_ipv6() {
        set_option(&socket, IPPROTO_IPV6, IPV6_V6ONLY, &1i32)?;
    }
    let (storage, length) = to_kernel(address);
    // SAFETY: `storage` holds an address of `length` bytes and lives across the call.
    check(unsafe { bind(raw(&socket), (&raw const storage).cast(), length) })?;
    Ok(socket)
}

/// A function that only some providers of sockets have, by its id.
///
/// # Safety
///
/// `T` is the nullable pointer to a function that the id stands for.
unsafe fn extension<T>(socket: &OwnedSocket, id: GUID) -> io::Result<T> {
    let mut function = mem::MaybeUninit::<T>::zeroed();
    let mut written = 0;
    // SAFETY: the pointers and lengths describe locals that live across the call; there is no
    // name, so it is done when the call returns.
    check(unsafe {
        WSAIoctl(
            raw(socket),
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const id).cast(),
            size_of::<GUID>() as u32,
            function.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            &raw mut written,
            ptr::null_mut(),
            None,
        )
    })?;
    // SAFETY: zeros are the null of such a pointer; the call has put the function there.
    Ok(unsafe { function.assume_init() })
}

/// The function that sends from files, for sockets like this one.
pub(super) fn transmit_file(socket: &OwnedSocket) -> io::Result<LPFN_TRANSMITFILE> {
    // SAFETY: the id is that of a function of this type.
    unsafe { extension(socket, WSAID_TRANSMITFILE) }
}

/// Whether a Unix socket can be listened on.
///
/// # Errors
///
/// Always: sockets have no paths here.
pub fn probe_unix(_: &Path) -> io::Result<()> {
    Err(no_paths())
}

/// Listens on a Unix socket.
///
/// # Errors
///
/// Always, as there.
pub fn listen_unix(_: &Path, _: u32, _: Option<u32>) -> io::Result<Listener> {
    Err(no_paths())
}

/// Takes over a listening socket that a parent process left open.
///
/// # Errors
///
/// Always: no socket is inherited by its number here.
pub fn listen_inherited(_: u32) -> io::Result<Listener> {
    Err(no_inheritance())
}

/// A copy that a child process inherits.
///
/// # Errors
///
/// Always: see [`listen_inherited`].
pub fn inheritable(_: &Listener) -> io::Result<Inheritable> {
    Err(no_inheritance())
}

/// The address a listener is bound to.
pub fn local_address(listener: &Listener) -> io::Result<Option<SocketAddr>> {
    Ok(Some(listener.shared.address))
}

/// The path of a Unix listener, which this is not.
pub fn local_path(_: &Listener) -> io::Result<Option<PathBuf>> {
    Ok(None)
}

/// Makes a connection that `AcceptEx` has finished an ordinary one that does not block; gives its
/// other side.
pub(super) fn take_accepted(
    listener: &OwnedSocket,
    socket: &OwnedSocket,
) -> io::Result<SocketAddr> {
    let listener = raw(listener);
    set_option(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, &listener)?;
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, &1i32)?;
    // By itself the system would take more and more for a peer that takes nothing.
    set_option(socket, SOL_SOCKET, SO_SNDBUF, &UNSENT_BYTES_MAX)?;
    let mut nonblocking = 1;
    // SAFETY: the pointer is to a local that lives across the call.
    check(unsafe { ioctlsocket(raw(socket), FIONBIO, &raw mut nonblocking) })?;
    let mut storage = SOCKADDR_STORAGE::default();
    let mut length = size_of::<SOCKADDR_STORAGE>() as i32;
    // SAFETY: the pointers are to locals that live across the call; `length` is the room there is.
    check(unsafe { getpeername(raw(socket), (&raw mut storage).cast(), &raw mut length) })?;
    from_kernel(&storage)
}

/// Receives what is there, at most the buffer's length.
pub(super) fn recv(socket: &OwnedSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
    let flags: SEND_RECV_FLAGS = 0;
    // SAFETY: pointer and room are the buffer's own.
    let count = unsafe { receive(raw(socket), buffer.as_mut_ptr(), room, flags) };
    usize::try_from(count).map_err(|_| last_error())
}

/// Sends what there is room for.
pub(super) fn send(socket: &OwnedSocket, bytes: &[u8]) -> io::Result<usize> {
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: pointer and length are the slice's own.
    let count = unsafe { transmit(raw(socket), bytes.as_ptr(), length, 0) };
    usize::try_from(count).map_err(|_| last_error())
}

/// Says that nothing more will be sent. A connection that is gone already is no error for us.
pub(super) fn shutdown_send(socket: &OwnedSocket) {
    // SAFETY: no pointers. The result says only that the peer was faster.
    let _ = unsafe { shutdown(raw(socket), SD_SEND) };
}

/// Makes the coming close a reset: nothing waits in the kernel for a peer that is gone.
pub(super) fn reset_on_close(socket: &OwnedSocket) {
    let linger = LINGER {
        l_onoff: 1,
        l_linger: 0,
    };
    // Failing means an ordinary close.
    let _ = set_option(socket, SOL_SOCKET, SO_LINGER, &linger);
}

fn bound_to(socket: &OwnedSocket) -> io::Result<SocketAddr> {
    let mut storage = SOCKADDR_STORAGE::default();
    let mut length = size_of::<SOCKADDR_STORAGE>() as i32;
    // SAFETY: the pointers are to locals that live across the call; `length` is the room there is.
    check(unsafe { getsockname(raw(socket), (&raw mut storage).cast(), &raw mut length) })?;
    from_kernel(&storage)
}

fn to_kernel(address: SocketAddr) -> (SOCKADDR_STORAGE, i32) {
    let mut storage = SOCKADDR_STORAGE::default();
    let length = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: SOCKADDR_STORAGE is made to hold every address type, in size and alignment.
            let inner: &mut SOCKADDR_IN = unsafe { &mut *(&raw mut storage).cast() };
            inner.sin_family = AF_INET as ADDRESS_FAMILY;
            inner.sin_port = v4.port().to_be();
            inner.sin_addr.S_un.S_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<SOCKADDR_IN>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let inner: &mut SOCKADDR_IN6 = unsafe { &mut *(&raw mut storage).cast() };
            inner.sin6_family = AF_INET6 as ADDRESS_FAMILY;
            inner.sin6_port = v6.port().to_be();
            inner.sin6_addr.u.Byte = v6.ip().octets();
            inner.Anonymous.sin6_scope_id = v6.scope_id();
            size_of::<SOCKADDR_IN6>()
        }
    };
    (storage, length as i32)
}

fn from_kernel(storage: &SOCKADDR_STORAGE) -> io::Result<SocketAddr> {
    match storage.ss_family {
        AF_INET => {
            // SAFETY: the family says that it is an address of this type, which fits.
            let inner: &SOCKADDR_IN = unsafe { &*ptr::from_ref(storage).cast() };
            // SAFETY: every view of these four bytes is valid.
            let bytes = unsafe { inner.sin_addr.S_un.S_addr }.to_ne_bytes();
            let port = u16::from_be(inner.sin_port);
            Ok(SocketAddrV4::new(Ipv4Addr::from(bytes), port).into())
        }
        AF_INET6 => {
            // SAFETY: as above.
            let inner: &SOCKADDR_IN6 = unsafe { &*ptr::from_ref(storage).cast() };
            // SAFETY: every view of these bytes is valid.
            let (bytes, scope) = unsafe { (inner.sin6_addr.u.Byte, inner.Anonymous.sin6_scope_id) };
            let port = u16::from_be(inner.sin6_port);
            Ok(SocketAddrV6::new(Ipv6Addr::from(bytes), port, 0, scope).into())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
