//! The `Range` field: which bytes of a representation the client wants. RFC 9110 §14.
//!
//! Owns parsing, bounding and coalescing; pure, and the body of a fuzz target. It never fails:
//! what cannot be understood is ignored, as §14.2 asks, and the whole representation is sent.
//! A request for more ranges than [`limits::RANGES_MAX`] is ignored too, and ranges that overlap
//! or nearly touch become one, so that no request makes us send more than it names.

use crate::limits;

/// A non-empty part of a representation, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u64,
    /// How many bytes; at least one.
    pub len: u64,
}

impl Range {
    /// Offset of the last byte, as `Content-Range` wants it.
    pub fn last(self) -> u64 {
        self.start + self.len - 1
    }
}

/// What a `Range` field asks of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: the field is absent in effect (unknown unit, bad syntax, too many ranges).
    Whole,
    /// One part: 206 with `Content-Range`.
    One(Range),
    /// Two or more parts, ascending and apart: 206 with `multipart/byteranges`.
    Many(Vec<Range>),
    /// Nothing that exists: 416.
    Unsatisfiable,
}

/// Reads a `Range` field against a representation of `len` bytes.
pub fn parse_range(field: &[u8], len: u64) -> Wanted {
    let Ok(field) = std::str::from_utf8(field) else {
        return Wanted::Whole;
    };
    let Some((unit, set)) = field.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut ranges = Vec::new();
    let mut count = 0;
    for spec in set.split(',') {
        let spec = spec.trim_matches([' ', '\t']);
        // RFC 9110 §5.6.1: a recipient accepts a reasonable number of empty list elements.
        count += 1;
        if count > limits::RANGES_MAX {
            return Wanted::Whole;
        }
        if spec.is_empty() {
            continue;
        }
        match parse_spec(spec, len) {
            None => return Wanted::Whole,
            Some(None) => {}
            Some(Some(range)) => ranges.push(range),
        }
    }
    if ranges.is_empty() {
        // `bytes=` and `bytes=,` name no range at all, so they are not a range-set.
        let named = set.bytes().any(|byte| byte.is_ascii_digit());
        return if named {
            Wanted::Unsatisfiable
        } else {
            Wanted::Whole
        };
    }
    coalesce(&mut ranges);
    match ranges[..] {
        [range] => Wanted::One(range),
        _ => Wanted::Many(ranges),
    }
}

/// `None`: bad syntax. `Some(None)`: well formed and outside of the representation.
fn parse_spec(spec: &str, len: u64) -> Option<Option<Range>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        // A suffix longer than the representation means all of it (§14.1.2).
        let suffix = parse_position(last)?.min(len);
        return Some((suffix > 0).then_some(Range {
            start: len - suffix,
            len: suffix,
        }));
    }
    let first = parse_position(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        parse_position(last)?
    };
    if last < first {
        return None;
    }
    let end = last.min(len.saturating_sub(1));
    Some((first < len).then_some(Range {
        start: first,
        len: end.saturating_sub(first) + 1,
    }))
}

/// A position too large for 64 bits is beyond every file, so it saturates.
fn parse_position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Sorts, and merges what overlaps or lies closer together than a part's own head costs
/// (§15.3.7.2 allows both).
fn coalesce(ranges: &mut Vec<Range>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut kept = 0;
    for at in 1..ranges.len() {
        let (last, next) = (ranges[kept], ranges[at]);
        if next.start <= last.start + last.len + limits::RANGE_GAP_BYTES {
            ranges[kept].len = last.len.max(next.start + next.len - last.start);
        } else {
            kept += 1;
            ranges[kept] = next;
        }
    }
    ranges.truncate(kept + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, len: u64, expected: &Wanted) {
        assert_eq!(
            parse_range(field.as_bytes(), len),
            *expected,
            "{field} of {len}"
        );
    }

    fn one(start: u64, len: u64) -> Wanted {
        Wanted::One(Range { start, len })
    }

    #[test]
    fn reads_the_examples_of_the_rfc() {
        check("bytes=0-499", 10_000, &one(0, 500));
        check("bytes=500-999", 10_000, &one(500, 500));
        check("bytes=-500", 10_000, &one(9_500, 500));
        check("bytes=9500-", 10_000, &one(9_500, 500));
        check(
            "bytes=0-0,-1",
            10_000,
            &Wanted::Many(vec![
                Range { start: 0, len: 1 },
                Range {
                    start: 9_999,
                    len: 1,
                },
            ]),
        );
        check("bytes=500-700,601-999", 10_000, &one(500, 500));
        check(
            "bytes= 0-999, 4500-5499, -1000",
            10_000,
            &Wanted::Many(vec![
                Range {
                    start: 0,
                    len: 1_000,
                },
                Range {
                    start: 4_500,
                    len: 1_000,
                },
                Range {
                    start: 9_000,
                    len: 1_000,
                },
            ]),
        );
    }

    #[test]
    fn clips_what_reaches_beyond_the_end() {
        check("bytes=0-", 10, &one(0, 10));
        check("bytes=5-100", 10, &one(5, 5));
        check("bytes=-100", 10, &one(0, 10));
        check("bytes=9-99999999999999999999999999", 10, &one(9, 1));
    }

    #[test]
    fn takes_the_unit_in_any_case() {
        check("Bytes=0-0", 10, &one(0, 1));
    }

    #[test]
    fn ignores_what_it_does_not_understand() {
        for field in [
            "seconds=0-1",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=-",
            "bytes=1",
            "bytes=+1-2",
            "bytes=0-1-2",
            "bytes=0-1;2-3",
            "bytes =0-1",
            "bytes=0x1-2",
            "bytes=0-1,x",
            "",
        ] {
            check(field, 10, &Wanted::Whole);
        }
        assert_eq!(parse_range(b"bytes=0-\xff", 10), Wanted::Whole);
    }

    #[test]
    fn knows_what_cannot_be_satisfied() {
        check("bytes=10-", 10, &Wanted::Unsatisfiable);
        check("bytes=10-20,30-40", 10, &Wanted::Unsatisfiable);
        check("bytes=-0", 10, &Wanted::Unsatisfiable);
        check("bytes=0-", 0, &Wanted::Unsatisfiable);
        check("bytes=-5", 0, &Wanted::Unsatisfiable);
        check(
            "bytes=99999999999999999999999999-",
            10,
            &Wanted::Unsatisfiable,
        );
    }

    #[test]
    fn drops_unsatisfiable_ranges_beside_good_ones() {
        check("bytes=0-1,100-200", 10, &one(0, 2));
    }

    #[test]
    fn joins_ranges_that_nearly_touch() {
        let gap = limits::RANGE_GAP_BYTES;
        check(
            &format!("bytes=0-9,{}-999", 10 + gap),
            1_000,
            &one(0, 1_000),
        );
        let apart = parse_range(format!("bytes=0-9,{}-999", 11 + gap).as_bytes(), 1_000);
        assert!(matches!(apart, Wanted::Many(ranges) if ranges.len() == 2));
        check("bytes=0-999,5-6", 1_000, &one(0, 1_000));
    }

    #[test]
    fn ignores_a_flood_of_ranges() {
        let flood = "0-0,".repeat(limits::RANGES_MAX) + "1-1";
        check(&format!("bytes={flood}"), 10, &Wanted::Whole);
        let empty = ",".repeat(limits::RANGES_MAX);
        check(&format!("bytes=0-0{empty}"), 10, &Wanted::Whole);
    }

    #[test]
    fn any_bytes_give_ascending_disjoint_ranges_inside_the_representation() {
        const PIECES: [&str; 12] = [
            "bytes=",
            "-",
            ",",
            "0",
            "5",
            "99",
            " ",
            "1000",
            "0-",
            "-7",
            "x",
            "18446744073709551615",
        ];
        let mut seed: u64 = 0x2545_F491_4F6C_DD1D;
        for _ in 0..50_000 {
            let mut field = String::from("bytes=");
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (mut bits, len) = (seed >> 8, (seed >> 3) % 300);
            for _ in 0..12 {
                field.push_str(PIECES[(bits % 12) as usize]);
                bits /= 12;
            }
            let ranges = match parse_range(field.as_bytes(), len) {
                Wanted::One(range) => vec![range],
                Wanted::Many(ranges) => ranges,
                Wanted::Whole | Wanted::Unsatisfiable => continue,
            };
            let mut end = None;
            for range in ranges {
                assert!(range.len > 0 && range.last() < len, "{field} of {len}");
                assert!(end.is_none_or(|end| end < range.start), "{field} of {len}");
                end = Some(range.last());
            }
        }
    }
}
