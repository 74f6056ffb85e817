//! `load soak`: every kind of request at once, for a while, each kind on threads of its own, and
//! every answer compared with what it must be. The measuring script watches the server's memory.
//!
//! The kinds stand in `KINDS`, one function each; a function makes a few exchanges and returns, is
//! called again until the time is over, and any `Err` fails the whole soak. With `--faults` the
//! server is being hurt meanwhile: an `Err` is told at once, with its times, as a line of JSON,
//! and whoever does the hurting decides whether it is one of the wounds.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Ledger, Target};
use crate::files::{FILES, byte_at};
use crate::{Failure, Options};

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

fn keep_alive(target: &Target, random: &mut Random) -> Result<u64, Failure> {
    let mut client = Client::open(target)?;
    let count = 1 + random.below(200) as u64;
    for _ in 0..count {
        client.get(&target.api, "")?;
        let answer = client.answer(false)?.expect(200)?;
        if answer.body.is_empty() {
            return Err(format!("an empty answer: {:?}", answer.head));
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
        client.ask(depth, batch)?;
        for index in 0..depth {
            let answer = client.answer(false)?.expect(200)?;
            if index % 3 == 2 {
                answer.expect_file(0, SMALL.1)?;
            } else if answer.body.len() == SMALL.1 {
                return Err("answers in the wrong order".into());
            }
            answers += 1;
            if client.took_no_more(depth - 1 - index) {
                break;
            }
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
    let request = format!("GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", target.api);
    client.ask(1, request)?;
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
    client.ask(1, [head.as_bytes(), &body].concat())?;
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
    client.ask(1, message)?;
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
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.ask(1, request)?;
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
    client.asked(1);
    client.answer(false)?.expect(200)?;
    Ok(1)
}

fn start_of(input: &[u8]) -> &[u8] {
    &input[..input.len().min(12)]
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
    // What is no part of the file is read at once, for what it is.
    while client.input.len() < 400_000 && b"HTTP/1.1 206".starts_with(start_of(&client.input)) {
        if client.fill(16_384)? == 0 {
            let have = client.input.len();
            return Err(format!("a slow reader was cut off after {have} bytes"));
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
            if client.fill(1_000)? == 0 {
                return Err("no beginning of an answer".into());
            }
            target.ledger.leave();
        }
    }
    Ok(0)
}

/// What one kind did, counted by its threads.
struct Tally {
    answers: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

/// How a soak is done.
struct Plan {
    seed: u64,
    /// The server is hurt meanwhile: failures are told and not the end.
    faults: bool,
    /// Milliseconds at most between two calls of a kind on a thread.
    pause_ms: usize,
}

fn work(kind: &Kind, target: &Target, tally: &Tally, over: &AtomicBool, plan: &Plan, seed: u64) {
    let mut random = Random(seed);
    while !over.load(Ordering::Relaxed) {
        let began = unix_seconds();
        match (kind.2)(target, &mut random) {
            Ok(answers) => {
                tally.answers.fetch_add(answers, Ordering::Relaxed);
            }
            Err(failure) if plan.faults => tell(kind.0, began, &failure),
            Err(failure) => {
                if let Ok(mut failures) = tally.failures.lock() {
                    failures.push(failure);
                }
                return;
            }
        }
        if plan.pause_ms > 0 {
            std::thread::sleep(Duration::from_millis(random.below(plan.pause_ms) as u64));
        }
    }
}

fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// A failure as a line of JSON, for whoever knows what was done to the server in that time.
fn tell(kind: &str, began: f64, failure: &str) {
    let what: String = failure
        .chars()
        .map(|char| {
            if matches!(char, '"' | '\\') {
                '\''
            } else {
                char
            }
        })
        .filter(|char| !char.is_control())
        .collect();
    let ended = unix_seconds();
    println!(r#"{{"kind": "{kind}", "began": {began:.3}, "ended": {ended:.3}, "what": "{what}"}}"#);
}

pub(crate) fn soak(options: &Options) -> Result<(), Failure> {
    let plan = Plan {
        seed: options.number("--seed", 1)?,
        faults: options.flag("--faults"),
        pause_ms: options.number("--pause-ms", 0)?,
    };
    let target = Target {
        address: SocketAddr::V4(options.address()?),
        api: options.text("--api").unwrap_or("/api/message").to_owned(),
        echo: options.text("--echo").map(str::to_owned),
        may_close: plan.faults,
        ledger: Ledger::new(),
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
                let seed = plan.seed * 10_000 + (index * 100 + thread) as u64;
                let (target, over, plan) = (&target, &over, &plan);
                scope.spawn(move || work(kind, target, tally, over, plan, seed));
            }
        }
        let started = Instant::now();
        let failed = |tally: &Tally| tally.failures.lock().map_or(true, |list| !list.is_empty());
        while started.elapsed() < seconds && !tallies.iter().any(failed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
    });
    report(&tallies, &target)
}

fn report(tallies: &[Tally], target: &Target) -> Result<(), Failure> {
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
    let (kinds, ledger) = (parts.join(", "), target.ledger.json());
    println!("{{\"kinds\": {{{kinds}}}, {ledger}}}");
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n      "))
    }
}
