//! From a representation to an answer: 200, 206, 304, 412 or 416.
//!
//! Owns the shape of those answers, `multipart/byteranges` among them (RFC 9110 §14.6). What the
//! request's conditions and ranges mean is decided in `conditional` and `range`. The usual 200
//! and 304 take lines prepared with the representation and allocate nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::asked::Asked;
use super::conditional::{self, Outcome};
use super::encoding::Coding;
use super::range::{Range, Wanted, parse_range};
use super::resource::{Representation, unix_seconds};
use crate::app::{Body, Part, Response};
use crate::http::{Method, Status};

/// Answers a GET or HEAD for a representation.
pub(super) fn answer(asked: Asked<'_>, representation: &Representation) -> Response {
    let head = asked.head;
    // One pass over the fields for the common request that has neither.
    let mut is_conditional = false;
    let mut range = None;
    for (name, value) in head.fields() {
        match name.len() {
            5 if name.eq_ignore_ascii_case("range") => range = Some(value),
            8.. if name.as_bytes()[..3].eq_ignore_ascii_case(b"if-") => is_conditional = true,
            _ => {}
        }
    }
    if is_conditional {
        let validators = representation.validators(0);
        let outcome = conditional::evaluate(head, &validators, unix_seconds);
        asked.note_conditions(&validators, outcome);
        match outcome {
            Outcome::Proceed => {}
            Outcome::NotModified => return bare(Status::NOT_MODIFIED, representation),
            Outcome::Failed => return bare(Status::PRECONDITION_FAILED, representation),
        }
    }
    // RFC 9110 §14.2: Range has a meaning for GET only.
    if let Some(range) = range {
        let applies = head.method() == Method::Get
            && conditional::range_applies(head, &representation.validators(unix_seconds()));
        let wanted = applies.then(|| parse_range(range, representation.len()));
        asked.note_range(range, wanted.as_ref());
        match wanted {
            None | Some(Wanted::Whole) => {}
            Some(Wanted::One(range)) => return one_part(representation, range),
            Some(Wanted::Many(ranges)) => return many_parts(representation, &ranges),
            Some(Wanted::Unsatisfiable) => return unsatisfiable(representation),
        }
    }
    Response::new(Status::OK)
        .with_prepared(representation.full_lines())
        .with_body(representation.body())
}

fn bare(status: Status, representation: &Representation) -> Response {
    Response::new(status).with_prepared(representation.bare_lines())
}

fn unsatisfiable(representation: &Representation) -> Response {
    Response::from(Status::RANGE_NOT_SATISFIABLE)
        .with_field("Content-Range", format!("bytes */{}", representation.len()))
}

fn one_part(representation: &Representation, range: Range) -> Response {
    let body = match representation.part(range) {
        Part::Bytes(bytes) => Body::Bytes(bytes),
        Part::File(range) => Body::File(range),
    };
    Response::new(Status::PARTIAL_CONTENT)
        .with_prepared(representation.full_lines())
        .with_field("Content-Range", content_range(range, representation.len()))
        .with_body(body)
}

fn many_parts(representation: &Representation, ranges: &[Range]) -> Response {
    let boundary = boundary();
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    let mut line_end = "";
    for range in ranges {
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            representation.content_type(),
            content_range(*range, representation.len()),
        );
        parts.push(Part::Bytes(head.into_bytes()));
        parts.push(representation.part(*range));
        line_end = "\r\n";
    }
    parts.push(Part::Bytes(format!("\r\n--{boundary}--\r\n").into_bytes()));
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    let mut response = Response::new(Status::PARTIAL_CONTENT)
        .with_prepared(representation.bare_lines())
        .with_field("Content-Type", content_type)
        .with_body(Body::Parts(parts));
    if representation.coding() != Coding::Identity {
        response.set_field("Content-Encoding", representation.coding().name());
    }
    response
}

fn content_range(range: Range, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.last())
}

/// A delimiter that no content can foresee: keyed by the process's random state.
fn boundary() -> String {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(2, Ordering::Relaxed);
    let keys = KEYS.get_or_init(RandomState::new);
    format!(
        "{:016x}{:016x}",
        keys.hash_one(count),
        keys.hash_one(count + 1)
    )
}
