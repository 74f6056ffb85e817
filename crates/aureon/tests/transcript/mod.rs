//! Reads the transcripts of `tests/wire/*.md` and what belongs to them.
//!
//! The format is described in `tests/wire/README.md`. A transcript that cannot be read is a
//! panic with file and line: a case that is skipped would be a case that passes.

pub(crate) mod session;
pub(crate) mod shown;
pub(crate) mod worker;

use aureon::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One request stream and what must come back.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    file: String,
    line: usize,
    heading: String,
    /// Which `http` block under its heading, from 1.
    index: usize,
    source: String,
    limits: Vec<(String, u64)>,
    /// The client closes its sending side behind the bytes.
    pub(crate) half_closed: bool,
    pub(crate) expected: Vec<Expected>,
    pub(crate) fate: Fate,
}

/// A line of an answer block.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    Interim { needed: bool },
    Answer(Answer),
}

/// A final answer and what is required of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) keep: bool,
    /// The refusals it may name, when it is one.
    pub(crate) errors: Vec<String>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) absent: Vec<String>,
    pub(crate) body: Option<Vec<u8>>,
}

/// What becomes of the connection behind the last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It follows from the last answer.
    Follows,
    Wait,
    Gone,
}

/// A heading's paragraph.
pub(crate) struct Heading {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) published: Vec<String>,
    limits: Vec<(String, u64)>,
}

impl Case {
    /// `file:line heading.index`, for messages.
    pub(crate) fn name(&self) -> String {
        format!(
            "tests/wire/{}:{} {}.{}",
            self.file, self.line, self.heading, self.index
        )
    }

    /// `file/heading.index`, which does not change with the lines above.
    pub(crate) fn label(&self) -> String {
        let stem = self.file.trim_end_matches(".md");
        format!("{stem}/{}.{}", self.heading, self.index)
    }

    /// The label as the name of a directory.
    pub(crate) fn stem(&self) -> String {
        self.label().replace('/', "-")
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::DEFAULT;
        for (name, value) in &self.limits {
            let size = usize::try_from(*value).unwrap();
            match name.as_str() {
                "head_bytes_max" => limits.head_bytes_max = size,
                "head_fields_max" => limits.head_fields_max = size,
                "body_bytes_max" => limits.body_bytes_max = *value,
                "chunk_extension_bytes_max" => limits.chunk_extension_bytes_max = size,
                "requests_per_connection_max" => {
                    limits.requests_per_connection_max = u32::try_from(*value).unwrap();
                }
                "discard_bytes_max" => limits.discard_bytes_max = *value,
                _ => panic!("{}: no limit is named {name}", self.name()),
            }
        }
        limits
    }

    /// The bytes on the wire, `tag` standing for the file's entity tag.
    pub(crate) fn bytes(&self, tag: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for line in self.source.lines() {
            // A lone `\` at the end joins; `\\` is a backslash.
            let slashes = line.len() - line.trim_end_matches('\\').len();
            if slashes % 2 == 1 {
                out.extend(unescape(&line[..line.len() - 1], tag));
            } else {
                out.extend(unescape(line, tag));
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }

    /// The answers, without the interim ones.
    pub(crate) fn last_answer(&self) -> Option<&Answer> {
        self.expected.iter().rev().find_map(|line| match line {
            Expected::Answer(answer) => Some(answer),
            Expected::Interim { .. } => None,
        })
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The names of the files that hold cases.
pub(crate) fn files() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .filter(|name| name != "README.md" && name != "differences.md")
        .collect();
    names.sort();
    names
}

/// Every case of every file.
pub(crate) fn load() -> Vec<Case> {
    parse_all().1
}

/// Every heading of every file.
pub(crate) fn headings() -> Vec<Heading> {
    parse_all().0
}

fn parse_all() -> (Vec<Heading>, Vec<Case>) {
    let (mut headings, mut cases) = (Vec::new(), Vec::new());
    for file in files() {
        parse_file(&file, &read(&file), &mut headings, &mut cases);
    }
    let names: BTreeSet<String> = cases.iter().map(Case::label).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    (headings, cases)
}

fn parse_file(file: &str, text: &str, headings: &mut Vec<Heading>, cases: &mut Vec<Case>) {
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    let mut index = 0;
    let mut first_waiting = cases.len();
    let mut heading: Option<Heading> = None;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if let Some(name) = line.strip_prefix("## ") {
            assert_eq!(
                first_waiting,
                cases.len(),
                "{file}:{at}: no answer above this heading"
            );
            headings.extend(heading.take());
            index = 0;
            heading = Some(Heading {
                name: name.to_owned(),
                why: String::new(),
                published: Vec::new(),
                limits: Vec::new(),
            });
            continue;
        }
        let Some(heading) = heading.as_mut() else {
            continue;
        };
        let Some(block) = line.strip_prefix("```") else {
            learn(heading, line);
            continue;
        };
        let start = at;
        while lines.get(at).is_some_and(|line| *line != "```") {
            at += 1;
        }
        assert!(at < lines.len(), "{file}:{start}: a block does not end");
        let content = &lines[start..at];
        at += 1;
        match block {
            "http" | "http fin" => {
                index += 1;
                cases.push(Case {
                    file: file.to_owned(),
                    line: start,
                    heading: heading.name.clone(),
                    index,
                    source: content.iter().map(|line| format!("{line}\n")).collect(),
                    limits: heading.limits.clone(),
                    half_closed: block == "http fin",
                    expected: Vec::new(),
                    fate: Fate::Follows,
                });
            }
            "answer" => {
                assert!(
                    first_waiting < cases.len(),
                    "{file}:{start}: an answer to nothing"
                );
                let (expected, fate) = parse_answer(content, &format!("{file}:{start}"));
                for case in &mut cases[first_waiting..] {
                    case.expected.clone_from(&expected);
                    case.fate = fate;
                }
                first_waiting = cases.len();
            }
            other => panic!("{file}:{start}: what is a block of {other:?}?"),
        }
    }
    assert_eq!(first_waiting, cases.len(), "{file}: no answer at the end");
    headings.extend(heading);
}

/// Takes in a line of prose.
fn learn(heading: &mut Heading, line: &str) {
    if let Some(limits) = line.strip_prefix("limits: ") {
        for pair in limits.split(", ") {
            let (name, value) = pair.split_once(" = ").unwrap_or_else(|| panic!("{pair}"));
            heading
                .limits
                .push((name.to_owned(), value.parse().unwrap()));
        }
        return;
    }
    let (why, ids) = line.split_once("Http11Probe: ").unwrap_or((line, ""));
    heading.why.push_str(why.trim());
    let ids = ids.split(", ").filter(|id| !id.is_empty());
    heading
        .published
        .extend(ids.map(|id| id.trim_matches('`').to_owned()));
}

fn parse_answer(lines: &[&str], place: &str) -> (Vec<Expected>, Fate) {
    let mut expected: Vec<Expected> = Vec::new();
    let mut fate = Fate::Follows;
    for line in lines {
        assert_eq!(
            fate,
            Fate::Follows,
            "{place}: {line:?} stands behind the end"
        );
        if let Some(requirement) = line.strip_prefix("  ") {
            let Some(Expected::Answer(answer)) = expected.last_mut() else {
                panic!("{place}: {line:?} belongs to no answer");
            };
            require(answer, requirement, place);
            continue;
        }
        match *line {
            "wait" => fate = Fate::Wait,
            "gone" => fate = Fate::Gone,
            "100" => expected.push(Expected::Interim { needed: true }),
            "100?" => expected.push(Expected::Interim { needed: false }),
            _ => {
                let mut words = line.split(' ');
                let status = words.next().unwrap_or_default();
                let keep = match words.next() {
                    Some("keep") => true,
                    Some("close") => false,
                    _ => panic!("{place}: {line:?}"),
                };
                let errors: Vec<String> = words
                    .filter(|word| *word != "or")
                    .map(str::to_owned)
                    .collect();
                let status = status
                    .parse()
                    .unwrap_or_else(|_| panic!("{place}: {line:?}"));
                expected.push(Expected::Answer(Answer {
                    status,
                    keep,
                    errors,
                    ..Answer::default()
                }));
            }
        }
    }
    let answers = expected
        .iter()
        .any(|line| matches!(line, Expected::Answer(_)));
    assert!(answers || fate != Fate::Follows, "{place}: an empty answer");
    (expected, fate)
}

fn require(answer: &mut Answer, requirement: &str, place: &str) {
    if let Some(text) = requirement.strip_prefix("body ") {
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        answer.body = Some(unescape(text.unwrap_or_default(), ""));
        assert!(
            text.is_some() || requirement == "body empty",
            "{place}: {requirement:?}"
        );
    } else if let Some(name) = requirement.strip_prefix("no ") {
        answer.absent.push(name.to_owned());
    } else {
        let (name, value) = requirement
            .split_once(": ")
            .unwrap_or_else(|| panic!("{place}"));
        answer.fields.push((name.to_owned(), value.to_owned()));
    }
}

/// Resolves escapes and `{{…}}`.
fn unescape(text: &str, tag: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").map(|end| start + end);
        let end = end.unwrap_or_else(|| panic!("no end: {text:?}"));
        out.extend(unescape_plain(&rest[..start]));
        match &rest[start + 2..end] {
            "ETag" => out.extend_from_slice(tag.as_bytes()),
            "opaque" => out.extend_from_slice(tag.trim_matches('"').as_bytes()),
            repeat => out.extend(repeated(repeat)),
        }
        rest = &rest[end + 2..];
    }
    out.extend(unescape_plain(rest));
    out
}

/// `N*"text"`, or `N#"text"` with `#` for the count.
fn repeated(repeat: &str) -> Vec<u8> {
    let mark = repeat
        .find(['*', '#'])
        .unwrap_or_else(|| panic!("{repeat:?}"));
    let times: usize = repeat[..mark].parse().unwrap();
    let text = repeat[mark + 1..]
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = text.unwrap_or_else(|| panic!("{repeat:?}"));
    let counted = repeat.as_bytes()[mark] == b'#';
    (0..times)
        .flat_map(|count| match counted {
            true => unescape_plain(&text.replace('#', &count.to_string())),
            false => unescape_plain(text),
        })
        .collect()
}

fn unescape_plain(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'"') => b'"',
            Some(b'x') => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("{text:?}"))
            }
            other => panic!("unknown escape {other:?} in {text:?}"),
        });
    }
    out
}

/// The ids of the published list.
pub(crate) fn published_ids() -> Vec<String> {
    let text = read("http11probe.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// `differences.md`: kind → (reason, labels of the cases).
pub(crate) fn differences() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut differences: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let text = read("differences.md");
    let mut kind = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            kind = Some(name.to_owned());
            differences.entry(name.to_owned()).or_default();
        } else if let Some(entry) = kind.as_ref().and_then(|kind| differences.get_mut(kind)) {
            match line.strip_prefix("- ") {
                Some(label) => drop(entry.1.insert(label.trim_matches('`').to_owned())),
                None => entry.0.push_str(line),
            }
        }
    }
    differences
}
