//! Runs the transcripts of `tests/wire/` (README.md there says how they are written).
//!
//! Every case is played whole, byte by byte, and split in two at every offset, and must give the
//! same answers: first to `http::Session` alone, with the statuses of the transcript in place of
//! an application, then to the worker over the simulated OS. After an error nothing more may be
//! answered. The heads of all cases are also given to `httparse`; where we differ, the case
//! stands in `differences.md`. A failing case is named by file and line.

// All of it is test code, outside of #[test] too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod transcript;

use aureon::http::write::Preamble;
use aureon::http::{
    BodyEvent, Delimiter, Error, HeadEvent, Method, Outcome, Reply, Scratch, Session, Status,
    parse_head,
};
use aureon::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};
use transcript::{Answer, Case, Expected, Fate};

const SECONDS: u64 = 784_111_777;

/// What a connection showed: the same words as an answer block has.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Interim,
    Answer(Shown),
}

/// A final answer: its head as text, and the content where it is compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    head: String,
    body: Option<Vec<u8>>,
}

impl Shown {
    fn status(&self) -> u16 {
        assert!(
            self.head.starts_with("HTTP/1.1 "),
            "no status line: {:?}",
            self.head
        );
        let code = self.head.get(9..12).and_then(|code| code.parse().ok());
        code.unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn keep(&self) -> bool {
        self.field("Connection") != Some("close")
    }

    /// What is wrong with this answer; `owned` says which fields to look for.
    fn check(&self, wanted: &Answer, owned: fn(&str) -> bool) -> Result<(), String> {
        if (self.status(), self.keep()) != (wanted.status, wanted.keep) {
            return Err(format!("instead of {} came {:?}", wanted.status, self.head));
        }
        for (name, value) in wanted.fields.iter().filter(|(name, _)| owned(name)) {
            let got = self.field(name);
            if got.is_none() || (value != "*" && got != Some(value)) {
                return Err(format!("{name} is {got:?} in {:?}", self.head));
            }
        }
        if let Some(name) = wanted.absent.iter().find(|name| self.field(name).is_some()) {
            return Err(format!("{name} is in {:?}", self.head));
        }
        match (&self.body, &wanted.body) {
            (Some(got), Some(text)) if got != text => {
                Err(format!("body \"{}\" instead", got.escape_ascii()))
            }
            _ => Ok(()),
        }
    }
}

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
fn play_session(case: &Case, pieces: &[&[u8]]) -> Result<(), String> {
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

/// The offsets to split at: all of a short input; of a long one its ends, the line ends, the
/// limits, and a sample of the rest.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= 2_000 {
        return (1..bytes.len()).collect();
    }
    let mut chosen: BTreeSet<usize> = (1..64).chain(bytes.len() - 64..bytes.len()).collect();
    let line_ends = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'\n' | b'\r'));
    for at in line_ends
        .take(200)
        .chain([4_096, 8_000, 8_004, 16_384, 65_536])
    {
        chosen.extend(at.saturating_sub(2)..=at + 2);
    }
    chosen.extend((1..64).map(|part| bytes.len() / 64 * part));
    chosen
        .into_iter()
        .filter(|at| (1..bytes.len()).contains(at))
        .collect()
}

#[track_caller]
fn all_pass(failures: &[String]) {
    let shown = failures
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(failures.is_empty(), "{} failures:\n{shown}", failures.len());
}

#[test]
fn the_session_answers_every_transcript_however_it_is_cut() {
    let cases = transcript::load();
    assert!(cases.len() > 550, "only {} cases were found", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let bytes = case.bytes("\"tag\"");
        let mut check = |how: String, pieces: &[&[u8]]| {
            if let Err(what) = play_session(case, pieces) {
                failures.push(format!("{}, {how}: {what}", case.name()));
                return false;
            }
            true
        };
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        if !check("whole".into(), &[&bytes]) || !check("byte by byte".into(), &singles) {
            continue;
        }
        for at in offsets(&bytes) {
            if !check(format!("split at {at}"), &[&bytes[..at], &bytes[at..]]) {
                break;
            }
        }
    }
    all_pass(&failures);
}

/// A small generator (SplitMix64), so that a failure names the seed it comes from.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Spoils a few bytes, mostly with those that mean something.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    const MEANING: &[u8] = b"\r\n\r\n \t:;,=\"\\0159aFx+-_/?#%*.\0\x0b\x7f\x80\xff";
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let byte = MEANING[random.below(MEANING.len())];
        match random.below(5) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

/// What a session makes of the pieces when every request is answered 200.
fn outcome(case: &Case, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<Error>, bool) {
    let mut peer = Peer::new(case);
    for piece in pieces {
        peer.receive(piece);
    }
    peer.seen.retain(|seen| *seen != Seen::Interim);
    (peer.seen, peer.errors, peer.closed)
}

#[test]
fn spoiled_transcripts_mean_the_same_however_they_are_cut() {
    let mut cases = transcript::load();
    for case in &mut cases {
        case.expected.clear();
    }
    cases.retain(|case| case.bytes("").len() < 2_000);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let case = &cases[random.below(cases.len())];
        let mut bytes = case.bytes("\"tag\"");
        spoil(&mut bytes, &mut random);
        let whole = outcome(case, &[&bytes]);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        let (first, second) = bytes.split_at(random.below(bytes.len() + 1));
        for cut in [&singles[..], &[first, second]] {
            let same = outcome(case, cut) == whole;
            assert!(
                same,
                "seed {seed}, {}: {}",
                case.name(),
                bytes.escape_ascii()
            );
        }
        // After an error, nothing: an error is always the last thing that happens.
        assert!(
            whole.1.len() <= 1 && (whole.1.is_empty() || whole.2),
            "seed {seed}"
        );
    }
}

#[test]
fn every_case_of_the_published_list_has_a_transcript() {
    let listed: Vec<String> = transcript::published_ids();
    assert_eq!(listed.len(), 215);
    let mut answered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for heading in transcript::headings() {
        assert!(!heading.why.is_empty(), "{} does not say why", heading.name);
        for id in heading.published {
            answered.entry(id).or_default().push(heading.name.clone());
        }
    }
    for id in &listed {
        let names = answered.remove(id).unwrap_or_default();
        assert_eq!(names.len(), 1, "{id} is answered by {names:?}");
    }
    assert!(answered.is_empty(), "not in the list: {answered:?}");
}

/// What two parsers make of the first head of a case, when they do not agree on accepting it.
fn difference(bytes: &[u8]) -> Option<String> {
    let mut fields = vec![httparse::EMPTY_HEADER; 20_000];
    let mut request = httparse::Request::new(&mut fields);
    let theirs = request.parse(bytes);
    let mut scratch = Scratch::new();
    let ours = parse_head(bytes, &mut scratch, &Limits::DEFAULT);
    match (ours, theirs) {
        (Ok(Some((_, ours))), Ok(httparse::Status::Complete(theirs))) if ours == theirs => None,
        (Ok(None), Ok(httparse::Status::Partial)) | (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(format!("we refuse: {}", error.name())),
        (Ok(_), Err(error)) => Some(format!("we accept: {error:?}")),
        (Ok(ours), Ok(theirs)) => Some(format!(
            "we {} and they {}",
            if ours.is_some() { "end" } else { "wait" },
            if theirs.is_complete() { "end" } else { "wait" },
        )),
    }
}

#[test]
fn every_difference_to_httparse_is_listed_with_its_reason() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in transcript::load() {
        if let Some(kind) = difference(&case.bytes("\"tag\"")) {
            found.entry(kind).or_default().insert(case.label());
        }
    }
    let listed = transcript::differences();
    let mut wrong = Vec::new();
    for (kind, labels) in &found {
        for label in labels {
            if !listed
                .get(kind)
                .is_some_and(|(_, listed)| listed.contains(label))
            {
                wrong.push(format!("not listed under `{kind}`: {label}"));
            }
        }
    }
    for (kind, (reason, labels)) in &listed {
        if reason.is_empty() {
            wrong.push(format!("`{kind}` has no reason"));
        }
        for label in labels {
            if !found.get(kind).is_some_and(|found| found.contains(label)) {
                wrong.push(format!("listed under `{kind}` but no difference: {label}"));
            }
        }
    }
    all_pass(&wrong);
}
