//! One connection of the soak's: requests out, whole answers in, and a ledger of both.
//!
//! The ledger is what a server's own counts are compared with. A request is *asked* when it was
//! sent whole, *answered* when its whole answer came, *left* when this side went away within the
//! answer. What was asked and is neither has failed, and the server may or may not have seen it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::answer::{field, parse_head};
use crate::files::first_difference;

const SILENCE: Duration = Duration::from_secs(20);

/// What is asked, and what came of it.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) api: String,
    /// A route that answers a POST with its own body; without it a POST to `api` must be a 405.
    pub(crate) echo: Option<String>,
    /// Whether the server may say that an answer is a connection's last although nobody asked
    /// for that, as one does that another process takes over from.
    pub(crate) may_close: bool,
    pub(crate) ledger: Ledger,
}

/// Counts of all connections together.
pub(crate) struct Ledger {
    connections: AtomicU64,
    asked: AtomicU64,
    left: AtomicU64,
    /// By status.
    answered: Vec<AtomicU64>,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            connections: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            left: AtomicU64::new(0),
            answered: (0..600).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn leave(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// `"connections": 1, "asked": 2, "left": 0, "answered": {"200": 2}`
    pub(crate) fn json(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered: Vec<String> = (self.answered.iter().enumerate())
            .filter(|(_, count)| read(count) > 0)
            .map(|(status, count)| format!("\"{status}\": {}", read(count)))
            .collect();
        format!(
            "\"connections\": {}, \"asked\": {}, \"left\": {}, \"answered\": {{{}}}",
            read(&self.connections),
            read(&self.asked),
            read(&self.left),
            answered.join(", ")
        )
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) close: bool,
}

pub(crate) struct Client<'a> {
    target: &'a Target,
    stream: TcpStream,
    pub(crate) input: Vec<u8>,
    /// The server said that it closes.
    last: bool,
}

fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect_timeout(&target.address, SILENCE);
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    target.ledger.connections.fetch_add(1, Ordering::Relaxed);
    let set = stream.set_read_timeout(Some(SILENCE));
    set.and_then(|()| stream.set_write_timeout(Some(SILENCE)))
        .and_then(|()| stream.set_nodelay(true))
        .map_err(|error| format!("socket: {error}"))?;
    Ok(stream)
}

impl<'a> Client<'a> {
    pub(crate) fn open(target: &'a Target) -> Result<Client<'a>, Failure> {
        Ok(Client {
            target,
            stream: connect(target)?,
            input: Vec::new(),
            last: false,
        })
    }

    /// Sends bytes that are no whole request.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.stream
            .write_all(bytes.as_ref())
            .map_err(|error| format!("send: {error}"))
    }

    /// Sends so many whole requests, on another connection if the server ended this one.
    pub(crate) fn ask(&mut self, count: usize, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        if self.last {
            if !self.target.may_close {
                return Err("the server ends a connection that is to live on".into());
            }
            let ended = std::mem::replace(self, Client::open(self.target)?);
            ended.end()?;
        }
        self.send(bytes)?;
        self.asked(count);
        Ok(())
    }

    /// So many requests are on their way whole.
    pub(crate) fn asked(&self, count: usize) {
        let asked = &self.target.ledger.asked;
        asked.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Whether the server reads no more requests here. Those of a pipeline that stand behind its
    /// last answer were not accepted, and may be asked again (RFC 9112 §9.3.1, §9.6).
    pub(crate) fn took_no_more(&self, behind: usize) -> bool {
        if self.last && self.target.may_close {
            let asked = &self.target.ledger.asked;
            asked.fetch_sub(behind as u64, Ordering::Relaxed);
            return true;
        }
        false
    }

    pub(crate) fn get(&mut self, path: &str, fields: &str) -> Result<(), Failure> {
        self.ask(
            1,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
        )
    }

    /// Reads more, at most `most` bytes; 0 at the end.
    pub(crate) fn fill(&mut self, most: usize) -> Result<usize, Failure> {
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
    pub(crate) fn answer(&mut self, bodiless: bool) -> Result<Answer, Failure> {
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
        if let Some(count) = self.target.ledger.answered.get(usize::from(head.status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.last = head.close;
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
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        if !self.input.is_empty() || self.fill(1)? != 0 {
            return Err("bytes after the last answer".into());
        }
        Ok(())
    }
}

impl Answer {
    pub(crate) fn expect(self, status: u16) -> Result<Answer, Failure> {
        if self.status == status {
            return Ok(self);
        }
        Err(format!(
            "expected {status}, got {:?}",
            self.head.lines().next()
        ))
    }

    pub(crate) fn expect_file(self, start: usize, length: usize) -> Result<(), Failure> {
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

    pub(crate) fn field(&self, name: &str) -> Result<&str, Failure> {
        field(&self.head, name).ok_or_else(|| format!("no {name} in {:?}", self.head))
    }
}
