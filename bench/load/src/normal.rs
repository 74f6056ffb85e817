//! `load normal`: a normal user while something else goes on. An open loop: requests are due at a
//! fixed rate whether or not the last one was answered, half of them on kept connections, half on
//! one of their own, and each is timed from when it was due. A server that stalls can so not hide
//! what it did to those who came meanwhile.
//!
//! A kept connection that the server has closed while it was idle is no failure: the request is
//! sent again on a new one, once, as RFC 9112 §9.3.1 has clients do, and counted as retried.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::answer::parse_head;
use crate::files::first_difference;
use crate::socket::{Epoll, Events, connect_later, connected, receive, send};
use crate::{Failure, Options};

/// Longer than this is no answer: the user has gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Exchanges under way at once; more wait for nothing and are counted as timed out.
const UNDER_WAY_MAX: usize = 8_192;
const INPUT_BYTES: usize = 1 << 16;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Free,
    Connecting,
    Waiting,
    /// Kept, for the next request.
    Idle,
}

struct Slot {
    state: State,
    socket: Option<OwnedFd>,
    due: Instant,
    keep: bool,
    /// The connection has carried an answer before.
    used: bool,
    /// This request was sent before, on a kept connection that was closed.
    again: bool,
    input: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    ok: u64,
    /// Another status or other bytes than the file's.
    wrong: u64,
    /// The file is not there: 404, where that was announced.
    absent: u64,
    refused: u64,
    reset: u64,
    closed: u64,
    timeout: u64,
    retried: u64,
}

struct Normal {
    address: SocketAddrV4,
    from: SocketAddrV4,
    sources: u32,
    requests: [Vec<u8>; 2],
    body_bytes: usize,
    absent_allowed: bool,
    epoll: Epoll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    idle: Vec<usize>,
    connects: u32,
    under_way: usize,
    counts: Counts,
    latencies_us: Vec<u32>,
    input: Vec<u8>,
    first_wrong: String,
}

pub(crate) fn normal(options: &Options) -> Result<(), Failure> {
    let rate: f64 = options.number("--rate", 500.0)?;
    let seconds: f64 = options.number("--seconds", 2.0)?;
    let path = options.text("--path").unwrap_or("/1k.bin");
    let request = |end: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n");
    let mut normal = Normal {
        address: options.address()?,
        from: options.from()?,
        sources: options.number("--sources", 32)?,
        requests: [
            request("").into_bytes(),
            request("Connection: close\r\n").into_bytes(),
        ],
        body_bytes: options.number("--body-bytes", 1_024)?,
        absent_allowed: options.flag("--absent"),
        epoll: Epoll::new().map_err(|error| error.to_string())?,
        slots: Vec::new(),
        free: Vec::new(),
        idle: Vec::new(),
        connects: 0,
        under_way: 0,
        counts: Counts::default(),
        latencies_us: Vec::new(),
        input: vec![0; INPUT_BYTES],
        first_wrong: String::new(),
    };
    normal.run(rate, seconds)?;
    normal.report(seconds);
    Ok(())
}

impl Normal {
    fn run(&mut self, rate: f64, seconds: f64) -> Result<(), Failure> {
        let started = Instant::now();
        let total = (rate * seconds) as u64;
        let mut begun = 0;
        let mut events = Events::new();
        loop {
            let now = Instant::now();
            let due = |number: u64| started + Duration::from_secs_f64(number as f64 / rate);
            while begun < total && due(begun) <= now {
                self.begin(due(begun), begun % 2 == 0);
                begun += 1;
            }
            if begun == total && self.under_way == 0 {
                return Ok(());
            }
            self.give_up(now);
            let next = if begun < total {
                due(begun)
            } else {
                now + PATIENCE
            };
            let wait = next.saturating_duration_since(Instant::now());
            // A whole millisecond at least would be late: what is below one is polled for.
            let wait_ms = (wait.as_millis() as i32).min(50);
            let ready = self.epoll.wait(events.room(), wait_ms);
            let ready = ready.map_err(|error| format!("epoll: {error}"))?;
            for at in 0..ready {
                self.on_event(events.token(at));
            }
        }
    }

    /// Begins the request that was due at this time.
    fn begin(&mut self, due: Instant, keep: bool) {
        if self.under_way >= UNDER_WAY_MAX {
            self.counts.timeout += 1;
            return;
        }
        self.under_way += 1;
        if keep && let Some(token) = self.idle.pop() {
            let slot = &mut self.slots[token];
            (slot.due, slot.again) = (due, false);
            return self.ask(token);
        }
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                state: State::Free,
                socket: None,
                due,
                keep,
                used: false,
                again: false,
                input: Vec::new(),
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[token];
        (slot.due, slot.keep, slot.again) = (due, keep, false);
        self.open(token);
    }

    fn open(&mut self, token: usize) {
        let last = self.connects % self.sources.max(1);
        self.connects = self.connects.wrapping_add(1);
        let from = SocketAddrV4::new((self.from.ip().to_bits() + last).into(), 0);
        let opened = connect_later(self.address, from, None);
        let opened = opened.and_then(|socket| {
            self.epoll.add_both(socket.as_raw_fd(), token)?;
            Ok(socket)
        });
        let slot = &mut self.slots[token];
        slot.input.clear();
        slot.used = false;
        match opened {
            Ok(socket) => (slot.socket, slot.state) = (Some(socket), State::Connecting),
            Err(error) => self.fail(token, &error),
        }
    }

    fn ask(&mut self, token: usize) {
        let slot = &mut self.slots[token];
        slot.state = State::Waiting;
        let request = &self.requests[usize::from(!slot.keep)];
        let Some(socket) = &slot.socket else { return };
        if let Err(error) = send(socket.as_raw_fd(), request) {
            self.fail(token, &error);
        }
    }

    fn on_event(&mut self, token: usize) {
        let slot = &mut self.slots[token];
        let Some(socket) = &slot.socket else { return };
        let raw = socket.as_raw_fd();
        match slot.state {
            State::Connecting => match connected(raw) {
                Ok(false) => {}
                Ok(true) => self.ask(token),
                Err(error) => self.fail(token, &error),
            },
            State::Waiting => loop {
                match receive(raw, &mut self.input) {
                    Ok(None) => return,
                    Ok(Some(0)) => return self.fail_closed(token),
                    Ok(Some(count)) => {
                        let slot = &mut self.slots[token];
                        slot.input.extend_from_slice(&self.input[..count]);
                        if self.look(token) {
                            return;
                        }
                    }
                    Err(error) => return self.fail(token, &error),
                }
            },
            // The server has closed an idle connection.
            State::Idle => {
                if !matches!(receive(raw, &mut self.input), Ok(None)) {
                    self.idle.retain(|idle| *idle != token);
                    self.release(token);
                }
            }
            State::Free => {}
        }
    }

    /// Whether the answer is whole, and then what it was.
    fn look(&mut self, token: usize) -> bool {
        let slot = &self.slots[token];
        let head = match parse_head(&slot.input) {
            Ok(None) => return false,
            Ok(Some(head)) => head,
            Err(reason) => {
                self.end_wrong(token, reason);
                return true;
            }
        };
        let body = &slot.input[head.bytes..];
        let Some(length) = head.body_bytes else {
            self.end_wrong(token, "chunked".to_owned());
            return true;
        };
        if body.len() < length {
            return false;
        }
        if self.absent_allowed && head.status == 404 {
            self.counts.absent += 1;
            self.end(token, !head.close);
            return true;
        }
        let right = head.status == 200
            && body.len() == self.body_bytes
            && first_difference(body, 0).is_none();
        if !right {
            let reason = format!("status {}, {} bytes", head.status, body.len());
            self.end_wrong(token, reason);
            return true;
        }
        self.counts.ok += 1;
        let us = slot.due.elapsed().as_micros().min(u128::from(u32::MAX));
        self.latencies_us.push(us as u32);
        self.end(token, !head.close);
        true
    }

    /// The exchange is over; the connection may live on.
    fn end(&mut self, token: usize, lives: bool) {
        self.under_way -= 1;
        let slot = &mut self.slots[token];
        slot.input.clear();
        if lives && slot.keep {
            (slot.state, slot.used) = (State::Idle, true);
            self.idle.push(token);
        } else {
            self.release(token);
        }
    }

    fn end_wrong(&mut self, token: usize, reason: String) {
        self.counts.wrong += 1;
        if self.first_wrong.is_empty() {
            self.first_wrong = reason;
        }
        self.end(token, false);
    }

    fn release(&mut self, token: usize) {
        let slot = &mut self.slots[token];
        (slot.socket, slot.state) = (None, State::Free);
        self.free.push(token);
    }

    /// Sends the request again where a client may; true when it does.
    fn retries(&mut self, token: usize) -> bool {
        let slot = &mut self.slots[token];
        let may = slot.used && !slot.again && slot.input.is_empty();
        if may {
            slot.again = true;
            slot.socket = None;
            self.counts.retried += 1;
            self.open(token);
        }
        may
    }

    fn fail_closed(&mut self, token: usize) {
        if !self.retries(token) {
            self.counts.closed += 1;
            self.end(token, false);
        }
    }

    fn fail(&mut self, token: usize, error: &std::io::Error) {
        if self.retries(token) {
            return;
        }
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => self.counts.refused += 1,
            std::io::ErrorKind::TimedOut => self.counts.timeout += 1,
            _ => self.counts.reset += 1,
        }
        self.end(token, false);
    }

    fn give_up(&mut self, now: Instant) {
        for token in 0..self.slots.len() {
            let slot = &self.slots[token];
            let waits = matches!(slot.state, State::Connecting | State::Waiting);
            if waits && slot.due + PATIENCE < now {
                self.counts.timeout += 1;
                self.end(token, false);
            }
        }
    }

    fn report(&mut self, seconds: f64) {
        self.latencies_us.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies_us.len() as f64 * share) as usize;
            self.latencies_us.get(index).copied().unwrap_or(0)
        };
        let counts = &self.counts;
        println!(
            "{{\"ok\": {}, \"wrong\": {}, \"absent\": {}, \"refused\": {}, \"reset\": {}, \
             \"closed\": {}, \"timeout\": {}, \"retried\": {}, \"seconds\": {seconds}, \
             \"p50_us\": {}, \"p99_us\": {}, \"max_us\": {}, \"first_wrong\": {:?}}}",
            counts.ok,
            counts.wrong,
            counts.absent,
            counts.refused,
            counts.reset,
            counts.closed,
            counts.timeout,
            counts.retried,
            at(0.50),
            at(0.99),
            self.latencies_us.last().copied().unwrap_or(0),
            self.first_wrong,
        );
    }
}
