//! Answers that are sent together: who waits for whom, over real sockets.
//!
//! One worker is kept at a gate until all that is to come in one turn has come. Nothing waits by
//! sleeping: reads have time-outs and threads meet over channels.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::limits::BATCH;
use aureon::{Limits, Request, Router};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

mod served;

use served::{PATIENCE, Served};

/// What a handler does that takes long: twenty times as long as answers are held.
const LONG: Duration = Duration::from_millis(2);

/// A server of one worker, with handlers that run on it, one of them at a gate.
struct Gated {
    /// The worker is at the gate.
    entered: Receiver<()>,
    /// Lets it pass.
    pass: Sender<()>,
    served: Served,
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

impl Gated {
    fn new() -> Gated {
        let (enter, entered) = channel();
        let (pass, passed) = channel();
        let passed = Mutex::new(passed);
        let mut router = Router::new();
        router.get("/quick", |_: &Request<'_>| "quick");
        router.get("/long", |_: &Request<'_>| {
            let began = Instant::now();
            while began.elapsed() < LONG {
                std::hint::spin_loop();
            }
            "long"
        });
        router.get("/gate", move |_: &Request<'_>| {
            enter.send(()).unwrap();
            passed.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            "gate"
        });
        Gated {
            entered,
            pass,
            served: Served::with(router, Limits::DEFAULT, 1),
        }
    }

    fn ask(&self, path: &str) -> TcpStream {
        self.served.send(&get(path))
    }

    /// Asks for the gate, and returns when the worker is there.
    fn enter(&self) -> TcpStream {
        let stream = self.ask("/gate");
        self.entered.recv_timeout(PATIENCE).unwrap();
        stream
    }

    /// Lets it pass, and returns when it is there again, for somebody else.
    fn pass_on(&self) {
        self.pass.send(()).unwrap();
        self.entered.recv_timeout(PATIENCE).unwrap();
    }
}

/// Reads an answer that ends with this content.
fn read(stream: &mut TcpStream, content: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(content.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn an_answer_that_took_long_is_sent_at_once_with_those_before_it() {
    let gated = Gated::new();
    let mut first = gated.enter();
    // All three are in the next turn, in the order in which they connected.
    let mut quick = gated.ask("/quick");
    let mut long = gated.ask("/long");
    let mut last = gated.ask("/gate");
    gated.pass_on();
    read(&mut first, "gate");
    read(&mut quick, "quick");
    read(&mut long, "long");
    gated.pass.send(()).unwrap();
    read(&mut last, "gate");
}

#[test]
fn an_answer_does_not_wait_for_those_who_come_and_say_nothing() {
    let gated = Gated::new();
    let mut first = gated.enter();
    let mut quick = gated.ask("/quick");
    let silent: Vec<TcpStream> = (0..2 * BATCH).map(|_| gated.served.connect()).collect();
    let mut last = gated.ask("/gate");
    gated.pass_on();
    read(&mut first, "gate");
    read(&mut quick, "quick");
    gated.pass.send(()).unwrap();
    read(&mut last, "gate");
    drop(silent);
}

#[test]
fn an_answer_does_not_wait_for_those_who_get_none() {
    let gated = Gated::new();
    // Who is here already is received from in batches, in the order in which they speak.
    let mut quick = gated.served.connect();
    let mut halves: Vec<TcpStream> = (0..2 * BATCH).map(|_| gated.served.connect()).collect();
    let mut last = gated.served.connect();
    let mut first = gated.enter();
    quick.write_all(get("/quick").as_bytes()).unwrap();
    for half in &mut halves {
        half.write_all(b"GET / HT").unwrap();
    }
    last.write_all(get("/gate").as_bytes()).unwrap();
    gated.pass_on();
    read(&mut first, "gate");
    read(&mut quick, "quick");
    gated.pass.send(()).unwrap();
    read(&mut last, "gate");
}

#[test]
fn many_at_once_have_their_answers_each() {
    let gated = Gated::new();
    let mut first = gated.enter();
    let paths = ["/quick", "/long"];
    // Connections that are here already, and as many that come.
    let mut streams: Vec<(TcpStream, &str)> = Vec::new();
    for number in 0..100 {
        let path = paths[usize::from(number % 20 == 7)];
        streams.push((gated.ask(path), path));
    }
    gated.pass.send(()).unwrap();
    read(&mut first, "gate");
    for round in 0..3 {
        for (stream, path) in &mut streams {
            read(stream, &path[1..]);
        }
        let gate = gated.enter();
        for (number, (stream, path)) in streams.iter_mut().enumerate() {
            *path = paths[usize::from((number + round) % 20 == 3)];
            // Pipelined by some, so that a connection has several answers in a batch.
            let requests = get(path).repeat(1 + number % 3);
            stream.write_all(requests.as_bytes()).unwrap();
        }
        gated.pass.send(()).unwrap();
        read(&mut { gate }, "gate");
        for (number, (stream, path)) in streams.iter_mut().enumerate() {
            for _ in 0..number % 3 {
                read(stream, &path[1..]);
            }
        }
    }
    for (stream, path) in &mut streams {
        read(stream, &path[1..]);
    }
}
