//! A server on port 0 of loopback, drained at the end of its test; a drain that does not end fails
//! it.

// Each crate of tests needs some of it.
#![allow(dead_code)]

use aureon::{Address, Limits, Router, Running, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
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
