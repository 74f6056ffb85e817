//! Which peers are proxies of one's own, and what those say about the client behind them.
//!
//! A field that names a client is a claim of whoever sent it. It is believed only from a peer
//! that the operator listed, and then from right to left: each proxy appends the address that it
//! saw, so the walk goes on while that address is a listed proxy too and ends at the first that
//! is not. What does not read as an address ends it as well. Everybody else is who he is.
//! One field is read and no other, because a proxy that sets one passes the rest on as the client
//! wrote it. RFC 7239 is `Forwarded`; `X-Forwarded-For` has no document.

use super::request::Peer;
use crate::http::Head;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
    /// The address as a number, and the bits of it that count: asked for each request.
    start: u128,
    mask: u128,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or an address, which is a network of one. Bits beyond
    /// the prefix make it no network: somebody meant another one.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, digits) = match text.split_once('/') {
            Some((address, digits)) => (address, Some(digits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match digits {
            // `u8::from_str` would also take a plus sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None => Some(bits),
        };
        let prefix = prefix.filter(|prefix| *prefix <= bits)?;
        let network = Network {
            first,
            prefix,
            start: number(first),
            mask: u128::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0),
        };
        network.contains(first).then_some(network)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && number(address) & self.mask == self.start
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Which field names the clients of the trusted proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedBy {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Proxies of one's own, and a network of somebody's that names its clients in a field of its own.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    networks: Vec<Network>,
    unix: bool,
    named_by: NamedBy,
    cdn: Option<(&'static str, Vec<Network>)>,
}

/// `private`: addresses of private networks (RFC 1918, RFC 4193) and of the link (RFC 3927).
const PRIVATE: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

impl Trust {
    /// Trusts nobody.
    pub fn new() -> Trust {
        Trust::default()
    }

    /// Trusts a network or an address, or one of the words `loopback`, `private` and `unix`;
    /// false for what is none of them.
    pub fn add(&mut self, word: &str) -> bool {
        let words: &[&str] = match word {
            "unix" => {
                self.unix = true;
                return true;
            }
            "loopback" => &["127.0.0.0/8", "::1"],
            "private" => &PRIVATE,
            _ => &[word],
        };
        let before = self.networks.len();
        let networks = words.iter().filter_map(|word| Network::parse(word));
        self.networks.extend(networks);
        self.networks.len() > before
    }

    /// Sets which field names the clients.
    pub fn name_by(&mut self, named_by: NamedBy) {
        self.named_by = named_by;
    }

    /// Trusts the networks of a content delivery network, and the field in which it names the
    /// client where it is the direct peer.
    pub fn set_cdn(&mut self, field: &'static str, networks: Vec<Network>) {
        self.cdn = Some((field, networks));
    }

    /// Whether a peer is a proxy of one's own.
    #[inline]
    pub fn trusts(&self, peer: &Peer) -> bool {
        // The usual case, asked several times for each request.
        if self.networks.is_empty() && self.cdn.is_none() && !self.unix {
            return false;
        }
        self.trusts_peer(peer)
    }

    fn trusts_peer(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.trusts_address(address.ip().to_canonical()),
            Peer::Unix => self.unix,
            Peer::Memory => false,
        }
    }

    fn trusts_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|known| known.contains(address)) || self.is_cdn(address)
    }

    fn is_cdn(&self, address: IpAddr) -> bool {
        let (_, networks) = match &self.cdn {
            Some(cdn) => cdn,
            None => return false,
        };
        networks.iter().any(|known| known.contains(address))
    }

    /// The client's address; `None` when there is only a Unix socket.
    pub(crate) fn client(&self, head: &Head<'_>, peer: &Peer) -> Option<IpAddr> {
        let mut client = peer.address().map(|address| address.ip().to_canonical());
        if !self.trusts(peer) {
            return client;
        }
        if let (Some(direct), Some((field, _))) = (client, &self.cdn)
            && self.is_cdn(direct)
            && let Some(told) = only(head, field).and_then(read_address)
        {
            return Some(told);
        }
        for line in head.field_all(self.field()).rev() {
            for element in line.rsplit(|byte| *byte == b',') {
                let told = match self.named_by {
                    NamedBy::XForwardedFor => read_address(element),
                    NamedBy::Forwarded => parameter(element, "for").and_then(read_address),
                };
                let Some(told) = told else {
                    return client;
                };
                client = Some(told);
                if !self.trusts_address(told) {
                    return client;
                }
            }
        }
        client
    }

    const fn field(&self) -> &'static str {
        match self.named_by {
            NamedBy::XForwardedFor => "x-forwarded-for",
            NamedBy::Forwarded => "forwarded",
        }
    }

    /// What the nearest proxy says of the request that it received: `X-Forwarded-Proto` or
    /// `proto`, `X-Forwarded-Host` or `host`.
    fn told<'a>(&self, head: &Head<'a>, peer: &Peer, field: &str, name: &str) -> Option<&'a [u8]> {
        if !self.trusts(peer) {
            return None;
        }
        match self.named_by {
            NamedBy::XForwardedFor => only(head, field),
            NamedBy::Forwarded => {
                let last = head.field_all("forwarded").next_back()?;
                let element = last.rsplit(|byte| *byte == b',').next()?;
                parameter(element, name)
            }
        }
    }

    /// Whether the client spoke HTTPS with the nearest proxy.
    pub(crate) fn is_https(&self, head: &Head<'_>, peer: &Peer) -> bool {
        let told = self.told(head, peer, "x-forwarded-proto", "proto");
        told.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
    }

    /// The host that the client asked the nearest proxy for.
    pub(crate) fn host<'a>(&self, head: &Head<'a>, peer: &Peer) -> Option<&'a str> {
        let told = self.told(head, peer, "x-forwarded-host", "host")?;
        let host = std::str::from_utf8(told).ok()?;
        (!host.is_empty()).then_some(host)
    }
}

/// The value of a field that is sent once.
fn only<'a>(head: &Head<'a>, field: &str) -> Option<&'a [u8]> {
    let mut values = head.field_all(field);
    let value = values.next()?;
    values.next().is_none().then(|| value.trim_ascii())
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. Names that
/// hide the address (RFC 7239 §6.3) are none, nor is one with a zone, which means something on the
/// proxy only (RFC 4007 §11.2).
fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    if text.contains('%') {
        return None;
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

/// A parameter of an element of `Forwarded` (RFC 7239 §4). A quoted string is taken without its
/// quotes; one with an escape in it holds nothing that is looked for here.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for pair in element.split(|byte| *byte == b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let quotes = value.iter().filter(|byte| **byte == b'"').count();
        let value = match value {
            [b'"', inner @ .., b'"'] if quotes == 2 && !inner.contains(&b'\\') => inner,
            _ if quotes == 0 => value,
            _ => return None,
        };
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            // Each parameter stands once in an element.
            if found.is_some() {
                return None;
            }
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeadEvent, Scratch, Session};
    use crate::limits::Limits;

    fn with_head<T>(fields: &[&str], use_it: impl FnOnce(&Head<'_>) -> T) -> T {
        let fields = fields.join("\r\n");
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
            .replace("\r\n\r\n\r\n", "\r\n\r\n");
        let mut scratch = Scratch::new();
        match Session::new().receive_head(bytes.as_bytes(), &mut scratch, &Limits::DEFAULT) {
            Ok(HeadEvent::Request { head, .. }) => use_it(&head),
            other => panic!("{other:?}"),
        }
    }

    fn trust(words: &[&str]) -> Trust {
        let mut trust = Trust::new();
        words
            .iter()
            .for_each(|word| assert!(trust.add(word), "{word}"));
        trust
    }

    fn peer(text: &str) -> Peer {
        Peer::Ip(SocketAddr::new(text.parse().unwrap(), 1234))
    }

    fn client(trust: &Trust, from: &str, fields: &[&str]) -> String {
        with_head(fields, |head| {
            trust.client(head, &peer(from)).unwrap().to_string()
        })
    }

    #[test]
    fn a_network_holds_what_its_prefix_says() {
        let network = Network::parse("172.16.0.0/12").unwrap();
        assert!(network.contains("172.31.255.255".parse().unwrap()));
        assert!(!network.contains("172.32.0.0".parse().unwrap()));
        assert!(!network.contains("::ac10:1".parse().unwrap()));
        let network = Network::parse("2001:db8::/33").unwrap();
        assert!(network.contains("2001:db8:7fff::1".parse().unwrap()));
        assert!(!network.contains("2001:db8:8000::1".parse().unwrap()));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("9.9.9.9".parse().unwrap())
        );
        assert!(
            Network::parse("::/0")
                .unwrap()
                .contains("2001::".parse().unwrap())
        );
        assert!(
            Network::parse("192.0.2.7")
                .unwrap()
                .contains("192.0.2.7".parse().unwrap())
        );
        for bad in [
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::/129",
            "10/8",
            "10.0.0.0/+8",
            "x",
            "10.0.0.0/",
            "",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_is_believed_who_is_not_listed() {
        let fields = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9"];
        assert_eq!(client(&Trust::new(), "192.0.2.1", &fields), "192.0.2.1");
        assert_eq!(
            client(&trust(&["loopback"]), "192.0.2.1", &fields),
            "192.0.2.1"
        );
        assert_eq!(
            client(&trust(&["loopback"]), "127.0.0.1", &fields),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_walk_ends_at_the_first_address_that_is_no_proxy_of_ours() {
        let trust = trust(&["10.0.0.0/8"]);
        let walk = |fields: &[&str]| client(&trust, "10.0.0.1", fields);
        assert_eq!(
            walk(&["X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2"]),
            "203.0.113.9"
        );
        // Several lines are one list (RFC 9110 §5.3).
        let lines = [
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-For: 203.0.113.9",
            "x-forwarded-for: 10.0.0.3",
        ];
        assert_eq!(walk(&lines), "203.0.113.9");
        assert_eq!(walk(&["X-Forwarded-For: 10.0.0.4, 10.0.0.3"]), "10.0.0.4");
        assert_eq!(walk(&[]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_where_it_is() {
        let trust = trust(&["10.0.0.0/8"]);
        for bad in [
            "",
            "unknown",
            "_hidden",
            "203.0.113.9.",
            "203.0.113.9 203.0.113.8",
            "300.0.0.1",
            "[::1",
            "fe80::1%1",
            "[fe80::1%1]:80",
            "é",
        ] {
            let field = format!("X-Forwarded-For: 6.6.6.6, {bad}, 10.0.0.2");
            assert_eq!(client(&trust, "10.0.0.1", &[&field]), "10.0.0.2", "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        let trust = trust(&["loopback"]);
        for (written, read) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            let field = format!("X-Forwarded-For: {written}");
            assert_eq!(client(&trust, "::1", &[&field]), read);
        }
    }

    #[test]
    fn forwarded_is_read_where_it_is_asked_for_and_then_alone() {
        let mut trust = trust(&["loopback", "10.0.0.0/8"]);
        trust.name_by(NamedBy::Forwarded);
        let walk = |fields: &[&str]| client(&trust, "127.0.0.1", fields);
        let field = "Forwarded: for=6.6.6.6, for=\"[2001:db8::9]:4711\";proto=https, \
                     For=10.0.0.1;by=10.0.0.2";
        assert_eq!(walk(&[field]), "2001:db8::9");
        assert_eq!(walk(&["X-Forwarded-For: 6.6.6.6"]), "127.0.0.1");
        for bad in [
            "for=_hidden",
            "for=\"203.0.113.9",
            "by=10.0.0.1",
            "for=1.1.1.1;for=2.2.2.2",
            "for",
            "for=\"1.1.1.1\\\"\"",
        ] {
            let field = format!("Forwarded: for=6.6.6.6, {bad}");
            assert_eq!(walk(&[&field]), "127.0.0.1", "{bad}");
        }
    }

    #[test]
    fn a_cdn_names_the_client_in_its_own_field_where_it_is_the_peer() {
        let mut trust = trust(&["loopback"]);
        trust.set_cdn(
            "cf-connecting-ip",
            vec![Network::parse("198.51.100.0/24").unwrap()],
        );
        let own = "CF-Connecting-IP: 203.0.113.9";
        assert_eq!(client(&trust, "198.51.100.7", &[own]), "203.0.113.9");
        assert_eq!(
            client(&trust, "192.0.2.1", &[own]),
            "192.0.2.1",
            "a stranger"
        );
        assert_eq!(
            client(&trust, "127.0.0.1", &[own]),
            "127.0.0.1",
            "not behind another proxy"
        );
        let list = "X-Forwarded-For: 203.0.113.9, 198.51.100.7";
        assert_eq!(client(&trust, "127.0.0.1", &[list]), "203.0.113.9");
        assert_eq!(
            client(&trust, "198.51.100.7", &[own, own, list]),
            "203.0.113.9"
        );
    }

    #[test]
    fn scheme_and_host_are_those_of_the_nearest_proxy() {
        let mut trust = trust(&["loopback"]);
        let (near, far) = (peer("127.0.0.1"), peer("192.0.2.1"));
        let fields = ["X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: example.com"];
        with_head(&fields, |head| {
            assert!(trust.is_https(head, &near) && !trust.is_https(head, &far));
            assert_eq!(trust.host(head, &near), Some("example.com"));
            assert_eq!(trust.host(head, &far), None);
        });
        trust.name_by(NamedBy::Forwarded);
        let field =
            "Forwarded: proto=http;host=evil, for=192.0.2.1;proto=https;host=\"example.com:8443\"";
        with_head(&[field], |head| {
            assert!(trust.is_https(head, &near));
            assert_eq!(trust.host(head, &near), Some("example.com:8443"));
        });
    }

    #[test]
    fn a_host_without_a_name_is_none() {
        let near = peer("10.0.0.1");
        let mut trust = trust(&["10.0.0.0/8"]);
        with_head(&["X-Forwarded-Host: "], |head| {
            assert_eq!(trust.host(head, &near), None);
        });
        trust.name_by(NamedBy::Forwarded);
        for field in ["Forwarded: host=", "Forwarded: host=\"\";proto=https"] {
            with_head(&[field], |head| {
                assert_eq!(trust.host(head, &near), None, "{field}");
            });
        }
    }

    #[test]
    fn a_unix_socket_is_trusted_by_its_word() {
        let field = ["X-Forwarded-For: 203.0.113.9"];
        let told = |trust: &Trust| with_head(&field, |head| trust.client(head, &Peer::Unix));
        assert_eq!(told(&trust(&["loopback"])), None);
        assert_eq!(
            told(&trust(&["unix"])),
            Some("203.0.113.9".parse().unwrap())
        );
        assert!(!Trust::new().add("localhost"));
    }
}
