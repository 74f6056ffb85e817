//! The reader of the configuration file beside a parser of all of TOML.
//!
//! Generated texts, most of them close to right: what both take must say the same, and what the
//! oracle refuses must be refused or be one of the few things that this reader leaves to `config`.
//! A failure prints the seed; `SEED=… cargo test` begins with it.

#![allow(clippy::unwrap_used, clippy::panic)]

use aureon_service::document::{Written, parse_entries};
use toml::{Table, Value};

/// Generated texts.
const TEXTS: u64 = 60_000;

/// What lines are made of, more than once where it should come often.
const WORDS: &[&str] = &[
    "a",
    "b",
    "c-d",
    "e_f",
    "1",
    "\"q\"",
    "'l'",
    ".",
    "=",
    "=",
    " = ",
    " = ",
    " = ",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "[",
    "]",
    "[",
    "]",
    ",",
    ", ",
    "\"x\"",
    "\"x y\"",
    "'x'",
    "'\\'",
    "\"\\\\\"",
    "\"\\u00e9\"",
    "\"\\U0001f600\"",
    "\"\\ud800\"",
    "\"\\q\"",
    "\"\\e\\x41\"",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "# c",
    " ",
    "\t",
    "true",
    "false",
    "0",
    "7",
    "-7",
    "+7",
    "1_000",
    "0x1F",
    "0o7",
    "0b1",
    "07",
    "1__0",
    "18446744073709551616",
    "9223372036854775808",
    "1.5",
    "10s",
    "inf",
    "1979-05-27",
    "{",
    "}",
    "{}",
    "é",
    "\0",
    "\u{7f}",
    "\u{1f}",
    "\u{feff}",
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

fn word(state: &mut u64) -> &'static str {
    WORDS[below(state, WORDS.len())]
}

/// A value as it should be, mostly.
fn value(state: &mut u64) -> &'static str {
    const VALUES: &[&str] = &[
        "\"x y\"",
        "'#'",
        "\"\\u00e9\"",
        "true",
        "0x1F",
        "1_0",
        "-7",
        "0",
    ];
    match below(state, 8) {
        0 => word(state),
        _ => VALUES[below(state, VALUES.len())],
    }
}

/// Some lines `key = value`, with a key of their own each, and now and then a word too many.
fn generate(mut seed: u64) -> String {
    let state = &mut seed;
    let mut text = String::new();
    if below(state, 50) == 0 {
        text.push('\u{feff}');
    }
    for line in 0..1 + below(state, 4) {
        text.push_str(&["k", &line.to_string(), " = "].concat());
        if below(state, 3) == 0 {
            text.push('[');
            for _ in 0..below(state, 4) {
                text.push_str(value(state));
                text.push_str([",", ", ", ",\n", "\n,", ", # c\n"][below(state, 5)]);
            }
            text.push(']');
        } else {
            text.push_str(value(state));
        }
        if below(state, 8) == 0 {
            text.push_str(word(state));
        }
        text.push('\n');
        if below(state, 8) == 0 {
            text.push_str(word(state));
            text.push_str(word(state));
        }
    }
    text
}

/// Whether the oracle's value is what was read.
fn is_same(read: &Written, oracle: &Value) -> bool {
    match (read, oracle) {
        (Written::Text(read), Value::String(oracle)) => read == oracle,
        (Written::Number(Some(read)), Value::Integer(oracle)) => {
            i64::try_from(*read) == Ok(*oracle)
        }
        (Written::Number(None), Value::Integer(oracle)) => *oracle < 0,
        (Written::Bool(read), Value::Boolean(oracle)) => read == oracle,
        (Written::Bare(_), Value::Float(_) | Value::Datetime(_)) => true,
        (Written::List(read), Value::Array(oracle)) => {
            read.len() == oracle.len()
                && read
                    .iter()
                    .zip(oracle)
                    .all(|(read, oracle)| is_same(read, oracle))
        }
        _ => false,
    }
}

/// Whether `config` refuses the value, or TOML cannot hold it: then the oracle may refuse it too.
fn is_for_config(read: &Written) -> bool {
    match read {
        Written::Bare(_) | Written::Number(None) => true,
        Written::Number(Some(number)) => i64::try_from(*number).is_err(),
        Written::List(list) => list.iter().any(is_for_config),
        _ => false,
    }
}

/// The values that are no tables, by their path.
fn leaves(table: &Table, path: &str, into: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = [path, if path.is_empty() { "" } else { "." }, key].concat();
        match value {
            Value::Table(inner) => leaves(inner, &path, into),
            value => into.push((path, value.clone())),
        }
    }
}

/// Which of the two took the text.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Taken {
    here: bool,
    by_oracle: bool,
}

fn compare(text: &str) -> Taken {
    let (entries, mistakes) = parse_entries(text);
    let oracle = text.parse::<Table>();
    let taken = Taken {
        here: mistakes.is_empty(),
        by_oracle: oracle.is_ok(),
    };
    match oracle {
        Ok(table) if mistakes.is_empty() => {
            let mut expected = Vec::new();
            leaves(&table, "", &mut expected);
            assert_eq!(entries.len(), expected.len(), "{entries:?}, {expected:?}");
            for entry in &entries {
                let (_, oracle) = expected
                    .iter()
                    .find(|(path, _)| *path == entry.key)
                    .unwrap();
                assert!(is_same(&entry.value, oracle), "{entry:?}, {oracle:?}");
            }
        }
        // Refused here only because no setting takes it.
        Ok(_) => {
            let first = &mistakes[0].what;
            let known = ["there are no tables", "no setting takes"];
            assert!(
                known.iter().any(|known| first.starts_with(known)),
                "{mistakes:?}"
            );
        }
        Err(_) if mistakes.is_empty() => {
            // A key that is a value and a table: two unknown keys here.
            let dotted = entries.iter().any(|entry| entry.key.contains('.'));
            let left = entries.iter().any(|entry| is_for_config(&entry.value));
            assert!(dotted || left, "taken: {entries:?}");
        }
        Err(_) => {}
    }
    taken
}

#[test]
fn a_parser_of_all_of_toml_reads_the_same() {
    let seed = std::env::var("SEED")
        .map_or(Ok(1), |seed| seed.parse())
        .unwrap();
    let mut counts = std::collections::HashMap::new();
    for seed in seed..seed + TEXTS {
        let text = generate(seed);
        let result = std::panic::catch_unwind(|| compare(&text));
        assert!(result.is_ok(), "SEED={seed}: {text:?}");
        *counts.entry(result.unwrap()).or_insert(0) += 1;
    }
    // The texts do try both.
    let both = counts[&Taken {
        here: true,
        by_oracle: true,
    }];
    let neither = counts[&Taken {
        here: false,
        by_oracle: false,
    }];
    assert!(both > TEXTS / 20 && neither > TEXTS / 20, "{counts:?}");
}

#[test]
fn what_a_mistake_leaves_is_read() {
    let text = "a = [\n  \"x\",\n  oops oops\n  'y'\n]\nb = 1\nc = \"\"\"\nd = 2\n\"\"\"\ne = 3\n";
    let (entries, mistakes) = parse_entries(text);
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["b", "e"], "{mistakes:?}");
    let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.at.0).collect();
    assert_eq!(lines, [4, 7], "{mistakes:?}");
}
