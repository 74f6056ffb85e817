//! The parser's way through what is not usual or not whole, a part of a line at a time.
//!
//! [`Parser::stages`] goes through the request line, and through a line that came in parts, and can
//! stop at any byte. What breaks the grammar is found and named here. A field's line that turns
//! out whole is left to the parser, which reads lines as a whole.

use super::{Parser, Stage};
use crate::http::fields::check_host;
use crate::http::head::Span;
use crate::http::{Error, Method, Version, scan};
use crate::limits::{EMPTY_LINES_MAX, Limits};

/// One step of the parser: go on, or wait for bytes.
pub(super) enum Step {
    Next,
    Wait,
}

impl Parser {
    /// Goes on through the stages of the request line, or through those of a line that is not
    /// whole, until more bytes are needed or lines may be read as a whole.
    #[inline(never)]
    pub(super) fn stages(
        &mut self,
        window: &[u8],
        seen: usize,
        limits: &Limits,
    ) -> Result<Step, Error> {
        /// Goes on when a stage is done.
        macro_rules! done {
            ($step:expr) => {
                match $step? {
                    Step::Next => {}
                    Step::Wait => return Ok(Step::Wait),
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
            return self.version(window);
        }
        if self.stage == Stage::LineStart {
            done!(self.line_start(window, seen, limits));
        }
        if self.stage == Stage::Name {
            done!(self.name(window));
        }
        self.value(window)
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
        // Over the space behind the method.
        self.cursor += 1;
        self.mark = self.cursor;
        self.target_start = self.cursor;
        self.stage = Stage::Path;
        Ok(Step::Next)
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
        const LINE: &[u8; 10] = b"HTTP/1.1\r\n";
        let rest = window.get(self.cursor..).unwrap_or_default();
        for (at, (byte, usual)) in rest.iter().zip(LINE).enumerate() {
            let digit = matches!(at, 5 | 7) && byte.is_ascii_digit();
            if byte != usual && !digit {
                let line_end = at == 9 || (*byte == b'\n' && matches!(at, 0 | 8));
                return Err(if line_end {
                    Error::LineEnd
                } else {
                    Error::Version
                });
            }
        }
        // RFC 9112 §2.3 lets a server treat 1.2 to 1.9 as 1.1. No such version exists; a peer
        // that sends one is testing for differences, so: stricter.
        self.facts.version = match rest.get(5..LINE.len()) {
            None => return Ok(Step::Wait),
            Some(b"1.1\r\n") => Version::Http11,
            Some(b"1.0\r\n") => Version::Http10,
            Some(_) => return Err(Error::VersionUnsupported),
        };
        self.cursor += LINE.len();
        self.stage = Stage::LineStart;
        Ok(Step::Next)
    }

    fn line_start(&mut self, window: &[u8], seen: usize, limits: &Limits) -> Result<Step, Error> {
        match window.get(self.cursor) {
            None => Ok(Step::Wait),
            Some(b'\r') => {
                // With its LF it would have been read as a whole.
                line_feed(window, self.cursor + 1)?;
                Ok(Step::Wait)
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
                self.cursor += 1;
                self.stage = Stage::Value;
                Ok(Step::Next)
            }
            Some(b'\n') => Err(Error::LineEnd),
            Some(_) => Err(Error::FieldName),
        }
    }

    /// The line in hand is checked to its end, and then read again as a whole.
    fn value(&mut self, window: &[u8]) -> Result<Step, Error> {
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
        self.cursor = self.mark;
        self.stage = Stage::LineStart;
        Ok(Step::Next)
    }
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
