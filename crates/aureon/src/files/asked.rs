//! A request for a file, and whoever wants to know how it is answered.
//!
//! Everything in `files` takes this in the place of a head. Without a trace, as in a server, it is
//! a head and noting is a comparison; with one, what was decided is put into words here, from the
//! same values that were decided by.

use super::conditional::{Outcome, Validators};
use super::encoding::{Coding, weigh};
use super::mime;
use super::range::Wanted;
use super::resource::{Policy, Representation, Resource};
use crate::app::{Request, Trace};
use crate::http::Head;
use crate::http::write::write_decimal;
use crate::sys::dir::Fault;

/// A head, and where to note what is decided.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) head: &'a Head<'a>,
    trace: Option<&'a Trace>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(head: &'a Head<'a>) -> Asked<'a> {
        Asked { head, trace: None }
    }

    pub(super) fn of(request: &'a Request<'_>) -> Asked<'a> {
        Asked {
            head: request.head(),
            trace: request.trace(),
        }
    }

    #[inline]
    pub(super) fn note(self, rule: &'static str, subject: &str, outcome: &[&str]) {
        if let Some(trace) = self.trace {
            trace.note(rule, subject, outcome);
        }
    }

    /// A name below the root that leads to a file, or why it does not.
    #[inline]
    pub(super) fn note_file(self, rule: &'static str, path: &str, fault: Option<Fault>) {
        if let Some(trace) = self.trace {
            let outcome = match fault {
                None => "a file",
                Some(Fault::Missing) => "not there, or no file beneath the root",
                Some(Fault::Denied) => "this user may not read it",
                Some(Fault::Exhausted) => "no descriptor or memory is left to look",
                Some(Fault::Broken) => "the file system fails to read it",
            };
            trace.note(rule, path, &[outcome]);
        }
    }

    /// The siblings of a resource and which of them was chosen.
    #[inline]
    pub(super) fn note_coding(self, resource: &Resource, chosen: Coding) {
        if let Some(trace) = self.trace {
            note_coding(trace, self.head, resource, chosen);
        }
    }

    /// Content type and caching, with their reasons.
    #[inline]
    pub(super) fn note_caching(self, path: &str, made: &Representation, policy: &Policy) {
        if let Some(trace) = self.trace {
            trace.note("type", made.content_type(), &["by the name's extension"]);
            let (value, reason) = match policy.cache_control.as_deref() {
                Some(value) => (value, "set for every file"),
                None => mime::caching(path, made.content_type()),
            };
            trace.note("caching", value, &[reason]);
        }
    }

    /// What the conditional fields come to.
    #[inline]
    pub(super) fn note_conditions(self, validators: &Validators<'_>, outcome: Outcome) {
        self.note("conditions", validators.etag, &[outcome.reason()]);
    }

    /// What a Range field comes to; `None`: it does not apply.
    #[inline]
    pub(super) fn note_range(self, field: &[u8], wanted: Option<&Wanted>) {
        if let Some(trace) = self.trace {
            let outcome = match wanted {
                None => "not applied: no GET, or If-Range names another state",
                Some(Wanted::Whole) => "not applied: not understood, or too many ranges",
                Some(Wanted::One(_)) => "one part: 206",
                Some(Wanted::Many(_)) => "several parts: 206",
                Some(Wanted::Unsatisfiable) => "beyond the end: 416",
            };
            trace.note("range", &String::from_utf8_lossy(field), &[outcome]);
        }
    }
}

#[cold]
fn note_coding(trace: &Trace, head: &Head<'_>, resource: &Resource, chosen: Coding) {
    let weights = weigh(head.field_all("accept-encoding"));
    for coding in Coding::COMPRESSED {
        let weight = weights[coding.index()];
        let outcome = match resource.has(coding) {
            _ if !resource.saw(coding) => continue,
            false => "not used: older than the file, or no file",
            _ if coding == chosen => "sent: q=",
            _ => "not sent: q=",
        };
        let mut quality = Vec::new();
        if resource.has(coding) {
            write_quality(&mut quality, weight);
        }
        let name = [resource.path(), coding.suffix()].concat();
        let quality = String::from_utf8_lossy(&quality);
        trace.note("coding", &name, &[outcome, &quality]);
    }
    if chosen == Coding::Identity {
        let why = match resource.varies() {
            true => "sent as it is",
            false => "nothing compressed beside it",
        };
        trace.note("coding", resource.path(), &[why]);
    }
}

/// Thousandths as a qvalue with three decimals.
fn write_quality(out: &mut Vec<u8>, thousandths: u16) {
    write_decimal(out, u64::from(1_000 + thousandths));
    out[0] -= 1;
    out.insert(1, b'.');
}
