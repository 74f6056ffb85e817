//! One client address among many: what it may have, and what a trusted proxy says of others.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::app::{Peer, Trust};
use aureon::http::Error;
use aureon::limits::Limit;
use aureon::server::sim::Simulation;
use aureon::sys::PeerAddress;
use aureon::sys::sim::Faults;
use aureon::{Limits, Method, Observer, Request, Router, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMITS: Limits = Limits {
    connections_per_address_max: 2,
    ..Limits::DEFAULT
};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(Peer, Limit)>>>);

impl Observer for Heard {
    fn on_limit(&self, _worker: usize, peer: Peer, limit: Limit) {
        self.0.lock().unwrap().push((peer, limit));
    }

    fn on_refusal(&self, _worker: usize, peer: Peer, error: Error) {
        assert_eq!(error, Error::RequestsTooMany);
        self.0
            .lock()
            .unwrap()
            .push((peer, Limit::ConnectionsPerAddressMax));
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn a_connection_too_many_is_reset_and_nobody_else_notices() {
    let mut router = Router::new();
    router.get("/", |_| "hello");
    let heard = Heard::default();
    let observer: Box<dyn Observer> = Box::new(heard.clone());
    let app = router.build().unwrap();
    let mut simulation = Simulation::observed(1, Faults::default(), app, LIMITS, Some(observer));
    let world = simulation.world.clone();
    let connect = |ip: &str, port| world.connect_from(PeerAddress::Ip(address(ip, port)));
    let flood: Vec<usize> = (0..10).map(|port| connect("192.0.2.1", port)).collect();
    let other = connect("192.0.2.2", 1);
    let same_64: Vec<usize> = (1..4)
        .map(|n| connect(&format!("2001:db8::{n}"), 1))
        .collect();
    let local: Vec<usize> = (0..5).map(|port| connect("127.0.0.1", port)).collect();
    simulation.settle(1_000);
    let was_reset = |client: &usize| world.client(*client, |client| client.closed);
    assert_eq!(flood.iter().filter(|c| was_reset(c)).count(), 8);
    assert_eq!(same_64.iter().filter(|c| was_reset(c)).count(), 1);
    assert!(!was_reset(&other) && !local.iter().any(was_reset));
    let heard = heard.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 9);
    assert_eq!(
        heard[0],
        (
            Peer::Ip(address("192.0.2.1", 2)),
            Limit::ConnectionsPerAddressMax
        )
    );
    let snapshot = simulation.metrics();
    assert_eq!(
        (snapshot.connections_accepted, snapshot.connections_closed),
        (19, 9)
    );
    assert!(
        snapshot
            .limits
            .contains(&(Limit::ConnectionsPerAddressMax, 9))
    );

    // Whoever goes makes room.
    world.shut(flood[0]);
    simulation.settle(1_000);
    let next = connect("192.0.2.1", 99);
    world.send(next, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.settle(1_000);
    let answered = world.client(next, |client| {
        client.received.starts_with(b"HTTP/1.1 200 OK\r\n")
    });
    assert!(answered);
}

#[test]
fn a_proxy_that_is_trusted_may_have_any_number() {
    let mut trust = Trust::new();
    assert!(trust.add("192.0.2.1"));
    let mut router = Router::new();
    router.trust(trust);
    let app = router.build().unwrap();
    let mut simulation = Simulation::observed(1, Faults::default(), app, LIMITS, None);
    let world = simulation.world.clone();
    let connect = |ip: &str| -> Vec<usize> {
        let each = |port| world.connect_from(PeerAddress::Ip(address(ip, port)));
        (0..10).map(each).collect()
    };
    let (proxy, other) = (connect("192.0.2.1"), connect("192.0.2.2"));
    simulation.settle(1_000);
    let stay = |clients: &[usize]| {
        let is_open = |client: &&usize| !world.client(**client, |client| client.closed);
        clients.iter().filter(is_open).count()
    };
    assert_eq!((stay(&proxy), stay(&other)), (10, 2));
}

/// A server behind a proxy on loopback, whose one handler waits until it is let go.
fn behind_a_proxy(heard: Heard) -> (aureon::Running, SocketAddr, Receiver<()>, Sender<()>) {
    let (entered, began) = channel();
    let (let_go, held) = channel();
    let (entered, held) = (Mutex::new(entered), Mutex::new(held));
    let mut trust = Trust::new();
    assert!(trust.add("loopback"));
    let mut router = Router::new();
    router.trust(trust);
    router.blocking(Method::Get, "/wait", move |request: &Request<'_>| {
        entered.lock().unwrap().send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
        request.client().unwrap().to_string()
    });
    router.get("/", |request: &Request<'_>| {
        let scheme = if request.is_https() { "https" } else { "http" };
        let client = request.client().unwrap();
        format!("{client} {scheme}://{}", request.authority().unwrap())
    });
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::DEFAULT
    };
    let server = Server::new(router.build().unwrap())
        .limits(limits)
        .observer(heard);
    let running = server
        .workers(1)
        .listen("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let aureon::Address::Ip(address) = running.addresses()[0].clone() else {
        panic!()
    };
    (running, address, began, let_go)
}

fn send(address: SocketAddr, path: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: inner\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, content) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), content.to_owned())
}

#[test]
fn a_proxy_is_not_counted_and_its_clients_are() {
    let heard = Heard::default();
    let (running, address, began, let_go) = behind_a_proxy(heard.clone());
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let first = send(address, "/wait", &of("203.0.113.1"));
    began.recv().unwrap();
    let second = answer(send(address, "/wait", &of("203.0.113.1")));
    assert_eq!(second.0, 429);
    assert_eq!(heard.0.lock().unwrap().len(), 1);
    let other = send(address, "/wait", &of("203.0.113.2"));
    began.recv().unwrap();
    let_go.send(()).unwrap();
    let_go.send(()).unwrap();
    assert_eq!(answer(first), (200, "203.0.113.1".to_owned()));
    assert_eq!(answer(other), (200, "203.0.113.2".to_owned()));
    // The first has its answer and may ask again; short requests never meet the limit.
    for _ in 0..20 {
        assert_eq!(answer(send(address, "/", &of("203.0.113.1"))).0, 200);
    }
    running.stopper().drain();
    running.join().unwrap();
}

#[test]
fn a_handler_sees_the_client_that_the_proxy_names() {
    let (running, address, ..) = behind_a_proxy(Heard::default());
    let fields = "X-Forwarded-For: 6.6.6.6, 203.0.113.1\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: example.com\r\n";
    let told = answer(send(address, "/", fields)).1;
    assert_eq!(told, "203.0.113.1 https://example.com");
    assert_eq!(answer(send(address, "/", "")).1, "127.0.0.1 http://inner");
    running.stopper().halt();
    running.join().unwrap();
}
