//! A server on port 0 of loopback, drained at the end of its test; a drain that does not end fails
//! it.

// Each crate of tests needs some of it.
#![allow(dead_code)]

use aureon::{
    Address, Ending, Exchange, Limits, Method, Observer, Request, Router, Running, Server,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine, short enough to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The server.
pub(crate) struct Served {
    /// Until a test takes it to end it.
    pub(crate) running: Option<Running>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Served {
    /// One of two workers.
    pub(crate) fn new(router: Router) -> Served {
        Served::with(router, Limits::DEFAULT, 2)
    }

    /// One with these limits and so many workers.
    pub(crate) fn with(router: Router, limits: Limits, workers: usize) -> Served {
        let server = Server::new(router.build().unwrap());
        Served::start(server.limits(limits).workers(workers))
    }

    /// This one.
    pub(crate) fn start(server: Server) -> Served {
        let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
        let Address::Ip(address) = running.addresses()[0].clone() else {
            panic!("not TCP")
        };
        Served {
            running: Some(running),
            address,
        }
    }

    /// A connection that waits for nothing for ever.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection that has sent this, in one piece.
    pub(crate) fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// One request on a connection of its own; the whole answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        read_to_end(&mut self.send(request))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.stopper().drain();
        let began = Instant::now();
        running.join().unwrap();
        assert!(
            began.elapsed() < PATIENCE,
            "the drain took {:?}",
            began.elapsed()
        );
    }
}

/// All that comes until the end, which is text.
pub(crate) fn read_to_end(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads one answer with a Content-Length.
pub(crate) fn read_answer(stream: &mut impl Read) -> (String, Vec<u8>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// A server that says hello.
pub(crate) fn hello() -> Router {
    let mut router = Router::new();
    router.get("/", |_: &Request<'_>| "hello");
    router
}

/// A blocking route that says when it has begun and waits to be let go.
pub(crate) fn gated() -> (Router, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (let_go, gate) = channel::<()>();
    let gate = Mutex::new((begun, gate));
    let mut router = hello();
    router.blocking(Method::Get, "/gated", move |_: &Request<'_>| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        gate.1.recv().unwrap();
        "through"
    });
    (router, has_begun, let_go)
}

/// A request for it.
pub(crate) const GATED: &str = "GET /gated HTTP/1.1\r\nHost: a\r\n\r\n";

/// Status, ending and what went wrong of each exchange.
pub(crate) struct Told(pub(crate) Mutex<Sender<(u16, Ending, String)>>);

impl Observer for Told {
    fn on_exchange(&self, exchange: &Exchange<'_, '_>) {
        let fault = exchange.fault.map(|fault| fault.message().to_owned());
        let told = (
            exchange.status.code(),
            exchange.ending,
            fault.unwrap_or_default(),
        );
        self.0.lock().unwrap().send(told).unwrap();
    }
}
