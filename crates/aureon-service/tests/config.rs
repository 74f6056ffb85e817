//! The configuration under any bytes: it loads, or says where it is wrong, and never panics.
//!
//! The body is what a fuzz target runs; here it runs over seeded mutations of the example file.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon_service::config::{Inputs, load};
use aureon_service::problem::Place;

/// What must hold for every file.
fn check(bytes: &[u8]) {
    let file = Some(("fuzz.toml".to_owned(), bytes.to_vec()));
    let Err(problems) = load(&Inputs {
        file,
        ..Inputs::default()
    }) else {
        return;
    };
    assert!(!problems.is_empty());
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    for problem in problems {
        assert!(!problem.what.is_empty());
        match problem.place {
            Place::File { line, column, .. } => {
                let line = lines.get(line as usize - 1).expect("the line exists");
                // The column after the last character is where something is missing.
                assert!(
                    (1..=line.len() + 1).contains(&(column as usize)),
                    "{problem:?}"
                );
            }
            // Nothing but the file can be wrong here, and defaults fit each other.
            other => panic!("a mistake of the file is told at {other}"),
        }
    }
}

/// xorshift64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn every_mutation_of_the_example_loads_or_is_told_where_it_stands() {
    let example = include_str!("../aureon.example.toml");
    let lines: Vec<&str> = example
        .lines()
        .filter(|line| line.starts_with('#'))
        .collect();
    let pieces: [&[u8]; 16] = [
        b"=",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"'",
        b"\"\"\"",
        b"\\u00e9",
        b"\n",
        b"\r",
        b"#",
        b".",
        b"\xff",
        "é".as_bytes(),
        b"99999999999999999999",
    ];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(6) {
            let line = lines[random.below(lines.len())];
            bytes.extend_from_slice(line.strip_prefix('#').unwrap_or(line).as_bytes());
            bytes.push(b'\n');
        }
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() + 1);
            let piece = pieces[random.below(pieces.len())];
            let until = (at + random.below(4)).min(bytes.len());
            bytes.splice(at..until, piece.iter().copied());
        }
        check(&bytes);
    }
}

#[test]
fn bytes_that_are_no_configuration_at_all_are_told_too() {
    let mut random = Random(42);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..random.below(64))
            .map(|_| random.below(256) as u8)
            .collect();
        check(&bytes);
    }
    check(b"\xef\xbb\xbfport = 1\n");
    check(&b"[".repeat(10_000));
    check(&b"a.".repeat(10_000));
}
