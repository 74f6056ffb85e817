//! `load tally [FILE...]`: what a JSON access log says happened, in counts. Reads standard input
//! until its end when no file is named.
//!
//! A line that is not one whole line is *torn*: two writers ran into each other, or one stopped in
//! the middle. What a client sends is escaped in the log, so it can not look like a key here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::{Failure, Options};

#[derive(Default)]
struct Tally {
    /// Exchanges by status and how they ended, refusals by `refused` and their reason.
    counts: BTreeMap<String, u64>,
    dropped: u64,
    torn: Vec<String>,
}

/// The value behind a key, as it stands in the line: a number, or a text without its quotes.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let begin = line.find(key)? + key.len();
    let rest = &line[begin..];
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    rest.split(['"', ',', '}']).next()
}

impl Tally {
    fn add(&mut self, line: &str) {
        let whole = line.starts_with("{\"ts\":\"")
            && line.ends_with('}')
            && line.matches("\"ts\":\"").count() == 1;
        if !whole {
            return self.torn.push(line.to_owned());
        }
        let name = if let Some(message) = value(line, "\"message\":") {
            let dropped = value(line, "\"dropped\":").and_then(|number| number.parse().ok());
            self.dropped += dropped.unwrap_or(0);
            format!("event {message}")
        } else {
            let status = value(line, "\"status\":").unwrap_or("?");
            let ending = value(line, "\"ending\":").unwrap_or("complete");
            match value(line, "\"method\":") {
                Some("") => format!("refused {ending}"),
                _ => format!("{status} {ending}"),
            }
        };
        *self.counts.entry(name).or_default() += 1;
    }

    fn read(&mut self, input: impl Read) -> Result<(), Failure> {
        let mut input = BufReader::with_capacity(1 << 20, input);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = input.read_until(b'\n', &mut line);
            if read.map_err(|error| error.to_string())? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            match text.strip_suffix('\n') {
                Some(text) => self.add(text),
                None => self.torn.push(text.into_owned()),
            }
        }
    }
}

pub(crate) fn tally(options: &Options) -> Result<(), Failure> {
    let mut tally = Tally::default();
    let names = options.all();
    if names.is_empty() {
        tally.read(std::io::stdin().lock())?;
    }
    for name in names {
        tally.read(File::open(name).map_err(|error| format!("{name}: {error}"))?)?;
    }
    let pairs = tally.counts.iter();
    let counts: Vec<String> = pairs.map(|(name, n)| format!("\"{name}\": {n}")).collect();
    for line in tally.torn.iter().take(3) {
        eprintln!("torn: {line}");
    }
    println!(
        "{{\"counts\": {{{}}}, \"dropped\": {}, \"torn\": {}}}",
        counts.join(", "),
        tally.dropped,
        tally.torn.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exchanges_refusals_and_losses_and_notices_a_torn_line() {
        let log = concat!(
            r#"{"ts":"a","level":"info","method":"GET","path":"/\"ts\":\"","status":200}"#,
            "\n",
            r#"{"ts":"a","method":"GET","status":200,"ending":"peer-gone"}"#,
            "\n",
            r#"{"ts":"a","method":"","status":408,"ending":"head-timeout"}"#,
            "\n",
            r#"{"ts":"a","level":"warn","message":"access log lines dropped","dropped":7}"#,
            "\n",
            r#"{"ts":"a","method":"GE{"ts":"a","method":"GET","status":200}"#,
            "\n",
            r#"{"ts":"a","method":"GET","sta"#,
        );
        let mut tally = Tally::default();
        tally.read(log.as_bytes()).unwrap();
        let counts: Vec<(&str, u64)> = tally.counts.iter().map(|(k, n)| (&**k, *n)).collect();
        let expected = [
            ("200 complete", 1),
            ("200 peer-gone", 1),
            ("event access log lines dropped", 1),
            ("refused head-timeout", 1),
        ];
        assert_eq!(counts, expected);
        assert_eq!((tally.dropped, tally.torn.len()), (7, 2));
    }
}
