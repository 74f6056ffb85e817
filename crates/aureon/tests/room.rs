//! Who goes when there is no room for who comes: the real worker over the simulated system.
//!
//! A table of four connections stands for one of 16,384. What must hold: whoever comes is served
//! soon, however many say nothing; whoever is busy stays; and no place is lost.
//! `SEED=n cargo test --test room` replays one seed.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::app::Peer;
use aureon::limits::Limit;
use aureon::server::sim::Simulation;
use aureon::sys::sim::Faults;
use aureon::{App, Limits, Observer, Request, Response, Router};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn app() -> App {
    let mut router = Router::new();
    router.get("/", |_| "hello");
    router.post("/echo", |request: &Request<'_>| request.body().to_vec());
    router.get("/large/{n}", |request: &Request<'_>| {
        let bytes = request.path_as::<usize>("n").map(|n| vec![b'a'; n]);
        bytes.map(|bytes| Response::bytes("text/plain", bytes))
    });
    router.build().unwrap()
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
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
fn connections_above_the_limit_wait_and_are_served_later() {
    let (mut simulation, first) = calm(Limits {
        connections_max: 2,
        ..Limits::DEFAULT
    });
    let second = simulation.world.connect();
    let third = simulation.world.connect();
    for client in [first, second, third] {
        simulation
            .world
            .send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    simulation.settle(50);
    let answered = |simulation: &Simulation| {
        let all = [first, second, third];
        all.into_iter()
            .filter(|client| !received(simulation, *client).is_empty())
            .count()
    };
    assert_eq!(answered(&simulation), 2);
    for client in [first, second, third] {
        if !received(&simulation, client).is_empty() {
            simulation.world.shut(client);
        }
    }
    simulation.settle(50);
    assert_eq!(answered(&simulation), 3);
}

const FEW: Limits = Limits {
    connections_max: 4,
    ..Limits::DEFAULT
};

/// Connects a client that asks for the root, and gives the milliseconds until it is answered.
fn answered_within(simulation: &mut Simulation, patience_ms: u64) -> Option<u64> {
    let client = simulation.world.connect();
    simulation.world.send(
        client,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    simulation.world.shut(client);
    let began = simulation.world.now_ms();
    while simulation.world.now_ms() < began + patience_ms {
        pass(simulation, 5);
        if received(simulation, client).starts_with("HTTP/1.1 200 OK\r\n") {
            return Some(simulation.world.now_ms() - began);
        }
    }
    None
}

#[test]
fn the_longest_idle_connection_goes_when_there_are_too_many() {
    let (mut simulation, first) = calm(FEW);
    let mut clients = vec![first];
    for _ in 0..3 {
        pass(&mut simulation, 300);
        clients.push(simulation.world.connect());
    }
    // The second has asked meanwhile, the first never.
    simulation
        .world
        .send(clients[1], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(&mut simulation, 300);
    let open = |simulation: &Simulation| -> Vec<usize> {
        let all = clients.iter().copied();
        all.filter(|client| !closed(simulation, *client)).collect()
    };
    assert_eq!(open(&simulation), &clients[1..]);
    assert!(!simulation.world.client(first, |client| client.reset));
    assert!(answered_within(&mut simulation, 100).is_some());
    // It was full again with that one: of the three that were idle the longest idle went.
    assert_eq!(open(&simulation), [clients[1], clients[3]]);
}

#[test]
fn nobody_whose_request_has_come_goes_for_another() {
    for seed in seeds(50) {
        let mut simulation = Simulation::new(seed, Faults::default(), app(), FEW);
        let world = simulation.world.clone();
        let kept: Vec<usize> = (0..3).map(|_| world.connect()).collect();
        pass(&mut simulation, 300);
        // In one and the same turn, in an order of the seed's, which leaves one who is idle.
        world.connect();
        for client in &kept[..2] {
            world.send(*client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        pass(&mut simulation, 50);
        let fates = kept.iter().map(|client| closed(&simulation, *client));
        assert_eq!(
            fates.collect::<Vec<_>>(),
            [false, false, true],
            "seed {seed}"
        );
        for client in &kept[..2] {
            assert!(received(&simulation, *client).starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
}

#[test]
fn a_place_that_is_taken_again_in_the_same_turn_is_no_room() {
    for seed in seeds(50) {
        let mut simulation = Simulation::new(seed, Faults::default(), app(), FEW);
        let world = simulation.world.clone();
        let kept: Vec<usize> = (0..3).map(|_| world.connect()).collect();
        pass(&mut simulation, 5);
        // One goes and two come, in an order of the seed's: full again.
        world.shut(kept[0]);
        world.connect();
        world.connect();
        pass(&mut simulation, 5);
        let within = answered_within(&mut simulation, 1_000);
        assert!(within.is_some_and(|ms| ms < 100), "seed {seed}: {within:?}");
    }
}

#[test]
fn idle_connections_however_many_lock_nobody_out() {
    let (mut simulation, _) = calm(FEW);
    for _ in 0..50 {
        for _ in 0..20 {
            simulation.world.connect();
        }
        pass(&mut simulation, 300);
    }
    // Those before it in the queue have to be idle for a while, one after the other.
    assert!(answered_within(&mut simulation, 60_000).is_some());
    assert!(simulation.connections() <= FEW.connections_max);
}

#[test]
fn who_says_nothing_keeps_nobody_waiting_however_fast_he_comes_back() {
    let (mut simulation, _) = calm(FEW);
    let began = simulation.world.now_ms();
    // A hundred a second; closing none before he is idle makes room for twenty.
    for number in 1..200 {
        simulation.world.connect();
        while simulation.world.now_ms() < began + number * 10 {
            pass(&mut simulation, 1);
        }
    }
    let within = answered_within(&mut simulation, 5_000);
    assert!(within.is_some_and(|ms| ms <= 150), "{within:?}");
}

#[test]
fn a_newcomer_who_says_nothing_goes_after_the_idle_and_not_at_once() {
    let (mut simulation, first) = calm(FEW);
    pass(&mut simulation, 300);
    let news: Vec<usize> = (0..3).map(|_| simulation.world.connect()).collect();
    let began = simulation.world.now_ms();
    let open = |of: &Simulation| news.iter().filter(|new| !closed(of, **new)).count();
    // Full, room is made of who is idle, full again.
    simulation.turn().unwrap();
    simulation.world.connect();
    while simulation.world.now_ms() < began + 20 {
        assert_eq!(open(&simulation), 3, "their requests may be on the way");
        pass(&mut simulation, 1);
    }
    assert!(closed(&simulation, first));
    pass(&mut simulation, 100);
    assert_eq!(open(&simulation), 2, "one goes for the next");
}

#[test]
fn descriptors_that_come_free_are_used_at_once() {
    let (mut simulation, first) = calm(Limits::DEFAULT);
    let world = simulation.world.clone();
    world.send(
        first,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    );
    pass(&mut simulation, 5);
    world.set_short(true);
    // The first may still send its body, and the next has come just now: nobody can go.
    let second = world.connect();
    pass(&mut simulation, 5);
    world.shut(second);
    assert!(answered_within(&mut simulation, 15).is_some());
    // One that has come and gone in the same turn leaves its descriptor too.
    assert!(answered_within(&mut simulation, 15).is_some());
}

#[test]
fn whoever_is_busy_stays_and_whoever_does_not_move_goes() {
    let heads: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
        b"GET /large/90000 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for head in heads {
        let (mut simulation, first) = calm(FEW);
        let world = simulation.world.clone();
        let mut slow = vec![first];
        slow.extend((0..3).map(|_| world.connect()));
        for client in &slow {
            world.client(*client, |client| client.window = 10);
            world.send(*client, head);
        }
        pass(&mut simulation, 100);
        assert_eq!(answered_within(&mut simulation, 500), None, "they may move");
        for _ in 0..10 {
            slow.iter().for_each(|client| world.send(*client, b"a"));
            pass(&mut simulation, 60);
        }
        assert!(
            answered_within(&mut simulation, 300).is_some(),
            "they did not: {}",
            String::from_utf8_lossy(head)
        );
        assert!(world.client(first, |client| client.reset));
    }
}

#[test]
fn a_body_that_comes_and_an_answer_that_is_taken_are_not_cut_for_others() {
    let (mut simulation, upload) = calm(FEW);
    let world = simulation.world.clone();
    let download = world.connect();
    world.client(download, |client| client.window = 1_000);
    world.send(download, b"GET /large/90000 HTTP/1.1\r\nHost: a\r\n\r\n");
    world.send(
        upload,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n",
    );
    for _ in 0..60 {
        world.send(upload, &[b'a'; 1_000]);
        world.client(download, |client| client.window = 1_000);
        world.connect();
        pass(&mut simulation, 500);
    }
    assert!(received(&simulation, upload).starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!closed(&simulation, download));
}

#[test]
fn idle_connections_go_before_descriptors_run_out() {
    let (mut simulation, first) = calm(Limits::DEFAULT);
    let world = simulation.world.clone();
    pass(&mut simulation, 300);
    world.set_short(true);
    assert!(answered_within(&mut simulation, 100).is_some());
    assert!(closed(&simulation, first));
    // Nobody is left who could go: the next one waits, and not for ever.
    assert!(answered_within(&mut simulation, 500).is_some());
    world.set_short(false);
    let kept = world.connect();
    pass(&mut simulation, 300);
    assert!(answered_within(&mut simulation, 100).is_some());
    assert!(!closed(&simulation, kept));
}

#[test]
fn descriptors_that_are_left_are_kept_while_nobody_can_go() {
    let (mut simulation, _) = calm(Limits::DEFAULT);
    pass(&mut simulation, 5);
    let world = simulation.world.clone();
    world.set_short(true);
    for _ in 0..10 {
        let client = world.connect();
        world.send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let began = world.now_ms();
    while world.now_ms() < began + 100 {
        // The one that tells how many there are.
        assert!(simulation.connections() <= 2);
        pass(&mut simulation, 1);
    }
    while simulation.connections() < 10 {
        world.set_short(false);
        pass(&mut simulation, 1);
        assert!(world.now_ms() < began + 500);
    }
}

#[test]
fn a_shortage_of_descriptors_is_told_once_however_long_it_lasts() {
    struct Told(Arc<AtomicUsize>);
    impl Observer for Told {
        fn on_trouble(&self, _worker: usize, what: &'static str, _error: &std::io::Error) {
            assert_eq!(what, "accept");
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn on_limit(&self, _worker: usize, _peer: Peer, limit: Limit) {
            panic!("{} is blamed for it", limit.name());
        }
    }
    let told = Arc::new(AtomicUsize::new(0));
    let observer: Box<dyn Observer> = Box::new(Told(Arc::clone(&told)));
    let (faults, limits) = (Faults::default(), Limits::DEFAULT);
    let mut simulation = Simulation::observed(3, faults, app(), limits, Some(observer));
    for times in [1, 2] {
        // Room is made one by one, and each time there is enough for one.
        for connection in 0..80 {
            simulation.world.set_short(connection % 2 == 0);
            simulation.world.connect();
            pass(&mut simulation, 250);
        }
        assert_eq!(told.load(Ordering::Relaxed), times);
        let limits_hit = simulation.metrics().limits;
        assert!(
            limits_hit.iter().all(|(_, hits)| *hits == 0),
            "{limits_hit:?}"
        );
        simulation.world.set_short(false);
        pass(&mut simulation, 11_000);
    }
}
