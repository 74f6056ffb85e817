//! Addresses to listen on: from the words an operator writes to what a socket is bound to.
//!
//! `localhost` means both loopback addresses, because a browser may resolve it to either; the
//! IPv6 one is dropped on a machine that has none. Names other than that are refused: a server
//! that asks DNS where to listen binds to surprises. Binding itself is the engine's business;
//! [`probe`] only asks in advance so that the answer can name the address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use aureon::sys::process::{self, Access};
use aureon::sys::socket;

use crate::machine::directory_of;
use crate::problem::{Exit, with_error};

/// One address, ready to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address with its port.
    Ip(SocketAddr),
    /// A Unix socket's path.
    Unix(String),
}

impl Address {
    /// As the engine takes it: `127.0.0.1:8080`, `unix:/path`.
    pub fn show(&self) -> String {
        match self {
            Address::Ip(address) => address.to_string(),
            Address::Unix(path) => ["unix:", path].concat(),
        }
    }
}

/// What one word of `listen` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The addresses, in the order of binding.
    pub addresses: Vec<Address>,
    /// Whether the word left the port to the setting `port`.
    pub takes_port: bool,
    /// Whether the last address may be missing from the machine.
    pub optional_last: bool,
    /// Whether connections there begin with a PROXY header.
    pub proxied: bool,
}

/// What stands behind an address, as in nginx, when connections there begin with a PROXY header.
const PROXIED: &str = "proxy_protocol";

/// The words that are right, for error messages.
pub const EXPECTED: &str = "write 127.0.0.1:8080, 0.0.0.0:80, [::1]:8080, localhost or \
    unix:/run/aureon.sock, and proxy_protocol behind it for PROXY headers";

/// Parses one word of `listen`. `None`: it is no address; [`EXPECTED`] says what is.
pub fn parse_address(word: &str, port: u16) -> Option<Parsed> {
    let (address, proxied) = match word.rsplit_once(' ') {
        Some((address, PROXIED)) => (address.trim_ascii_end(), true),
        _ => (word, false),
    };
    let parsed = parse_bare(address, port)?;
    Some(Parsed { proxied, ..parsed })
}

fn parse_bare(word: &str, port: u16) -> Option<Parsed> {
    if let Some(path) = word.strip_prefix("unix:") {
        let address = Address::Unix(path.to_owned());
        let fine = !path.is_empty() && !path.bytes().any(|byte| byte == 0);
        return fine.then(|| Parsed {
            addresses: vec![address],
            takes_port: false,
            optional_last: false,
            proxied: false,
        });
    }
    let local = match word.strip_prefix("localhost") {
        Some("") => Some((port, true)),
        Some(rest) => match rest.strip_prefix(':') {
            // `u16::from_str` would also take a plus sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some((digits.parse().ok()?, false))
            }
            _ => return None,
        },
        None => None,
    };
    if let Some((port, takes_port)) = local {
        let addresses = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        return Some(Parsed {
            addresses: addresses
                .map(|ip| Address::Ip(SocketAddr::new(ip, port)))
                .to_vec(),
            takes_port,
            optional_last: true,
            proxied: false,
        });
    }
    let (address, takes_port) = match word.parse::<SocketAddr>() {
        Ok(address) => (address, false),
        Err(_) => {
            let bare = word
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            (
                SocketAddr::new(bare.unwrap_or(word).parse().ok()?, port),
                true,
            )
        }
    };
    Some(Parsed {
        addresses: vec![Address::Ip(address)],
        takes_port,
        optional_last: false,
        proxied: false,
    })
}

/// Asks the system whether the address can be bound now. A port that somebody serves is taken
/// even when he shares it by `SO_REUSEPORT`, which this listener does not ask for. Nothing is made.
pub fn probe(address: &Address) -> io::Result<()> {
    match address {
        Address::Ip(address) => socket::probe_tcp(*address).map(drop),
        Address::Unix(path) => {
            let path = Path::new(path);
            socket::probe_unix(path)?;
            process::may(&directory_of(path), Access::Write)
        }
    }
}

/// The code to leave with when an address cannot be bound.
pub fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::AddrInUse => Exit::Taken,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        // A Unix socket: no directory, a path that is too long, a file of another kind in the way.
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::AlreadyExists => {
            Exit::Config
        }
        _ => Exit::Failed,
    }
}

/// Whether the machine lacks the address itself, as one without IPv6 lacks `::1`.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    )
}

/// Why an address cannot be bound and what to do about it.
pub fn explain(address: &Address, error: &io::Error) -> String {
    let shown = address.show();
    let unix = matches!(address, Address::Unix(_));
    let advice = match error.kind() {
        io::ErrorKind::NotFound if unix => "there is no such directory; create it",
        io::ErrorKind::PermissionDenied if unix => {
            "the user aureond runs as must be able to write in that directory"
        }
        io::ErrorKind::AddrInUse if unix => {
            "another process listens there; stop it or choose another path"
        }
        io::ErrorKind::AddrInUse => {
            "another process listens there; stop it or choose another with --port or --listen"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege; choose --port 8080 or let systemd hold the socket"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => return with_error(&["cannot listen on ", &shown], error),
    };
    ["cannot listen on ", &shown, ": ", advice].concat()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(word: &str, shown: &[&str], takes_port: bool) {
        let parsed = parse_address(word, 8080).unwrap_or_else(|| panic!("{word}"));
        let all: Vec<String> = parsed.addresses.iter().map(Address::show).collect();
        assert_eq!(all, shown, "{word}");
        assert_eq!(parsed.takes_port, takes_port, "{word}");
    }

    #[test]
    fn reads_every_form() {
        check("127.0.0.1:80", &["127.0.0.1:80"], false);
        check("0.0.0.0", &["0.0.0.0:8080"], true);
        check("[::1]:81", &["[::1]:81"], false);
        check("[::]", &["[::]:8080"], true);
        check("::1", &["[::1]:8080"], true);
        check("localhost", &["127.0.0.1:8080", "[::1]:8080"], true);
        check("localhost:1", &["127.0.0.1:1", "[::1]:1"], false);
        check("unix:/run/a.sock", &["unix:/run/a.sock"], false);
    }

    #[test]
    fn what_begins_with_a_proxy_header_says_so_as_in_nginx() {
        let proxied = |word: &str| parse_address(word, 80).map(|parsed| parsed.proxied);
        for word in ["127.0.0.1:81", "localhost", "[::]", "unix:/run/a b.sock"] {
            assert_eq!(proxied(word), Some(false), "{word}");
            for space in [" ", "  "] {
                let word = [word, space, "proxy_protocol"].concat();
                assert_eq!(proxied(&word), Some(true), "{word}");
            }
        }
        check("0.0.0.0 proxy_protocol", &["0.0.0.0:8080"], true);
        for word in [
            "proxy_protocol",
            " proxy_protocol",
            "::1 accept-proxy",
            "::1 ssl",
        ] {
            assert_eq!(proxied(word), None, "{word}");
        }
    }

    #[test]
    fn refuses_names_and_half_addresses() {
        let words = [
            "",
            ":8080",
            "8080",
            "example.com",
            "localhostx",
            "localhost:",
            "localhost:+1",
            "localhost:65536",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "1.2.3",
            "[::1",
            "unix:",
            "http://127.0.0.1",
        ];
        for word in words {
            assert_eq!(parse_address(word, 8080), None, "{word}");
        }
    }

    #[test]
    fn a_port_somebody_listens_on_is_taken() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(held.local_addr().unwrap());
        let error = probe(&address).unwrap_err();
        assert!(explain(&address, &error).contains("another process listens there"));
        drop(held);
        assert!(probe(&address).is_ok());
    }
}
