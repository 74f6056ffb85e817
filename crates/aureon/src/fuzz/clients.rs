//! What must hold of those who tell for whom they ask: the bodies of the targets `proxy` and
//! `clients`. Of a chain of proxies the client is found a second time, by the rule as it is
//! written down rather than by a walk, and the two must agree.

use crate::app::{NamedBy, Peer, Trust};
use crate::http::{HeadEvent, Scratch, Session, parse_proxy_header};
use crate::limits::{Limits, PROXY_HEADER_BYTES_MAX};
use std::net::{IpAddr, SocketAddr};

/// Any bytes as the beginning of a connection that has to begin with a PROXY header: once there
/// is a verdict no byte more changes it, and a client is read again from both versions of it.
pub fn proxy(bytes: &[u8]) {
    let mut verdict = Ok(None);
    for end in 0..=bytes.len() {
        let now = parse_proxy_header(&bytes[..end]);
        if verdict == Ok(None) {
            verdict = now;
        } else {
            assert_eq!(now, verdict, "after {end} bytes");
        }
    }
    let Ok(Some(header)) = verdict else {
        let waits = verdict.is_ok();
        assert!(!waits || bytes.len() < PROXY_HEADER_BYTES_MAX);
        return;
    };
    assert!(header.consumed <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
    let Some(client) = header.client else {
        return;
    };
    for written in [write_line(client), write_binary(client)] {
        let read = parse_proxy_header(&written).unwrap_or_default();
        let read = read.map(|read| (read.client, read.consumed));
        assert_eq!(read, Some((Some(client), written.len())));
    }
}

fn write_line(client: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (ip, port) = (client.ip(), client.port());
    format!("PROXY {family} {ip} {ip} {port} 65535\r\n").into_bytes()
}

fn write_binary(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [client.port().to_be_bytes(), [0, 80]].concat();
    let length = (2 * ip.len() + ports.len()) as u16;
    let start = [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..]].concat();
    [&start[..], &length.to_be_bytes(), &ip, &ip, &ports].concat()
}

/// Any text as the fields in which proxies name their clients, the first byte choosing which: a
/// stranger's are not looked at, and the walk ends where a reading from left to right says.
pub fn clients(bytes: &[u8]) {
    let Some((choice, list)) = bytes.split_first() else {
        return;
    };
    let mut trust = Trust::new();
    assert!(trust.add("10.0.0.0/8") && trust.add("fd00::/8"));
    let mut field = "X-Forwarded-For";
    if choice % 2 == 1 {
        trust.name_by(NamedBy::Forwarded);
        field = "Forwarded";
    }
    let mut request = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for line in list.split(|byte| *byte == b'\n') {
        request.extend_from_slice(field.as_bytes());
        request.extend_from_slice(b": ");
        request.extend(line.iter().filter(|byte| !matches!(byte, b'\r' | b'\0')));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let mut scratch = Scratch::new();
    let event = Session::new().receive_head(&request, &mut scratch, &Limits::DEFAULT);
    let Ok(HeadEvent::Request { head, .. }) = event else {
        return;
    };
    let ip = |text: [u8; 4]| IpAddr::from(text);
    let peer = |ip| Peer::Ip(SocketAddr::new(ip, 1));
    let (proxy, stranger) = (ip([10, 0, 0, 1]), ip([192, 0, 2, 1]));
    assert_eq!(trust.client(&head, &peer(stranger)), Some(stranger));
    let lines: Vec<&[u8]> = head.field_all(field).collect();
    let told: Vec<Option<IpAddr>> = lines
        .join(&b',')
        .split(|byte| *byte == b',')
        .map(|element| match field {
            "Forwarded" => named_in(element),
            _ => address_of(element),
        })
        .collect();
    let expected = first_of_chain(&told, proxy);
    assert_eq!(trust.client(&head, &peer(proxy)), Some(expected));
    // Whether a request came by HTTPS and for which host is asked of any bytes too.
    let told = trust.host(&head, &peer(proxy));
    assert!(told.is_none_or(|host| !host.is_empty()));
    assert!(trust.host(&head, &peer(stranger)).is_none());
    assert!(!trust.is_https(&head, &peer(stranger)));
}

/// The client by the rule as it is written down: the last address that everything to the right
/// of it vouches for.
fn first_of_chain(told: &[Option<IpAddr>], proxy: IpAddr) -> IpAddr {
    let is_ours = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
    };
    let vouched = |at: &usize| {
        told[at + 1..]
            .iter()
            .all(|ip| ip.as_ref().is_some_and(is_ours))
    };
    let reached = (0..told.len()).filter(vouched);
    let chain: Vec<Option<IpAddr>> = reached.map(|at| told[at]).collect();
    chain.into_iter().flatten().next().unwrap_or(proxy)
}

/// An address as std reads the forms that are allowed; zones are not.
fn address_of(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    if text.contains('%') {
        return None;
    }
    let text = text.trim_matches([' ', '\t', '\x0c', '\n', '\r']);
    let bracketed = format!("[{text}]:1");
    let with_port = format!("{text}:1");
    let forms = [text, &with_port, &bracketed];
    let read = forms
        .iter()
        .find_map(|form| form.parse::<SocketAddr>().ok());
    read.map(|address| address.ip().to_canonical())
}

/// The address of the one `for` of an element whose every pair is one.
fn named_in(element: &[u8]) -> Option<IpAddr> {
    let pairs = element.split(|byte| *byte == b';');
    let mut names = Vec::new();
    for pair in pairs {
        let (key, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        let value = value[1..].trim_ascii();
        let quotes = value.iter().filter(|byte| **byte == b'"').count();
        let is_quoted = value.len() > 1 && value.starts_with(b"\"") && value.ends_with(b"\"");
        let value = match (quotes, is_quoted) {
            (0, _) => value,
            (2, true) if !value.contains(&b'\\') => &value[1..value.len() - 1],
            _ => return None,
        };
        if key.trim_ascii().eq_ignore_ascii_case(b"for") {
            names.push(address_of(value));
        }
    }
    match names[..] {
        [name] => name,
        _ => None,
    }
}
