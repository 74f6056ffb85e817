//! What the operator got wrong: where it stands, what is wrong, what to type.
//!
//! Every mistake in flags, environment and file becomes one [`Problem`]; they are collected and
//! reported together. The process's exit codes have their names here and nowhere else. Nothing
//! in this file is about peers or handlers; those errors are the engine's.

use std::fmt::{self, Write as _};
use std::io;

use crate::json;
use crate::value::show_digits;

/// How a run of `aureond` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Fine = 0,
    /// It was understood but failed; another start may do better, for example once the network
    /// interface of an address is there.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Another process listens on an address. 69 is `EX_UNAVAILABLE` of sysexits.h. A service
    /// that was stopped has given its addresses back, so the other process is a stranger and a
    /// restart meets it again: a unit names this code, and the two below, in
    /// `RestartPreventExitStatus=`, so that systemd does not try for ever.
    Taken = 69,
    /// The user it runs as may not do what is asked: bind an address, read the root. 77 is
    /// `EX_NOPERM`.
    Denied = 77,
    /// The file, the environment, the root or the routes are wrong. 78 is `EX_CONFIG`.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Where a value or a mistake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Built in.
    Default,
    /// In a file; line and column count from one, the column in characters.
    File {
        /// The file as it was named or found.
        path: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// On the command line, in this flag or argument.
    Flag(String),
}

impl Place {
    /// As it is told. What is built in is called so.
    pub fn show(&self) -> String {
        match self {
            Place::Default => "default".to_owned(),
            Place::File { path, line, column } => {
                let (line, column) = (u64::from(*line), u64::from(*column));
                [path, ":", &show_digits(line), ":", &show_digits(column)].concat()
            }
            Place::Environment(name) | Place::Flag(name) => name.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.show())
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What would be right, or empty when `what` says it.
    pub fix: String,
}

impl Problem {
    /// Builds one.
    pub fn new(place: Place, what: impl Into<String>, fix: impl Into<String>) -> Problem {
        Problem {
            place,
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// The same of what is wrong and what would be right in parts.
    pub(crate) fn of(place: Place, what: &[&str], fix: &[&str]) -> Problem {
        Problem {
            place,
            what: what.concat(),
            fix: fix.concat(),
        }
    }

    /// As it is told, on one line.
    pub fn show(&self) -> String {
        let separator = if self.fix.is_empty() { "" } else { "; " };
        [&self.place.show(), ": ", &self.what, separator, &self.fix].concat()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.show())
    }
}

/// A line in parts and the error behind it, with a colon between.
pub fn with_error(parts: &[&str], error: &io::Error) -> String {
    let mut line = parts.concat();
    push_error(&mut line, error);
    line
}

/// A panic of the formatter goes no further: it would be one that everybody who tells of an error
/// has to let pass.
extern "C" fn push_error(line: &mut String, error: &io::Error) {
    // Writing into a string cannot fail.
    let _ = write!(line, ": {error}");
}

/// The code to leave with: usage when any mistake stands on the command line.
pub fn exit_of(problems: &[Problem]) -> Exit {
    let usage = problems
        .iter()
        .any(|problem| matches!(problem.place, Place::Flag(_)));
    if usage { Exit::Usage } else { Exit::Config }
}

/// Orders by position, stably. Insertion: what it is given is nearly in order and short, and
/// std's sort would cost 6 KB for each type.
pub fn order<T>(items: &mut [T], position: impl Fn(&T) -> (u32, u32)) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && position(&items[at - 1]) > position(&items[at]) {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// A text in quotes on one line, whatever is in it.
pub fn quote(text: &str) -> String {
    let mut out = Vec::new();
    json::write_string(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap_or_default()
}

/// The known word nearest to `word`, if one is near enough to have been meant: at most a third
/// of its letters wrong, and at least one allowed.
pub fn nearest<'a>(word: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(word, &mut known)
}

fn nearest_of<'a>(word: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    // A longer word is no typing mistake, and the table below is quadratic.
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    let mut best = None;
    let mut best_distance = allowed + 1;
    for candidate in known {
        let distance = edit_distance(word.as_bytes(), candidate.as_bytes());
        if distance < best_distance {
            best_distance = distance;
            best = Some(candidate);
        }
    }
    best
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
/// Upper and lower case are the same letter.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let width = right.len() + 1;
    // The cost of each beginning of `left` for each beginning of `right`, in rows.
    let mut costs = Vec::new();
    for row in 0..=left.len() {
        for column in 0..width {
            let behind = |count: usize| {
                let at = costs.len().wrapping_sub(count);
                costs.get(at).copied().unwrap_or(0)
            };
            let left = left.get(..row).unwrap_or_default();
            let cost = match (left, right.get(..column).unwrap_or_default()) {
                ([left @ .., a], [right @ .., b]) => {
                    let replaced = behind(width + 1) + usize::from(!a.eq_ignore_ascii_case(b));
                    let cost = replaced.min(behind(width) + 1).min(behind(1) + 1);
                    match left.last() == Some(b) && right.last() == Some(a) {
                        true => cost.min(behind(2 * width + 2) + 1),
                        false => cost,
                    }
                }
                // One of them is empty.
                _ => row + column,
            };
            costs.push(cost);
        }
    }
    costs.pop().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let known = ["listen", "idle_timeout", "head_timeout", "port"];
        let find = |word| nearest(word, &mut known.into_iter());
        assert_eq!(find("lisen"), Some("listen"));
        assert_eq!(find("ilde_timeout"), Some("idle_timeout"));
        assert_eq!(find("prot"), Some("port"), "a swap is one mistake");
        assert_eq!(find("workers"), None);
        assert_eq!(find(&"x".repeat(1000)), None);
    }

    #[test]
    fn orders_stably_and_quotes_on_one_line() {
        let mut items = [((2, 1), 'a'), ((1, 9), 'b'), ((2, 1), 'c'), ((1, 2), 'd')];
        order(&mut items, |item| item.0);
        assert_eq!(items.map(|item| item.1), ['d', 'b', 'a', 'c']);
        assert_eq!(quote("a\"\n\u{1b}"), r#""a\"\n\u001b""#);
    }

    #[test]
    fn counts_edits() {
        let check = |a: &str, b: &str, edits| {
            assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
            assert_eq!(edit_distance(b.as_bytes(), a.as_bytes()), edits, "{b} {a}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("ab", "ba", 1);
        check("same", "same", 0);
    }

    #[test]
    fn says_where_what_and_what_to_type() {
        let place = Place::File {
            path: "aureon.toml".into(),
            line: 3,
            column: 7,
        };
        let problem = Problem::of(
            place,
            &["unknown key `", "prot", "`"],
            &["did you mean `port`?"],
        );
        let shown = problem.to_string();
        assert_eq!(
            shown,
            "aureon.toml:3:7: unknown key `prot`; did you mean `port`?"
        );
        assert_eq!(exit_of(std::slice::from_ref(&problem)), Exit::Config);
        let flag = Problem::of(Place::Flag("--prot".into()), &["unknown"], &[]);
        assert_eq!(exit_of(&[problem, flag]), Exit::Usage);
    }
}
