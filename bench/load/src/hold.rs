//! `load hold`: many idle keep-alive connections. Each is opened and answered once, then stays
//! silent; for each line on standard input every one of them is asked again and must answer. The
//! measuring process reads the server's memory in between.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::answer::Checker;
use crate::{Failure, Options};

const SILENCE: Duration = Duration::from_secs(10);

struct Held {
    streams: Vec<TcpStream>,
    request: Vec<u8>,
    body_bytes: usize,
    checker: Checker,
}

impl Held {
    fn ask(&mut self, index: usize) -> Result<(), Failure> {
        let stream = &mut self.streams[index];
        let place = |error: std::io::Error| format!("connection {index}: {error}");
        stream.write_all(&self.request).map_err(place)?;
        let mut input = [0; 16_384];
        let mut length = 0;
        loop {
            let received = stream.read(&mut input[length..]).map_err(place)?;
            if received == 0 {
                return Err(format!("connection {index}: closed"));
            }
            length += received;
            let head = self.checker.take_head(&input[..length])?;
            if head.is_some_and(|head| length >= head + self.body_bytes) {
                return Ok(());
            }
        }
    }
}

pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

pub(crate) fn hold(options: &Options) -> Result<(), Failure> {
    let address = SocketAddr::V4(options.address()?);
    let count: usize = options.number("--connections", 10_000)?;
    let body_bytes = options.number("--body-bytes", 13)?;
    let path = options.text("--path").unwrap_or("/plaintext");
    let mut held = Held {
        streams: Vec::with_capacity(count),
        request: format!("GET {path} HTTP/1.1\r\nHost: localhost:8080\r\n\r\n").into_bytes(),
        body_bytes,
        checker: Checker::new(body_bytes),
    };
    for index in 0..count {
        let place = |error: std::io::Error| format!("connection {index}: {error}");
        let stream = TcpStream::connect_timeout(&address, SILENCE).map_err(place)?;
        stream.set_read_timeout(Some(SILENCE)).map_err(place)?;
        stream.set_nodelay(true).map_err(place)?;
        held.streams.push(stream);
        held.ask(index)?;
    }
    say(&format!("held {count}"))?;
    for line in std::io::stdin().lock().lines() {
        line.map_err(|error| error.to_string())?;
        for index in 0..count {
            held.ask(index)?;
        }
        say(&format!("answered {count}"))?;
    }
    Ok(())
}
