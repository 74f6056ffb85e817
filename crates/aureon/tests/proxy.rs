//! The PROXY protocol on listeners that ask for it: who is believed, and how the rest ends.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::app::{Peer, Trust};
use aureon::http::{Error, LOCAL_PROXY_HEADER};
use aureon::limits::Limit;
use aureon::server::sim::Simulation;
use aureon::sys::PeerAddress;
use aureon::sys::sim::Faults;
use aureon::sys::socket::connect_from_loopback;
use aureon::{Address, App, Limits, Observer, Request, Router, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 80\r\n";
const PROXY: &str = "10.0.0.1:7";

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(Peer, Error)>>>);

impl Observer for Heard {
    fn on_refusal(&self, _worker: usize, peer: Peer, error: Error) {
        self.0.lock().unwrap().push((peer, error));
    }
}

/// Answers with who asks.
fn app(trusted: &[&str]) -> App {
    let mut trust = Trust::new();
    trusted.iter().for_each(|word| assert!(trust.add(word)));
    let mut router = Router::new();
    router.trust(trust);
    router.get("/", |request: &Request<'_>| match request.client() {
        Some(client) => format!("client {client} of {:?}", request.peer()),
        None => format!("nobody of {:?}", request.peer()),
    });
    router.build().unwrap()
}

struct World {
    simulation: Simulation,
    heard: Heard,
}

impl World {
    fn new(seed: u64, faults: Faults, limits: Limits) -> World {
        let heard = Heard::default();
        let observer: Box<dyn Observer> = Box::new(heard.clone());
        let app = app(&["10.0.0.0/8"]);
        let simulation = Simulation::observed(seed, faults, app, limits, Some(observer));
        World {
            simulation: simulation.expect_proxy(),
            heard,
        }
    }

    fn connect(&self, from: &str) -> usize {
        let peer = PeerAddress::Ip(from.parse().unwrap());
        self.simulation.world.connect_from(peer)
    }

    fn settle(&mut self) {
        assert!(self.simulation.settle(10_000));
    }

    /// What a connection from an address gets for its bytes, and whether it is closed.
    fn say(&mut self, from: &str, pieces: &[&[u8]]) -> (String, bool) {
        let client = self.connect(from);
        for piece in pieces {
            self.simulation.world.send(client, piece);
            self.settle();
        }
        self.simulation.world.client(client, |client| {
            let text = String::from_utf8(client.received.clone()).unwrap();
            (text, client.closed)
        })
    }

    fn refused(&self) -> Vec<(Peer, Error)> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

fn ip(text: &str) -> Peer {
    Peer::Ip(text.parse().unwrap())
}

#[test]
fn the_client_of_a_trusted_proxy_is_the_peer_however_the_bytes_are_cut() {
    let bytes = [LINE, REQUEST, REQUEST].concat();
    for seed in 1..=20 {
        let faults = Faults {
            short_reads: 50,
            short_writes: 20,
            ..Faults::default()
        };
        let mut world = World::new(seed, faults, Limits::DEFAULT);
        let (text, closed) = world.say(PROXY, &[&bytes]);
        let told = text.matches("client 203.0.113.9 of Ip(203.0.113.9:56324)");
        assert_eq!((told.count(), closed), (2, false), "SEED={seed}: {text}");
    }
    let mut world = World::new(1, Faults::default(), Limits::DEFAULT);
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    let (text, closed) = world.say(PROXY, &pieces);
    assert_eq!((text.matches("200 OK").count(), closed), (2, false));
    assert_eq!(world.refused(), []);
}

#[test]
fn fields_of_the_client_are_his_own_claims_and_those_of_a_second_proxy_are_not() {
    let mut world = World::new(1, Faults::default(), Limits::DEFAULT);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let (text, _) = world.say(PROXY, &[LINE, request]);
    assert!(text.contains("client 203.0.113.9 of"), "{text}");
    let second = b"PROXY TCP4 10.9.9.9 198.51.100.1 56324 80\r\n";
    let (text, _) = world.say(PROXY, &[second, request]);
    assert!(text.contains("client 6.6.6.6 of"), "{text}");
}

#[test]
fn who_is_no_trusted_proxy_names_nobody() {
    let mut world = World::new(1, Faults::default(), Limits::DEFAULT);
    let header_refused = |from| vec![(ip(from), Error::ProxyHeader)];
    for header in [LINE, &LOCAL_PROXY_HEADER, b""] {
        let said = world.say("192.0.2.1:7", &[header, REQUEST]);
        assert_eq!(said, (String::new(), true));
        assert_eq!(world.refused(), header_refused("192.0.2.1:7"));
    }
    // Somebody on this machine may ask for himself, as a health check does.
    let (text, closed) = world.say("127.0.0.1:7", &[&LOCAL_PROXY_HEADER, REQUEST]);
    assert!(text.contains("client 127.0.0.1 of") && !closed, "{text}");
    let said = world.say("127.0.0.1:7", &[LINE, REQUEST]);
    assert_eq!(said, (String::new(), true));
    assert_eq!(world.refused(), header_refused("127.0.0.1:7"));
    let (text, closed) = world.say(PROXY, &[&LOCAL_PROXY_HEADER, REQUEST]);
    assert!(text.contains("client 10.0.0.1 of") && !closed, "{text}");
    let counted = world.simulation.metrics().refusals;
    assert!(counted.contains(&(Error::ProxyHeader, 4)), "{counted:?}");
}

#[test]
fn what_begins_otherwise_is_closed_without_a_word() {
    let mut world = World::new(1, Faults::default(), Limits::DEFAULT);
    for bytes in [
        REQUEST,
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c............",
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 80\n\nGET / HTTP/1.1\r\n",
        &[b"PROXY ".repeat(40), REQUEST.to_vec()].concat(),
    ] {
        assert_eq!(world.say(PROXY, &[bytes]), (String::new(), true));
        assert_eq!(world.refused(), [(ip(PROXY), Error::ProxyHeader)]);
    }
    assert_eq!(world.simulation.connections(), 0);
    // A second header is a request line, and no good one.
    let (text, _) = world.say(PROXY, &[LINE, LINE]);
    assert!(text.starts_with("HTTP/1.1 501 "), "{text}");
}

#[test]
fn a_header_has_the_time_of_a_head_and_no_more() {
    let limits = Limits {
        head_timeout_ms: 1_000,
        ..Limits::DEFAULT
    };
    let mut world = World::new(1, Faults::default(), limits);
    let silent = world.connect(PROXY);
    let slow = world.connect(PROXY);
    for piece in LINE[..6].chunks(1) {
        world.simulation.world.send(slow, piece);
        world.settle();
        world.simulation.world.pass(200);
        world.simulation.turn().unwrap();
    }
    for client in [silent, slow] {
        let ended = |client: &mut aureon::sys::sim::Client| (client.closed, client.received.len());
        assert_eq!(world.simulation.world.client(client, ended), (true, 0));
    }
    let late = (ip(PROXY), Error::HeadTimeout);
    assert_eq!(world.refused(), [late, late]);
    let limits = world.simulation.metrics().limits;
    assert!(limits.contains(&(Limit::HeadTimeout, 2)), "{limits:?}");
}

#[test]
fn clients_behind_the_proxy_are_counted_and_not_the_proxy() {
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::DEFAULT
    };
    let mut world = World::new(1, Faults::default(), limits);
    let mut ask = |header: &[u8]| world.say(PROXY, &[header, REQUEST]);
    assert!(ask(LINE).0.contains("200 OK"));
    assert_eq!(ask(LINE), (String::new(), true));
    let other = b"PROXY TCP6 2001:db8::1 ::1 56324 80\r\n";
    assert!(ask(other).0.contains("200 OK"));
    let hit = (Limit::ConnectionsPerAddressMax, 1);
    assert!(world.simulation.metrics().limits.contains(&hit));
}

#[test]
fn a_program_of_this_machine_is_seen_to_be_one_by_its_loopback_address() {
    for (own, seen) in [("127.0.0.2:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        // A machine without IPv6 has nothing to connect to there.
        let Ok(listener) = TcpListener::bind(own) else {
            continue;
        };
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_secs(60);
        let mut stream = connect_from_loopback(address, patience).unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_string(), seen);
        // It waits for an answer like any other stream.
        accepted.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(listener);
        let refused = connect_from_loopback(address, patience).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn only_listeners_that_ask_for_it_expect_a_header() {
    let server = Server::new(app(&["loopback"])).workers(3);
    let server = server.listen("127.0.0.1:0").unwrap();
    let plain = server.addresses();
    let server = server.listen("127.0.0.1:0").unwrap();
    #[cfg(unix)]
    let path = std::env::temp_dir().join(format!("aureon-proxy-{}.sock", std::process::id()));
    #[cfg(unix)]
    let server = server.listen(&format!("unix:{}", path.display())).unwrap();
    let running = server
        .expect_proxy(|address| !plain.contains(address))
        .start()
        .unwrap();
    let [Address::Ip(plain), Address::Ip(proxied), ..] = running.addresses() else {
        panic!("{:?}", running.addresses());
    };
    let closing = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    fn read(mut stream: impl Read + Write, bytes: &[u8]) -> String {
        stream.write_all(bytes).unwrap();
        let mut text = String::new();
        // A reset is an end as good as any.
        let _ = stream.read_to_string(&mut text);
        text
    }
    let tcp = |address: &SocketAddr| {
        let stream = TcpStream::connect(address).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream
    };
    let with_header = [LINE, closing].concat();
    // Often enough for every worker's listener to have had its turn.
    for _ in 0..30 {
        assert!(read(tcp(plain), closing).contains("client 127.0.0.1 of"));
        assert!(read(tcp(plain), &with_header).starts_with("HTTP/1.1 501 "));
        assert!(read(tcp(proxied), &with_header).contains("client 203.0.113.9 of"));
        assert_eq!(read(tcp(proxied), closing), "");
    }
    let local = [&LOCAL_PROXY_HEADER[..], closing].concat();
    assert!(read(tcp(proxied), &local).contains("client 127.0.0.1 of"));
    #[cfg(unix)]
    {
        let unix = || UnixStream::connect(&path).unwrap();
        assert!(read(unix(), &local).contains("nobody of Unix"));
        assert_eq!(read(unix(), &with_header), "", "unix is not trusted");
    }
    running.stopper().drain();
    running.join().unwrap();
}
