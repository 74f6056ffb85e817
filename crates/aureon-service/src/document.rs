//! The configuration file's text → its entries with line and column.
//!
//! Reads what a flat list of settings needs of TOML 1.0 (keys, scalars, arrays of scalars) and
//! reports everything else, all mistakes of the file and not only the first. The tables `app` and
//! `deploy` are read by `aureon deploy`, and skipped here. It knows no setting:
//! `config` compares the entries with the table. A parser of all of TOML would be 16 KB of the
//! program; `tests/document.rs` compares this one with one. Called for `aureon.toml` only.

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
    pub fix: &'static str,
}

/// Parses the text of a file. Entries are found even beside mistakes.
pub fn parse_entries(text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let mut reader = Reader {
        lines: Lines::new(text),
        // A mark of the byte order means nothing in UTF-8, and some editors write one.
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        in_array: false,
        in_table: false,
        entries: Vec::new(),
        mistakes: Vec::new(),
    };
    while reader.at < text.len() {
        if reader.line().is_none() {
            reader.recover();
        }
    }
    (reader.entries, reader.mistakes)
}

/// What may not stand in a comment or in quotes (TOML 1.0, "Comment" and "String").
fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

struct Reader<'a> {
    lines: Lines<'a>,
    /// The byte that is read next.
    at: usize,
    /// Whether the value is an array: it may go on after the end of its line.
    in_array: bool,
    /// Whether a table's heading was read: its mistake stands for all that is under it.
    in_table: bool,
    entries: Vec<Entry>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// Notes a mistake, after which the line is left.
    fn note(&mut self, at: usize, what: &[&str], fix: &'static str) {
        self.mistakes.push(Mistake {
            at: self.lines.locate(at),
            what: what.concat(),
            fix,
        });
        self.at = at;
    }

    /// The same, as what a part of the line comes to.
    fn fault<T>(&mut self, at: usize, what: &str, fix: &'static str) -> Option<T> {
        self.note(at, &[what], fix);
        None
    }

    fn rest(&self) -> &str {
        self.lines.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte; none at the end of the text.
    fn peek(&self) -> Option<u8> {
        self.lines.text.as_bytes().get(self.at).copied()
    }

    /// Whether `word` comes next, which is then read.
    fn skip(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Reads bytes as long as they are `wanted`.
    fn skip_while(&mut self, wanted: fn(u8) -> bool) {
        while self.peek().is_some_and(wanted) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        self.skip_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// What may follow on a line: blanks, a comment, the line's end.
    fn end_line(&mut self, expected: &'static str) -> Option<()> {
        self.skip_blanks();
        if self.skip("#") {
            self.skip_while(|byte| !is_control(byte));
        }
        if self.skip("\n") || self.skip("\r\n") || self.peek().is_none() {
            return Some(());
        }
        self.fault(self.at, "this does not belong here", expected)
    }

    fn line(&mut self) -> Option<()> {
        self.in_array = false;
        self.skip_blanks();
        let key_at = self.at;
        match self.peek() {
            None | Some(b'\n' | b'\r' | b'#') => {
                return self.end_line("expected a new line");
            }
            Some(b'[') => {
                if self.skip_operators_table() {
                    return Some(());
                }
                self.in_table = true;
                let what = "there are no tables but app and deploy in this file";
                return self.fault(key_at, what, "write keys without one");
            }
            _ => {}
        }
        let key = self.key()?;
        if !self.skip("=") {
            return self.fault(self.at, "a key needs a value", "expected `=`");
        }
        self.skip_blanks();
        let value_at = self.at;
        let value = if self.skip("[") {
            self.list()?
        } else {
            self.scalar()?
        };
        self.end_line("expected a new line")?;
        if let Some(first) = self.entries.iter().find(|other| other.key == key) {
            let line = crate::value::show_digits(u64::from(first.key_at.0));
            let what = "` stands a second time; it is set on line ";
            self.note(key_at, &["`", &key, what, &line], "");
            return None;
        }
        self.entries.push(Entry {
            key,
            key_at: self.lines.locate(key_at),
            value,
            value_at: self.lines.locate(value_at),
        });
        Some(())
    }

    /// Whether the table that begins here is one that `aureon deploy` reads, and we do not: then
    /// goes to the next heading, or to the end.
    fn skip_operators_table(&mut self) -> bool {
        let ours = |name: &str| matches!(name, "app" | "deploy");
        if !parse_heading(self.rest()).is_some_and(ours) {
            return false;
        }
        loop {
            self.skip_while(|byte| byte != b'\n');
            if !self.skip("\n") || parse_heading(self.rest()).is_some() {
                return true;
            }
        }
    }

    /// A key and the blanks after it.
    fn key(&mut self) -> Option<String> {
        let mut key = String::new();
        loop {
            let at = self.at;
            match self.peek() {
                Some(b'"' | b'\'') => key.push_str(&self.quoted()?),
                _ => {
                    self.skip_while(is_bare);
                    if self.at == at {
                        return self.fault(
                            at,
                            "this is no key",
                            "expected letters, digits, `-`, `_`",
                        );
                    }
                    key.push_str(self.lines.text.get(at..self.at).unwrap_or_default());
                }
            }
            self.skip_blanks();
            if !self.skip(".") {
                return Some(key);
            }
            key.push('.');
            self.skip_blanks();
        }
    }

    /// An array's elements, after its bracket.
    fn list(&mut self) -> Option<Written> {
        self.in_array = true;
        let mut list = Vec::new();
        loop {
            self.skip_lines()?;
            if self.skip("]") {
                break;
            }
            if self.peek() == Some(b'[') {
                return self.fault(self.at, "no setting takes an array in an array", "");
            }
            list.push(self.scalar()?);
            self.skip_lines()?;
            if !self.skip(",") && self.peek() != Some(b']') {
                return self.fault(self.at, "the array is not closed", "expected `,` or `]`");
            }
        }
        self.in_array = false;
        Some(Written::List(list))
    }

    /// Blanks, comments and ends of lines, between an array's elements.
    fn skip_lines(&mut self) -> Option<()> {
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(b'#' | b'\n' | b'\r') => self.end_line("expected a new line")?,
                _ => return Some(()),
            }
        }
    }

    fn scalar(&mut self) -> Option<Written> {
        let at = self.at;
        match self.peek() {
            Some(b'"' | b'\'') => return self.quoted().map(Written::Text),
            Some(b'{') => return self.fault(at, "no setting takes a table", ""),
            _ => {}
        }
        self.skip_while(|byte| !is_control(byte) && !b",]#=\"'{}[".contains(&byte));
        let bare = self.lines.text.get(at..self.at).unwrap_or_default();
        let bare = bare.trim_end_matches([' ', '\t']);
        if bare.is_empty() {
            return self.fault(at, "there is no value", "");
        }
        Some(parse_bare(bare))
    }

    /// A string in either kind of quotes, unescaped if they are double.
    fn quoted(&mut self) -> Option<String> {
        let start = self.at;
        let quote = if self.skip("\"\"\"") || self.skip("'''") {
            let what = "no setting takes several lines";
            return self.fault(start, what, "write it in plain quotes");
        } else if self.skip("\"") {
            '"'
        } else {
            self.at += 1;
            '\''
        };
        let mut text = String::new();
        loop {
            let at = self.at;
            let next = self.rest().chars().next();
            self.at += next.map_or(0, char::len_utf8);
            match next {
                Some(end) if end == quote => return Some(text),
                Some('\\') if quote == '"' => match self.escaped() {
                    Some(escaped) => text.push(escaped),
                    None => {
                        return self.fault(
                            at,
                            "there is no such escape",
                            "write `\\\\` for a backslash",
                        );
                    }
                },
                None | Some('\n' | '\r') => {
                    return self.fault(start, "the quotes are not closed", "");
                }
                Some(other) if u8::try_from(other).is_ok_and(is_control) => {
                    return self.fault(at, "a control character cannot stand in quotes", "");
                }
                Some(other) => text.push(other),
            }
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        let digits = match letter {
            b'b' => return Some('\u{8}'),
            b't' => return Some('\t'),
            b'n' => return Some('\n'),
            b'f' => return Some('\u{c}'),
            b'r' => return Some('\r'),
            b'e' => return Some('\u{1b}'),
            b'"' | b'\\' => return Some(char::from(letter)),
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return None,
        };
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        char::from_u32(code)
    }

    /// After a mistake, goes to where an entry may begin again: the next line, and in an array the
    /// next line that looks like one. Under a table's heading none does.
    fn recover(&mut self) {
        let is_long = self.rest().starts_with("\"\"\"") || self.rest().starts_with("'''");
        if self.in_table {
            self.at = self.lines.text.len();
        } else if is_long {
            // To its end, if it has one.
            let (quotes, inside) = self.rest().split_at_checked(3).unwrap_or_default();
            let mut threes = inside.as_bytes().windows(3);
            let end = threes.position(|three| three == quotes.as_bytes());
            self.at += 3 + end.unwrap_or(0);
        }
        loop {
            self.skip_while(|byte| byte != b'\n');
            self.skip("\n");
            let line = self.rest().trim_start_matches([' ', '\t']);
            let after_key = line.trim_start_matches(|char| u8::try_from(char).is_ok_and(is_bare));
            let looks_like_entry = after_key.len() < line.len()
                && after_key.trim_start_matches([' ', '\t']).starts_with('=');
            if !self.in_array || looks_like_entry || self.peek().is_none() {
                return;
            }
        }
    }
}

/// The first part of the name of a table whose heading begins the text: `app` of `[app.x]`.
fn parse_heading(text: &str) -> Option<&str> {
    let blank = [' ', '\t'];
    let name = text.trim_start_matches(blank).strip_prefix('[')?;
    let name = name.trim_start_matches('[').trim_start_matches(blank);
    let after = name.trim_start_matches(|char| u8::try_from(char).is_ok_and(is_bare));
    let ends = after.trim_start_matches(blank).starts_with([']', '.']);
    ends.then(|| name.get(..name.len() - after.len()))?
}

/// An unquoted value: a switch, a whole number by TOML's grammar, or nothing we take.
fn parse_bare(text: &str) -> Written {
    match text {
        "true" => return Written::Bool(true),
        "false" => return Written::Bool(false),
        _ => {}
    }
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefixed = |(prefix, radix)| Some((radix, unsigned.strip_prefix(prefix)?));
    let mut radixes = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter();
    let (radix, digits) = match radixes.find_map(prefixed) {
        Some(found) => found,
        None if unsigned.len() > 1 && unsigned.starts_with('0') => {
            return Written::Bare(text.to_owned());
        }
        None => (10, unsigned),
    };
    let mut previous = b'_';
    let mut number = Some(0_u64);
    for byte in digits.bytes() {
        match char::from(byte).to_digit(radix) {
            Some(digit) => {
                let before = number.and_then(|number| number.checked_mul(u64::from(radix)));
                number = before.and_then(|before| before.checked_add(u64::from(digit)));
            }
            None if byte == b'_' && previous != b'_' => {}
            None => return Written::Bare(text.to_owned()),
        }
        previous = byte;
    }
    // An underscore stands between digits, and there is at least one digit.
    if previous == b'_' {
        return Written::Bare(text.to_owned());
    }
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
        let before = self.text.get(..offset).unwrap_or_default();
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
    fn skips_what_the_operator_reads() {
        let text = "a = 1\n [ app . environment ] # x\n[x = \"\n[[deploy]]\nb = [\n [\"c\"],\n]\n";
        check(text, &[("a", Written::Number(Some(1)))]);
        check("[app]", &[]);
        for (text, line) in [
            ("[app]\nb = 1\n[other]\n", 3),
            ("[apps]\n", 1),
            ("[app\n", 1),
            ("[app]\n[[ deploys.b ]]\nx\n", 2),
        ] {
            let found = mistakes(text);
            assert_eq!((found.len(), found[0].0), (1, line), "{text}: {found:?}");
        }
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
