//! The header that a proxy of connections writes before the first request: the PROXY protocol of
//! HAProxy's `proxy-protocol.txt`, versions 1 (§2.1, a line) and 2 (§2.2, binary).
//!
//! It says for whom the connection was made. Whether one is expected is the listener's business
//! and never guessed from the bytes, whether the sender is believed is the caller's. Strict: a
//! first byte out of place ends it, and so does a header that names no TCP client over IP.
//! Stricter than §2.1, which lets a receiver go on with the sender's own address after `UNKNOWN`:
//! a client without an address can be neither counted nor told from a proxy of one's own.

use super::Error;
use crate::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What begins a header of version 2: made to be refused by everything that does not expect it.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 before its addresses.
const FIXED_BYTES: usize = 16;

/// What begins a line of version 1.
const WORD: &[u8] = b"PROXY ";

/// The header of a connection that its sender makes for himself: version 2, `LOCAL`.
pub const LOCAL_PROXY_HEADER: [u8; FIXED_BYTES] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// For whom the connection was made; `None` is for the sender himself (`LOCAL`).
    pub client: Option<SocketAddr>,
    /// Its bytes.
    pub consumed: usize,
}

/// Reads a header at the beginning of what a connection has received. `None`: more is needed.
///
/// # Errors
///
/// [`Error::ProxyHeader`] as soon as it can be no header: then nothing more is to be read.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, Error> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(got, want)| got == want);
    let parsed = if begins(&SIGNATURE) {
        parse_binary(bytes)
    } else if begins(WORD) {
        parse_line(bytes)
    } else {
        Err(())
    };
    parsed.map_err(|()| Error::ProxyHeader)
}

type Parsed = Result<Option<ProxyHeader>, ()>;

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443` and CRLF.
fn parse_line(bytes: &[u8]) -> Parsed {
    let within = bytes.get(..PROXY_LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        let ended = within.len() == PROXY_LINE_BYTES_MAX;
        return if ended { Err(()) } else { Ok(None) };
    };
    match within.get(end..) {
        Some(b"\r") if within.len() < PROXY_LINE_BYTES_MAX => return Ok(None),
        Some([b'\r', b'\n', ..]) => {}
        _ => return Err(()),
    }
    let line = std::str::from_utf8(&within[WORD.len().min(end)..end]).map_err(drop)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(());
    let is_same_family: fn(&IpAddr) -> bool = match word()? {
        "TCP4" => IpAddr::is_ipv4,
        "TCP6" => IpAddr::is_ipv6,
        _ => return Err(()),
    };
    let address = |text: &str| text.parse().ok().filter(is_same_family).ok_or(());
    let source = address(word()?)?;
    address(word()?)?;
    let port = parse_port(word()?)?;
    parse_port(word()?)?;
    if words.next().is_some() {
        return Err(());
    }
    Ok(Some(ProxyHeader {
        client: Some(SocketAddr::new(source, port)),
        consumed: end + 2,
    }))
}

/// A decimal number without leading zeros. `u16::from_str` would also take a plus sign.
fn parse_port(digits: &str) -> Result<u16, ()> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || digits.len() > 1 && digits.starts_with('0') {
        return Err(());
    }
    digits.parse().map_err(drop)
}

/// Signature, version and command, family and protocol, length, addresses, then fields of its
/// own (§2.2.1) that are not looked at.
fn parse_binary(bytes: &[u8]) -> Parsed {
    let Some(command) = bytes.get(12) else {
        return Ok(None);
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(()),
    };
    let Some(family) = bytes.get(13) else {
        return Ok(None);
    };
    // Of a connection of the sender's own the family is ignored, as §2.2 has it.
    let addresses_bytes = match family {
        _ if is_local => 0,
        0x11 => 12,
        0x21 => 36,
        _ => return Err(()),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED_BYTES) else {
        return Ok(None);
    };
    let consumed = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if consumed < FIXED_BYTES + addresses_bytes || consumed > PROXY_HEADER_BYTES_MAX {
        return Err(());
    }
    let Some(block) = bytes.get(FIXED_BYTES..consumed) else {
        return Ok(None);
    };
    let client = match addresses_bytes {
        12 => read_client::<4>(block, 8).map(|(ip, port)| (Ipv4Addr::from(ip).into(), port)),
        36 => read_client::<16>(block, 32).map(|(ip, port)| (Ipv6Addr::from(ip).into(), port)),
        _ => None,
    };
    Ok(Some(ProxyHeader {
        client: client.map(|(ip, port)| SocketAddr::new(ip, port)),
        consumed,
    }))
}

/// The source address at the beginning and its port behind both addresses.
fn read_client<const LEN: usize>(block: &[u8], port_at: usize) -> Option<([u8; LEN], u16)> {
    let (ip, _) = block.split_first_chunk()?;
    let (port, _) = block.get(port_at..)?.split_first_chunk()?;
    Some((*ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &[u8] = b"GET / HTTP/1.1\r\n";

    /// Reads a header byte by byte with a request behind it; gives the client.
    fn read(header: &[u8]) -> Option<SocketAddr> {
        let bytes = [header, REST].concat();
        for end in 0..header.len() {
            assert_eq!(parse_proxy_header(&bytes[..end]), Ok(None), "{end} bytes");
        }
        let whole = parse_proxy_header(&bytes[..header.len()]);
        assert_eq!(parse_proxy_header(&bytes), whole);
        let read = whole.unwrap().unwrap();
        assert_eq!(read.consumed, header.len());
        read.client
    }

    /// At which byte it is refused; every byte more changes nothing.
    fn refused_at(bytes: &[u8]) -> usize {
        let at = (0..=bytes.len())
            .find(|end| parse_proxy_header(&bytes[..*end]).is_err())
            .unwrap_or_else(|| panic!("taken: {}", bytes.escape_ascii()));
        for end in at..=bytes.len() {
            assert_eq!(parse_proxy_header(&bytes[..end]), Err(Error::ProxyHeader));
        }
        at
    }

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

    fn v6() -> Vec<u8> {
        let (from, to): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::9".parse().unwrap(), "::1".parse().unwrap());
        [&from.octets()[..], &to.octets(), &[0x10, 0x00, 0, 80]].concat()
    }

    #[test]
    fn reads_a_line_of_version_1() {
        for (line, client) in [
            ("TCP4 192.0.2.1 198.51.100.1 56324 443", "192.0.2.1:56324"),
            (
                "TCP4 255.255.255.255 255.255.255.255 65535 65535",
                "255.255.255.255:65535",
            ),
            ("TCP6 2001:DB8::9 ::1 0 1", "[2001:db8::9]:0"),
            (
                "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ] {
            let header = format!("PROXY {line}\r\n");
            assert_eq!(read(header.as_bytes()), Some(client.parse().unwrap()));
        }
    }

    #[test]
    fn refuses_a_line_that_differs_in_anything() {
        for line in [
            "PROXY UNKNOWN\r\n",
            "PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1\t1 2\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\r\n",
            "PROXY TCP4 192.0.2.1\0 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.é 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        ] {
            assert!(refused_at(line.as_bytes()) <= line.len(), "{line}");
        }
        // What has no end is refused where it would have had to be.
        let endless = [WORD, &[b'x'; 300]].concat();
        assert_eq!(refused_at(&endless), PROXY_LINE_BYTES_MAX);
        let late = [WORD, &[b'x'; 100], b"\r\n"].concat();
        assert_eq!(refused_at(&late), PROXY_LINE_BYTES_MAX);
    }

    #[test]
    fn reads_version_2_and_passes_over_what_follows_the_addresses() {
        let v4 = Some("192.0.2.1:56324".parse().unwrap());
        assert_eq!(read(&binary(0x21, 0x11, &V4)), v4);
        assert_eq!(read(&binary(0x21, 0x11, &[&V4[..], &[4; 9]].concat())), v4);
        let client = read(&binary(0x21, 0x21, &v6()));
        assert_eq!(client, Some("[2001:db8::9]:4096".parse().unwrap()));
        let longest = vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES];
        assert_eq!(read(&binary(0x20, 0x00, &longest)), None);
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        assert_eq!(read(&LOCAL_PROXY_HEADER), None);
        assert_eq!(read(&binary(0x20, 0x11, &V4)), None);
        assert_eq!(read(&binary(0x20, 0xff, b"whatever")), None);
    }

    #[test]
    fn refuses_version_2_at_the_first_byte_that_is_wrong() {
        for version in [0x00, 0x11, 0x22, 0x2f, 0x31, 0xff] {
            assert_eq!(refused_at(&binary(version, 0x11, &V4)), 13, "{version:x}");
        }
        for family in [0x00, 0x01, 0x10, 0x12, 0x22, 0x31, 0x32, 0x41, 0x13] {
            assert_eq!(
                refused_at(&binary(0x21, family, &[0; 216])),
                14,
                "{family:x}"
            );
        }
        assert_eq!(refused_at(&binary(0x21, 0x11, &V4[..11])), 16);
        assert_eq!(refused_at(&binary(0x21, 0x21, &V4)), 16);
        let longer = vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1];
        assert_eq!(refused_at(&binary(0x20, 0x00, &longer)), 16);
        for at in 0..SIGNATURE.len() {
            let mut bytes = binary(0x21, 0x11, &V4);
            bytes[at] ^= 0x40;
            assert_eq!(refused_at(&bytes), at + 1);
        }
    }

    #[test]
    fn refuses_what_another_protocol_begins_with_at_once() {
        for (bytes, at) in [
            (REST, 1),
            (b"POST / HTTP/1.1\r\n", 2),
            (b"PRI * HTTP/2.0\r\n", 3),
            (b"\x16\x03\x01", 1),
            (b"\r\nGET / HTTP/1.1\r\n", 3),
            (b" PROXY TCP4", 1),
        ] {
            assert_eq!(refused_at(bytes), at, "{}", bytes.escape_ascii());
        }
    }
}
