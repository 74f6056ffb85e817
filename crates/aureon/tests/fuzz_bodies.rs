//! Gives the bodies of the fuzz targets the wire corpus, what lies near it, and seeded noise.
//!
//! The same functions run under a fuzzing engine by `fuzz/run`; here they run in every
//! `cargo test`, without one. A failure prints the seed and the input; `SEED=… cargo test` begins
//! with that seed. With `FUZZ_SEEDS=DIRECTORY` the corpus is also written there, as files for
//! the engine to start from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod transcript;

use aureon::fuzz;
use aureon::sys::sim::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Spoiled inputs for each target; more belongs to `fuzz/run`.
const SPOILED: u64 = 1_500;

/// Bytes up to which an input is used: the longest transcripts only repeat a byte.
const INPUT_BYTES_MAX: usize = 20_000;

/// Pieces that mean something somewhere: what noise is made of.
const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS * ",
    "/",
    "//",
    "/../",
    "%2e",
    "%2F",
    "%00",
    "%",
    "\\",
    "?",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Expect: 100-continue\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    ";a=\"b\"",
    ":",
    ",",
    "-",
    "=",
    "bytes=",
    "0-0",
    "-1",
    "5-",
    "{a}",
    "{*rest}",
    "/{a}/b",
    "\0",
    "\u{7f}",
    "é",
    "hello",
];

/// Routes that lie on each other.
const ROUTES: &str = "/\n/a\n/a/\n/{x}\n/a/{x}/c\n/a/b/{y}\n/{x}/b/c\n/a/{*r}\n/é/{x}\n";

/// `Range` fields.
const RANGES: &[&str] = &[
    "bytes=0-0",
    "bytes=0-499",
    "bytes=500-",
    "bytes=-500",
    "bytes=-0",
    "bytes=0-0,-1",
    "bytes=500-700, 601-999",
    "bytes=1-2,,4-5, ,900-901",
    "bytes=9999999999999999999999-",
    "bytes=5-1",
    "Bytes = 1-2",
    "lines=1-2",
    "bytes=0-0,100-100,200-200,300-300",
];

/// Beginnings of connections that are made for somebody.
const PROXY_HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP6 2001:db8::9 ::1 0 65535\r\n",
    b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::1 65535 65535\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / HTTP/1.1\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\xff\0\x05hello",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccdd",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13aaaabbbbccdd\x04\0\x04\0\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xffaaaabbbbccdd",
];

/// What proxies say of their clients: even first bytes for `X-Forwarded-For`, odd ones for
/// `Forwarded`.
const CLIENTS: &[&[u8]] = &[
    b"0203.0.113.9",
    b"06.6.6.6, 203.0.113.9, 10.0.0.2",
    b"06.6.6.6\n203.0.113.9\n10.0.0.3, 10.0.0.2",
    b"0[2001:db8::9]:4711, fd00::1",
    b"0::ffff:10.0.0.7, ::ffff:10.0.0.8",
    b"0unknown, 10.0.0.2",
    b"0203.0.113.9:80,10.0.0.2:65536",
    b"0 , ,10.0.0.2, ",
    b"1for=203.0.113.9",
    b"1for=6.6.6.6, For=\"[2001:db8::9]:4711\";proto=https, for=10.0.0.1;by=10.0.0.2",
    b"1for=_hidden;host=\"example.com:8443\", for=10.0.0.2",
    b"1for=1.1.1.1;for=2.2.2.2",
    b"1by=10.0.0.1;for=\"10.0.0.2\\\"\"",
];

/// The inputs of a target, in a fixed order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let wire: Vec<Vec<u8>> = transcript::load()
        .iter()
        .map(|case| case.bytes("\"x\""))
        .collect();
    let of_target = |prefix: &str, byte: fn(&[u8]) -> &[u8]| -> Vec<Vec<u8>> {
        wire.iter()
            .map(|bytes| [prefix.as_bytes(), byte(bytes)].concat())
            .collect()
    };
    let mut inputs = match target {
        "chunked" => of_target("", behind_head),
        "path" => of_target("", request_target),
        "router" => of_target(ROUTES, request_target),
        "range" => RANGES
            .iter()
            .map(|field| [b"\x10\x10", field.as_bytes()].concat())
            .collect(),
        "proxy" => PROXY_HEADERS.iter().map(|bytes| bytes.to_vec()).collect(),
        "clients" => CLIENTS.iter().map(|bytes| bytes.to_vec()).collect(),
        _ => of_target("", |bytes| bytes),
    };
    inputs.retain(|input| !input.is_empty() && input.len() <= INPUT_BYTES_MAX);
    inputs.sort();
    inputs.dedup();
    inputs
}

fn behind_head(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |end| &bytes[end + 4..])
}

fn request_target(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Cuts, repeats, replaces and inserts, a few times.
fn spoil(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    bytes.truncate(600);
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(8)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, random.bits() as u8),
            2 => {
                let word = WORDS[random.below(WORDS.len())];
                drop(bytes.splice(at..end, word.bytes()));
            }
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let piece = &other[random.below(other.len())..];
                drop(bytes.splice(at.., piece.iter().copied().take(200)));
            }
            _ => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
    bytes
}

fn check(target: &str, body: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(
        corpus.len() >= 10,
        "{target} has a corpus of {}",
        corpus.len()
    );
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS") {
        let directory = std::path::Path::new(&directory).join(target);
        std::fs::create_dir_all(&directory).unwrap();
        for (number, input) in corpus.iter().enumerate() {
            std::fs::write(directory.join(format!("wire-{number}")), input).unwrap();
        }
    }
    for input in &corpus {
        holds(body, input, "the corpus");
    }
    let seed = std::env::var("SEED")
        .map_or(Ok(1), |seed| seed.parse())
        .unwrap();
    for seed in seed..seed + SPOILED {
        let input = spoil(&mut Random::new(seed), &corpus);
        holds(body, &input, &format!("SEED={seed}"));
    }
}

/// Runs the body; a failure also says which input it was.
fn holds(body: fn(&[u8]), input: &[u8], origin: &str) {
    let result = catch_unwind(AssertUnwindSafe(|| body(input)));
    assert!(result.is_ok(), "{origin}: \"{}\"", input.escape_ascii());
}

#[test]
fn heads_hold() {
    check("head", fuzz::head);
}

#[test]
fn chunks_hold() {
    check("chunked", fuzz::chunked);
}

#[test]
fn sessions_hold() {
    check("session", fuzz::session);
}

#[test]
fn routes_hold() {
    check("router", fuzz::router);
}

#[test]
fn paths_hold() {
    check("path", fuzz::path);
}

#[test]
fn ranges_hold() {
    check("range", fuzz::range);
}

#[test]
fn proxy_headers_hold() {
    check("proxy", fuzz::proxy);
}

#[test]
fn clients_hold() {
    check("clients", fuzz::clients);
}

#[test]
fn a_body_that_fails_names_its_input() {
    let failed = catch_unwind(|| holds(|_| panic!("as it must"), b"a\r", "here")).unwrap_err();
    assert_eq!(failed.downcast_ref::<String>().unwrap(), "here: \"a\\r\"");
}
