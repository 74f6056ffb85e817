//! Gives the body of the fuzz target `config` the example configuration, spoiled by a seed.
//!
//! The same function runs under a fuzzing engine by `fuzz/run`. A failure prints the seed;
//! `SEED=… cargo test` begins with it. `FUZZ_SEEDS=DIRECTORY` writes what the engine starts from.

#![allow(clippy::unwrap_used, clippy::panic)]

use aureon_service::fuzz::config;
use std::panic::catch_unwind;

const EXAMPLE: &str = include_str!("../aureon.example.toml");

/// Spoiled files.
const SPOILED: u64 = 2_000;

const WORDS: &[&str] = &[
    "=",
    "\n",
    "\r\n",
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "\"\"\"",
    "'",
    "#",
    ".",
    ",",
    "true",
    "auto",
    "10s",
    "1MiB",
    "0",
    "-1",
    "18446744073709551616",
    "1e9",
    "0x10",
    "1979-05-27",
    "\\u0000",
    "\\",
    "port = ",
    "root = ",
    "listen = [\"::1\", \"a,b\"]",
    "{ a = 1 }",
    "é",
    "\0",
    "\u{feff}",
    " ",
];

/// SplitMix64.
fn bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(state: &mut u64, bound: usize) -> usize {
    (bits(state) % bound as u64) as usize
}

/// The example with every setting that it shows in a comment switched on.
fn switched_on() -> String {
    let uncommented = |line: &str| match line.strip_prefix("# ").or(line.strip_prefix('#')) {
        Some(rest) if rest.contains(" = ") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(uncommented).collect()
}

fn spoil(mut seed: u64, text: &str) -> Vec<u8> {
    let state = &mut seed;
    let lines: Vec<&str> = text.lines().collect();
    let start = below(state, lines.len());
    let some: Vec<&str> = lines[start..]
        .iter()
        .copied()
        .take(1 + below(state, 6))
        .collect();
    let mut bytes = some.join("\n").into_bytes();
    for _ in 0..below(state, 4) {
        let at = below(state, bytes.len() + 1);
        let end = (at + below(state, 8)).min(bytes.len());
        match below(state, 3) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, bits(state) as u8),
            _ => drop(bytes.splice(at..end, WORDS[below(state, WORDS.len())].bytes())),
        }
    }
    bytes
}

#[test]
fn configurations_hold() {
    let whole = switched_on();
    config(EXAMPLE.as_bytes());
    config(whole.as_bytes());
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS") {
        let directory = std::path::Path::new(&directory).join("config");
        std::fs::create_dir_all(&directory).unwrap();
        for (number, line) in whole.lines().chain([&*whole, EXAMPLE]).enumerate() {
            std::fs::write(directory.join(format!("example-{number}")), line).unwrap();
        }
    }
    let seed = std::env::var("SEED")
        .map_or(Ok(1), |seed| seed.parse())
        .unwrap();
    for seed in seed..seed + SPOILED {
        let input = spoil(seed, &whole);
        let result = catch_unwind(|| config(&input));
        assert!(result.is_ok(), "SEED={seed}: \"{}\"", input.escape_ascii());
    }
}
