//! Plays transcripts to `http::Session` alone, with the statuses of the transcript in place of an
//! application: what is tested is the framing, the refusals, and whether a connection lives on.

use super::shown::{Seen, Shown};
use super::{Case, Expected, Fate};
use aureon::Limits;
use aureon::http::write::Preamble;
use aureon::http::{
    BodyEvent, Delimiter, Error, HeadEvent, Method, Outcome, Reply, Scratch, Session, Status,
};

/// Sun, 06 Nov 1994 08:49:37 GMT.
const SECONDS: u64 = 784_111_777;

/// One connection of the session, with an application that answers what the transcript says.
struct Peer<'c> {
    case: &'c Case,
    limits: Limits,
    session: Session,
    scratch: Scratch,
    input: Vec<u8>,
    body: Vec<u8>,
    /// The request in hand, and whether its content is an echo of its body.
    echoes: Option<bool>,
    seen: Vec<Seen>,
    errors: Vec<Error>,
    discarding: bool,
    closed: bool,
}

impl<'c> Peer<'c> {
    fn new(case: &'c Case) -> Peer<'c> {
        Peer {
            case,
            limits: case.limits(),
            session: Session::new(),
            scratch: Scratch::new(),
            input: Vec::new(),
            body: Vec::new(),
            echoes: None,
            seen: Vec::new(),
            errors: Vec::new(),
            discarding: false,
            closed: false,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        while !self.closed && self.step() {}
    }

    /// The answer that the transcript has for the request in hand.
    fn planned(&self) -> Option<u16> {
        let answered = self
            .seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Answer(_)))
            .count();
        let mut finals = self.case.expected.iter().filter_map(|line| match line {
            Expected::Answer(answer) => Some(answer.status),
            Expected::Interim { .. } => None,
        });
        finals.nth(answered)
    }

    /// Makes one step; false when more bytes are needed.
    fn step(&mut self) -> bool {
        if self.session.wants_head() && self.echoes.is_none() {
            return self.head();
        }
        if self.session.wants_body() {
            return self.body();
        }
        match self.echoes.take() {
            Some(echoes) if !self.discarding => self.answer(echoes),
            _ => self.finish(),
        }
        true
    }

    fn head(&mut self) -> bool {
        let event = self
            .session
            .receive_head(&self.input, &mut self.scratch, &self.limits);
        let (consumed, length, echo) = match event {
            Ok(HeadEvent::NeedMore) => return false,
            Ok(HeadEvent::Request { head, consumed }) => {
                let echo = matches!(head.path(), "/" | "/echo")
                    && !matches!(head.method(), Method::Get | Method::Head | Method::Options);
                (consumed, head.content_length(), echo)
            }
            Err(error) => {
                self.refuse(error);
                return false;
            }
        };
        self.input.drain(..consumed);
        self.body.clear();
        self.echoes = Some(echo);
        let planned = self.planned().unwrap_or(200);
        if matches!(planned, 404 | 405) {
            // Nobody wants the body: the answer comes at once, the rest is thrown away.
            self.answer(false);
        } else if planned == 411 {
            self.refuse(Error::LengthRequired);
        } else if length.is_some_and(|length| length > self.limits.body_bytes_max) {
            self.refuse(Error::BodyTooLarge);
        } else if self.session.owes_continue() && self.input.is_empty() {
            let mut out = Vec::new();
            self.session.send_continue(&mut out);
            assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
            self.seen.push(Seen::Interim);
        }
        true
    }

    fn body(&mut self) -> bool {
        let event = self.session.receive_body(&self.input, &self.limits);
        let consumed = match event {
            Ok(BodyEvent::NeedMore { consumed }) => {
                self.input.drain(..consumed);
                return false;
            }
            Ok(BodyEvent::Data { bytes, consumed }) => {
                assert!(!bytes.is_empty(), "{} gave empty data", self.case.name());
                self.body.extend_from_slice(bytes);
                consumed
            }
            Ok(BodyEvent::End { consumed }) => consumed,
            Err(error) => {
                self.refuse(error);
                return false;
            }
        };
        self.input.drain(..consumed);
        if !self.discarding && self.body.len() as u64 > self.limits.body_bytes_max {
            self.refuse(Error::BodyTooLarge);
        }
        true
    }

    fn answer(&mut self, echoes: bool) {
        let status = self.planned().and_then(Status::new).unwrap_or(Status::OK);
        let reply = Reply {
            status,
            preamble: &Preamble::new(SECONDS),
            prepared: b"",
            fields: b"",
            length: Some(1),
        };
        let mut out = Vec::new();
        if self.session.send_head(&mut out, &reply, &self.limits) != Delimiter::Nothing {
            self.session.send_end(&mut out);
        }
        let body = (echoes && status == Status::OK).then(|| self.body.clone());
        let head = String::from_utf8(out).unwrap();
        self.seen.push(Seen::Answer(Shown { head, body }));
        self.finish();
    }

    fn finish(&mut self) {
        self.echoes = None;
        match self.session.finish() {
            Outcome::Next => self.discarding = false,
            Outcome::Discard => self.discarding = true,
            Outcome::Close => self.closed = true,
        }
    }

    fn refuse(&mut self, error: Error) {
        let mut out = Vec::new();
        self.session
            .refuse(&mut out, error, &Preamble::new(SECONDS));
        self.errors.push(error);
        self.closed = true;
        if out.is_empty() {
            return;
        }
        let head = String::from_utf8(out).unwrap();
        let shown = Shown { head, body: None };
        assert_eq!(shown.status(), error.status().code());
        self.seen.push(Seen::Answer(shown));
    }
}

/// Plays the pieces to a session and compares.
pub(crate) fn play(case: &Case, pieces: &[&[u8]]) -> Result<(), String> {
    let mut peer = Peer::new(case);
    for piece in pieces {
        peer.receive(piece);
    }
    let mut seen = peer.seen.iter().peekable();
    for line in &case.expected {
        match line {
            Expected::Interim { needed } => {
                if seen.next_if(|seen| **seen == Seen::Interim).is_none() && *needed {
                    return Err(format!("100 did not come: {:?}", peer.seen));
                }
            }
            Expected::Answer(wanted) => {
                let Some(Seen::Answer(shown)) = seen.next() else {
                    return Err(format!("{} did not come: {:?}", wanted.status, peer.seen));
                };
                let sessions = |name: &str| matches!(name, "Connection" | "Date");
                shown
                    .check(wanted, sessions)
                    .map_err(|what| format!("{what} {:?}", peer.errors))?;
            }
        }
    }
    if let Some(more) = seen.next() {
        return Err(format!("answered once more: {more:?}"));
    }
    let named = case.last_answer().map_or(&[][..], |answer| &answer.errors);
    let refusal = peer.errors.first().map(|error| error.name().to_owned());
    let silent = case.fate == Fate::Gone;
    if !silent && !refusal.iter().all(|name| named.contains(name)) {
        return Err(format!("refused for {refusal:?}, not for {named:?}"));
    }
    if !named.is_empty() && refusal.is_none() {
        return Err(format!("not refused for {named:?}"));
    }
    let closes = matches!(case.fate, Fate::Gone) && !case.half_closed;
    let last_closes = case.last_answer().is_some_and(|answer| !answer.keep);
    if peer.closed != (closes || last_closes) {
        return Err(format!("closed: {}, errors {:?}", peer.closed, peer.errors));
    }
    Ok(())
}

/// What a session makes of the pieces when every request is answered 200.
pub(crate) fn outcome(case: &Case, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<Error>, bool) {
    let mut peer = Peer::new(case);
    for piece in pieces {
        peer.receive(piece);
    }
    peer.seen.retain(|seen| *seen != Seen::Interim);
    (peer.seen, peer.errors, peer.closed)
}
