//! Operations that the kernel works on by itself, and who owns their memory meanwhile.
//!
//! An [`Operation`] holds the `OVERLAPPED` that names it and everything that the kernel may touch
//! or read until it is done: the bytes, the file, the socket. Being started it is given away
//! ([`start`] leaks its box), so that nothing of ours can free, move or change it; exactly one
//! completion comes for each that was started, also when it failed or was cancelled, and only
//! that brings it back ([`finish`]). An operation whose completion is never fetched stays leaked,
//! which is safe. So no order of closing, cancelling and ending has to be got right for memory's
//! sake.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, OwnedSocket};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE, NTSTATUS, RtlNtStatusToDosError};
use windows_sys::Win32::Networking::WinSock::{
    LPFN_ACCEPTEX, LPFN_TRANSMITFILE, SOCKET, WSABUF, WSAGetLastError, WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use super::port::Port;

/// Room for one address in what `AcceptEx` writes: an IPv6 one and the 16 bytes that it wants.
pub(super) const ADDRESS_ROOM: usize = 28 + 16;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Accept,
    Receive,
    Send,
    SendFile,
}

/// An operation at rest, or the memory of one under way.
#[repr(C)]
pub(super) struct Operation {
    /// The first field, so that a pointer to it is one to the whole.
    overlapped: OVERLAPPED,
    pub(super) what: What,
    /// Which socket's, or which of the accepting operations.
    pub(super) number: u32,
    /// Where its completion is wanted; see `accepting`.
    port: Arc<Port>,
    /// What is sent, or where addresses are written.
    pub(super) bytes: Vec<u8>,
    /// What is sent from.
    pub(super) file: Option<File>,
    /// The socket of the connection to be accepted.
    pub(super) socket: Option<OwnedSocket>,
}

/// An operation under way, by its name: to cancel it, never to look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight(NonNull<Operation>);

// SAFETY: a number for us, which no code of ours follows.
unsafe impl Send for Flight {}

impl Flight {
    /// Asks for the operation to end soon. Its completion comes all the same, by this or because
    /// it was done already. `socket` is the one it was started on.
    pub(super) fn cancel(self, socket: &OwnedSocket) {
        let name = self.0.as_ptr().cast::<OVERLAPPED>();
        // SAFETY: the socket is open for the whole call. The name is compared with those of
        // operations under way and not followed: one that is done is merely not found.
        let _ = unsafe { CancelIoEx(socket.as_raw_socket() as HANDLE, name) };
    }
}

impl Operation {
    pub(super) fn new(what: What, number: u32, port: &Arc<Port>) -> Box<Operation> {
        Box::new(Operation {
            overlapped: OVERLAPPED::default(),
            what,
            number,
            port: Arc::clone(port),
            bytes: Vec::new(),
            file: None,
            socket: None,
        })
    }

    /// How it ended, for one that has come back.
    pub(super) fn result(&self) -> io::Result<()> {
        let status = self.overlapped.Internal as NTSTATUS;
        if status >= 0 {
            return Ok(());
        }
        // SAFETY: takes and gives a number.
        let code = unsafe { RtlNtStatusToDosError(status) };
        Err(io::Error::from_raw_os_error(code.cast_signed()))
    }
}

/// Why one was not started, and itself again.
pub(super) type Refused = (Box<Operation>, io::Error);

/// Gives an operation to the kernel by `call`, which gets its name and a pointer to the whole and
/// says whether the call succeeded. On success its memory is the kernel's until [`finish`].
///
/// # Safety
///
/// `call` hands the name to one call of the system on a socket that belongs to a port, and all
/// memory that it hands over with it is the operation's own or is copied by that call. It leaves
/// the error behind that `WSAGetLastError` gives.
unsafe fn start(
    mut operation: Box<Operation>,
    offset: u64,
    call: impl FnOnce(*mut Operation, *mut OVERLAPPED) -> bool,
) -> Result<Flight, Refused> {
    operation.overlapped = OVERLAPPED::default();
    operation.overlapped.Anonymous.Anonymous.Offset = offset as u32;
    operation.overlapped.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
    let whole = NonNull::from(Box::leak(operation));
    // The first field of a `repr(C)` struct stands where the struct does.
    let name = whole.as_ptr().cast::<OVERLAPPED>();
    if call(whole.as_ptr(), name) {
        return Ok(Flight(whole));
    }
    // SAFETY: the thread's last error; no pointers.
    let code = unsafe { WSAGetLastError() };
    if code.cast_unsigned() == ERROR_IO_PENDING {
        return Ok(Flight(whole));
    }
    // SAFETY: it comes from `Box::leak` above. The call failed at once, and for such a one no
    // completion comes (WSASend, AcceptEx and their like say so): it is ours alone again.
    let operation = unsafe { Box::from_raw(whole.as_ptr()) };
    Err((operation, io::Error::from_raw_os_error(code)))
}

/// Takes an operation back whose completion has come.
///
/// # Safety
///
/// `name` came out of a port once, as the name of an operation that [`start`] gave away.
pub(super) unsafe fn finish(name: *mut OVERLAPPED) -> Box<Operation> {
    // SAFETY: `start` leaked the box under this name, the kernel is done with it, and a
    // completion comes once, so that nobody else takes it back.
    unsafe { Box::from_raw(name.cast()) }
}

/// The port at which a completion is wanted that has come out of another.
///
/// # Safety
///
/// As for [`finish`], which must not have been called yet.
pub(super) unsafe fn wanted_at(name: *mut OVERLAPPED) -> Arc<Port> {
    // SAFETY: the operation is alive, because nobody has taken it back; the kernel is done with
    // it, and whoever takes it back has to get the completion from us first.
    let operation = unsafe { &*name.cast::<Operation>() };
    Arc::clone(&operation.port)
}

/// Waits until there is something to receive, without lending the kernel a buffer for it.
pub(super) fn receive(socket: &OwnedSocket, operation: Box<Operation>) -> Result<Flight, Refused> {
    let nothing = WSABUF {
        len: 0,
        buf: ptr::null_mut(),
    };
    let mut flags = 0;
    // SAFETY: the array of one buffer may be transient (WSARecv), and the buffer is of no bytes;
    // `flags` is read before the call returns when there is a name; the socket belongs to a port.
    unsafe {
        start(operation, 0, |_, name| {
            let socket = socket.as_raw_socket() as SOCKET;
            let none = ptr::null_mut();
            WSARecv(
                socket,
                &raw const nothing,
                1,
                none,
                &raw mut flags,
                name,
                None,
            ) == 0
        })
    }
}

/// Sends the operation's bytes, all of them.
pub(super) fn send(socket: &OwnedSocket, operation: Box<Operation>) -> Result<Flight, Refused> {
    // SAFETY: the bytes are the operation's and stay where they are while it is leaked, since
    // nobody changes the vector; the array of one buffer may be transient (WSASend).
    unsafe {
        start(operation, 0, |whole, name| {
            let bytes = &mut (*whole).bytes;
            let all = WSABUF {
                len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                buf: bytes.as_mut_ptr(),
            };
            let socket = socket.as_raw_socket() as SOCKET;
            WSASend(socket, &raw const all, 1, ptr::null_mut(), 0, name, None) == 0
        })
    }
}

/// Sends `count` bytes of the operation's file from `offset`.
pub(super) fn send_file(
    transmit_file: LPFN_TRANSMITFILE,
    socket: &OwnedSocket,
    operation: Box<Operation>,
    offset: u64,
    count: u32,
) -> Result<Flight, Refused> {
    let file = operation.file.as_ref().map(AsRawHandle::as_raw_handle);
    let (Some(transmit_file), Some(file)) = (transmit_file, file) else {
        return Err((operation, io::ErrorKind::Unsupported.into()));
    };
    // SAFETY: the file is the operation's and open as long as that lives; there are no buffers
    // before or behind it.
    unsafe {
        start(operation, offset, |_, name| {
            let socket = socket.as_raw_socket() as SOCKET;
            transmit_file(socket, file, count, 0, name, ptr::null(), 0) != 0
        })
    }
}

/// Accepts a connection on the operation's socket, which is neither bound nor connected.
pub(super) fn accept(
    accept_ex: LPFN_ACCEPTEX,
    listener: &OwnedSocket,
    mut operation: Box<Operation>,
) -> Result<Flight, Refused> {
    let socket = operation.socket.as_ref().map(AsRawSocket::as_raw_socket);
    let (Some(accept_ex), Some(socket)) = (accept_ex, socket) else {
        return Err((operation, io::ErrorKind::Unsupported.into()));
    };
    operation.bytes.resize(2 * ADDRESS_ROOM, 0);
    // SAFETY: the bytes are the operation's, with room for both addresses of the lengths that
    // are given, and none for data; the socket is the operation's too.
    unsafe {
        start(operation, 0, |whole, name| {
            let room = ADDRESS_ROOM as u32;
            let addresses = (*whole).bytes.as_mut_ptr().cast();
            // Written before the call returns, which the name's completion says as well.
            let mut received = 0;
            let listener = listener.as_raw_socket() as SOCKET;
            let socket = socket as SOCKET;
            let count = &raw mut received;
            accept_ex(listener, socket, addresses, 0, room, room, count, name) != 0
        })
    }
}
