//! The real worker over a simulated operating system: hundreds of seeds, every fault.
//!
//! A seed decides what the clients send, how their bytes are cut, when they stop reading, and
//! when the machine fails. What must hold: answers come in order and whole, as far as a
//! connection lives; nothing is answered that was not asked; and at the end nothing is open.
//! `SEED=n cargo test --test sim` replays one.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::server::sim::Simulation;
use aureon::sys::sim::{self as simulated, Faults, Random};
use aureon::{App, Body, Limits, Request, Response, Router};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn app() -> App {
    routes(Router::new())
}

fn routes(mut router: Router) -> App {
    let file = tempfile_of(&pattern(150_000));
    router.get("/", |_| "hello");
    router.post("/echo", |request: &Request<'_>| request.body().to_vec());
    router.get("/panic", |_| -> &'static str { panic!("meant to") });
    router.get("/large/{n}", |request: &Request<'_>| {
        request
            .path_as::<usize>("n")
            .map(|n| Response::bytes("text/plain", pattern(n)))
    });
    router.get("/file", move |_| {
        let range = aureon::FileRange {
            file: Arc::clone(&file),
            start: 10,
            len: 140_000,
        };
        Response::bytes("text/plain", Body::File(range))
    });
    router.build().unwrap()
}

/// The same answers from another table: routes that nobody asks for come first, so that a match
/// of the one means something else to the other.
fn app_of(shape: usize) -> App {
    let mut router = Router::new();
    for number in 0..shape {
        router.get(&format!("/{number}/{{a}}/{{b}}"), |_| "nobody asks");
        router.post(&format!("/large/{number}x/y"), |_| "nobody asks");
    }
    routes(router)
}

fn tempfile_of(bytes: &[u8]) -> Arc<std::fs::File> {
    // A name of its own: on Windows a file that is open stays until it is closed.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("aureon-sim-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    let file = Arc::new(std::fs::File::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    file
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at % 26) as u8).collect()
}

/// An answer, as a client parsed it.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    close: bool,
}

/// Parses as many whole answers as there are; the rest is what is left.
fn answers(mut bytes: &[u8], heads_only: &mut VecDeque<bool>) -> (Vec<Answer>, usize) {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let status: u16 = head[9..12].parse().unwrap();
        if status == 100 {
            bytes = &bytes[end + 4..];
            continue;
        }
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let head_only = heads_only.front().copied().unwrap_or(false);
        let length: usize = field("Content-Length:").map_or(0, |text| text.parse().unwrap());
        let length = if head_only { 0 } else { length };
        if bytes.len() < end + 4 + length {
            break;
        }
        heads_only.pop_front();
        let body = bytes[end + 4..end + 4 + length].to_vec();
        let close = field("Connection:") == Some("close");
        found.push(Answer {
            status,
            body,
            close,
        });
        bytes = &bytes[end + 4 + length..];
    }
    (found, bytes.len())
}

/// A client's plan: bytes to send, answers to expect.
struct Plan {
    bytes: VecDeque<u8>,
    expected: Vec<(u16, Option<Vec<u8>>)>,
    heads_only: VecDeque<bool>,
}

fn plan(random: &mut Random) -> Plan {
    let mut plan = Plan {
        bytes: VecDeque::new(),
        expected: Vec::new(),
        heads_only: VecDeque::new(),
    };
    for _ in 0..1 + random.below(8) {
        let (request, status, body) = exchange(random);
        plan.heads_only.push_back(request.starts_with(b"HEAD"));
        plan.bytes.extend(request);
        plan.expected.push((status, body));
    }
    plan
}

fn exchange(random: &mut Random) -> (Vec<u8>, u16, Option<Vec<u8>>) {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    match random.below(9) {
        0 => (get("/nothing"), 404, None),
        1 => (get("/panic"), 500, None),
        2 => {
            let n = random.below(200_000);
            (get(&format!("/large/{n}")), 200, Some(pattern(n)))
        }
        3 => (
            get("/file"),
            200,
            Some(pattern(150_000)[10..140_010].to_vec()),
        ),
        4 => (
            b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            200,
            Some(Vec::new()),
        ),
        5 => {
            let body = pattern(random.below(70_000));
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            ([head.into_bytes(), body.clone()].concat(), 200, Some(body))
        }
        6 => {
            let body = pattern(random.below(5_000));
            let mut bytes =
                b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.chunks(1 + random.below(700)) {
                // Extensions on a few only: all of them together are bounded.
                let extension = if random.chance(10) { ";n=v" } else { "" };
                bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nX-Sum: 1\r\n\r\n");
            (bytes, 200, Some(body))
        }
        7 => {
            let body = pattern(random.below(2_000));
            let head = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            ([head.into_bytes(), body].concat(), 405, None)
        }
        _ => (get("/"), 200, Some(b"hello".to_vec())),
    }
}

fn faults(random: &mut Random, resets: bool) -> Faults {
    Faults {
        short_reads: random.below(80) as u8,
        short_writes: random.below(80) as u8,
        resets: if resets { random.below(6) as u8 } else { 0 },
        accept_failures: random.below(30) as u8,
        clock_jumps: random.below(20) as u8,
    }
}

/// Plays one seed to its end.
fn play(seed: u64, resets: bool) {
    let mut random = Random::new(seed);
    let world_faults = faults(&mut random, resets);
    let mut simulation = Simulation::new(seed ^ 0xa5a5, world_faults, app(), Limits::DEFAULT);
    let world = simulation.world.clone();
    let mut clients: Vec<(usize, Plan)> = (0..1 + random.below(12))
        .map(|_| (world.connect(), plan(&mut random)))
        .collect();
    let mut turns = 0;
    while clients.iter().any(|(_, plan)| !plan.bytes.is_empty()) {
        for (client, plan) in &mut clients {
            let piece = random.below(1 + plan.bytes.len().min(20_000));
            let bytes: Vec<u8> = plan
                .bytes
                .drain(..piece.max(1).min(plan.bytes.len()))
                .collect();
            world.send(*client, &bytes);
            // A client that stops reading now and then.
            let window = if random.chance(20) {
                random.below(3_000)
            } else {
                usize::MAX
            };
            world.client(*client, |client| client.window = window);
        }
        if random.chance(3) {
            simulation.reload(app_of(random.below(9)), Limits::DEFAULT);
        }
        simulation.turn().unwrap();
        turns += 1;
        assert!(turns < 20_000, "seed {seed} does not end");
    }
    world.set_faults(Faults {
        resets: 0,
        accept_failures: 0,
        ..world_faults
    });
    for _ in 0..200 {
        for (client, _) in &clients {
            world.client(*client, |client| client.window = usize::MAX);
        }
        simulation.turn().unwrap();
        simulation.settle(20_000);
    }
    for (client, plan) in &mut clients {
        let (got, left, broken) = world.client(*client, |client| {
            let (got, left) = answers(&client.received, &mut plan.heads_only);
            (got, left, client.reset)
        });
        assert!(
            got.len() <= plan.expected.len(),
            "seed {seed}: more answers than requests"
        );
        for (answer, (status, body)) in got.iter().zip(&plan.expected) {
            assert_eq!(answer.status, *status, "seed {seed}");
            if let Some(body) = body {
                assert_eq!(answer.body, *body, "seed {seed}");
            }
        }
        if !broken {
            assert_eq!(
                got.len(),
                plan.expected.len(),
                "seed {seed}: an answer is missing"
            );
            assert_eq!(left, 0, "seed {seed}: bytes behind the last answer");
        }
        world.shut(*client);
    }
    simulation.turn().unwrap();
    assert!(simulation.settle(10_000), "seed {seed} does not settle");
    assert_eq!(
        simulation.connections(),
        0,
        "seed {seed}: a connection is left"
    );
    assert_eq!(world.open_sockets(), 0, "seed {seed}: a socket is left");
    if !resets {
        counts_are_true(seed, &simulation, &clients);
    }
    let metrics = simulation.metrics();
    assert_eq!(metrics.connections_accepted, metrics.connections_closed);
    assert_eq!(metrics.connections_open(), 0, "seed {seed}: {metrics:?}");
}

/// What the worker counted is what the clients saw.
fn counts_are_true(seed: u64, simulation: &Simulation, clients: &[(usize, Plan)]) {
    let metrics = simulation.metrics();
    let sum = |count: fn(&simulated::Client) -> usize| -> u64 {
        let each = clients.iter().map(|(client, _)| {
            simulation
                .world
                .client(*client, |client| count(client) as u64)
        });
        each.sum()
    };
    assert_eq!(metrics.connections_accepted, clients.len() as u64);
    assert_eq!(
        metrics.sent_bytes,
        sum(|client| client.received.len()),
        "seed {seed}"
    );
    let requests: usize = clients.iter().map(|(_, plan)| plan.expected.len()).sum();
    let refused: u64 = metrics.refusals.iter().map(|(_, count)| count).sum();
    assert_eq!(
        metrics.exchanges() + refused,
        requests as u64,
        "seed {seed}"
    );
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

#[test]
fn every_answer_comes_whole_and_in_order_however_the_bytes_are_cut() {
    for seed in seeds(300) {
        play(seed, false);
    }
}

#[test]
fn nothing_leaks_when_connections_break() {
    for seed in seeds(300) {
        play(seed, true);
    }
}

/// A simulation without faults, and one client.
fn calm(limits: Limits) -> (Simulation, usize) {
    let simulation = Simulation::new(7, Faults::default(), app(), limits);
    let client = simulation.world.connect();
    (simulation, client)
}

/// Turns until `ms` have passed.
fn pass(simulation: &mut Simulation, ms: u64) {
    let until = simulation.world.now_ms() + ms;
    while simulation.world.now_ms() < until {
        simulation.world.pass(1);
        simulation.turn().unwrap();
    }
}

fn received(simulation: &Simulation, client: usize) -> String {
    simulation.world.client(client, |client| {
        String::from_utf8(client.received.clone()).unwrap()
    })
}

fn closed(simulation: &Simulation, client: usize) -> bool {
    simulation.world.client(client, |client| client.closed)
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let (mut simulation, client) = calm(Limits::DEFAULT);
    pass(&mut simulation, 59_000);
    assert!(!closed(&simulation, client));
    pass(&mut simulation, 2_000);
    assert!(closed(&simulation, client));
    assert_eq!(received(&simulation, client), "");
}

#[test]
fn a_calendar_that_jumps_moves_the_date_and_no_deadline() {
    let (mut simulation, client) = calm(Limits::DEFAULT);
    simulation.world.set_faults(Faults {
        clock_jumps: 100,
        ..Faults::default()
    });
    let asking = simulation.world.connect();
    let mut asked = 0;
    while simulation.world.now_ms() < 59_000 {
        simulation
            .world
            .send(asking, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        asked += 1;
        pass(&mut simulation, 1_000);
    }
    assert!(!closed(&simulation, client), "a minute is not over");
    pass(&mut simulation, 3_000);
    assert!(closed(&simulation, client), "a minute is over");
    let text = received(&simulation, asking);
    let dates: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Date: "))
        .collect();
    assert_eq!(dates.len(), asked);
    // Each jump is of a day or so, forwards or backwards: `Tue, 15 Nov 1994 08:12:31 GMT`.
    assert!(
        dates
            .iter()
            .all(|date| date.len() == 29 && date.ends_with(" GMT"))
    );
    let days = dates.iter().map(|date| &date[..16]);
    let days: std::collections::BTreeSet<&str> = days.collect();
    assert!(days.len() > 2, "the date stands still: {days:?}");
}

#[test]
fn a_slow_head_is_answered_408_however_often_a_byte_comes() {
    let (mut simulation, client) = calm(Limits::DEFAULT);
    for byte in b"GET / HTTP/1.1\r\nHost: a" {
        simulation.world.send(client, &[*byte]);
        pass(&mut simulation, 600);
    }
    assert!(received(&simulation, client).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    pass(&mut simulation, 3_000);
    assert!(closed(&simulation, client));
}

#[test]
fn a_slow_body_is_answered_408_and_a_steady_one_is_not() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    let (mut simulation, slow) = calm(Limits::DEFAULT);
    let steady = simulation.world.connect();
    for client in [slow, steady] {
        simulation.world.send(client, head.as_bytes());
    }
    for _ in 0..60 {
        simulation.world.send(slow, b"a");
        simulation.world.send(steady, &[b'a'; 1_000]);
        pass(&mut simulation, 1_000);
    }
    assert!(received(&simulation, slow).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(received(&simulation, steady).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
    let (mut simulation, stalled) = calm(Limits::DEFAULT);
    let slow = simulation.world.connect();
    for client in [stalled, slow] {
        simulation.world.client(client, |client| client.window = 10);
        simulation
            .world
            .send(client, b"GET /large/100000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for _ in 0..40 {
        simulation
            .world
            .client(slow, |client| client.window = 1_000);
        pass(&mut simulation, 1_000);
    }
    assert!(simulation.world.client(stalled, |client| client.reset));
    assert!(!simulation.world.client(slow, |client| client.closed));
}

#[test]
fn a_drain_finishes_what_runs_and_closes_the_rest() {
    let (mut simulation, idle) = calm(Limits::DEFAULT);
    let (busy, silent) = (simulation.world.connect(), simulation.world.connect());
    for client in [idle, silent] {
        simulation
            .world
            .send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    simulation.world.client(busy, |client| client.window = 100);
    simulation
        .world
        .send(busy, b"GET /large/90000 HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.turn().unwrap();
    simulation.settle(100);
    let waiting = simulation.world.connect();
    simulation
        .world
        .send(waiting, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.drain();
    simulation.turn().unwrap();
    simulation.turn().unwrap();
    // Its next request may be on the way; if it is, the answer says that it was the last.
    assert!(!closed(&simulation, idle));
    simulation
        .world
        .send(idle, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.settle(100);
    assert!(received(&simulation, idle).contains("Connection: close"));
    pass(&mut simulation, 600);
    assert!(closed(&simulation, silent));
    assert!(!closed(&simulation, busy));
    // Accepted by the kernel before the drain: served, and told that it is the last.
    simulation.settle(100);
    let text = received(&simulation, waiting);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("Connection: close"));
    simulation
        .world
        .client(busy, |client| client.window = usize::MAX);
    while simulation.turn().unwrap() {}
    assert!(received(&simulation, busy).ends_with(std::str::from_utf8(&pattern(90_000)).unwrap()));
    assert_eq!(simulation.connections(), 0);
    let late = simulation.world.connect();
    assert!(simulation.world.client(late, |client| client.reset));
}

#[test]
fn a_drain_has_a_deadline() {
    let (mut simulation, busy) = calm(Limits {
        drain_timeout_ms: 5_000,
        ..Limits::DEFAULT
    });
    simulation.world.client(busy, |client| client.window = 100);
    simulation
        .world
        .send(busy, b"GET /large/90000 HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.turn().unwrap();
    simulation.drain();
    let began = simulation.world.now_ms();
    while simulation.turn().unwrap() {}
    assert!((5_000..6_500).contains(&(simulation.world.now_ms() - began)));
    assert!(simulation.world.client(busy, |client| client.reset));
}

#[test]
fn an_error_is_answered_once_and_the_peer_is_not_reset() {
    let (mut simulation, client) = calm(Limits::DEFAULT);
    simulation.world.send(
        client,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\0\r\n\r\nGET / HTTP",
    );
    simulation.turn().unwrap();
    simulation.settle(50);
    simulation
        .world
        .send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.settle(50);
    let text = received(&simulation, client);
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
    assert!(text.contains("HTTP/1.1 400 Bad Request"));
    assert!(
        simulation
            .world
            .client(client, |client| client.ended && !client.reset)
    );
    pass(&mut simulation, 3_000);
    assert!(closed(&simulation, client));
}
