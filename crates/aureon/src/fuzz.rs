//! What must hold for any bytes at all: the bodies of the fuzz targets.
//!
//! Each function takes bytes and asserts properties: the same events however the bytes are cut,
//! never more consumed than given, writing and parsing undo each other, no path leaves its root.
//! `fuzz/` calls them under a fuzzing engine; `tests/fuzz_bodies.rs` calls the same ones with
//! the wire corpus and with seeded noise in every `cargo test`. Not part of the library's API.

mod clients;
mod routes;

pub use clients::{clients, proxy};
pub use routes::router;

use crate::files::range::{Range, Wanted, parse_range};
use crate::files::resolve::{RelativePath, resolve};
use crate::http::{BodyEvent, Error, Head, HeadEvent, Method, Outcome, Reply, Scratch, Session};
use crate::http::{Delimiter, Status, write};
use crate::limits::{Limits, RANGE_GAP_BYTES, RANGES_MAX};

/// Any bytes as a request head: the same verdict cut anywhere, and a head that is written back
/// reads the same.
pub fn head(bytes: &[u8]) {
    let whole = head_in_steps(bytes, bytes.len().max(1));
    for step in [1, 7] {
        assert_eq!(head_in_steps(bytes, step), whole, "in steps of {step}");
    }
    let mut scratch = Scratch::new();
    let mut session = Session::new();
    let event = session.receive_head(bytes, &mut scratch, &Limits::DEFAULT);
    let Ok(HeadEvent::Request { head, consumed }) = event else {
        return;
    };
    assert!(consumed <= bytes.len());
    let mut written = Vec::new();
    written.extend_from_slice(head.method().as_str().as_bytes());
    for part in [" ", head.target(), " ", head.version().as_str(), "\r\n"] {
        written.extend_from_slice(part.as_bytes());
    }
    for (name, value) in head.fields() {
        write::write_field(&mut written, name, value);
    }
    written.extend_from_slice(b"\r\n");
    let described = describe(&head);
    // White space around values is not written back, so it may be shorter and never longer,
    // but for the one space that is always written.
    assert!(written.len() <= consumed + head.fields().count());
    if written.len() <= Limits::DEFAULT.head_bytes_max {
        let expected = Ok(Some((described, written.len())));
        assert_eq!(head_in_steps(&written, written.len()), expected);
    }
}

/// What a head says, or why it was refused; `None` when more bytes are needed.
fn head_in_steps(bytes: &[u8], step: usize) -> Result<Option<(String, usize)>, Error> {
    let (mut session, mut scratch) = (Session::new(), Scratch::new());
    let mut end = 0;
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        let event = session.receive_head(&bytes[..end], &mut scratch, &Limits::DEFAULT)?;
        if let HeadEvent::Request { head, consumed } = event {
            return Ok(Some((describe(&head), consumed)));
        }
    }
    Ok(None)
}

/// Everything that a head can be asked for.
fn describe(head: &Head<'_>) -> String {
    let fields: Vec<_> = head.fields().collect();
    let line = (head.method(), head.target(), head.path(), head.query());
    let facts = (head.host(), head.framing(), head.version());
    let flags = (head.keeps_alive(), head.expects_continue());
    format!("{line:?} {facts:?} {flags:?} {fields:?}")
}

/// Any bytes as a chunked body: the same data and verdict cut anywhere; and as data, they come
/// back from what is written of them.
pub fn chunked(bytes: &[u8]) {
    let whole = body_in_steps(bytes, bytes.len().max(1));
    for step in [1, 5] {
        assert_eq!(body_in_steps(bytes, step), whole, "in steps of {step}");
    }
    let mut written = Vec::new();
    let size = bytes.first().map_or(1, |first| usize::from(*first) + 1);
    for chunk in bytes.chunks(size) {
        write::write_chunk_head(&mut written, chunk.len());
        written.extend_from_slice(chunk);
        written.extend_from_slice(write::CHUNK_END);
    }
    written.extend_from_slice(write::CHUNKS_END);
    let expected = Ok((bytes.to_vec(), written.len(), true));
    assert_eq!(body_in_steps(&written, written.len()), expected);
}

/// The data of a chunked body, the bytes that it took, and whether it is over.
fn body_in_steps(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Error> {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut session, mut scratch) = (Session::new(), Scratch::new());
    session.receive_head(HEAD, &mut scratch, &Limits::DEFAULT)?;
    let (mut data, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        let input = &bytes[start..end];
        let (taken, waits) = match session.receive_body(input, &Limits::DEFAULT)? {
            BodyEvent::Data { bytes, consumed } => {
                assert!(!bytes.is_empty() && bytes.len() <= consumed);
                data.extend_from_slice(bytes);
                (consumed, false)
            }
            BodyEvent::NeedMore { consumed } => (consumed, true),
            BodyEvent::End { consumed } => return Ok((data, start + consumed, true)),
        };
        assert!(taken <= input.len());
        start += taken;
        if waits && end == bytes.len() {
            // What is left is part of a trailer section, which is not taken before it is whole.
            return Ok((data, 0, false));
        }
        if waits {
            end = (end + step).min(bytes.len());
        }
    }
}

/// Any bytes as all that a connection receives: the same answers cut anywhere, each begins as
/// one, and after a refusal there is silence.
pub fn session(bytes: &[u8]) {
    let whole = Exchanges::play(bytes, bytes.len().max(1));
    for step in [1, 3, 61] {
        assert_eq!(Exchanges::play(bytes, step), whole, "in steps of {step}");
    }
}

/// A connection whose every request is answered with its body.
struct Exchanges {
    session: Session,
    scratch: Scratch,
    limits: Limits,
    body: Vec<u8>,
    /// A request was received and not answered.
    owed: bool,
    out: Vec<u8>,
    closed: bool,
}

impl Exchanges {
    fn play(bytes: &[u8], step: usize) -> (Vec<u8>, bool) {
        let limits = Limits {
            requests_per_connection_max: 64,
            ..Limits::DEFAULT
        };
        let mut exchanges = Exchanges {
            session: Session::new(),
            scratch: Scratch::new(),
            limits,
            body: Vec::new(),
            owed: false,
            out: Vec::new(),
            closed: false,
        };
        let (mut input, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() && !exchanges.closed {
            let (piece, behind) = rest.split_at(step.min(rest.len()));
            input.extend_from_slice(piece);
            rest = behind;
            while !exchanges.closed && exchanges.step(&mut input) {}
        }
        (exchanges.out, exchanges.closed)
    }

    /// Makes one step; false when more bytes are needed.
    fn step(&mut self, input: &mut Vec<u8>) -> bool {
        let before = input.len();
        let taken = if self.session.wants_head() {
            self.head(input)
        } else if self.session.wants_body() {
            self.take_body(input)
        } else {
            self.answer();
            return true;
        };
        match taken {
            Ok((taken, goes_on)) => {
                assert!(taken <= before);
                input.drain(..taken);
                goes_on
            }
            Err(error) => {
                self.refuse(error);
                false
            }
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<(usize, bool), Error> {
        match self
            .session
            .receive_head(input, &mut self.scratch, &self.limits)?
        {
            HeadEvent::NeedMore => Ok((0, false)),
            HeadEvent::Request { head, consumed } => {
                // Half of the methods are answered before their body, which is then discarded.
                let early = matches!(head.method(), Method::Put | Method::Patch);
                self.body.clear();
                self.owed = true;
                if early {
                    self.answer();
                }
                Ok((consumed, true))
            }
        }
    }

    fn take_body(&mut self, input: &[u8]) -> Result<(usize, bool), Error> {
        match self.session.receive_body(input, &self.limits)? {
            BodyEvent::NeedMore { consumed } => Ok((consumed, false)),
            BodyEvent::End { consumed } => Ok((consumed, true)),
            BodyEvent::Data { bytes, consumed } => {
                self.body.extend_from_slice(bytes);
                Ok((consumed, true))
            }
        }
    }

    fn answer(&mut self) {
        if std::mem::take(&mut self.owed) {
            let length = (!self.body.len().is_multiple_of(3)).then_some(self.body.len() as u64);
            let reply = Reply {
                status: Status::OK,
                preamble: &write::Preamble::new(0),
                prepared: b"",
                fields: b"X: y\r\n",
                length,
            };
            let delimiter = self.session.send_head(&mut self.out, &reply, &self.limits);
            if delimiter != Delimiter::Nothing {
                if delimiter != Delimiter::Chunks {
                    self.out.extend_from_slice(&self.body);
                } else if !self.body.is_empty() {
                    write::write_chunk_head(&mut self.out, self.body.len());
                    self.out.extend_from_slice(&self.body);
                    self.out.extend_from_slice(write::CHUNK_END);
                }
                self.session.send_end(&mut self.out);
            }
        }
        self.closed = self.session.finish() == Outcome::Close;
    }

    fn refuse(&mut self, error: Error) {
        let before = self.out.len();
        self.session
            .refuse(&mut self.out, error, &write::Preamble::new(0));
        let status = error.status().code();
        assert!((400..=505).contains(&status), "{error:?}");
        let answer = &self.out[before..];
        assert!(answer.is_empty() || answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        assert!(!self.session.wants_head() && !self.session.wants_body());
        assert!(self.session.closes());
        self.closed = true;
    }
}

/// Any bytes as a URL path: what is accepted names something below the root, and its name
/// written with every byte escaped resolves to the same.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(resolved) = resolve(text) else { return };
    let resolved = resolved.as_str();
    assert!(!resolved.starts_with('/') && !resolved.contains("//"));
    assert!(!resolved.contains(['\0', '\\']));
    assert!(
        resolved
            .split('/')
            .all(|segment| segment != "." && segment != "..")
    );
    let mut escaped = String::from("/");
    for byte in resolved.bytes() {
        match byte {
            b'/' => escaped.push('/'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    let again = resolve(&escaped);
    assert_eq!(again.as_ref().map(RelativePath::as_str), Ok(resolved));
}

/// Any bytes as a `Range` field, the first two as the length: what is wanted lies inside,
/// ascends and is apart, and asked for by itself is wanted again.
pub fn range(bytes: &[u8]) {
    let Some(([high, low], field)) = bytes.split_first_chunk() else {
        return;
    };
    let len = u64::from(*high) << 8 | u64::from(*low);
    let ranges = match parse_range(field, len) {
        Wanted::Whole | Wanted::Unsatisfiable => return,
        Wanted::One(range) => vec![range],
        Wanted::Many(ranges) => {
            assert!((2..=RANGES_MAX).contains(&ranges.len()));
            ranges
        }
    };
    assert!(
        ranges
            .iter()
            .all(|range| range.len > 0 && range.last() < len)
    );
    let apart = |pair: &[Range]| pair[0].start + pair[0].len + RANGE_GAP_BYTES < pair[1].start;
    assert!(ranges.windows(2).all(apart));
    let list: Vec<String> = ranges
        .iter()
        .map(|range| format!("{}-{}", range.start, range.last()))
        .collect();
    let again = parse_range(format!("bytes={}", list.join(", ")).as_bytes(), len);
    let expected = match ranges[..] {
        [range] => Wanted::One(range),
        _ => Wanted::Many(ranges),
    };
    assert_eq!(again, expected);
}
