//! A Rust file as the rules see it: code without comments and literals, comments by themselves.
//!
//! A small scanner, not a parser: it knows comments (nested ones too), strings, raw strings and
//! character literals, so that a rule about code can not be fooled by text, and which lines
//! belong to items under `#[cfg(test)]`. Lines are kept, so that every finding has its number.

/// A file of the repository.
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// The text as it stands.
    pub(crate) text: String,
    /// The lines with comments and the contents of literals blanked out.
    pub(crate) code: Vec<String>,
    /// What comments say on each line, doc comments too, with their slashes.
    pub(crate) comments: Vec<String>,
    /// Whether each line belongs to a test.
    pub(crate) test: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = separate(text);
        let code: Vec<String> = code.split('\n').map(str::to_owned).collect();
        let comments: Vec<String> = comments.split('\n').map(str::to_owned).collect();
        let all = path.contains("/tests/") || path.contains("/src/sys/sim");
        let test = if all {
            vec![true; code.len()]
        } else {
            lines_of_tests(&code)
        };
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            comments,
            test,
        }
    }

    /// The lines of code, each with its number from 1 and whether it belongs to a test.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let lines = self.code.iter().zip(&self.test).enumerate();
        lines.map(|(at, (line, test))| (at + 1, line.as_str(), *test))
    }

    /// The code as one text, and the line of each of its bytes by [`line_of`].
    pub(crate) fn joined(&self) -> String {
        self.code.join("\n")
    }

    /// Whether the file lies in this directory.
    pub(crate) fn is_under(&self, directory: &str) -> bool {
        self.path.starts_with(directory)
    }
}

/// The line, from 1, of a byte of [`Source::joined`].
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The places where `word` stands in `code` with no other letter of a name around it.
pub(crate) fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let is_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let (before, after) = (&code[..*at], &code[at + word.len()..]);
            !is_name(before.chars().next_back()) && !is_name(after.chars().next())
        })
}

/// The byte behind the bracket that closes the one at `open`; the end if none does.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Marks the lines of every item that `#[cfg(test)]` or `#[test]` stands on.
fn lines_of_tests(lines: &[String]) -> Vec<bool> {
    let code = lines.join("\n");
    let mut test = vec![false; lines.len()];
    for mark in ["#[cfg(test)]", "#[cfg(any(test,", "#[test]"] {
        for (start, _) in code.match_indices(mark) {
            let behind = closing(&code, start + 1);
            let end = match code[behind..].find(['{', ';']).map(|at| behind + at) {
                Some(at) if code.as_bytes()[at] == b'{' => closing(&code, at),
                Some(at) => at,
                None => code.len(),
            };
            for line in &mut test[line_of(&code, start) - 1..line_of(&code, end - 1)] {
                *line = true;
            }
        }
    }
    test
}

/// Code and comments, each as long as the text in lines.
fn separate(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while let Some(char) = chars.get(at).copied() {
        let next = chars.get(at + 1).copied();
        let end = match (char, next) {
            ('/', Some('/')) => comment_line(&chars, at),
            ('/', Some('*')) => comment_block(&chars, at),
            ('"', _) => string(&chars, at, 0, true),
            ('r', Some('"' | '#')) if starts_word(&chars, at) => match raw_hashes(&chars, at) {
                Some(hashes) => string(&chars, at + 1 + hashes, hashes, false),
                None => at + 1,
            },
            ('\'', _) => character(&chars, at),
            _ => at + 1,
        };
        let comment = char == '/' && end > at + 1;
        for (offset, char) in chars[at..end].iter().enumerate() {
            let edge = offset == 0 || at + offset + 1 == end;
            match char {
                '\n' => {
                    code.push('\n');
                    comments.push('\n');
                }
                _ if comment => comments.push(*char),
                _ if edge => code.push(*char),
                _ => code.push(' '),
            }
        }
        at = end;
    }
    (code, comments)
}

fn comment_line(chars: &[char], at: usize) -> usize {
    let rest = chars[at..].iter().position(|c| *c == '\n');
    rest.map_or(chars.len(), |len| at + len)
}

fn comment_block(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Whether a literal's prefix could begin here: `for"` is no raw string, `br"` is one.
fn starts_word(chars: &[char], at: usize) -> bool {
    let is_name = |at: usize| chars[at].is_alphanumeric() || chars[at] == '_';
    match at {
        0 => true,
        1 => !is_name(0) || chars[0] == 'b',
        _ => !is_name(at - 1) || (chars[at - 1] == 'b' && !is_name(at - 2)),
    }
}

fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Behind the string whose opening quote is at `quote`.
fn string(chars: &[char], quote: usize, hashes: usize, escapes: bool) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' if escapes => at += 2,
            '"' if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes => {
                return at + 1 + hashes;
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// Behind a character literal, or behind the quote of a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match chars[at + 1..] {
        ['\\', _, ..] => {
            let end = chars[at + 3..].iter().position(|c| *c == '\'');
            end.map_or(chars.len(), |len| at + 3 + len + 1)
        }
        [_, '\'', ..] => at + 3,
        _ => at + 1,
    }
}

#[test]
fn separates_code_from_comments_and_literals() {
    let check = |text: &str, code: &str, comments: &str| {
        let source = Source::new("a.rs", text);
        assert_eq!(source.joined(), code, "{text}");
        assert_eq!(source.comments.join("\n"), comments, "{text}");
    };
    check("a // b", "a ", "// b");
    check("a /* b /* c */ d\n */ e", "a \n e", "/* b /* c */ d\n */");
    check(
        r#"f("a\"b // c", 'x', '\'', 'static)"#,
        r#"f("         ", ' ', '  ', 'static)"#,
        "",
    );
    check("br#\"a\" b\"#; x", "br       #; x", "");
    check("for\"a\"", "for\" \"", "");
    check("r#fn()", "r#fn()", "");
}

#[test]
fn knows_the_lines_of_tests() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
    assert_eq!(
        Source::new("a.rs", text).test,
        [false, true, true, true, true, false, false]
    );
    let text = "#[cfg(test)]\nuse a::b;\nfn c() {}";
    assert_eq!(Source::new("a.rs", text).test, [true, true, false]);
    let text = "#[test]\nfn a() {\n}\nfn b() {}";
    assert_eq!(Source::new("a.rs", text).test, [true, true, true, false]);
    assert_eq!(Source::new("crates/a/tests/b.rs", "fn a() {}").test, [true]);
}
