//! Reads a request head once, left to right, and can stop at any byte (RFC 9112 §2–§5).
//!
//! Nearly every head is whole, and is read line by line. The [`Parser`] remembers where it stopped
//! in one that is not, so that a head that comes a byte at a time costs at most two scans more,
//! and an error is raised at the same byte in both. It stores no text: offsets go into a table of
//! spans that the caller lends. A trailer section is read by the same code in its second mode.
//!
//! Strict where leniency has been exploited: lines end in CRLF only, one space separates the
//! parts of the request line, nothing is folded, trimmed from names, or guessed.

mod stages;

use super::fields::{check_host, check_trailer, framing_value, looks_like_framing, trimmed};
use super::framing::{parse_content_length, parse_transfer_encoding};
use super::head::{Facts, FieldSpan, Span};
use super::{Error, Framing, Head, Version, scan};
use crate::limits::{HEAD_BYTES_CEILING, Limits};
use stages::Step;

/// The table of field spans, lent to every parse in turn: one for each worker, not one for each
/// connection.
#[derive(Debug)]
pub struct Scratch {
    pub(super) spans: Vec<FieldSpan>,
    /// The parse in hand. It is worked on where it lies: the head that is lent out borrows its
    /// facts.
    pub(super) parser: Parser,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            spans: Vec::new(),
            parser: Parser::new(),
        }
    }
}

impl Scratch {
    /// An empty table; it grows to `head_fields_max` entries of eight bytes.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Begins another head.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.spans.clear();
        self.parser = Parser::new();
    }

    /// The head that was read.
    #[inline]
    pub(super) fn head<'a>(&'a self, bytes: &'a [u8]) -> Head<'a> {
        Head {
            bytes,
            spans: &self.spans,
            facts: &self.parser.facts,
        }
    }
}

/// Parses one whole head: `None` when more bytes are needed, else the head and its length.
pub fn parse_head<'a>(
    bytes: &'a [u8],
    scratch: &'a mut Scratch,
    limits: &Limits,
) -> Result<Option<(Head<'a>, usize)>, Error> {
    scratch.begin();
    let Scratch { spans, parser } = scratch;
    match parser.advance(bytes, spans, limits)? {
        None => Ok(None),
        Some(end) => Ok(Some((scratch.head(&bytes[..end]), end))),
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
    facts: Facts,
    host: Option<Span>,
    expect_seen: bool,
    length_seen: bool,
    encoding_seen: bool,
    content_type_seen: bool,
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
        if self.stage == Stage::Start {
            self.usual_request_line(window, limits);
        }
        loop {
            if self.stage == Stage::LineStart && self.whole_lines(window, spans, limits)? {
                return Ok(Some(self.cursor));
            }
            match self.stages(window, spans.len(), limits)? {
                Step::Next => {}
                Step::Wait if window.len() == head_bytes_max => return Err(Error::HeadTooLarge),
                Step::Wait => return Ok(None),
            }
        }
    }

    /// Steps over a request line as most are, when the whole of it is here. Every other is left to
    /// the stages.
    #[inline(always)]
    fn usual_request_line(&mut self, window: &[u8], limits: &Limits) {
        const METHOD: &[u8] = b"GET ";
        const END: &[u8] = b" HTTP/1.1\r\n";
        let Some(target) = window.strip_prefix(METHOD) else {
            return;
        };
        let path_len = scan::path_len(target);
        let end = target.get(path_len..).unwrap_or_default();
        if !end.starts_with(END) || !target.starts_with(b"/") || path_len > limits.target_bytes_max
        {
            return;
        }
        // The method is GET and the version 1.1 already.
        self.facts.path = Span::new(METHOD.len(), METHOD.len() + path_len);
        self.facts.target = self.facts.path;
        self.cursor = METHOD.len() + path_len + END.len();
        self.stage = Stage::LineStart;
    }

    /// Reads lines for as long as whole ones are here that can stand; true at the end of the head.
    #[inline(always)]
    fn whole_lines(
        &mut self,
        window: &[u8],
        spans: &mut Vec<FieldSpan>,
        limits: &Limits,
    ) -> Result<bool, Error> {
        let mut at = self.cursor;
        loop {
            let line = window.get(at..).unwrap_or_default();
            if line.starts_with(b"\r\n") {
                self.cursor = at + 2;
                self.finish(window)?;
                return Ok(true);
            }
            match whole_line(line) {
                Some((name, raw)) if spans.len() < limits.head_fields_max => {
                    spans.push(self.take_line(at, name, raw)?);
                    // The colon and CRLF.
                    at += name.len() + raw.len() + 3;
                }
                _ => {
                    self.cursor = at;
                    return Ok(false);
                }
            }
        }
    }

    /// Takes in a whole line: at `at` begins its name, and `raw` is all between colon and CRLF.
    #[inline(always)]
    fn take_line(&mut self, at: usize, name: &[u8], raw: &[u8]) -> Result<FieldSpan, Error> {
        let value = trimmed(raw);
        let colon = at + name.len();
        let span = FieldSpan {
            name: Span::new(at, colon),
            value: Span::new(colon + 1 + value.0, colon + 1 + value.0 + value.1.len()),
        };
        if self.trailers {
            check_trailer(name)?;
        } else {
            self.learn(name, raw, value.1, span.value)?;
        }
        Ok(span)
    }

    /// Reads the fields that the session lives by; the rest stays text until asked for.
    #[inline(always)]
    fn learn(&mut self, name: &[u8], raw: &[u8], value: &[u8], span: Span) -> Result<(), Error> {
        match name.len() {
            // No byte but a letter becomes one of these letters by its case bit.
            4 if word(name) | 0x2020_2020 == u32::from_le_bytes(*b"host") => {
                // RFC 9112 §3.2: more than one is an error, equal or not.
                if self.host.is_some() {
                    return Err(Error::HostConflict);
                }
                check_host(value)?;
                self.host = Some(span);
                Ok(())
            }
            6 | 10 | 12 | 14 | 17 => self.learn_rare(name, raw, value),
            _ => Ok(()),
        }
    }

    /// The fields that fewer requests have than Host; apart, so that the loop over lines is short.
    #[inline(never)]
    fn learn_rare(&mut self, name: &[u8], raw: &[u8], value: &[u8]) -> Result<(), Error> {
        match name.len() {
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
        if self.trailers {
            return Ok(());
        }
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

/// Name and value of a field line that is here as a whole and can stand; the value is all between
/// colon and CRLF.
#[inline(always)]
fn whole_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = line.split_at_checked(scan::token_len(line))?;
    let rest = rest.strip_prefix(b":")?;
    let (value, end) = rest.split_at_checked(scan::value_len(rest))?;
    (!name.is_empty() && end.starts_with(b"\r\n")).then_some((name, value))
}

/// Four bytes as a number; zero for any other count.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
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
