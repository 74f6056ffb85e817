//! The configuration file's text → its entries with line and column.
//!
//! `toml_parser` turns the text into events; this file keeps what a flat list of settings needs
//! (keys, scalars, arrays of scalars) and reports everything else, all mistakes of the file and
//! not only the first. It knows no setting: `config` compares the entries with the table.
//! TOML 1.0. Called for `aureon.toml` only.

use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{Expected, ParseError, Source, Span};

use crate::problem::order;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// In quotes, unescaped.
    Text(String),
    /// A whole number; none when it is negative or beyond 64 bits.
    Number(Option<u64>),
    /// `true` or `false`.
    Bool(bool),
    /// An array of the above.
    List(Vec<Written>),
    /// Something unquoted that no setting takes: a date, a fraction, a bare word.
    Bare(String),
}

/// A line and a column, both from 1; the column counts characters.
pub type Position = (u32, u32);

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key; parts of a dotted one joined by points.
    pub key: String,
    /// Where the key begins.
    pub key_at: Position,
    /// The value.
    pub value: Written,
    /// Where the value begins.
    pub value_at: Position,
}

/// A mistake in the text: where, what, what to write instead (may be empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub fix: String,
}

/// Arrays within arrays; no setting nests, so this only bounds the parser's recursion.
const DEPTH_MAX: u32 = 16;

/// Parses the text of a file. Entries are found even beside mistakes.
pub fn parse_entries(text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    let mut errors: Vec<ParseError> = Vec::new();
    let mut guard = RecursionGuard::new(&mut events, DEPTH_MAX);
    parse_document(&tokens, &mut guard, &mut errors);
    let mut reader = Reader {
        source,
        lines: Lines::new(text),
        errors,
        ..Reader::default()
    };
    for event in &events {
        reader.on_event(event);
    }
    reader.finish()
}

struct Reader<'a> {
    source: Source<'a>,
    lines: Lines<'a>,
    errors: Vec<ParseError>,
    entries: Vec<Entry>,
    mistakes: Vec<Mistake>,
    key: String,
    key_at: usize,
    /// Inside `[` and `]` of a heading, and since its mistake was reported.
    heading: bool,
    in_table: bool,
    /// How deep in arrays the value is, the deepest so far, and the array's elements.
    depth: u32,
    list: Vec<Written>,
    list_at: usize,
    /// How deep in inline tables.
    inline: u32,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Reader {
            source: Source::new(""),
            lines: Lines::new(""),
            errors: Vec::new(),
            entries: Vec::new(),
            mistakes: Vec::new(),
            key: String::new(),
            key_at: 0,
            heading: false,
            in_table: false,
            depth: 0,
            list: Vec::new(),
            list_at: 0,
            inline: 0,
        }
    }
}

impl Reader<'_> {
    fn on_event(&mut self, event: &Event) {
        let start = event.span().start();
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.heading = true;
                self.in_table = true;
                self.key.clear();
                self.report(
                    start,
                    "there are no tables in this file",
                    "write keys without one",
                );
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.heading = false;
                self.key.clear();
            }
            // A heading's mistake stands for all that is under it.
            _ if self.in_table => {}
            EventKind::InlineTableOpen => {
                if self.inline == 0 {
                    self.report(start, "no setting takes a table", "");
                }
                self.inline += 1;
            }
            EventKind::InlineTableClose => {
                self.inline = self.inline.saturating_sub(1);
                if self.inline == 0 {
                    self.key.clear();
                }
            }
            _ if self.inline > 0 => {}
            EventKind::SimpleKey => self.on_key(event),
            EventKind::ArrayOpen => {
                if self.depth == 0 {
                    self.list_at = start;
                    self.list.clear();
                } else if self.depth == 1 {
                    self.report(start, "no setting takes an array in an array", "");
                }
                self.depth += 1;
            }
            EventKind::ArrayClose => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    let list = Written::List(std::mem::take(&mut self.list));
                    self.on_value(self.list_at, list);
                }
            }
            EventKind::Scalar => {
                let value = self.scalar(event);
                match (self.depth, value) {
                    (0, Some(value)) => self.on_value(start, value),
                    // What is wrong with it is reported already.
                    (0, None) => self.key.clear(),
                    (1, Some(value)) => self.list.push(value),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn on_key(&mut self, event: &Event) {
        if self.key.is_empty() {
            self.key_at = event.span().start();
        } else {
            self.key.push('.');
        }
        if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut self.key, &mut self.errors);
        }
    }

    fn on_value(&mut self, value_at: usize, value: Written) {
        let entry = Entry {
            key: std::mem::take(&mut self.key),
            key_at: self.lines.locate(self.key_at),
            value,
            value_at: self.lines.locate(value_at),
        };
        let first = self.entries.iter().find(|other| other.key == entry.key);
        if let Some(first) = first {
            let line = crate::value::show_digits(u64::from(first.key_at.0));
            let what = ["`", &entry.key, "` stands a second time"].concat();
            self.report(self.key_at, &what, &["it is set on line ", &line].concat());
            return;
        }
        self.entries.push(entry);
    }

    fn scalar(&mut self, event: &Event) -> Option<Written> {
        let raw = self.source.get(event)?;
        let start = event.span().start();
        match event.encoding() {
            None if raw.is_empty() => {
                self.report(start, "there is no value", "");
                None
            }
            None => Some(parse_bare(raw.as_str())),
            Some(Encoding::LiteralString | Encoding::BasicString) => {
                // A key's quotes follow the same grammar as a value's; the general scalar
                // decoder would bring dates and floats, which no setting takes, into the binary.
                let mut text = String::new();
                raw.decode_key(&mut text, &mut self.errors);
                Some(Written::Text(text))
            }
            Some(_) => {
                self.report(
                    start,
                    "no setting takes several lines",
                    "write it in plain quotes",
                );
                None
            }
        }
    }

    fn report(&mut self, at: usize, what: &str, fix: &str) {
        let at = self.lines.locate(at);
        self.mistakes.push(Mistake {
            at,
            what: what.to_owned(),
            fix: fix.to_owned(),
        });
    }

    fn finish(mut self) -> (Vec<Entry>, Vec<Mistake>) {
        let errors = std::mem::take(&mut self.errors);
        let broken: Vec<Mistake> = errors.iter().map(|error| self.syntax(error)).collect();
        // What else seems wrong on a line that does not parse is a consequence.
        let sound = |at: Position| broken.iter().all(|mistake| mistake.at.0 != at.0);
        self.entries
            .retain(|entry| sound(entry.key_at) && sound(entry.value_at));
        self.mistakes.retain(|mistake| sound(mistake.at));
        self.mistakes.extend(broken);
        order(&mut self.mistakes, |mistake| mistake.at);
        // The parser may see one fault from two sides; a place is reported once.
        self.mistakes.dedup_by_key(|mistake| mistake.at);
        (self.entries, self.mistakes)
    }

    fn syntax(&self, error: &ParseError) -> Mistake {
        let span = error
            .unexpected()
            .or(error.context())
            .unwrap_or(Span::new_unchecked(0, 0));
        let mut fix = String::new();
        for expected in error.expected().unwrap_or_default() {
            fix.push_str(if fix.is_empty() { "expected " } else { " or " });
            match expected {
                Expected::Literal("\n") => fix.push_str("a new line"),
                Expected::Literal(word) => {
                    fix.push('`');
                    fix.push_str(word);
                    fix.push('`');
                }
                Expected::Description(words) => fix.push_str(words),
                _ => {}
            }
        }
        let at = self.lines.locate(span.start());
        Mistake {
            at,
            what: error.description().to_owned(),
            fix,
        }
    }
}

/// An unquoted value: a switch, a whole number by TOML's grammar, or nothing we take.
fn parse_bare(text: &str) -> Written {
    match text {
        "true" => return Written::Bool(true),
        "false" => return Written::Bool(false),
        _ => {}
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x', ..] => (16, &unsigned[2..]),
        [b'0', b'o', ..] => (8, &unsigned[2..]),
        [b'0', b'b', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => return Written::Bare(text.to_owned()),
        _ => (10, unsigned),
    };
    let bytes = digits.as_bytes();
    let mut previous = b'_';
    for &byte in bytes {
        let digit = char::from(byte).is_digit(radix);
        let separates = byte == b'_' && previous != b'_';
        if !digit && !separates {
            return Written::Bare(text.to_owned());
        }
        previous = byte;
    }
    // An underscore stands between digits, and there is at least one digit.
    if previous == b'_' {
        return Written::Bare(text.to_owned());
    }
    let digits: String = digits.chars().filter(|&digit| digit != '_').collect();
    let number = u64::from_str_radix(&digits, radix).ok();
    Written::Number(number.filter(|&number| !negative || number == 0))
}

/// Where a byte stands in a text.
struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        Lines { text }
    }

    // O(n) per question; a file has some dozens of entries and at most 64 KiB.
    fn locate(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = before.bytes().filter(|&byte| byte == b'\n').count();
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let counted = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        (counted(line), counted(column))
    }
}

/// Where the first byte stands that is not UTF-8, or the text.
pub fn parse_text(bytes: &[u8]) -> Result<&str, Position> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let text = std::str::from_utf8(valid).unwrap_or_default();
        Lines::new(text).locate(text.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, Written)]) {
        let (entries, mistakes) = parse_entries(text);
        assert_eq!(mistakes, [], "{text}");
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.clone()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    fn mistakes(text: &str) -> Vec<(u32, u32, String)> {
        let (_, mistakes) = parse_entries(text);
        mistakes
            .into_iter()
            .map(|m| (m.at.0, m.at.1, m.what))
            .collect()
    }

    #[test]
    fn reads_strings_numbers_switches_and_arrays() {
        let text = |text: &str| Written::Text(text.to_owned());
        check("", &[]);
        check("# nothing\n\n", &[]);
        check("a = \"x\\u00e9\\n\"", &[("a", text("xé\n"))]);
        check("a = 'x\\n'", &[("a", text("x\\n"))]);
        check(
            "a=1\r\nb = true # no\n",
            &[("a", Written::Number(Some(1))), ("b", Written::Bool(true))],
        );
        check(
            "a = [\n  \"x\", # first\n  2,\n]",
            &[(
                "a",
                Written::List(vec![text("x"), Written::Number(Some(2))]),
            )],
        );
        check(
            "\"quoted key\" = 0x_f",
            &[("quoted key", Written::Bare("0x_f".into()))],
        );
        check("a.b = 1", &[("a.b", Written::Number(Some(1)))]);
    }

    #[test]
    fn reads_numbers_by_the_grammar_of_toml() {
        let cases: [(&str, Option<Option<u64>>); 15] = [
            ("0", Some(Some(0))),
            ("+7", Some(Some(7))),
            ("1_000", Some(Some(1_000))),
            ("0xFF", Some(Some(255))),
            ("0o17", Some(Some(15))),
            ("0b101", Some(Some(5))),
            ("18446744073709551615", Some(Some(u64::MAX))),
            ("18446744073709551616", Some(None)),
            ("-1", Some(None)),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("01", None),
            ("1.5", None),
            ("10s", None),
        ];
        for (text, number) in cases {
            let expected = match number {
                Some(number) => Written::Number(number),
                None => Written::Bare(text.to_owned()),
            };
            assert_eq!(parse_bare(text), expected, "{text}");
        }
        // The oracle: whatever another parser takes as a whole number, we do too, and nothing
        // else but what only its signed type cannot hold.
        for text in cases.map(|(text, _)| text) {
            let table = ["a = ", text].concat().parse::<toml::Table>().ok();
            let oracle = table.and_then(|table| table["a"].as_integer());
            match parse_bare(text) {
                Written::Number(Some(ours)) => {
                    assert!(ours > i64::MAX as u64 || oracle == i64::try_from(ours).ok());
                }
                Written::Number(None) => assert!(oracle.is_none_or(|number| number < 0)),
                _ => assert_eq!(oracle, None, "{text}"),
            }
        }
    }

    #[test]
    fn says_line_and_column_in_characters() {
        let (entries, _) = parse_entries("# ü\n  \"ü\" =  'x'\n");
        assert_eq!(entries[0].key_at, (2, 3));
        assert_eq!(entries[0].value_at, (2, 10));
    }

    #[test]
    fn reports_every_mistake_and_keeps_the_sound_lines() {
        let text = "a = \nb = 1\nc = \"open\nd = 2\nb = 3\n[table]\nx = 1\n";
        let found = mistakes(text);
        let lines: Vec<u32> = found.iter().map(|mistake| mistake.0).collect();
        assert_eq!(lines, [1, 3, 5, 6], "{found:?}");
        let (entries, _) = parse_entries(text);
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["b", "d"]);
    }

    #[test]
    fn refuses_tables_in_every_form() {
        assert_eq!(mistakes("[limits]\na = 1\n")[0].0, 1);
        assert_eq!(mistakes("[[host]]\n")[0].0, 1);
        assert_eq!(mistakes("a = { b = 1, c = { d = 2 } }\n").len(), 1);
        assert_eq!(mistakes("a = [[1]]\n").len(), 1);
        assert_eq!(mistakes("a = '''x'''\n").len(), 1);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let text = ["a = ", &"[".repeat(100_000)].concat();
        assert!(!mistakes(&text).is_empty());
    }

    #[test]
    fn finds_the_first_byte_that_is_not_utf8() {
        assert_eq!(parse_text(b"ok"), Ok("ok"));
        assert_eq!(parse_text(b"a = 1\nb = '\xff'"), Err((2, 6)));
    }
}
