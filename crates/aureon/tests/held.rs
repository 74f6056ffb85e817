//! Answers that are sent together: who waits for whom, over real sockets.
//!
//! One worker is kept at a gate until all that is to come in one turn has come. Nothing waits by
//! sleeping: reads have time-outs and threads meet over channels.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::limits::BATCH;
use aureon::{Address, Request, Router, Running, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine, short enough to fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a handler does that takes long: twenty times as long as answers are held.
const LONG: Duration = Duration::from_millis(2);

/// A server of one worker, with handlers that run on it.
struct Served {
    running: Option<Running>,
    address: SocketAddr,
    /// The worker is at the gate.
    entered: Receiver<()>,
    /// Lets it pass.
    pass: Sender<()>,
}

impl Served {
    fn start() -> Served {
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
        let server = Server::new(router.build().unwrap()).workers(1);
        let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
        let Address::Ip(address) = running.addresses()[0].clone() else {
            panic!("not TCP")
        };
        Served {
            running: Some(running),
            address,
            entered,
            pass,
        }
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    }

    /// Asks for the gate, and returns when the worker is there.
    fn enter(&self) -> TcpStream {
        let stream = self.ask("/gate");
        self.entered.recv_timeout(PATIENCE).unwrap();
        stream
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stopper().drain();
            running.join().unwrap();
        }
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
    let served = Served::start();
    let mut first = served.enter();
    // All three are in the next turn, in the order in which they connected.
    let mut quick = served.ask("/quick");
    let mut long = served.ask("/long");
    let mut last = served.ask("/gate");
    served.pass.send(()).unwrap();
    served.entered.recv_timeout(PATIENCE).unwrap();
    // The worker is at the gate again.
    read(&mut first, "gate");
    read(&mut quick, "quick");
    read(&mut long, "long");
    served.pass.send(()).unwrap();
    read(&mut last, "gate");
}

#[test]
fn an_answer_does_not_wait_for_many_who_get_none() {
    let served = Served::start();
    let mut first = served.enter();
    let mut quick = served.ask("/quick");
    let half: Vec<TcpStream> = (0..2 * BATCH)
        .map(|_| {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.write_all(b"GET / HT").unwrap();
            stream
        })
        .collect();
    let mut last = served.ask("/gate");
    served.pass.send(()).unwrap();
    served.entered.recv_timeout(PATIENCE).unwrap();
    read(&mut first, "gate");
    read(&mut quick, "quick");
    served.pass.send(()).unwrap();
    read(&mut last, "gate");
    drop(half);
}

#[test]
fn many_at_once_have_their_answers_each() {
    let served = Served::start();
    let mut first = served.enter();
    let paths = ["/quick", "/long"];
    // Connections that are here already, and as many that come.
    let mut streams: Vec<(TcpStream, &str)> = Vec::new();
    for number in 0..100 {
        let path = paths[usize::from(number % 20 == 7)];
        streams.push((served.ask(path), path));
    }
    served.pass.send(()).unwrap();
    read(&mut first, "gate");
    for round in 0..3 {
        for (stream, path) in &mut streams {
            read(stream, &path[1..]);
        }
        let gate = served.enter();
        for (number, (stream, path)) in streams.iter_mut().enumerate() {
            *path = paths[usize::from((number + round) % 20 == 3)];
            // Pipelined by some, so that a connection has several answers in a batch.
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let times = 1 + number % 3;
            stream.write_all(request.repeat(times).as_bytes()).unwrap();
        }
        served.pass.send(()).unwrap();
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
