//! `load soak`: every kind of request at once, for a while, each kind on threads of its own, and
//! every answer compared with what it must be. The measuring script watches the server's memory.
//!
//! The kinds stand in `KINDS`, one function each; a function makes a few exchanges and returns, is
//! called again until the time is over, and any `Err` fails the whole soak.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::answer::{field, parse_head};
use crate::files::{FILES, byte_at, first_difference};
use crate::{Failure, Options};

const SILENCE: Duration = Duration::from_secs(20);
const SMALL: (&str, usize) = FILES[0];
const MEDIUM: (&str, usize) = FILES[1];
const LARGE: (&str, usize) = FILES[2];

type Kind = (
    &'static str,
    usize,
    fn(&Target, &mut Random) -> Result<u64, Failure>,
);

/// Name, threads, and what one call does; it returns the answers it verified.
const KINDS: [Kind; 14] = [
    ("keep-alive", 4, keep_alive),
    ("pipelined", 2, pipelined),
    ("close", 2, close),
    ("http/1.0", 1, http_1_0),
    ("post with a length", 2, post_length),
    ("post in chunks", 2, post_chunks),
    ("small and medium files", 2, files),
    ("large file", 1, large_file),
    ("ranges", 2, ranges),
    ("conditional and HEAD", 1, conditional),
    ("not found", 1, not_found),
    ("slow sender", 8, slow_sender),
    ("slow reader", 4, slow_reader),
    ("gone in the middle", 2, gone),
];

struct Target {
    address: SocketAddr,
    api: String,
    /// A route that answers a POST with its own body; without it a POST to `api` must be a 405.
    echo: Option<String>,
}

/// xorshift64*: the soak needs variety, not secrecy.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    close: bool,
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn open(target: &Target) -> Result<Client, Failure> {
        let stream = TcpStream::connect_timeout(&target.address, SILENCE);
        let stream = stream.map_err(|error| format!("connect: {error}"))?;
        let set = stream.set_read_timeout(Some(SILENCE));
        set.and_then(|()| stream.set_write_timeout(Some(SILENCE)))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| format!("socket: {error}"))?;
        Ok(Client {
            stream,
            input: Vec::new(),
        })
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.stream
            .write_all(bytes.as_ref())
            .map_err(|error| format!("send: {error}"))
    }

    fn get(&mut self, path: &str, fields: &str) -> Result<(), Failure> {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ))
    }

    /// Reads more, at most `most` bytes; 0 at the end.
    fn fill(&mut self, most: usize) -> Result<usize, Failure> {
        let mut block = [0; 65_536];
        let block = &mut block[..most.min(65_536)];
        let received = self
            .stream
            .read(block)
            .map_err(|error| format!("receive: {error}"))?;
        self.input.extend_from_slice(&block[..received]);
        Ok(received)
    }

    fn fill_to(&mut self, length: usize) -> Result<(), Failure> {
        while self.input.len() < length {
            if self.fill(65_536)? == 0 {
                let have = self.input.len();
                return Err(format!("ended after {have} of {length} bytes"));
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 2);
                return Ok(line);
            }
            let length = self.input.len();
            self.fill_to(length + 1)?;
        }
    }

    /// One whole answer; `bodiless` after a HEAD.
    fn answer(&mut self, bodiless: bool) -> Result<Answer, Failure> {
        let head = loop {
            if let Some(head) = parse_head(&self.input)? {
                break head;
            }
            let length = self.input.len();
            self.fill_to(length + 1)?;
        };
        let text = String::from_utf8_lossy(&self.input[..head.bytes]).into_owned();
        self.input.drain(..head.bytes);
        let body = match head.body_bytes {
            _ if bodiless => Vec::new(),
            Some(length) => {
                self.fill_to(length)?;
                self.input.drain(..length).collect()
            }
            None => self.chunks()?,
        };
        Ok(Answer {
            status: head.status,
            head: text,
            body,
            close: head.close,
        })
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or("").trim().to_owned();
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            self.fill_to(size + 2)?;
            body.extend(self.input.drain(..size));
            self.input.drain(..2);
        }
    }

    /// The server must close now, and say nothing more.
    fn end(mut self) -> Result<(), Failure> {
        if !self.input.is_empty() || self.fill(1)? != 0 {
            return Err("bytes after the last answer".into());
        }
        Ok(())
    }
}

impl Answer {
    fn expect(self, status: u16) -> Result<Answer, Failure> {
        if self.status == status {
            return Ok(self);
        }
        Err(format!(
            "expected {status}, got {:?}",
            self.head.lines().next()
        ))
    }

    fn expect_file(self, start: usize, length: usize) -> Result<(), Failure> {
        if self.body.len() != length {
            return Err(format!(
                "{} bytes of a file, expected {length}",
                self.body.len()
            ));
        }
        match first_difference(&self.body, start) {
            None => Ok(()),
            Some(at) => Err(format!("byte {} of a file is wrong", start + at)),
        }
    }

    fn field(&self, name: &str) -> Result<&str, Failure> {
        field(&self.head, name).ok_or_else(|| format!("no {name} in {:?}", self.head))
    }
}

fn keep_alive(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let count = 1 + random.below(200) as u64;
    for _ in 0..count {
        client.get(&target.api, "")?;
        let answer = client.answer(false)?.expect(200)?;
        if answer.body.is_empty() || answer.close {
            return Err(format!("an empty or last answer: {:?}", answer.head));
        }
    }
    Ok(count)
}

fn pipelined(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let mut answers = 0;
    for _ in 0..20 {
        // Files and API in turn: the order of the answers is part of the promise.
        let depth = 1 + random.below(16);
        let mut batch = String::new();
        for index in 0..depth {
            let file = format!("/{}", SMALL.0);
            let path = if index % 3 == 2 { &file } else { &target.api };
            batch += &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        client.send(batch)?;
        for index in 0..depth {
            let answer = client.answer(false)?.expect(200)?;
            if index % 3 == 2 {
                answer.expect_file(0, SMALL.1)?;
            } else if answer.body.len() == SMALL.1 {
                return Err("answers in the wrong order".into());
            }
            answers += 1;
        }
    }
    Ok(answers)
}

fn close(target: &Target, _: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    client.get(&target.api, "Connection: close\r\n")?;
    let answer = client.answer(false)?.expect(200)?;
    if !answer.close {
        return Err("no Connection: close in the last answer".into());
    }
    client.end()?;
    Ok(1)
}

fn http_1_0(target: &Target, _: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    client.send(format!(
        "GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n",
        target.api
    ))?;
    client.answer(false)?.expect(200)?;
    client.end()?;
    Ok(1)
}

/// A body of the files' bytes, and what must come back.
fn expect_post(target: &Target, mut client: Client, length: usize) -> Result<(), Failure> {
    let answer = client.answer(false)?;
    if target.echo.is_some() {
        answer.expect(200)?.expect_file(0, length)?;
    } else {
        answer.expect(405)?.field("Allow")?;
    }
    Ok(())
}

fn post_length(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let path = target.echo.as_ref().unwrap_or(&target.api);
    let length = random.below(60_000);
    let body: Vec<u8> = (0..length).map(byte_at).collect();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    client.send([head.as_bytes(), &body].concat())?;
    expect_post(target, client, length)?;
    Ok(1)
}

fn post_chunks(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let path = target.echo.as_ref().unwrap_or(&target.api);
    let length = random.below(60_000);
    let mut message =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    let mut at = 0;
    while at < length {
        let size = (1 + random.below(9_000)).min(length - at);
        message.extend(format!("{size:x}\r\n").bytes());
        message.extend((at..at + size).map(byte_at));
        message.extend(b"\r\n");
        at += size;
    }
    message.extend(b"0\r\n\r\n");
    client.send(message)?;
    expect_post(target, client, length)?;
    Ok(1)
}

fn files(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    for _ in 0..20 {
        let (name, length) = if random.below(4) == 0 { MEDIUM } else { SMALL };
        client.get(&format!("/{name}"), "")?;
        client.answer(false)?.expect(200)?.expect_file(0, length)?;
    }
    Ok(20)
}

fn large_file(target: &Target, _: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    client.get(&format!("/{}", LARGE.0), "")?;
    client.answer(false)?.expect(200)?.expect_file(0, LARGE.1)?;
    Ok(1)
}

fn ranges(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    for _ in 0..10 {
        let (name, length) = FILES[random.below(FILES.len())];
        let first = random.below(length);
        let last = (first + random.below(200_000)).min(length - 1);
        client.get(
            &format!("/{name}"),
            &format!("Range: bytes={first}-{last}\r\n"),
        )?;
        let answer = client.answer(false)?.expect(206)?;
        let expected = format!("bytes {first}-{last}/{length}");
        if answer.field("Content-Range")? != expected {
            return Err(format!(
                "{:?}, expected {expected}",
                answer.field("Content-Range")
            ));
        }
        answer.expect_file(first, last - first + 1)?;
    }
    client.get(&format!("/{}", SMALL.0), "Range: bytes=5000-\r\n")?;
    client.answer(false)?.expect(416)?;
    Ok(11)
}

fn conditional(target: &Target, _: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let path = format!("/{}", MEDIUM.0);
    client.get(&path, "")?;
    let answer = client.answer(false)?.expect(200)?;
    let tag = answer.field("ETag")?.to_owned();
    client.get(&path, &format!("If-None-Match: {tag}\r\n"))?;
    client.answer(false)?.expect(304)?;
    client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))?;
    let answer = client.answer(true)?.expect(200)?;
    if answer.field("Content-Length")? != MEDIUM.1.to_string() {
        return Err(format!("HEAD: {:?}", answer.head));
    }
    Ok(3)
}

fn not_found(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    for _ in 0..20 {
        client.get(&format!("/missing/{}", random.below(1_000_000)), "")?;
        client.answer(false)?.expect(404)?;
    }
    Ok(20)
}

/// A request in many small pieces; two pauses a second keep it under every head deadline.
fn slow_sender(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target.api);
    for piece in request.as_bytes().chunks(1 + random.below(20)) {
        client.send(piece)?;
        std::thread::sleep(Duration::from_millis(10 + random.below(40) as u64));
    }
    client.answer(false)?.expect(200)?;
    Ok(1)
}

/// A medium file through a straw: the server must keep what the socket does not take.
fn slow_reader(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let start = random.below(LARGE.1 - 1_500_000);
    let last = start + 1_499_999;
    client.get(
        &format!("/{}", LARGE.0),
        &format!("Range: bytes={start}-{last}\r\n"),
    )?;
    while client.input.len() < 400_000 {
        if client.fill(16_384)? == 0 {
            return Err("a slow reader was cut off".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    client
        .answer(false)?
        .expect(206)?
        .expect_file(start, 1_500_000)?;
    Ok(1)
}

/// Clients that leave: before a request, within one, within its answer.
fn gone(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    match random.below(3) {
        0 => {}
        1 => client.send("GET / HTTP/1.1\r\nHost: loc")?,
        _ => {
            client.get(&format!("/{}", LARGE.0), "")?;
            client.fill(1_000)?;
        }
    }
    Ok(0)
}

/// What one kind did, counted by its threads.
struct Tally {
    answers: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

fn work(kind: &Kind, target: &Target, tally: &Tally, over: &AtomicBool, seed: u64) {
    let mut random = Random(seed);
    while !over.load(Ordering::Relaxed) {
        match (kind.2)(target, &mut random) {
            Ok(answers) => {
                tally.answers.fetch_add(answers, Ordering::Relaxed);
            }
            Err(failure) => {
                if let Ok(mut failures) = tally.failures.lock() {
                    failures.push(failure);
                }
                return;
            }
        }
    }
}

pub(crate) fn soak(options: &Options) -> Result<(), Failure> {
    let target = Target {
        address: SocketAddr::V4(options.address()?),
        api: options.text("--api").unwrap_or("/api/message").to_owned(),
        echo: options.text("--echo").map(str::to_owned),
    };
    let seconds = Duration::from_secs_f64(options.number("--seconds", 60.0)?);
    let over = AtomicBool::new(false);
    let tallies: Vec<Tally> = KINDS
        .iter()
        .map(|_| Tally {
            answers: AtomicU64::new(0),
            failures: Mutex::new(Vec::new()),
        })
        .collect();
    std::thread::scope(|scope| {
        for (index, (kind, tally)) in KINDS.iter().zip(&tallies).enumerate() {
            for thread in 0..kind.1 {
                let seed = 1 + (index * 100 + thread) as u64;
                let (target, over) = (&target, &over);
                scope.spawn(move || work(kind, target, tally, over, seed));
            }
        }
        let started = Instant::now();
        let failed = |tally: &Tally| tally.failures.lock().map_or(true, |list| !list.is_empty());
        while started.elapsed() < seconds && !tallies.iter().any(failed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
    });
    report(&tallies)
}

fn report(tallies: &[Tally]) -> Result<(), Failure> {
    let mut failed = Vec::new();
    let mut parts = Vec::new();
    for (kind, tally) in KINDS.iter().zip(tallies) {
        let answers = tally.answers.load(Ordering::Relaxed);
        parts.push(format!("\"{}\": {answers}", kind.0));
        // "gone" waits for no answer; every other kind that got none was not tested at all.
        if answers == 0 && kind.0 != "gone in the middle" {
            failed.push(format!("{}: not one answer", kind.0));
        }
        if let Ok(failures) = tally.failures.lock() {
            failed.extend(
                failures
                    .iter()
                    .map(|failure| format!("{}: {failure}", kind.0)),
            );
        }
    }
    println!("{{{}}}", parts.join(", "));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n      "))
    }
}
