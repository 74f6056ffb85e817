//! `load half-open`: SYN segments whose senders do not exist, so that the server's answer goes
//! nowhere and the handshake stays half done. Needs a raw socket, and a network in which the
//! addresses from `--from` on are unused: a namespace that the measuring script makes.

use std::io::Error;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::socket::{Epoll, Events, name_of};
use crate::{Failure, Options};

const SEGMENT_BYTES: usize = 40;

pub(crate) fn half_open(options: &Options) -> Result<(), Failure> {
    let to = options.address()?;
    let from = options.from()?.ip().to_bits();
    let sources: u32 = options.number("--sources", 100)?;
    let rate: u64 = options.number("--rate", 2_000)?;
    let seconds: f64 = options.number("--seconds", 5.0)?;
    // SAFETY: plain system call; the descriptor is ours alone.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
        if raw < 0 {
            return Err(format!("a raw socket: {}", Error::last_os_error()));
        }
        OwnedFd::from_raw_fd(raw)
    };
    let name = name_of(to);
    let started = Instant::now();
    let mut sent = 0u64;
    let place = |error: Error| format!("standard input: {error}");
    let (epoll, mut events) = (Epoll::new().map_err(place)?, Events::new());
    // Its end says that it is enough.
    epoll.add_input(0).map_err(place)?;
    crate::hold::say("ready")?;
    while started.elapsed() < Duration::from_secs_f64(seconds) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let source = from + (sent % u64::from(sources)) as u32;
            let port = 1_024 + (sent / u64::from(sources) % 60_000) as u16;
            let segment = segment(SocketAddrV4::new(source.into(), port), to);
            // SAFETY: pointers and sizes describe live values.
            let result = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    segment.as_ptr().cast(),
                    SEGMENT_BYTES,
                    0,
                    (&raw const name).cast(),
                    size_of_val(&name) as libc::socklen_t,
                )
            };
            if result < 0 {
                return Err(format!("send: {}", Error::last_os_error()));
            }
            sent += 1;
        }
        if epoll.wait(events.room(), 2).map_err(place)? > 0 {
            break;
        }
    }
    crate::hold::say(&format!("{{\"opened\": {sent}}}"))
}

/// An IPv4 header (the kernel fills in its checksum: raw(7)) and a TCP header with SYN set.
fn segment(from: SocketAddrV4, to: SocketAddrV4) -> [u8; SEGMENT_BYTES] {
    let mut bytes = [0; SEGMENT_BYTES];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(SEGMENT_BYTES as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = libc::IPPROTO_TCP as u8;
    bytes[12..16].copy_from_slice(&from.ip().octets());
    bytes[16..20].copy_from_slice(&to.ip().octets());
    bytes[20..22].copy_from_slice(&from.port().to_be_bytes());
    bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
    bytes[32] = 5 << 4;
    bytes[33] = 0x02;
    bytes[34..36].copy_from_slice(&8_192u16.to_be_bytes());
    // RFC 9293 §3.1: the checksum is over addresses, protocol and length too.
    let mut sum = libc::IPPROTO_TCP as u32 + 20;
    for pair in bytes[12..].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[36..38].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_segment_adds_up() {
        let from = "10.1.2.3:4000".parse().unwrap();
        let bytes = segment(from, "10.1.2.4:80".parse().unwrap());
        let mut sum = libc::IPPROTO_TCP as u32 + 20;
        for pair in bytes[12..].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
