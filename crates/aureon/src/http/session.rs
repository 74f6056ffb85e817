//! The one state machine of a connection's protocol (RFC 9112 §9, RFC 9110 §10.1.1).
//!
//! The rule: nothing outside this file decides whether a connection lives on, how an answer is
//! framed, or whether a byte belongs to a body or to the next request.
//!
//! ```text
//!  receiving          on                                        becomes
//!  Head               a whole head, no body                     Done
//!  Head               a whole head, a body follows              Body
//!  Body               its last byte                             Done
//!  Head, Body         a byte that breaks the grammar, a limit   Refused
//!
//!  sending            on                                        becomes
//!  Idle               a whole head was received                 Owed
//!  Owed               send_head of an answer with content       Content
//!  Owed               send_head of an answer without            Done
//!  Content            send_end                                  Done
//!  any                refuse                                    Refused
//!
//!  receiving Done and sending Done: both start again, or the connection closes when `keep` was
//!  lost. Refused: whatever is owed is sent, then the connection closes; nothing is read again.
//! ```
//!
//! `keep` is lost for good when the peer says so, when its version does not keep, when the
//! request limit is reached, when the server drains, or when a body is left that nobody reads.

use super::chunked::{Chunked, Piece};
use super::head::FieldSpan;
use super::parse::{Parser, Scratch};
use super::write::{self, Preamble};
use super::{Error, Framing, Head, Method, Status, Version};
use crate::limits::Limits;

/// What the bytes of a head came to.
#[derive(Debug)]
pub enum HeadEvent<'a> {
    /// The head is not whole: keep the bytes and come back with more behind them.
    NeedMore,
    /// A request; its head took `consumed` bytes.
    Request {
        /// The head.
        head: Head<'a>,
        /// Bytes to drop from the input.
        consumed: usize,
    },
}

/// What the bytes of a body came to. `consumed` bytes are to be dropped from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyEvent<'a> {
    /// More bytes are needed.
    NeedMore {
        /// Bytes of framing that are done with.
        consumed: usize,
    },
    /// Some of the body's data.
    Data {
        /// The data.
        bytes: &'a [u8],
        /// Bytes to drop from the input, the data among them.
        consumed: usize,
    },
    /// The body is over.
    End {
        /// Bytes of framing that are done with.
        consumed: usize,
    },
}

/// What follows when the exchange has nothing more to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next request may come.
    Next,
    /// The rest of the request's body must be read and thrown away first.
    Discard,
    /// The connection closes.
    Close,
}

/// How the content of the answer in hand is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// No content: HEAD, 204, 304 and the like.
    Nothing,
    /// `Content-Length`.
    Length,
    /// The chunked coding.
    Chunks,
    /// The end of the connection: HTTP/1.0 and an unknown length.
    Close,
}

/// What a response's head says besides framing.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status.
    pub status: Status,
    /// The status line and Date of this second.
    pub preamble: &'a Preamble,
    /// Whole field lines, each with its CRLF, none of framing or persistence.
    pub prepared: &'a [u8],
    /// More such lines.
    pub fields: &'a [u8],
    /// Bytes of the content, `None` when not known yet.
    pub length: Option<u64>,
}

#[derive(Debug)]
enum Receiving {
    Head,
    Length(u64),
    Chunked(Box<Chunked>),
    Done,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Idle,
    Owed,
    Content(Delimiter),
    Done,
}

/// A head in the middle of its parse, with the table of spans it took along.
#[derive(Debug)]
struct Parked {
    parser: Parser,
    spans: Vec<FieldSpan>,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    receiving: Receiving,
    sending: Sending,
    keep: bool,
    /// The request in hand is the last, by the peer's own word.
    peer_closes: bool,
    /// The request in hand is a HEAD: its answer has no content.
    head_only: bool,
    /// The request in hand is of HTTP/1.0.
    old: bool,
    /// The peer waits for 100 before it sends its body.
    continue_owed: bool,
    requests: u32,
    parked: Option<Box<Parked>>,
}

impl Default for Session {
    fn default() -> Session {
        Session::new()
    }
}

impl Session {
    /// The state of a fresh connection.
    pub const fn new() -> Session {
        Session {
            receiving: Receiving::Head,
            sending: Sending::Idle,
            keep: true,
            peer_closes: false,
            head_only: false,
            old: false,
            continue_owed: false,
            requests: 0,
            parked: None,
        }
    }

    /// Requests whose head was whole so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether the next bytes are a head's and nothing of it has come.
    pub fn is_idle(&self) -> bool {
        matches!(self.receiving, Receiving::Head) && self.parked.is_none()
    }

    /// Whether the next bytes are a head's.
    pub fn wants_head(&self) -> bool {
        matches!(self.receiving, Receiving::Head)
    }

    /// Whether the next bytes are a body's.
    pub fn wants_body(&self) -> bool {
        matches!(self.receiving, Receiving::Length(_) | Receiving::Chunked(_))
    }

    /// Whether this exchange is the connection's last.
    pub fn closes(&self) -> bool {
        !self.keep
    }

    /// Whether the peer has said that it sends no further request.
    pub fn peer_closes(&self) -> bool {
        self.peer_closes && matches!(self.receiving, Receiving::Done)
    }

    /// Makes the exchange in hand, or the next one, the last.
    pub fn close_after(&mut self) {
        self.keep = false;
    }

    /// Reads a head at the start of `input`. Call it only while `wants_head`.
    ///
    /// After `NeedMore` the next call's input must begin with the same bytes.
    #[inline]
    pub fn receive_head<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut Scratch,
        limits: &Limits,
    ) -> Result<HeadEvent<'a>, Error> {
        debug_assert!(self.wants_head());
        match self.parked.take() {
            None => scratch.begin(),
            Some(parked) => {
                scratch.spans = parked.spans;
                scratch.parser = parked.parser;
            }
        }
        let Scratch { spans, parser } = scratch;
        let Some(consumed) = parser
            .advance(input, spans, limits)
            .inspect_err(|_| self.receiving = Receiving::Refused)?
        else {
            if !parser.is_fresh() || !input.is_empty() {
                self.parked = Some(Box::new(Parked {
                    parser: *parser,
                    spans: std::mem::take(spans),
                }));
            }
            return Ok(HeadEvent::NeedMore);
        };
        let head = scratch.head(&input[..consumed]);
        self.begin(&head, limits);
        Ok(HeadEvent::Request { head, consumed })
    }

    #[inline]
    fn begin(&mut self, head: &Head<'_>, limits: &Limits) {
        self.requests += 1;
        self.peer_closes = !head.keeps_alive();
        self.keep &= !self.peer_closes && self.requests < limits.requests_per_connection_max;
        self.head_only = head.method() == Method::Head;
        self.old = head.version() == Version::Http10;
        self.continue_owed = head.expects_continue() && head.has_body();
        self.sending = Sending::Owed;
        self.receiving = match head.framing() {
            Framing::Empty | Framing::Length(0) => Receiving::Done,
            Framing::Length(length) => Receiving::Length(length),
            Framing::Chunked => Receiving::Chunked(Box::new(Chunked::new())),
        };
    }

    /// Whether the peer waits for `100 Continue`; the caller that wants the body sends it.
    pub fn owes_continue(&self) -> bool {
        self.continue_owed
    }

    /// Appends `100 Continue` if the peer waits for it. Call it when the body is wanted.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.continue_owed) {
            out.extend_from_slice(write::CONTINUE);
        }
    }

    /// Reads on in the body. Call it only while `wants_body`.
    pub fn receive_body<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<BodyEvent<'a>, Error> {
        // Bytes of the body are here: nobody waits for 100 any more.
        self.continue_owed &= input.is_empty();
        match &mut self.receiving {
            Receiving::Length(remaining) => {
                if input.is_empty() {
                    return Ok(BodyEvent::NeedMore { consumed: 0 });
                }
                let len = usize::try_from(*remaining).map_or(input.len(), |n| n.min(input.len()));
                *remaining -= len as u64;
                if *remaining == 0 {
                    self.receiving = Receiving::Done;
                }
                Ok(BodyEvent::Data {
                    bytes: &input[..len],
                    consumed: len,
                })
            }
            Receiving::Chunked(chunked) => match chunked.receive(input, limits) {
                Ok((consumed, Piece::Data(len))) => Ok(BodyEvent::Data {
                    bytes: &input[consumed - len..consumed],
                    consumed,
                }),
                Ok((consumed, Piece::More)) => Ok(BodyEvent::NeedMore { consumed }),
                Ok((consumed, Piece::End)) => {
                    self.receiving = Receiving::Done;
                    Ok(BodyEvent::End { consumed })
                }
                Err(error) => {
                    self.receiving = Receiving::Refused;
                    Err(error)
                }
            },
            Receiving::Head | Receiving::Done | Receiving::Refused => {
                Ok(BodyEvent::End { consumed: 0 })
            }
        }
    }

    /// Appends the head of the answer and says how its content is delimited.
    ///
    /// Decides here whether the connection lives on, because the head has to say so.
    #[inline(always)]
    pub fn send_head(
        &mut self,
        out: &mut Vec<u8>,
        reply: &Reply<'_>,
        limits: &Limits,
    ) -> Delimiter {
        debug_assert!(self.sending == Sending::Owed);
        self.keep &= self.can_discard(limits);
        let (delimiter, length) = self.delimit(reply);
        write::write_status(out, reply.status, reply.preamble);
        out.extend_from_slice(reply.prepared);
        if !reply.fields.is_empty() {
            out.extend_from_slice(reply.fields);
        }
        if !self.keep {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.old {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        match length {
            Some(length) => write::write_length_and_end(out, length),
            None if delimiter == Delimiter::Chunks => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            }
            None => out.extend_from_slice(b"\r\n"),
        }
        // Said of a GET, meant for a HEAD: the head is the same, the content is left out.
        let delimiter = if self.head_only {
            Delimiter::Nothing
        } else {
            delimiter
        };
        self.sending = match delimiter {
            Delimiter::Nothing => Sending::Done,
            _ => Sending::Content(delimiter),
        };
        delimiter
    }

    /// How the content of an answer to a GET would be delimited, and the length to state.
    #[inline]
    fn delimit(&mut self, reply: &Reply<'_>) -> (Delimiter, Option<u64>) {
        match reply.length {
            // Nearly every answer; none of the exceptions is a 200.
            Some(length @ 1..) if reply.status == Status::OK => (Delimiter::Length, Some(length)),
            // RFC 9110 §8.6: neither length nor coding on 1xx and 204; a 304 would have to name
            // the length of the 200 it stands for, so it says nothing.
            _ if reply.status.has_no_content() => (Delimiter::Nothing, None),
            // RFC 9110 §15.3.6: a 205 has no content, and says so.
            _ if reply.status == Status::RESET_CONTENT => (Delimiter::Nothing, Some(0)),
            Some(0) => (Delimiter::Nothing, Some(0)),
            Some(length) => (Delimiter::Length, Some(length)),
            None if self.old => {
                self.keep = false;
                (Delimiter::Close, None)
            }
            None => (Delimiter::Chunks, None),
        }
    }

    /// Whether what is left of the request's body is little enough to read and throw away.
    fn can_discard(&self, limits: &Limits) -> bool {
        // A peer that was not told to continue may send its body or not: nobody knows where the
        // next request begins (RFC 9110 §10.1.1).
        match &self.receiving {
            Receiving::Done => true,
            Receiving::Length(rest) => !self.continue_owed && *rest <= limits.discard_bytes_max,
            Receiving::Chunked(_) => !self.continue_owed,
            Receiving::Head | Receiving::Refused => false,
        }
    }

    /// The answer's content is complete.
    pub fn send_end(&mut self, out: &mut Vec<u8>) {
        if self.sending == Sending::Content(Delimiter::Chunks) {
            out.extend_from_slice(write::CHUNKS_END);
        }
        self.sending = Sending::Done;
    }

    /// What follows, once the answer is complete.
    #[inline]
    pub fn finish(&mut self) -> Outcome {
        debug_assert!(self.sending == Sending::Done);
        match self.receiving {
            _ if !self.keep => Outcome::Close,
            Receiving::Done => {
                self.receiving = Receiving::Head;
                self.sending = Sending::Idle;
                Outcome::Next
            }
            Receiving::Length(_) | Receiving::Chunked(_) => Outcome::Discard,
            Receiving::Head | Receiving::Refused => Outcome::Close,
        }
    }

    /// Answers an error, unless an answer has begun, and lets nothing more be received.
    ///
    /// The body names the error: who debugs a client should not have to guess which byte.
    pub fn refuse(&mut self, out: &mut Vec<u8>, error: Error, preamble: &Preamble) {
        self.receiving = Receiving::Refused;
        self.keep = false;
        self.parked = None;
        if !matches!(self.sending, Sending::Idle | Sending::Owed) {
            return;
        }
        let status = error.status();
        let reason = status.reason();
        let length = 4 + reason.len() + 2 + error.name().len() + 1;
        write::write_status(out, status, preamble);
        write::write_field(out, "Content-Type", b"text/plain; charset=utf-8");
        out.extend_from_slice(b"Connection: close\r\n");
        write::write_length_and_end(out, length as u64);
        if !self.head_only {
            write::write_decimal(out, u64::from(status.code()));
            for part in [" ", reason, ": ", error.name(), "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        self.sending = Sending::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(head: &str) -> Session {
        let (mut session, mut scratch) = (Session::new(), Scratch::new());
        match session.receive_head(head.as_bytes(), &mut scratch, &Limits::DEFAULT) {
            Ok(HeadEvent::Request { consumed, .. }) => assert_eq!(consumed, head.len()),
            other => panic!("{other:?}"),
        }
        session
    }

    #[track_caller]
    fn answer(session: &mut Session, status: Status, length: Option<u64>) -> (String, Delimiter) {
        let mut out = Vec::new();
        let reply = Reply {
            status,
            preamble: &Preamble::new(784_111_777),
            prepared: b"",
            fields: b"A: b\r\n",
            length,
        };
        let delimiter = session.send_head(&mut out, &reply, &Limits::DEFAULT);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\r\n\r\n"));
        (text, delimiter)
    }

    #[test]
    fn a_connection_of_http_11_lives_on_until_somebody_says_close() {
        let mut session = begin("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (text, delimiter) = answer(&mut session, Status::OK, Some(2));
        assert!(text.contains("Content-Length: 2\r\n") && !text.contains("Connection"));
        assert_eq!(delimiter, Delimiter::Length);
        session.send_end(&mut Vec::new());
        assert_eq!(session.finish(), Outcome::Next);
        assert!(session.is_idle());

        let mut session = begin("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n");
        assert!(
            answer(&mut session, Status::OK, Some(0))
                .0
                .contains("Connection: close\r\n")
        );
        assert_eq!(session.finish(), Outcome::Close);
    }

    #[test]
    fn http_10_closes_unless_asked_to_stay() {
        let mut session = begin("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let (text, delimiter) = answer(&mut session, Status::OK, None);
        assert!(text.contains("Connection: close") && !text.contains("Transfer-Encoding"));
        assert_eq!(delimiter, Delimiter::Close);
        let mut session = begin("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert!(
            answer(&mut session, Status::OK, Some(1))
                .0
                .contains("Connection: keep-alive")
        );
    }

    #[test]
    fn no_body_where_none_may_be() {
        for status in [Status::NO_CONTENT, Status::NOT_MODIFIED] {
            let mut session = begin("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let (text, delimiter) = answer(&mut session, status, Some(5));
            assert_eq!(delimiter, Delimiter::Nothing);
            assert!(!text.contains("Content-Length"), "{text}");
        }
        let mut session = begin("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (text, delimiter) = answer(&mut session, Status::OK, Some(5));
        assert_eq!(delimiter, Delimiter::Nothing);
        assert!(text.contains("Content-Length: 5"));
        assert_eq!(session.finish(), Outcome::Next);
    }

    #[test]
    fn continue_is_sent_once_and_only_when_wanted() {
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
        let mut session = begin(head);
        let mut out = Vec::new();
        session.send_continue(&mut out);
        session.send_continue(&mut out);
        assert_eq!(out, write::CONTINUE);
        // Not wanted: the final answer closes, for the body may follow or not.
        let mut session = begin(head);
        assert!(
            answer(&mut session, Status::NOT_FOUND, Some(0))
                .0
                .contains("Connection: close")
        );
        assert_eq!(session.finish(), Outcome::Close);
    }

    #[test]
    fn a_small_unread_body_is_discarded_and_a_large_one_closes() {
        let mut session = begin("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        answer(&mut session, Status::NOT_FOUND, Some(0));
        assert_eq!(session.finish(), Outcome::Discard);
        let event = session.receive_body(b"abcGET", &Limits::DEFAULT);
        assert_eq!(
            event,
            Ok(BodyEvent::Data {
                bytes: b"abc",
                consumed: 3
            })
        );
        assert_eq!(session.finish(), Outcome::Next);
        let mut session = begin("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
        assert!(
            answer(&mut session, Status::NOT_FOUND, Some(0))
                .0
                .contains("Connection: close")
        );
    }

    #[test]
    fn after_a_refusal_nothing_is_answered() {
        let (mut session, mut scratch) = (Session::new(), Scratch::new());
        let input = b"GET / HTTP/1.1\r\nHost : a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let error = session
            .receive_head(input, &mut scratch, &Limits::DEFAULT)
            .map(|_| ())
            .unwrap_err();
        let mut out = Vec::new();
        session.refuse(&mut out, error, &Preamble::new(784_111_777));
        session.refuse(&mut out, error, &Preamble::new(784_111_777));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("HTTP/1.1 400 Bad Request").count(), 1);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
        assert_eq!(body, "400 Bad Request: FieldName\n");
        assert!(!session.wants_head() && !session.wants_body());
    }

    #[test]
    fn the_request_limit_closes_the_connection() {
        let limits = Limits {
            requests_per_connection_max: 1,
            ..Limits::DEFAULT
        };
        let (mut session, mut scratch) = (Session::new(), Scratch::new());
        let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        session.receive_head(input, &mut scratch, &limits).unwrap();
        assert!(session.closes());
    }
}
