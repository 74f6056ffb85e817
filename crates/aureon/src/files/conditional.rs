//! Conditional requests: whether the client may have, or already has, the representation.
//!
//! Owns the precedence of RFC 9110 §13.2.2 and the two comparisons of entity tags (§8.8.3.2);
//! pure. A field that cannot be read is passed over, as §13.1 asks for dates; it never turns
//! into an error. Called with the validators of the representation that was selected, so a
//! compressed variant is compared with its own tag.

use crate::http::date::parse_date;
use crate::http::{Head, Method};

/// What tells one state of a representation from another.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag as it stands in `ETag`: quoted, `W/` before it when weak.
    pub etag: &'a str,
    /// Seconds since the epoch of the last modification; `None` when it is not known.
    pub modified: Option<u64>,
    /// Whether `modified` may count as a strong validator: it lies so far back that no second
    /// change can share its second (§8.8.2.2).
    pub modified_is_strong: bool,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were no condition.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client wants another state of it.
    Failed,
}

impl Outcome {
    /// The outcome in words.
    pub fn reason(self) -> &'static str {
        match self {
            Outcome::Proceed => "the client needs it",
            Outcome::NotModified => "the client has it: 304",
            Outcome::Failed => "the client wants another state of it: 412",
        }
    }
}

/// Evaluates all conditions but `If-Range`, in the RFC's order. The clock is only asked when a
/// date is later than the modification.
pub fn evaluate(
    head: &Head<'_>,
    validators: &Validators<'_>,
    unix_seconds: impl FnOnce() -> u64,
) -> Outcome {
    // Steps 1 and 2.
    if head.field("if-match").is_some() {
        if !any_matches(head.field_all("if-match"), |tag| {
            is_strong_match(tag, validators.etag)
        }) {
            return Outcome::Failed;
        }
    } else if let (Some(since), Some(modified)) =
        (date(head, "if-unmodified-since"), validators.modified)
        && modified > since
    {
        return Outcome::Failed;
    }
    // Steps 3 and 4.
    let reads = matches!(head.method(), Method::Get | Method::Head);
    if head.field("if-none-match").is_some() {
        if any_matches(head.field_all("if-none-match"), |tag| {
            is_weak_match(tag, validators.etag)
        }) {
            return if reads {
                Outcome::NotModified
            } else {
                Outcome::Failed
            };
        }
    } else if let (true, Some(since), Some(modified)) =
        (reads, date(head, "if-modified-since"), validators.modified)
        // Stricter than RFC 9110 §13.1.3, as RFC 7232 §3.3 was: nobody has a copy from a day
        // that has not come, so such a date is no date.
        && (modified == since || modified < since && since <= unix_seconds())
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Step 5: whether `Range` may be obeyed. Without `If-Range` it may; with one only when the
/// validator is strong and the same (§13.1.5).
pub fn range_applies(head: &Head<'_>, validators: &Validators<'_>) -> bool {
    let Some(value) = head.field("if-range") else {
        return true;
    };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return is_strong_match(value, validators.etag);
    }
    // "Exactly matches": a later date is no proof that the client's part is of this state.
    validators.modified_is_strong
        && validators.modified.is_some()
        && parse_date(value) == validators.modified
}

fn date(head: &Head<'_>, name: &str) -> Option<u64> {
    head.field(name).and_then(parse_date)
}

fn is_strong_match(tag: &[u8], etag: &str) -> bool {
    !tag.starts_with(b"W/") && !etag.starts_with("W/") && tag == etag.as_bytes()
}

fn is_weak_match(tag: &[u8], etag: &str) -> bool {
    let opaque = etag.strip_prefix("W/").unwrap_or(etag).as_bytes();
    tag.strip_prefix(b"W/").unwrap_or(tag) == opaque
}

/// Whether `*` or a tag in the list satisfies `matches`. A tag may hold commas, so the list is
/// walked by its quotes; at the first thing that is not a tag the rest of that line is left.
fn any_matches<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    matches: impl Fn(&[u8]) -> bool,
) -> bool {
    lines.any(|line| {
        let mut rest = line.trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            let quote = if rest.starts_with(b"W/") { 2 } else { 0 };
            if rest.get(quote) != Some(&b'"') {
                return false;
            }
            let Some(close) = rest[quote + 1..].iter().position(|byte| *byte == b'"') else {
                return false;
            };
            let (tag, more) = rest.split_at(quote + close + 2);
            if matches(tag) {
                return true;
            }
            let more = more.trim_ascii_start();
            if !more.is_empty() && more[0] != b',' {
                return false;
            }
            let next = more
                .iter()
                .position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
            rest = next.map_or(&[], |at| &more[at..]);
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Scratch, parse_head};
    use crate::limits::Limits;

    /// 1994-11-15T12:45:26Z, the RFC's example.
    const MODIFIED: u64 = 784_903_526;
    const SAME: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
    const EARLIER: &str = "Tue, 15 Nov 1994 12:45:25 GMT";
    const LATER: &str = "Tue, 15 Nov 1994 12:45:27 GMT";
    const NOW: u64 = MODIFIED + 1;
    const NOT_YET: &str = "Tue, 15 Nov 1994 12:45:28 GMT";

    fn with_head<T>(method: &str, fields: &str, use_head: impl Fn(&Head<'_>) -> T) -> T {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut scratch = Scratch::default();
        let parsed = parse_head(text.as_bytes(), &mut scratch, &Limits::DEFAULT);
        let (head, _) = parsed.expect("a valid head").expect("a whole head");
        use_head(&head)
    }

    fn check(fields: &[&str], expected: Outcome) {
        check_method("GET", fields, expected);
    }

    fn check_method(method: &str, fields: &[&str], expected: Outcome) {
        let validators = Validators {
            etag: "\"a,b\"",
            modified: Some(MODIFIED),
            modified_is_strong: true,
        };
        let text: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let outcome = with_head(method, &text, |head| evaluate(head, &validators, || NOW));
        assert_eq!(outcome, expected, "{method} {fields:?}");
    }

    #[test]
    fn proceeds_without_conditions() {
        check(&[], Outcome::Proceed);
    }

    #[test]
    fn if_match_compares_strongly() {
        check(&["If-Match: \"a,b\""], Outcome::Proceed);
        check(&["If-Match: \"x\", \"a,b\""], Outcome::Proceed);
        check(&["If-Match: *"], Outcome::Proceed);
        check(&["If-Match: \"x\""], Outcome::Failed);
        check(&["If-Match: W/\"a,b\""], Outcome::Failed);
        check(&["If-Match: a,b"], Outcome::Failed);
        check(&["If-Match: \"x\"", "If-Match: \"a,b\""], Outcome::Proceed);
    }

    #[test]
    fn if_unmodified_since_counts_only_without_if_match() {
        check(&[&format!("If-Unmodified-Since: {SAME}")], Outcome::Proceed);
        check(
            &[&format!("If-Unmodified-Since: {EARLIER}")],
            Outcome::Failed,
        );
        check(&["If-Unmodified-Since: yesterday"], Outcome::Proceed);
        check(
            &["If-Match: *", &format!("If-Unmodified-Since: {EARLIER}")],
            Outcome::Proceed,
        );
    }

    #[test]
    fn if_none_match_compares_weakly() {
        check(&["If-None-Match: \"a,b\""], Outcome::NotModified);
        check(&["If-None-Match: W/\"a,b\""], Outcome::NotModified);
        check(
            &["If-None-Match: \"x\" , W/\"y\",, \"a,b\""],
            Outcome::NotModified,
        );
        check(&["If-None-Match: *"], Outcome::NotModified);
        check(&["If-None-Match: \"a\""], Outcome::Proceed);
        check(&["If-None-Match: \"a,b"], Outcome::Proceed);
        check(&["If-None-Match: \"x\" \"a,b\""], Outcome::Proceed);
        check_method("HEAD", &["If-None-Match: *"], Outcome::NotModified);
        check_method(
            "PUT",
            &["If-None-Match: *", "Content-Length: 0"],
            Outcome::Failed,
        );
    }

    #[test]
    fn if_modified_since_counts_only_without_if_none_match() {
        check(
            &[&format!("If-Modified-Since: {SAME}")],
            Outcome::NotModified,
        );
        check(
            &[&format!("If-Modified-Since: {NOT_YET}")],
            Outcome::Proceed,
        );
        check(
            &[&format!("If-Modified-Since: {LATER}")],
            Outcome::NotModified,
        );
        check(
            &[&format!("If-Modified-Since: {EARLIER}")],
            Outcome::Proceed,
        );
        check(
            &[
                "If-None-Match: \"x\"",
                &format!("If-Modified-Since: {SAME}"),
            ],
            Outcome::Proceed,
        );
    }

    #[test]
    fn a_failed_precondition_beats_not_modified() {
        check(
            &["If-Match: \"x\"", "If-None-Match: \"a,b\""],
            Outcome::Failed,
        );
        let unmodified = format!("If-Unmodified-Since: {EARLIER}");
        check(&[&unmodified, "If-None-Match: \"a,b\""], Outcome::Failed);
        check(
            &["If-Match: \"a,b\"", "If-None-Match: \"a,b\""],
            Outcome::NotModified,
        );
    }

    fn check_range(field: &str, validators: Validators<'_>, expected: bool) {
        let applies = with_head("GET", field, |head| range_applies(head, &validators));
        assert_eq!(applies, expected, "{field} against {validators:?}");
    }

    #[test]
    fn if_range_wants_a_strong_validator_that_is_the_same() {
        let strong = Validators {
            etag: "\"v\"",
            modified: Some(MODIFIED),
            modified_is_strong: true,
        };
        check_range("", strong, true);
        check_range("If-Range: \"v\"\r\n", strong, true);
        check_range("If-Range: \"w\"\r\n", strong, false);
        check_range("If-Range: W/\"v\"\r\n", strong, false);
        check_range(&format!("If-Range: {SAME}\r\n"), strong, true);
        check_range(&format!("If-Range: {EARLIER}\r\n"), strong, false);
        check_range(&format!("If-Range: {LATER}\r\n"), strong, false);
        check_range("If-Range: nonsense\r\n", strong, false);
        let weak = Validators {
            etag: "W/\"v\"",
            modified_is_strong: false,
            ..strong
        };
        check_range("If-Range: \"v\"\r\n", weak, false);
        check_range("If-Range: W/\"v\"\r\n", weak, false);
        check_range(&format!("If-Range: {SAME}\r\n"), weak, false);
        let undated = Validators {
            modified: None,
            ..strong
        };
        check_range("If-Range: nonsense\r\n", undated, false);
    }
}
