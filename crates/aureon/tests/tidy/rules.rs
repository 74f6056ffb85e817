//! The rules that a file can be held to by itself, each a function from a file to findings.
//!
//! [`RULES`] is the list; a rule that is not in it does not exist. What is allowed in spite of a
//! rule stands here, with its reason, and nowhere else: there is no comment that switches a rule
//! off. Rules about several files at once are in `documents.rs`; that each of these can fail is
//! shown in `samples.rs`.

use crate::source::{Source, closing, line_of, words};

/// Where, and what is wrong there.
pub(crate) type Finding = (usize, String);

/// A rule and its name, as findings show it.
pub(crate) type Rule = (&'static str, fn(&Source) -> Vec<Finding>);

/// Every rule.
pub(crate) const RULES: &[Rule] = &[
    ("rooms", rooms),
    ("platform", platform),
    ("unsafe", unsafe_code),
    ("protocol", protocol_without_io),
    ("silence", engine_is_silent),
    ("front door", front_door),
    ("limits", bounds_stand_in_limits),
    ("header", header),
    ("file length", file_length),
    ("line length", line_length),
    ("function length", function_length),
    ("unfinished", unfinished),
    ("sleep", sleep),
    ("unwrap", unwrap),
    ("names", names),
    ("banners", banners),
    ("words", belonging_words),
];

const ENGINE: &str = "crates/aureon/src/";
const SYS: &str = "crates/aureon/src/sys/";
const HTTP: &str = "crates/aureon/src/http/";

/// The engine's rooms and what each may import; the arrows of ARCHITECTURE.md.
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("http", &["limits"]),
    ("sys", &["limits"]),
    ("app", &["http", "limits"]),
    // Of `sys` only what `FILES_OF_SYS` says.
    ("files", &["app", "http", "limits", "sys"]),
    ("metrics", &["app", "http", "limits"]),
    (
        "server",
        &["app", "files", "http", "limits", "metrics", "sys"],
    ),
    ("fuzz", &["app", "files", "http", "limits"]),
];

/// What `files` may know of the operating system: opening beneath a root, and which names it
/// takes for something else.
const FILES_OF_SYS: &[&str] = &["dir", "WINDOWS_NAMES"];

/// The room a file of the engine belongs to; `lib.rs` and tests belong to none.
fn room_of(source: &Source) -> Option<&str> {
    let inside = source.path.strip_prefix(ENGINE)?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// The paths behind `crate::`, and behind as many `super::` as lead there: the room named, what
/// is named in it, and the line.
fn paths_from_the_crate(source: &Source) -> Vec<(String, String, usize)> {
    let code = source.joined();
    let mut found = Vec::new();
    for from in crate_paths(source, &code) {
        let end = match code[from..].starts_with('{') {
            true => closing(&code, from),
            false => from + name_len(&code[from..]),
        };
        for entry in split_list(code[from..end].trim_matches(['{', '}'])) {
            let behind = if end == from + entry.len() {
                &code[end..]
            } else {
                ""
            };
            let whole = [entry, behind].concat();
            let mut parts = whole.trim().split("::");
            let mut part = || {
                let part = parts.next().unwrap_or_default();
                part[..name_len(part)].to_owned()
            };
            found.push((part(), part(), line_of(&code, from)));
        }
    }
    found.retain(|(room, ..)| !room.is_empty());
    found
}

/// Where a path begins that is looked up from the crate's root.
fn crate_paths(source: &Source, code: &str) -> Vec<usize> {
    let inside = source.path.strip_prefix(ENGINE).unwrap_or_default();
    let depth = inside.matches('/').count() + usize::from(!inside.ends_with("/mod.rs"));
    // `$crate` is a macro's way to name the crate and no import.
    let named = code
        .match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with('$'));
    let mut found: Vec<usize> = named.map(|(at, word)| at + word.len()).collect();
    let is_chain_start = |at: &usize| !code[..*at].ends_with("super::");
    for at in code
        .match_indices("super::")
        .map(|(at, _)| at)
        .filter(is_chain_start)
    {
        let rest = code[at..].trim_start_matches("super::");
        let supers = (code.len() - at - rest.len()) / "super::".len();
        // The module of the tests lies one deeper.
        let deeper = usize::from(source.test[line_of(code, at) - 1]);
        if supers == depth + deeper {
            found.push(code.len() - rest.len());
        }
    }
    found
}

fn name_len(code: &str) -> usize {
    code.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(code.len())
}

/// Splits at the commas that are in no brackets.
fn split_list(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

fn rooms(source: &Source) -> Vec<Finding> {
    let Some(room) = room_of(source) else {
        return Vec::new();
    };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![(
            1,
            format!("no room is named `{room}`: add it with what it may import"),
        )];
    };
    let mut findings = Vec::new();
    for (first, second, line) in paths_from_the_crate(source) {
        if ROOMS.iter().all(|(name, _)| *name != first) {
            findings.push((
                line,
                format!("`{first}` is no room; import from the room itself"),
            ));
        } else if first != room && !allowed.contains(&first.as_str()) {
            findings.push((line, format!("`{room}` must not know `{first}`")));
        } else if (room, first.as_str()) == ("files", "sys")
            && !FILES_OF_SYS.contains(&second.as_str())
        {
            findings.push((line, format!("`files` must not know `sys::{second}`")));
        }
    }
    findings
}

/// What may stand in a `cfg` outside of `sys/`: nothing that names a system.
const CFG_WORDS: &[&str] = &[
    "test",
    "feature",
    "not",
    "any",
    "all",
    "debug_assertions",
    "doc",
];

/// Files that may ask for a system all the same.
const CFG_EXCEPTIONS: &[(&str, &str)] = &[
    (
        "crates/aureon/tests/",
        "what a system can not do is not tested on it",
    ),
    ("crates/aureon-service/tests/", "as above"),
    ("crates/aureon-cli/tests/", "as above"),
    ("crates/aureon-cli/tests/", "as above"),
];

fn platform(source: &Source) -> Vec<Finding> {
    let excepted = CFG_EXCEPTIONS.iter().any(|(path, _)| source.is_under(path));
    if excepted || source.is_under(SYS) {
        return Vec::new();
    }
    let code = source.joined();
    let mut findings = Vec::new();
    for (line, code, test) in source.lines() {
        if !test && code.contains("std::os::") {
            findings.push((line, "`std::os` belongs under sys/".to_owned()));
        }
    }
    for (at, open) in code.match_indices("cfg").filter_map(|(at, _)| {
        let behind = code[at..].find(['(', ' ', ']'])? + at;
        let named = ["cfg", "cfg!", "cfg_attr"].contains(&&code[at..behind]);
        (named && code.as_bytes()[behind] == b'(').then_some((at, behind))
    }) {
        let end = closing(&code, open);
        // Of `cfg_attr` only the condition: what follows is an attribute.
        let mut inside = &code[open + 1..end - 1];
        if code[at..].starts_with("cfg_attr") {
            inside = split_list(inside)[0];
        }
        let asked = inside.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in asked.filter(|word| !word.is_empty() && !CFG_WORDS.contains(word)) {
            findings.push((
                line_of(&code, at),
                format!("`cfg({word})` belongs under sys/"),
            ));
        }
    }
    findings
}

/// Files outside of `sys/` that hold `unsafe`, and why.
const UNSAFE_EXCEPTIONS: &[(&str, &str)] =
    &[("fuzz/src/", "a fuzzing engine calls the target through C")];

fn unsafe_code(source: &Source) -> Vec<Finding> {
    let excepted = UNSAFE_EXCEPTIONS
        .iter()
        .any(|(path, _)| source.is_under(path));
    let mut findings = Vec::new();
    for (line, code, _) in source.lines() {
        if words(code, "unsafe").next().is_none() {
            continue;
        }
        if !excepted && !source.is_under(SYS) {
            findings.push((line, "`unsafe` belongs under sys/".to_owned()));
        } else if !is_justified(source, line - 1) {
            findings.push((line, "`unsafe` without `SAFETY:` above it".to_owned()));
        }
    }
    findings
}

/// Whether the comments on this line, or right above its statement, say why it is safe.
fn is_justified(source: &Source, at: usize) -> bool {
    let says = |at: usize| {
        let comment = &source.comments[at];
        comment.contains("SAFETY:") || comment.contains("# Safety")
    };
    // A statement may have begun a few lines above the word.
    let statement = (0..at).rev().take(3).take_while(|above| {
        let code = source.code[*above].trim();
        !code.is_empty() && !code.ends_with([';', '{', '}'])
    });
    let start = statement.last().unwrap_or(at);
    let mut above = (0..start).rev().take_while(|above| {
        let code = source.code[*above].trim();
        !source.comments[*above].is_empty() && code.is_empty() || code.starts_with("#[")
    });
    says(at) || (start..at).any(says) || above.any(says)
}

fn protocol_without_io(source: &Source) -> Vec<Finding> {
    const FORBIDDEN: &[&str] = &["io", "net", "fs", "time", "thread", "sync", "process", "os"];
    if !source.is_under(HTTP) {
        return Vec::new();
    }
    let code = source.joined();
    let mut findings = Vec::new();
    for (at, _) in code.match_indices("std::") {
        let part = &code[at + 5..];
        let part = &part[..name_len(part)];
        if FORBIDDEN.contains(&part) {
            findings.push((line_of(&code, at), format!("http knows no `std::{part}`")));
        }
    }
    findings
}

fn engine_is_silent(source: &Source) -> Vec<Finding> {
    const FORBIDDEN: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "std::env"];
    if !source.is_under(ENGINE) {
        return Vec::new();
    }
    let lines = source.lines().filter(|(_, _, test)| !test);
    let mut findings = Vec::new();
    for (line, code, _) in lines {
        for word in FORBIDDEN
            .iter()
            .filter(|word| words(code, word).next().is_some())
        {
            findings.push((line, format!("the engine has no `{word}`")));
        }
    }
    findings
}

fn front_door(source: &Source) -> Vec<Finding> {
    if source.path != "crates/aureon/src/lib.rs" {
        return Vec::new();
    }
    let lines = source
        .lines()
        .filter(|(_, code, test)| !test && words(code, "fn").next().is_some());
    lines
        .map(|(line, ..)| (line, "a front door holds no logic".to_owned()))
        .collect()
}

/// Numbers that look like bounds and are facts of what stands beside them.
const BOUND_EXCEPTIONS: &[(&str, &str)] = &[
    (
        "METHOD_BYTES_MAX",
        "decides between 400 and 501; head_bytes_max is the bound",
    ),
    ("SECONDS_MAX", "the end of the calendar that a date can say"),
    ("EXTENSION_BYTES_MAX", "the width of the table it stands on"),
];

fn bounds_stand_in_limits(source: &Source) -> Vec<Finding> {
    const MARKS: &[&str] = &["_MAX", "_CEILING", "_TIMEOUT_MS", "_PER_TURN"];
    if !source.is_under(ENGINE) || room_of(source) == Some("limits") {
        return Vec::new();
    }
    let lines = source.lines().filter(|(_, _, test)| !test);
    let mut findings = Vec::new();
    for (line, code, _) in lines {
        let Some((_, name)) = code.split_once("const ") else {
            continue;
        };
        let name = &name[..name_len(name)];
        let known = BOUND_EXCEPTIONS.iter().any(|(known, _)| *known == name);
        if !known && MARKS.iter().any(|mark| name.ends_with(mark)) {
            findings.push((line, format!("`{name}` belongs in limits.rs")));
        }
    }
    findings
}

/// Files whose opening comment is longer, because it is the document.
const LONG_HEADERS: &[(&str, &str)] = &[
    (
        "crates/aureon/src/lib.rs",
        "the front door shows an example",
    ),
    (
        "crates/aureon-service/src/lib.rs",
        "the front door shows an example",
    ),
    (
        "crates/aureon/src/sys/mod.rs",
        "the contract with the operating system, in prose",
    ),
    (
        "crates/aureon/src/http/session.rs",
        "the table of transitions",
    ),
];

/// A file shorter than this is described by a sentence.
const SMALL_FILE_LINES: usize = 30;

/// Whether others build on the file: then it says what it owns, refuses, and who calls it.
fn is_of_the_product(source: &Source) -> bool {
    source.is_under("crates/") && source.path.contains("/src/")
}

fn header(source: &Source) -> Vec<Finding> {
    let lines = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    let small = source.text.lines().count() < SMALL_FILE_LINES;
    let long = LONG_HEADERS.iter().any(|(path, _)| source.path == *path);
    let least = if small || !is_of_the_product(source) {
        1
    } else {
        3
    };
    if lines >= least && (lines <= 15 || long) {
        return Vec::new();
    }
    vec![(
        1,
        format!("opens with {lines} lines of `//!`, not {least} to 15"),
    )]
}

const FILE_LINES_MAX: usize = 800;
const LINE_COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;

fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let long = lines > FILE_LINES_MAX;
    long.then(|| (1, format!("{lines} lines, more than {FILE_LINES_MAX}")))
        .into_iter()
        .collect()
}

fn line_length(source: &Source) -> Vec<Finding> {
    // A row of a table in a comment can not be broken.
    let is_row = |line: &str| line.trim_start().starts_with("//! |");
    let lines = source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| !is_row(line));
    let lines = lines.map(|(at, line)| (at + 1, line.chars().count()));
    let long = lines.filter(|(_, columns)| *columns > LINE_COLUMNS_MAX);
    long.map(|(line, columns)| (line, format!("{columns} columns")))
        .collect()
}

/// Functions that are longer, because cutting them would hide what they are.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    (
        "crates/aureon/tests/transcript/mod.rs",
        "parse_file",
        "one pass over the lines, one arm for each kind of block",
    ),
    (
        "crates/aureon/tests/sim.rs",
        "play",
        "the life of a seed, from its clients to its checks",
    ),
];

fn function_length(source: &Source) -> Vec<Finding> {
    let code = source.joined();
    let mut findings = Vec::new();
    for at in words(&code, "fn") {
        let name = code[at + 2..].trim_start();
        let name = &name[..name_len(name)];
        // A declaration or a type ends before any brace.
        let Some(open) = code[at..].find(['{', ';']).map(|open| at + open) else {
            continue;
        };
        if name.is_empty() || code.as_bytes()[open] == b';' {
            continue;
        }
        let (first, last) = (line_of(&code, at), line_of(&code, closing(&code, open) - 1));
        let lines = last - first + 1;
        let known = LONG_FUNCTIONS
            .iter()
            .any(|(path, f, _)| (*path, *f) == (&source.path, name));
        if lines > FUNCTION_LINES_MAX && !known {
            findings.push((first, format!("`{name}` has {lines} lines")));
        }
    }
    findings
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code, _) in source.lines() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            if words(code, word).next().is_some() {
                findings.push((line, format!("`{word}`")));
            }
        }
        if code.contains("#[ignore") {
            findings.push((line, "a test that is not run tests nothing".to_owned()));
        }
        for word in ["FIXME", "XXX", "TODO", "HACK"] {
            if words(&source.comments[line - 1], word).next().is_some() {
                findings.push((line, format!("`{word}`: finish it, or open an issue")));
            }
        }
    }
    findings
}

/// Tests that look again after a while, because nothing tells them.
const SLEEP_EXCEPTIONS: &[(&str, &str)] = &[(
    "crates/aureon/tests/files/conditions.rs",
    "a file's time stamp settles, by a deadline",
)];

fn sleep(source: &Source) -> Vec<Finding> {
    if SLEEP_EXCEPTIONS
        .iter()
        .any(|(path, _)| source.path == *path)
    {
        return Vec::new();
    }
    let lines = source
        .lines()
        .filter(|(_, code, test)| *test && code.contains("thread::sleep"));
    lines
        .map(|(line, ..)| {
            (
                line,
                "a test waits for what happens, not for time".to_owned(),
            )
        })
        .collect()
}

fn unwrap(source: &Source) -> Vec<Finding> {
    if !source.path.contains("/src/") {
        return Vec::new();
    }
    let lines = source.lines().filter(|(_, _, test)| !test);
    let mut findings = Vec::new();
    for (line, code, _) in lines {
        for word in [".unwrap()", ".expect(", "panic!("] {
            if code.contains(word) && !code.contains("resume_unwind") {
                findings.push((line, format!("`{word}` outside of tests")));
            }
        }
    }
    findings
}

/// Rooms for everything are rooms for nothing.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helpers", "misc", "core", "manager",
];

/// What a function's name must not begin with, and what says more.
const EMPTY_VERBS: &[(&str, &str)] = &[
    ("get_", "the noun alone"),
    ("do_", "what it does"),
    ("handle_", "`on_`, or what it does"),
    ("process_", "what it does"),
    ("test_", "a sentence"),
];

fn names(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in source
        .path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
    {
        if EMPTY_NAMES.contains(&part) {
            findings.push((1, format!("`{part}` is no name for what a file owns")));
        }
    }
    for (line, code, test) in source.lines() {
        for at in words(code, "fn") {
            let name = code[at + 2..].trim_start();
            for (verb, instead) in EMPTY_VERBS
                .iter()
                .filter(|(verb, _)| name.starts_with(verb))
            {
                // In a test it may be the method GET.
                if test && *verb == "get_" {
                    continue;
                }
                findings.push((line, format!("`fn {verb}…`: say {instead}")));
            }
        }
    }
    findings
}

fn banners(source: &Source) -> Vec<Finding> {
    let is_banner = |comment: &str| {
        let rest = comment.trim().trim_start_matches(['/', '!']).trim();
        let mut same = rest
            .chars()
            .filter(|c| matches!(c, '-' | '=' | '*' | '#' | '~'));
        same.by_ref().count() >= 8 && !rest.contains('|') && !rest.contains(char::is_alphanumeric)
    };
    let lines = source
        .comments
        .iter()
        .enumerate()
        .filter(|(_, comment)| is_banner(comment));
    lines
        .map(|(at, _)| {
            (
                at + 1,
                "a banner; a file that needs one is two files".to_owned(),
            )
        })
        .collect()
}

/// Words that praise or pad instead of saying something.
const EMPTY_WORDS: &[&str] = &[
    "blazing",
    "blazingly",
    "seamless",
    "seamlessly",
    "leverage",
    "utilize",
    "robustly",
    "effortless",
    "effortlessly",
    "world-class",
    "cutting-edge",
    "simply",
    "obviously",
];

fn belonging_words(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, comment) in source.comments.iter().enumerate() {
        findings
            .extend(empty_words(comment).map(|word| (at + 1, format!("`{word}` says nothing"))));
    }
    findings
}

/// The words of [`EMPTY_WORDS`] in a text.
pub(crate) fn empty_words(text: &str) -> impl Iterator<Item = &'static str> {
    let lower = text.to_lowercase();
    let found = EMPTY_WORDS
        .iter()
        .filter(move |word| words(&lower, word).next().is_some());
    found.copied()
}
