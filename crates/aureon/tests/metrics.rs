//! What a worker counts, over the simulated operating system: time passes only when a test says.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::limits::Limit;
use aureon::metrics::{Ending, Snapshot, State};
use aureon::server::sim::Simulation;
use aureon::sys::sim::Faults;
use aureon::{Exchange, Limits, Method, Observer, Request, Response, Router, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

fn router() -> Router {
    let mut router = Router::new();
    router.get("/", |_| "hello");
    router.get("/users/{id}", |_: &Request<'_>| "somebody");
    router.post("/echo", |request: &Request<'_>| request.body().to_vec());
    router.get("/large", |_| {
        Response::bytes("text/plain", vec![b'x'; 300_000])
    });
    router
}

/// Status; receive, duration, send and end in microseconds.
type Told = (u16, u64, u64, u64, u64);

/// What an observer heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Told>>>);

impl Observer for Heard {
    fn on_exchange(&self, exchange: &Exchange<'_, '_>) {
        self.0.lock().unwrap().push((
            exchange.status.code(),
            exchange.receive_us,
            exchange.duration_us,
            exchange.send_us,
            exchange.ended_unix_us,
        ));
    }
}

fn simulation(limits: Limits) -> (Simulation, Heard) {
    let heard = Heard::default();
    let app = router().build().unwrap();
    let observer: Box<dyn Observer> = Box::new(heard.clone());
    let simulation = Simulation::observed(7, Faults::default(), app, limits, Some(observer));
    (simulation, heard)
}

fn pass(simulation: &mut Simulation, ms: u64) {
    let until = simulation.world.now_ms() + ms;
    while simulation.world.now_ms() < until {
        simulation.world.pass(1);
        simulation.turn().unwrap();
    }
}

fn state(snapshot: &Snapshot, wanted: State) -> u64 {
    let found = snapshot.connections.iter().find(|(s, _)| *s == wanted);
    found.unwrap().1
}

fn hits(snapshot: &Snapshot, wanted: Limit) -> u64 {
    let found = snapshot.limits.iter().find(|(l, _)| *l == wanted);
    found.unwrap().1
}

fn cut(snapshot: &Snapshot, wanted: Ending) -> u64 {
    let found = snapshot.exchanges_cut.iter().find(|(e, _)| *e == wanted);
    found.unwrap().1
}

#[test]
fn a_connection_is_counted_in_the_state_that_it_is_in() {
    let (mut simulation, _) = simulation(Limits::DEFAULT);
    let world = simulation.world.clone();
    let client = world.connect();
    let mut expect = |wanted: State| {
        simulation.turn().unwrap();
        simulation.settle(1_000);
        let snapshot = simulation.metrics();
        assert_eq!(state(&snapshot, wanted), 1, "{wanted:?}: {snapshot:?}");
        assert_eq!(snapshot.connections_open(), 1);
        let active = u64::from(wanted.is_active());
        assert_eq!(snapshot.requests_active(), active);
    };
    expect(State::Idle);
    world.send(client, b"GET / HTTP/1.1\r\nHo");
    expect(State::Head);
    world.send(client, b"st: a\r\n\r\n");
    expect(State::Idle);
    world.send(
        client,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab",
    );
    expect(State::Body);
    world.send(client, b"cd");
    expect(State::Idle);
    world.client(client, |client| client.window = 10);
    world.send(client, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(State::Sending);
    world.client(client, |client| client.window = usize::MAX);
    expect(State::Idle);
    world.send(client, b"nonsense\r\n\r\n");
    expect(State::Linger);
    world.shut(client);
    simulation.turn().unwrap();
    simulation.settle(1_000);
    let snapshot = simulation.metrics();
    assert_eq!(snapshot.connections_open(), 0);
    assert_eq!(snapshot.connections_closed, 1);
}

#[test]
fn exchanges_are_counted_by_template_method_and_status() {
    let (mut simulation, _) = simulation(Limits::DEFAULT);
    let world = simulation.world.clone();
    let client = world.connect();
    for path in ["/", "/users/1", "/users/2", "/none"] {
        world.send(
            client,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
        );
    }
    world.send(client, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.turn().unwrap();
    simulation.settle(1_000);
    let snapshot = simulation.metrics();
    let mut shown: Vec<_> = snapshot
        .series
        .iter()
        .map(|series| (&*series.route, series.of.unwrap(), series.count()))
        .collect();
    shown.sort_unstable();
    let expected = [
        ("", (Method::Get, 404), 1),
        ("/", (Method::Get, 200), 1),
        ("/", (Method::Head, 200), 1),
        ("/users/{id}", (Method::Get, 200), 2),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn the_stages_of_an_exchange_are_timed() {
    let (mut simulation, heard) = simulation(Limits::DEFAULT);
    let world = simulation.world.clone();
    let client = world.connect();
    world.send(client, b"GET / HTTP/1.1\r\n");
    pass(&mut simulation, 400);
    world.send(client, b"Host: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\n");
    pass(&mut simulation, 300);
    world.send(client, b"Content-Length: 2\r\n\r\n");
    pass(&mut simulation, 200);
    world.client(client, |client| client.window = 10);
    world.send(client, b"okGET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(&mut simulation, 500);
    world.client(client, |client| client.window = usize::MAX);
    pass(&mut simulation, 10);
    let heard = heard.0.lock().unwrap();
    let [head, body, large] = heard[..] else {
        panic!("{heard:?}")
    };
    // The turns of the simulated system take a few milliseconds by themselves.
    let near = |us: u64, ms: u64| us.abs_diff(ms * 1_000) < 50_000;
    assert!(near(head.1, 400) && head.2 == 0 && head.3 == 0, "{head:?}");
    assert!(near(body.1, 500) && body.2 == 0 && body.3 == 0, "{body:?}");
    assert!(large.1 == 0 && near(large.2, 500), "{large:?}");
    assert_eq!(large.2, large.3, "all of it was sending");
    assert!(large.4 > 784_111_777_000_000, "{large:?}");
}

#[test]
fn limits_are_counted_by_name() {
    let (mut simulation, _) = simulation(Limits {
        connections_max: 3,
        requests_per_connection_max: 1,
        ..Limits::DEFAULT
    });
    let world = simulation.world.clone();
    let idle = world.connect();
    pass(&mut simulation, 10);
    let slow = world.connect();
    world.send(slow, b"GET / HT");
    pass(&mut simulation, 10);
    pass(&mut simulation, 11_000);
    assert_eq!(hits(&simulation.metrics(), Limit::HeadTimeout), 1);
    pass(&mut simulation, 3_000);
    assert_eq!(hits(&simulation.metrics(), Limit::LingerTimeout), 1);
    pass(&mut simulation, 50_000);
    assert_eq!(hits(&simulation.metrics(), Limit::IdleTimeout), 1);
    assert!(world.client(idle, |client| client.closed));
    let one = world.connect();
    world.send(one, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(&mut simulation, 10);
    let snapshot = simulation.metrics();
    assert_eq!(hits(&snapshot, Limit::RequestsPerConnectionMax), 1);
    world.shut(one);
    pass(&mut simulation, 10);
    let stalled = world.connect();
    world.client(stalled, |client| client.window = 10);
    world.send(stalled, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(&mut simulation, 31_000);
    assert_eq!(hits(&simulation.metrics(), Limit::WriteTimeout), 1);
    assert_eq!(hits(&simulation.metrics(), Limit::ConnectionsMax), 0);
    for _ in 0..3 {
        world.connect();
    }
    pass(&mut simulation, 1_000);
    assert_eq!(hits(&simulation.metrics(), Limit::ConnectionsMax), 1);
}

#[test]
fn an_exchange_without_a_whole_answer_is_counted_with_its_cause() {
    let (mut simulation, heard) = simulation(Limits::DEFAULT);
    let world = simulation.world.clone();
    let mut large = || {
        let client = world.connect();
        world.client(client, |client| client.window = 10);
        world.send(client, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        pass(&mut simulation, 10);
        (client, simulation.metrics())
    };
    let (gone, snapshot) = large();
    assert!(snapshot.exchanges_cut.iter().all(|(_, count)| *count == 0));
    world.reset(gone);
    let (_stalled, snapshot) = large();
    assert_eq!(cut(&snapshot, Ending::PeerGone), 1);
    pass(&mut simulation, 31_000);
    assert_eq!(cut(&simulation.metrics(), Ending::WriteStalled), 1);
    let whole = world.connect();
    world.send(whole, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(&mut simulation, 10);
    let all: u64 = simulation
        .metrics()
        .exchanges_cut
        .iter()
        .map(|(_, n)| n)
        .sum();
    assert_eq!(all, 2, "a whole answer is none of them");
    assert_eq!(heard.0.lock().unwrap().len(), 3);
}

#[test]
fn a_server_counts_bytes_and_turns_and_times_only_what_it_is_asked_to() {
    for timed in [false, true] {
        let app = router().build().unwrap();
        let server = Server::new(app).workers(1).metrics(timed);
        let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
        let address = running.addresses()[0].to_string();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        drop(stream);
        let (meter, stopper) = (running.meter(), running.stopper());
        assert!(running.metrics().workers.len() == 1);
        stopper.drain();
        running.join().unwrap();
        let snapshot = meter.snapshot();
        assert_eq!(snapshot.received_bytes, request.len() as u64);
        assert_eq!(snapshot.sent_bytes, answer.len() as u64);
        assert_eq!(snapshot.connections_accepted, 1);
        assert_eq!(snapshot.connections_closed, 1);
        assert!(snapshot.workers[0].turns > 0);
        assert_eq!(snapshot.exchanges(), u64::from(timed));
        assert_eq!(snapshot.workers[0].busy_us > 0, timed);
    }
}
