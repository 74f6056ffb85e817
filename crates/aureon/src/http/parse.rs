//! Reads a request head once, left to right, and can stop at any byte (RFC 9112 §2–§5).
//!
//! The [`Parser`] remembers where it stopped, so a head that comes a byte at a time costs no
//! more scans than one that comes whole, and an error is raised at the same byte in both. It
//! stores no text: offsets go into a table of spans that the caller lends. A trailer section is
//! read by the same code in its second mode.
//!
//! Strict where leniency has been exploited: lines end in CRLF only, one space separates the
//! parts of the request line, nothing is folded, trimmed from names, or guessed.

use super::fields::{check_host, check_trailer, framing_value, looks_like_framing, trimmed};
use super::framing::{parse_content_length, parse_transfer_encoding};
use super::head::{Facts, FieldSpan, Span};
use super::{Error, Framing, Head, Method, Version, scan};
use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_CEILING, Limits};

/// The table of field spans, lent to every parse in turn: one for each worker, not one for each
/// connection.
#[derive(Debug)]
pub struct Scratch {
    pub(super) spans: Vec<FieldSpan>,
    /// What was learned of the head that is lent out.
    pub(super) facts: Facts,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            spans: Vec::new(),
            facts: Facts::NOTHING,
        }
    }
}

impl Scratch {
    /// An empty table; it grows to `head_fields_max` entries of eight bytes.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// Parses one whole head: `None` when more bytes are needed, else the head and its length.
pub fn parse_head<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Scratch,
    limits: &Limits,
) -> Result<Option<(Head<'a>, usize)>, Error> {
    let mut parser = Parser::new();
    scratch.spans.clear();
    match parser.advance(bytes, &mut scratch.spans, limits)? {
        None => Ok(None),
        Some(end) => Ok(Some((parser.head(&bytes[..end], scratch), end))),
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Method,
    Path,
    Query,
    Version,
    LineStart,
    Name,
    Value,
}

/// Where a head's parse stands. Small and plain: a waiting connection keeps one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parser {
    stage: Stage,
    trailers: bool,
    empty_lines: u8,
    /// The next byte to look at.
    cursor: usize,
    /// Where the part in hand began: the method, the target, the query, the name.
    mark: usize,
    target_start: usize,
    /// The name in hand, while its value is read.
    name: Span,
    facts: Facts,
    host: Option<Span>,
    expect_seen: bool,
    length_seen: bool,
    encoding_seen: bool,
    content_type_seen: bool,
}

/// One step of the parser: go on, or wait for bytes.
enum Step {
    Next,
    Wait,
    End,
}

impl Parser {
    pub(super) fn new() -> Parser {
        Parser {
            stage: Stage::Start,
            trailers: false,
            empty_lines: 0,
            cursor: 0,
            mark: 0,
            target_start: 0,
            name: Span::default(),
            facts: Facts::NOTHING,
            host: None,
            expect_seen: false,
            length_seen: false,
            encoding_seen: false,
            content_type_seen: false,
        }
    }

    /// A parser for a trailer section (RFC 9112 §7.1.2).
    pub(super) fn trailers() -> Parser {
        Parser {
            stage: Stage::LineStart,
            trailers: true,
            ..Parser::new()
        }
    }

    /// Whether no byte of a request line has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.stage == Stage::Start
    }

    /// The head that was read, whose facts move to the scratch with its spans.
    #[inline]
    pub(super) fn head<'a>(&self, bytes: &'a [u8], scratch: &'a mut Scratch) -> Head<'a> {
        scratch.facts = self.facts;
        Head {
            bytes,
            spans: &scratch.spans,
            facts: &scratch.facts,
        }
    }

    /// Reads on in `input`, which begins where it began in every call and has grown since the
    /// last. Gives the length of the head once it is whole.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        spans: &mut Vec<FieldSpan>,
        limits: &Limits,
    ) -> Result<Option<usize>, Error> {
        // The limit is a window, so that the byte at which it is hit does not hang on the cuts.
        let head_bytes_max = limits.head_bytes_max.min(HEAD_BYTES_CEILING);
        let window = &input[..input.len().min(head_bytes_max)];
        match self.stages(window, spans, limits)? {
            Step::End => Ok(Some(self.cursor)),
            Step::Wait if window.len() == head_bytes_max => Err(Error::HeadTooLarge),
            Step::Wait | Step::Next => Ok(None),
        }
    }

    /// Goes through the stages in the order of the bytes, from the one it stopped in.
    #[inline(always)]
    fn stages(
        &mut self,
        window: &[u8],
        spans: &mut Vec<FieldSpan>,
        limits: &Limits,
    ) -> Result<Step, Error> {
        /// Goes on when a stage is done.
        macro_rules! done {
            ($step:expr) => {
                match $step? {
                    Step::Next => {}
                    stop => return Ok(stop),
                }
            };
        }
        while self.stage == Stage::Start {
            done!(self.start(window));
        }
        if self.stage == Stage::Method {
            done!(self.method(window));
        }
        while matches!(self.stage, Stage::Path | Stage::Query) {
            done!(self.target(window, limits));
        }
        if self.stage == Stage::Version {
            done!(self.version(window));
        }
        loop {
            if self.stage == Stage::LineStart {
                done!(self.line_start(window, spans.len(), limits));
            }
            if self.stage == Stage::Name {
                done!(self.name(window));
            }
            done!(self.value(window, spans));
        }
    }

    /// RFC 9112 §2.2: an empty line before the request line is ignored.
    fn start(&mut self, window: &[u8]) -> Result<Step, Error> {
        match window.get(self.cursor) {
            None => Ok(Step::Wait),
            Some(b'\r') => {
                if self.empty_lines == EMPTY_LINES_MAX {
                    return Err(Error::LineEnd);
                }
                if !line_feed(window, self.cursor + 1)? {
                    return Ok(Step::Wait);
                }
                self.empty_lines += 1;
                self.cursor += 2;
                Ok(Step::Next)
            }
            Some(b'\n') => Err(Error::LineEnd),
            Some(_) => {
                self.mark = self.cursor;
                self.stage = Stage::Method;
                Ok(Step::Next)
            }
        }
    }

    fn method(&mut self, window: &[u8]) -> Result<Step, Error> {
        /// Longer than every registered method (UPDATEREDIRECTREF has 17 bytes).
        const METHOD_BYTES_MAX: usize = 32;
        let rest = window.get(self.cursor..).unwrap_or_default();
        if self.cursor == self.mark && rest.starts_with(b"GET ") {
            // Most requests; the method is GET already.
            self.cursor += 3;
            return Ok(self.begin_target());
        }
        self.cursor += scan::token_len(rest);
        let token = &window[self.mark..self.cursor];
        if token.len() > METHOD_BYTES_MAX {
            return Err(Error::Method);
        }
        match window.get(self.cursor) {
            None => return Ok(Step::Wait),
            Some(b' ') if !token.is_empty() => {}
            Some(b'\n' | b'\r') => return Err(Error::LineEnd),
            Some(_) => return Err(Error::Method),
        }
        if token == b"PRI" {
            // RFC 9113 §3.4: the preface of HTTP/2, made to be refused for its version.
            return Err(Error::VersionUnsupported);
        }
        self.facts.method = Method::from_bytes(token).ok_or(Error::MethodUnknown)?;
        if self.facts.method == Method::Connect {
            return Err(Error::MethodConnect);
        }
        Ok(self.begin_target())
    }

    /// Steps over the space behind the method.
    #[inline]
    fn begin_target(&mut self) -> Step {
        self.cursor += 1;
        self.mark = self.cursor;
        self.target_start = self.cursor;
        self.stage = Stage::Path;
        Step::Next
    }

    fn target(&mut self, window: &[u8], limits: &Limits) -> Result<Step, Error> {
        let bound = self.target_start + limits.target_bytes_max;
        let visible = &window[..window.len().min(bound + 1)];
        let rest = visible.get(self.cursor..).unwrap_or_default();
        self.cursor += match self.stage {
            Stage::Path => scan::path_len(rest),
            _ => scan::query_len(rest),
        };
        if self.cursor > bound {
            return Err(Error::TargetTooLong);
        }
        match window.get(self.cursor) {
            None => Ok(Step::Wait),
            Some(b'?') => {
                self.facts.path = Span::new(self.mark, self.cursor);
                self.cursor += 1;
                self.mark = self.cursor;
                self.stage = Stage::Query;
                Ok(Step::Next)
            }
            Some(b' ') => {
                let part = Span::new(self.mark, self.cursor);
                match self.stage {
                    Stage::Path => self.facts.path = part,
                    _ => self.facts.query = Some(part),
                }
                self.facts.target = Span::new(self.target_start, self.cursor);
                self.target_form(window)?;
                self.cursor += 1;
                self.stage = Stage::Version;
                Ok(Step::Next)
            }
            Some(b'\n') => Err(Error::LineEnd),
            // A CR here is the end of an HTTP/0.9 request line, or a bare CR: no target either way.
            Some(_) => Err(Error::Target),
        }
    }

    /// RFC 9112 §3.2: origin-form, absolute-form, or `*` for OPTIONS.
    fn target_form(&mut self, window: &[u8]) -> Result<(), Error> {
        let path = self.facts.path.of(window);
        if path.first() == Some(&b'/') {
            return Ok(());
        }
        if path == b"*" && self.facts.query.is_none() && self.facts.method == Method::Options {
            return Ok(());
        }
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| {
                path.get(..scheme.len())
                    .is_some_and(|p| p.eq_ignore_ascii_case(scheme))
            })
            .ok_or(Error::Target)?;
        let start = usize::from(self.facts.path.start) + scheme.len();
        let end = usize::from(self.facts.path.start) + path.len();
        let authority = &window[start..end];
        let authority_len = authority
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(authority.len());
        check_host(&authority[..authority_len]).map_err(|_| Error::Target)?;
        self.facts.host = Some(Span::new(start, start + authority_len));
        self.facts.path = Span::new(start + authority_len, end);
        // `OPTIONS http://host` asks the server as a whole (RFC 9112 §3.2.4), but "/" is what
        // every other method means by an empty path; both are answered at "/".
        Ok(())
    }

    fn version(&mut self, window: &[u8]) -> Result<Step, Error> {
        const NAME: &[u8] = b"HTTP/";
        let rest = window.get(self.cursor..).unwrap_or_default();
        if rest.starts_with(b"HTTP/1.1\r\n") {
            // Most requests; the version is 1.1 already.
            self.cursor += 10;
            self.stage = Stage::LineStart;
            return Ok(Step::Next);
        }
        let known = rest.len().min(NAME.len());
        if rest[..known] != NAME[..known] {
            let newline = rest[..known].iter().position(|b| *b == b'\n');
            return Err(if newline == Some(0) {
                Error::LineEnd
            } else {
                Error::Version
            });
        }
        match rest.get(5) {
            None => return Ok(Step::Wait),
            Some(digit) if digit.is_ascii_digit() => {}
            Some(_) => return Err(Error::Version),
        }
        match rest.get(6) {
            None => return Ok(Step::Wait),
            Some(b'.') => {}
            Some(_) => return Err(Error::Version),
        }
        match rest.get(7) {
            None => return Ok(Step::Wait),
            Some(digit) if digit.is_ascii_digit() => {}
            Some(_) => return Err(Error::Version),
        }
        match rest.get(8) {
            None => return Ok(Step::Wait),
            Some(b'\r') => {}
            Some(b'\n') => return Err(Error::LineEnd),
            Some(_) => return Err(Error::Version),
        }
        if !line_feed(rest, 9)? {
            return Ok(Step::Wait);
        }
        // RFC 9112 §2.3 lets a server treat 1.2 to 1.9 as 1.1. No such version exists; a peer
        // that sends one is testing for differences, so: stricter.
        self.facts.version = match &rest[5..8] {
            b"1.1" => Version::Http11,
            b"1.0" => Version::Http10,
            _ => return Err(Error::VersionUnsupported),
        };
        self.cursor += 10;
        self.stage = Stage::LineStart;
        Ok(Step::Next)
    }

    fn line_start(&mut self, window: &[u8], seen: usize, limits: &Limits) -> Result<Step, Error> {
        match window.get(self.cursor) {
            None => Ok(Step::Wait),
            Some(b'\r') => {
                if !line_feed(window, self.cursor + 1)? {
                    return Ok(Step::Wait);
                }
                self.cursor += 2;
                if !self.trailers {
                    self.finish(window)?;
                }
                Ok(Step::End)
            }
            Some(b'\n') => Err(Error::LineEnd),
            // RFC 9112 §5.2 obs-fold, or white space before the first field (§2.2).
            Some(b' ' | b'\t') => Err(Error::FieldFolded),
            Some(_) if seen >= limits.head_fields_max => Err(Error::FieldsTooMany),
            Some(_) => {
                self.mark = self.cursor;
                self.stage = Stage::Name;
                Ok(Step::Next)
            }
        }
    }

    fn name(&mut self, window: &[u8]) -> Result<Step, Error> {
        let rest = window.get(self.cursor..).unwrap_or_default();
        self.cursor += scan::token_len(rest);
        match window.get(self.cursor) {
            None => Ok(Step::Wait),
            Some(b':') if self.cursor > self.mark => {
                self.name = Span::new(self.mark, self.cursor);
                self.cursor += 1;
                self.mark = self.cursor;
                self.stage = Stage::Value;
                Ok(Step::Next)
            }
            Some(b'\n') => Err(Error::LineEnd),
            Some(_) => Err(Error::FieldName),
        }
    }

    fn value(&mut self, window: &[u8], spans: &mut Vec<FieldSpan>) -> Result<Step, Error> {
        let rest = window.get(self.cursor..).unwrap_or_default();
        self.cursor += scan::value_len(rest);
        match window.get(self.cursor) {
            None => return Ok(Step::Wait),
            Some(b'\r') => {}
            Some(b'\n') => return Err(Error::LineEnd),
            Some(_) => return Err(Error::FieldValue),
        }
        if !line_feed(window, self.cursor + 1)? {
            return Ok(Step::Wait);
        }
        let (start, end) = trimmed(window, self.mark, self.cursor);
        let span = FieldSpan {
            name: self.name,
            value: Span::new(start, end),
        };
        spans.push(span);
        if self.trailers {
            check_trailer(span.name.of(window))?;
        } else {
            self.learn(span, window)?;
        }
        self.cursor += 2;
        self.stage = Stage::LineStart;
        Ok(Step::Next)
    }

    /// Reads the fields that the session lives by; the rest stays text until asked for.
    #[inline]
    fn learn(&mut self, span: FieldSpan, window: &[u8]) -> Result<(), Error> {
        let name = span.name.of(window);
        let value = span.value.of(window);
        // What stands between colon and CRLF, white space and all.
        let raw = &window[self.mark..self.cursor];
        match name.len() {
            // No byte but a letter becomes one of these letters by its case bit.
            4 if word(name) | 0x2020_2020 == u32::from_le_bytes(*b"host") => {
                // RFC 9112 §3.2: more than one is an error, equal or not.
                if self.host.is_some() {
                    return Err(Error::HostConflict);
                }
                check_host(value)?;
                self.host = Some(span.value);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.learn_expect(value)?,
            10 if name.eq_ignore_ascii_case(b"connection") => self.learn_connection(value),
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                // RFC 9110 §8.3: one. Of two, every reader picks its own.
                if self.content_type_seen {
                    return Err(Error::ContentTypeConflict);
                }
                self.content_type_seen = true;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length_seen {
                    return Err(Error::ContentLengthConflict);
                }
                self.length_seen = true;
                self.facts.framing = Framing::Length(parse_content_length(framing_value(raw))?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // Two lines make a list (RFC 9110 §5.3), and no list of two is one `chunked`.
                if self.encoding_seen || self.facts.version == Version::Http10 {
                    return Err(Error::TransferEncoding);
                }
                self.encoding_seen = true;
                parse_transfer_encoding(framing_value(raw))?;
            }
            14 | 17 if looks_like_framing(name) => return Err(Error::FieldName),
            _ => {}
        }
        Ok(())
    }

    fn learn_expect(&mut self, value: &[u8]) -> Result<(), Error> {
        // RFC 9110 §10.1.1: any other expectation may be answered 417; a 1.0 peer can't wait.
        if self.expect_seen || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Error::Expectation);
        }
        self.expect_seen = true;
        self.facts.expect_continue = self.facts.version == Version::Http11;
        Ok(())
    }

    fn learn_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.facts.close |= option.eq_ignore_ascii_case(b"close");
            self.facts.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// The rules that need the whole head.
    #[inline(always)]
    fn finish(&mut self, window: &[u8]) -> Result<(), Error> {
        if self.encoding_seen {
            if self.length_seen {
                return Err(Error::FramingConflict);
            }
            self.facts.framing = Framing::Chunked;
        }
        self.facts.host = match (self.facts.host, self.host) {
            (None, Some(host)) => Some(host),
            // RFC 9112 §3.2.2: the authority of an absolute-form target replaces Host. Stricter:
            // they have to be the same, as §3.2 demands of clients, for a router before us may
            // have read the other one.
            (Some(authority), Some(host)) => {
                if !authority.of(window).eq_ignore_ascii_case(host.of(window)) {
                    return Err(Error::HostConflict);
                }
                Some(authority)
            }
            (Some(authority), None) if self.facts.version == Version::Http10 => Some(authority),
            // RFC 9112 §3.2. Stricter for HTTP/1.0, which did not have the field: a server of
            // several names would have to guess which is meant.
            (_, None) => return Err(Error::HostMissing),
        };
        // RFC 9110 §9.3.1, §9.3.2, §9.3.7, §9.3.8: content in these has no meaning and is what
        // smuggling looks like; the document allows to refuse it.
        match self.facts.framing {
            Framing::Length(1..) | Framing::Chunked if !self.facts.method.takes_content() => {
                Err(Error::ContentUnexpected)
            }
            _ => Ok(()),
        }
    }
}

/// Four bytes as a number; zero for any other count.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// Whether the LF of a CRLF is at `at`; an error when something else is.
#[inline]
fn line_feed(window: &[u8], at: usize) -> Result<bool, Error> {
    match window.get(at) {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(Error::LineEnd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: Result<(&str, usize), Error>) {
        let mut scratch = Scratch::new();
        let whole = parse_head(input, &mut scratch, &Limits::DEFAULT)
            .map(|head| head.map(|(head, end)| (head.path().to_owned(), end)));
        let expected = expected.map(|(path, fields)| (path.to_owned(), fields));
        match (&whole, &expected) {
            (Ok(Some((path, end))), Ok((wanted, _))) => {
                assert_eq!(path, wanted);
                assert_eq!(*end, input.len());
            }
            (Err(error), Err(wanted)) => assert_eq!(error, wanted, "{}", input.escape_ascii()),
            _ => panic!("{} gave {whole:?}, not {expected:?}", input.escape_ascii()),
        }
        // The same, a byte at a time: the same error at the same byte, or the same head.
        let mut parser = Parser::new();
        let mut spans = Vec::new();
        for cut in 0..=input.len() {
            match parser.advance(&input[..cut], &mut spans, &Limits::DEFAULT) {
                Ok(None) => assert!(cut < input.len(), "{}", input.escape_ascii()),
                Ok(Some(end)) => {
                    assert_eq!(end, cut);
                    assert_eq!(
                        spans.len(),
                        expected.as_ref().map_or(0, |(_, fields)| *fields)
                    );
                }
                Err(error) => {
                    assert_eq!(
                        whole.as_ref().err(),
                        Some(&error),
                        "{}",
                        input.escape_ascii()
                    );
                    break;
                }
            }
        }
    }

    #[test]
    fn reads_the_forms_of_a_target() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(("/", 1)));
        check(
            b"\r\nGET /a?b=c HTTP/1.1\r\nHost:a:80\r\nX: \t y \t\r\n\r\n",
            Ok(("/a", 2)),
        );
        check(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(("*", 1)));
        check(b"GET http://B?x HTTP/1.1\r\nHost: b\r\n\r\n", Ok(("/", 1)));
        check(
            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(Error::HostConflict),
        );
        check(b"GET http://b:1/p HTTP/1.0\r\n\r\n", Ok(("/p", 0)));
        check(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target));
        check(b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target));
        check(b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target));
        check(
            b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(Error::Target),
        );
        check(
            b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(Error::Target),
        );
        check(
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(Error::MethodConnect),
        );
    }

    #[test]
    fn refuses_every_line_end_but_crlf() {
        check(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(Error::LineEnd));
        check(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(Error::LineEnd));
        check(b"GET / HTTP/1.1\rHost: a\r\n\r\n", Err(Error::LineEnd));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Error::LineEnd));
        check(b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Err(Error::LineEnd));
        check(
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(Error::LineEnd),
        );
    }

    #[test]
    fn refuses_malformed_fields() {
        check(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(Error::FieldName));
        check(b"GET / HTTP/1.1\r\n: a\r\n\r\n", Err(Error::FieldName));
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            Err(Error::FieldFolded),
        );
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            Err(Error::FieldValue),
        );
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
            Err(Error::FieldValue),
        );
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
            Err(Error::FieldName),
        );
    }

    #[test]
    fn applies_the_host_rules() {
        check(b"GET / HTTP/1.1\r\n\r\n", Err(Error::HostMissing));
        check(
            b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Err(Error::HostConflict),
        );
        for host in [
            "", "a b", "a@b", "a/b", "a:b", "[::1", "::1", "a,b", "[x]:1", "a:65536",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            check(head.as_bytes(), Err(Error::Host));
        }
        for host in [
            "a",
            "a:1",
            "[::1]",
            "[::1]:80",
            "1.2.3.4:80",
            "a-b_c.d",
            "a:",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            check(head.as_bytes(), Ok(("/", 1)));
        }
    }

    #[test]
    fn applies_the_framing_rules() {
        let framed = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let te = "Transfer-Encoding: chunked\r\n";
        let cl = "Content-Length: 1\r\n";
        check(
            framed(&format!("{te}{cl}")).as_bytes(),
            Err(Error::FramingConflict),
        );
        check(
            framed(&format!("{cl}{te}")).as_bytes(),
            Err(Error::FramingConflict),
        );
        check(
            framed(&format!("{cl}{cl}")).as_bytes(),
            Err(Error::ContentLengthConflict),
        );
        check(
            framed(&format!("{te}{te}")).as_bytes(),
            Err(Error::TransferEncoding),
        );
        check(
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Error::TransferEncoding),
        );
        for bare in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            let head = framed("Content-Length: 1\r\n").replace("POST", bare);
            check(head.as_bytes(), Err(Error::ContentUnexpected));
        }
        for space in [" 1 ", "  1", "\t1", "1\t"] {
            let head = framed(&format!("Content-Length:{space}\r\n"));
            check(head.as_bytes(), Err(Error::ContentLength));
        }
        check(
            framed("content_LENGTH: 1\r\n").as_bytes(),
            Err(Error::FieldName),
        );
        check(
            framed("Content-Type: a/b\r\nContent-Type: a/b\r\n").as_bytes(),
            Err(Error::ContentTypeConflict),
        );
        check(
            framed("Expect: 200-ok\r\n").as_bytes(),
            Err(Error::Expectation),
        );
    }

    #[test]
    fn refuses_versions_we_do_not_speak() {
        check(
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            Err(Error::VersionUnsupported),
        );
        check(
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            Err(Error::VersionUnsupported),
        );
        check(b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Err(Error::Version));
        check(b"GET / http/1.1\r\nHost: a\r\n\r\n", Err(Error::Version));
        check(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target));
        check(b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Version));
        check(b"GET /\r\n\r\n", Err(Error::Target));
        check(b"get / HTTP/1.1\r\n\r\n", Err(Error::MethodUnknown));
        check(b"G(T / HTTP/1.1\r\n\r\n", Err(Error::Method));
    }

    #[test]
    fn names_the_limit_that_was_hit() {
        let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8_000));
        check(target.as_bytes(), Err(Error::TargetTooLong));
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "a".repeat(16_384)
        );
        check(head.as_bytes(), Err(Error::HeadTooLarge));
        let fields = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: a\r\n".repeat(100)
        );
        check(fields.as_bytes(), Err(Error::FieldsTooMany));
    }
}
