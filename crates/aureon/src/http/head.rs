//! A request's head: the request line and the fields, as offsets into the peer's bytes.
//!
//! A [`Head`] copies nothing: it borrows the connection's bytes and the table of spans that the
//! parser filled. What the session needs to know (framing, persistence, Host, Expect) was read
//! on the way and costs nothing to ask. [`HeadOwned`] is the copy for answers that come later.

use super::{Framing, Method};

/// The versions we speak (RFC 9112 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: a connection closes unless both sides say `keep-alive`.
    Http10,
    /// HTTP/1.1: a connection persists unless one side says `close`.
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// A stretch of the head's bytes. 16 bits suffice: see `HEAD_BYTES_CEILING`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) len: u16,
}

impl Span {
    /// A span of two offsets that the parser has bounded.
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= crate::limits::HEAD_BYTES_CEILING);
        Span {
            start: start as u16,
            len: (end - start) as u16,
        }
    }

    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        bytes
            .get(start..start + usize::from(self.len))
            .unwrap_or_default()
    }
}

/// One field line: where its name and its value are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSpan {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// What the parser learned on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) framing: Framing,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) host: Option<Span>,
    /// `Connection: close` was there.
    pub(super) close: bool,
    /// `Connection: keep-alive` was there.
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
}

impl Facts {
    /// Before the first byte.
    pub(super) const NOTHING: Facts = Facts {
        method: Method::Get,
        version: Version::Http11,
        framing: Framing::Empty,
        target: Span { start: 0, len: 0 },
        path: Span { start: 0, len: 0 },
        query: None,
        host: None,
        close: false,
        keep_alive: false,
        expect_continue: false,
    };
}

/// A request's head. Copying it copies offsets, not bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) spans: &'a [FieldSpan],
    pub(super) facts: &'a Facts,
}

impl<'a> Head<'a> {
    /// The request method.
    #[inline]
    pub fn method(&self) -> Method {
        self.facts.method
    }

    /// The protocol version.
    #[inline]
    pub fn version(&self) -> Version {
        self.facts.version
    }

    /// The request target as it was sent.
    pub fn target(&self) -> &'a str {
        self.text(self.facts.target)
    }

    /// The path, percent-encoding as sent. It begins with `/`, or is `*` for `OPTIONS *`.
    #[inline]
    pub fn path(&self) -> &'a str {
        // The empty path of an absolute-form target is "/" (RFC 9110 §4.2.3).
        if self.facts.path.len == 0 {
            "/"
        } else {
            self.text(self.facts.path)
        }
    }

    /// The same path as bytes, for who only compares.
    #[inline]
    pub fn path_bytes(&self) -> &'a [u8] {
        match self.facts.path.of(self.bytes) {
            [] => b"/",
            path => path,
        }
    }

    /// What stands behind the `?`, as sent; `None` without one.
    #[inline]
    pub fn query(&self) -> Option<&'a str> {
        self.facts.query.map(|span| self.text(span))
    }

    /// The host and port the request is for: the target's, else the Host field's
    /// (RFC 9112 §3.3).
    pub fn host(&self) -> Option<&'a str> {
        self.facts.host.map(|span| self.text(span))
    }

    /// The same host as bytes, for who only copies.
    #[inline]
    pub fn host_bytes(&self) -> Option<&'a [u8]> {
        self.facts.host.map(|span| span.of(self.bytes))
    }

    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        self.facts.framing
    }

    /// The Content-Length, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        match self.facts.framing {
            Framing::Length(length) => Some(length),
            Framing::Empty | Framing::Chunked => None,
        }
    }

    /// Whether bytes of a body follow.
    #[inline]
    pub fn has_body(&self) -> bool {
        !matches!(self.facts.framing, Framing::Empty | Framing::Length(0))
    }

    /// Whether the peer waits for `100 Continue` before it sends the body.
    #[inline]
    pub fn expects_continue(&self) -> bool {
        self.facts.expect_continue
    }

    /// Whether the peer lets the connection persist (RFC 9112 §9.3).
    #[inline]
    pub fn keeps_alive(&self) -> bool {
        match self.facts.version {
            Version::Http11 => !self.facts.close,
            Version::Http10 => self.facts.keep_alive && !self.facts.close,
        }
    }

    /// The first value of a field, without the white space around it. Names are
    /// case-insensitive.
    #[inline]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.field_all(name).next()
    }

    /// The first value of a field when it is UTF-8.
    pub fn field_str(&self, name: &str) -> Option<&'a str> {
        self.field(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of a field, in the order sent.
    #[inline]
    pub fn field_all<'n>(
        &self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        let bytes = self.bytes;
        self.spans
            .iter()
            .filter(move |span| {
                usize::from(span.name.len) == name.len()
                    && span.name.of(bytes).eq_ignore_ascii_case(name.as_bytes())
            })
            .map(move |span| span.value.of(bytes))
    }

    /// Every field, in the order sent.
    pub fn fields(&self) -> Fields<'a> {
        Fields {
            bytes: self.bytes,
            spans: self.spans.iter(),
        }
    }

    /// A copy that borrows nothing.
    pub fn to_owned(&self) -> HeadOwned {
        HeadOwned {
            bytes: self.bytes.to_vec(),
            spans: self.spans.to_vec(),
            facts: *self.facts,
        }
    }

    #[inline]
    fn text(&self, span: Span) -> &'a str {
        // The parser let only ASCII pass here.
        std::str::from_utf8(span.of(self.bytes)).unwrap_or_default()
    }
}

/// The fields of a head or a trailer section, in the order sent.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) spans: std::slice::Iter<'a, FieldSpan>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        let name = std::str::from_utf8(span.name.of(self.bytes)).unwrap_or_default();
        Some((name, span.value.of(self.bytes)))
    }
}

/// A head that owns its bytes, for an answer that is not given in the same turn.
#[derive(Clone, Debug)]
pub struct HeadOwned {
    bytes: Vec<u8>,
    spans: Vec<FieldSpan>,
    facts: Facts,
}

impl HeadOwned {
    /// The head.
    pub fn borrow(&self) -> Head<'_> {
        Head {
            bytes: &self.bytes,
            spans: &self.spans,
            facts: &self.facts,
        }
    }
}
