//! One request to a service of ours, over TCP or a Unix socket: for `healthcheck` and the
//! commands that talk to a running service.
//!
//! As small as it can be and no client for the world: one request, `Connection: close`, an
//! answer of bounded size within a bounded time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use aureon::http::LOCAL_PROXY_HEADER;
use aureon::sys::socket::{self, LocalStream};

use crate::address::Address;

/// How long each step may take: connecting, writing, the next bytes of the answer. 5 s: longer
/// than the checks of a ready answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer after which no more are read. 4 MiB: a report of a thousand exchanges has
/// 400 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status code.
    pub status: u16,
    /// The content.
    pub content: Vec<u8>,
}

/// Asks, with an empty body when the method takes one; `patience` is for each step. `proxied`: the
/// listener expects a PROXY header, which says that we ask for ourselves.
///
/// # Errors
///
/// Nobody listens, the answer does not come in time, or it is no HTTP.
pub fn ask(
    address: &Address,
    proxied: bool,
    method: &str,
    target: &str,
    patience: Duration,
) -> io::Result<Answered> {
    let length = if method == "GET" {
        ""
    } else {
        "Content-Length: 0\r\n"
    };
    let header: &[u8] = if proxied { &LOCAL_PROXY_HEADER } else { b"" };
    let request = [
        header,
        method.as_bytes(),
        b" ",
        target.as_bytes(),
        b" HTTP/1.1\r\nHost: localhost\r\n",
        length.as_bytes(),
        b"Connection: close\r\n\r\n",
    ]
    .concat();
    match address {
        Address::Ip(address) => {
            let address = reachable(*address);
            let stream = match proxied {
                // Whoever is no proxy may ask for himself from loopback alone.
                true => socket::connect_from_loopback(address, patience)?,
                false => TcpStream::connect_timeout(&address, patience)?,
            };
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            exchange(
                &request,
                &mut |all| (&stream).write_all(all),
                &mut |piece| (&stream).read(piece),
            )
        }
        Address::Unix(path) => {
            let stream = LocalStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            exchange(
                &request,
                &mut |all| (&stream).write_all(all),
                &mut |piece| (&stream).read(piece),
            )
        }
    }
}

/// Where a server that listens on every address is found from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Writes the request, and reads to the end or to the bound. Two functions in place of a stream:
/// `Read` and `Write` have twenty, each compiled for each kind of stream.
fn exchange(
    request: &[u8],
    write_all: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<Answered> {
    write_all(request)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while bytes.len() < ANSWER_BYTES_MAX {
        match read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse_answer(&bytes).ok_or_else(|| io::Error::other("what came back is no HTTP answer"))
}

/// An answer that was read to its end. Our own server names the length of all it is asked here.
fn parse_answer(bytes: &[u8]) -> Option<Answered> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let digits = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Answered {
        status,
        content: bytes[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer_and_nothing_else() {
        let answered = parse_answer(b"HTTP/1.1 503 x\r\na: b\r\n\r\nno\n").unwrap();
        assert_eq!(
            (answered.status, &answered.content[..]),
            (503, &b"no\n"[..])
        );
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 2\r\n\r\n",
        ] {
            assert_eq!(parse_answer(bytes), None);
        }
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        let shown = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(shown("[::]:80"), "[::1]:80");
        assert_eq!(shown("192.0.2.1:80"), "192.0.2.1:80");
    }
}
