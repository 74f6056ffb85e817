//! `load run`: a closed loop. Each of C connections has a batch of requests under way; when all of
//! its answers have arrived and been verified, the next batch is sent. At the end of the time
//! nothing new is sent and everything under way is waited for, so the count is exact.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::answer::Checker;
use crate::socket::{Epoll, connect, receive, send};
use crate::{Failure, Options};

/// What a current desktop browser sends for a page: nine fields, about 600 bytes in all.
const BROWSER_FIELDS: &str = "\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/141.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,\
*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7\r\n\
Referer: http://localhost:8080/guide/getting-started/index.html\r\n\
Cookie: session=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; theme=dark\r\n\
Upgrade-Insecure-Requests: 1\r\n";

/// Longer silence than this is a hung server.
const SILENCE_MS: i32 = 5_000;
const RECEIVE_BYTES: usize = 1 << 20;
/// One batch's latency is kept for each of this many batches; later ones are counted only.
const SAMPLES_MAX: usize = 1 << 22;
/// Source addresses that one-request connections take turns with.
const SOURCES: u8 = 32;

struct Connection {
    /// `None` when its work is over.
    socket: Option<OwnedFd>,
    /// Requests of the batch under way.
    batch: usize,
    /// Answers of it not yet begun.
    outstanding: usize,
    /// Bytes of the current body that have not arrived.
    body_left: usize,
    /// A head that was cut by the end of a read.
    partial: Vec<u8>,
    sent: Instant,
}

struct Load {
    address: SocketAddrV4,
    /// `pipeline` requests back to back.
    batch: Vec<u8>,
    request_bytes: usize,
    pipeline: usize,
    close: bool,
    body_bytes: usize,
    checker: Checker,
    epoll: Epoll,
    connections: Vec<Connection>,
    input: Vec<u8>,
    /// When to stop: whichever is reached first.
    deadline: Instant,
    requests_left: u64,
    answered: u64,
    connects: u64,
    under_way: usize,
    latencies: Vec<u32>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let seconds: f64 = options.number("--seconds", f64::INFINITY)?;
    let requests: u64 = options.number("--requests", u64::MAX)?;
    if seconds.is_infinite() && requests == u64::MAX {
        return Err("--seconds or --requests".into());
    }
    let path = options.text("--path").unwrap_or("/plaintext");
    let close = options.flag("--close");
    let pipeline = if close {
        1
    } else {
        options.number("--pipeline", 1)?
    };
    let fields = if options.flag("--browser") {
        BROWSER_FIELDS
    } else {
        ""
    };
    let end = if close {
        "Connection: close\r\n\r\n"
    } else {
        "\r\n"
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:8080\r\n{fields}{end}");
    let body_bytes = options.number("--body-bytes", 13)?;
    let started = Instant::now();
    let day = Duration::from_secs(86_400);
    let mut load = Load {
        address: options.address()?,
        batch: request.as_bytes().repeat(pipeline),
        request_bytes: request.len(),
        pipeline,
        close,
        body_bytes,
        checker: Checker::new(body_bytes),
        epoll: Epoll::new().map_err(|error| error.to_string())?,
        connections: Vec::new(),
        input: vec![0; RECEIVE_BYTES],
        deadline: started + Duration::try_from_secs_f64(seconds).unwrap_or(day).min(day),
        requests_left: requests,
        answered: 0,
        connects: 0,
        under_way: 0,
        latencies: Vec::new(),
    };
    load.open(options.number("--connections", 64)?)?;
    load.turn_until_done()?;
    load.report(started.elapsed());
    Ok(())
}

impl Load {
    fn open(&mut self, count: usize) -> Result<(), Failure> {
        let now = Instant::now();
        for token in 0..count {
            self.connections.push(Connection {
                socket: None,
                batch: 0,
                outstanding: 0,
                body_left: 0,
                partial: Vec::new(),
                sent: now,
            });
            self.connect(token)?;
        }
        for token in 0..count {
            self.send_batch(token)?;
        }
        Ok(())
    }

    fn connect(&mut self, token: usize) -> Result<(), Failure> {
        let from = self
            .close
            .then_some(2 + (self.connects % u64::from(SOURCES)) as u8);
        self.connects += 1;
        let socket = connect(self.address, from).map_err(|error| format!("connect: {error}"))?;
        let added = self.epoll.add(socket.as_raw_fd(), token);
        added.map_err(|error| format!("epoll: {error}"))?;
        self.connections[token].socket = Some(socket);
        Ok(())
    }

    /// Sends the next batch, or closes the connection when there is nothing left to send.
    fn send_batch(&mut self, token: usize) -> Result<(), Failure> {
        let now = Instant::now();
        let count = (self.pipeline as u64).min(self.requests_left) as usize;
        let connection = &mut self.connections[token];
        if count == 0 || now >= self.deadline {
            connection.socket = None;
            return Ok(());
        }
        if connection.socket.is_none() {
            self.connect(token)?;
        }
        let connection = &mut self.connections[token];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        send(
            socket.as_raw_fd(),
            &self.batch[..count * self.request_bytes],
        )
        .map_err(|error| format!("send: {error}"))?;
        connection.batch = count;
        connection.outstanding = count;
        connection.sent = now;
        self.requests_left -= count as u64;
        self.under_way += 1;
        Ok(())
    }

    fn turn_until_done(&mut self) -> Result<(), Failure> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 512];
        let mut silent = 0;
        while self.under_way > 0 {
            let count = self.epoll.wait(&mut events, SILENCE_MS);
            let count = count.map_err(|error| format!("epoll: {error}"))?;
            // Twice, because a virtual machine that was paused wakes up with its time passed.
            silent = if count == 0 { silent + 1 } else { 0 };
            if silent == 2 {
                let (answered, under_way) = (self.answered, self.under_way);
                return Err(format!(
                    "silence after {answered} answers, {under_way} missing"
                ));
            }
            for event in &events[..count] {
                self.on_readable(event.u64 as usize)?;
            }
        }
        Ok(())
    }

    fn on_readable(&mut self, token: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[token];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        let kept = connection.partial.len();
        self.input[..kept].copy_from_slice(&connection.partial);
        let received = receive(socket.as_raw_fd(), &mut self.input[kept..]);
        let received = match received.map_err(|error| format!("receive: {error}"))? {
            None => return Ok(()),
            Some(0) => return self.on_end(token),
            Some(received) => received,
        };
        connection.partial.clear();
        let mut rest = &self.input[..kept + received];
        loop {
            let body = connection.body_left.min(rest.len());
            connection.body_left -= body;
            rest = &rest[body..];
            if rest.is_empty() || connection.body_left > 0 {
                break;
            }
            if connection.outstanding == 0 {
                return Err(format!("{} bytes that nobody asked for", rest.len()));
            }
            let Some(head_bytes) = self.checker.take_head(rest)? else {
                connection.partial.extend_from_slice(rest);
                break;
            };
            rest = &rest[head_bytes..];
            connection.outstanding -= 1;
            connection.body_left = self.body_bytes;
        }
        let connection = &self.connections[token];
        let whole = connection.outstanding == 0
            && connection.body_left == 0
            && connection.partial.is_empty();
        // A one-request connection is over when the server has closed it.
        if whole && !self.close {
            self.finish_batch(token)
        } else {
            Ok(())
        }
    }

    fn on_end(&mut self, token: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[token];
        let whole = connection.outstanding == 0 && connection.body_left == 0;
        if !self.close || !whole || !connection.partial.is_empty() {
            return Err(format!("closed early, after {} answers", self.answered));
        }
        connection.socket = None;
        self.finish_batch(token)
    }

    fn finish_batch(&mut self, token: usize) -> Result<(), Failure> {
        let Connection { sent, batch, .. } = self.connections[token];
        self.answered += batch as u64;
        if self.latencies.len() < SAMPLES_MAX {
            self.latencies
                .push(sent.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
        }
        self.under_way -= 1;
        self.send_batch(token)
    }

    fn report(&mut self, elapsed: Duration) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies
                .get(index)
                .map_or(0.0, |ns| f64::from(*ns) / 1_000.0)
        };
        println!(
            "{{\"requests\": {}, \"seconds\": {:.6}, \"connects\": {}, \
             \"p50_us\": {:.1}, \"p99_us\": {:.1}}}",
            self.answered,
            elapsed.as_secs_f64(),
            self.connects,
            at(0.50),
            at(0.99)
        );
    }
}
