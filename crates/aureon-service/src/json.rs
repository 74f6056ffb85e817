//! A JSON writer: strings, numbers and objects into a byte vector, nothing else.
//!
//! The service answers small objects and logs one line per exchange; for both, appending to a
//! vector that is used again is all it takes. It writes valid JSON (RFC 8259) whatever it is
//! given: bytes that are not UTF-8 become U+FFFD. Reading JSON is not its business.

use std::io::Write;

use aureon::http::Head;

/// Writes one object into a vector. [`Object::end`] closes it.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Goes on with an object that has members; who opened it closes it.
    pub fn resume(out: &'a mut Vec<u8>) -> Object<'a> {
        Object { out, empty: false }
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        // Names are ours and need no escape.
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Writes `"name":"value"`.
    #[inline(always)]
    pub fn string(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.bytes(name, value.as_ref());
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        write_string(self.name(name), value);
    }

    /// Writes the first `max` bytes of `value`, and an ellipsis when that is not all.
    pub fn clipped(&mut self, name: &str, value: &[u8], max: usize) {
        let out = self.name(name);
        out.push(b'"');
        write_clipped(out, value, max);
        out.push(b'"');
    }

    /// Writes what prints itself, in quotes; it must print nothing that needs escaping.
    pub fn display(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let out = self.name(name);
        // Writing into a vector cannot fail.
        drop(write!(out, "\"{value}\""));
    }

    /// Writes microseconds as seconds with six digits: a JSON number without floating point.
    pub fn seconds(&mut self, name: &str, us: u64) {
        write_seconds(self.name(name), us);
    }

    /// Writes `"name":123`.
    pub fn number(&mut self, name: &str, value: u64) {
        write_number(self.name(name), value);
    }

    /// Writes `"name":true`.
    pub fn bool(&mut self, name: &str, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.raw(name, word);
    }

    /// Writes `"name":` and `json`, which must be one JSON value already.
    pub fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name).extend_from_slice(json);
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes one array into a vector of its own. [`List::end`] closes it.
#[derive(Debug, Default)]
pub struct List(Vec<u8>);

impl List {
    /// Where the next element goes.
    pub fn element(&mut self) -> &mut Vec<u8> {
        let before = if self.0.is_empty() { b'[' } else { b',' };
        self.0.push(before);
        &mut self.0
    }

    /// Writes a string.
    pub fn string(&mut self, value: &str) {
        write_string(self.element(), value.as_bytes());
    }

    /// Closes the array.
    pub fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        self.0
    }
}

/// The end of what eight digits can say.
pub const DIGITS_END: u64 = 100_000_000;

/// `00000000`.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The eight decimal digits of a number below [`DIGITS_END`] as text in a little-endian word: the
/// first digit is its lowest byte. Halves, then pairs, then digits, all at once in the same word.
/// Divides by multiplying, which a compiler that saves bytes does not.
#[inline(always)]
pub fn digits(number: u32) -> u64 {
    let number = u64::from(number);
    // By 10,000 below 2^32, by 100 up to 9,999, by 10 up to 99.
    let thousands = (number * 0xd1b7_1759) >> 45;
    let halves = thousands | (number - thousands * 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (pairs - 10 * tens) << 8) + ZEROS
}

/// The last four of them, of a number below 10,000.
#[inline(always)]
pub fn four_digits(number: u32) -> u32 {
    let hundreds = (number * 5_243) >> 19;
    let pairs = hundreds | (number - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f;
    (tens | (pairs - 10 * tens) << 8) + ZEROS as u32
}

/// The decimal digits of a number below [`DIGITS_END`] as text in a little-endian word, and how
/// many there are.
#[inline(always)]
pub fn short_number(number: u32) -> (u64, usize) {
    let shown = digits(number);
    // The last digit stands whatever it is.
    let zeros = ((shown ^ ZEROS) | 1 << 63).trailing_zeros() & !7;
    (shown >> zeros, 8 - zeros as usize / 8)
}

/// Writes a decimal number.
pub fn write_number(out: &mut Vec<u8>, value: u64) {
    if value >= DIGITS_END {
        write_number(out, value / DIGITS_END);
        return out.extend_from_slice(&digits((value % DIGITS_END) as u32).to_le_bytes());
    }
    let (word, len) = short_number(value as u32);
    out.extend_from_slice(word.to_le_bytes().get(..len).unwrap_or_default());
}

/// Writes microseconds as seconds with six digits behind the point.
pub fn write_seconds(out: &mut Vec<u8>, us: u64) {
    write_number(out, us / 1_000_000);
    let mut digits = digits((us % 1_000_000) as u32).to_le_bytes();
    digits[1] = b'.';
    out.extend_from_slice(&digits[1..]);
}

/// Writes a string that stands between quotes already: the first `max` bytes, and an ellipsis
/// when that is not all.
#[inline]
pub fn write_clipped(out: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let shown = bytes.get(..max).unwrap_or(bytes);
    write_text(out, shown);
    if shown.len() < bytes.len() {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
}

/// Writes a quoted string. What RFC 8259 §7 demands is escaped; U+007F and the C1 controls are
/// too, so that a line shown on a terminal cannot command it.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_text(out, bytes);
    out.push(b'"');
}

#[inline]
fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly every string is plain from end to end; one that is not goes slowly.
    match is_plain(bytes) {
        true => out.extend_from_slice(bytes),
        false => write_odd_text(out, bytes),
    }
}

/// Writes text that stands between quotes already and is not plain.
#[cold]
fn write_odd_text(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

/// The bits of [`odd_bits`] that count.
const ODD_BITS: u64 = 0x8080_8080_8080_8080;

/// The high bit of a byte is set when one of the eight bytes is not printable ASCII or needs an
/// escape. A borrow or a carry into a plain byte comes from an odd one below it, so the word as a
/// whole is judged right.
#[inline(always)]
const fn odd_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below_space = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES);
    below_space | quote | backslash | delete | word
}

/// Text that needs no escape.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    /// None.
    pub const EMPTY: Plain<'static> = Plain(b"");

    /// The path of a request. A path with a byte that needs an escape is refused when it is read
    /// (RFC 3986 §3.3 has none), and is not looked at again.
    #[inline(always)]
    pub fn path(head: &Head<'a>) -> Plain<'a> {
        let path = head.path_bytes();
        debug_assert!(is_plain(path));
        Plain(path)
    }

    /// A constant of a test.
    #[cfg(test)]
    pub const fn literal(bytes: &'static [u8]) -> Plain<'static> {
        Plain(bytes)
    }

    /// Any text, if it is that.
    pub fn of(bytes: &'a [u8]) -> Option<Plain<'a>> {
        is_plain(bytes).then_some(Plain(bytes))
    }

    /// The text.
    #[inline(always)]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Whether all bytes are printable ASCII and need no escape; eight at a time.
#[inline(never)]
pub fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        return bytes.iter().all(plain);
    };
    // The last eight, some of which are looked at twice, and all the words before.
    let mut hits = odd_bits(u64::from_le_bytes(*last));
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        hits |= odd_bits(u64::from_le_bytes(*chunk));
        rest = after;
    }
    hits & ODD_BITS == 0
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    let mut next = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        // A C1 control is 0xC2 followed by 0x80..=0x9F; the escape is written at its second byte.
        let before = std::mem::replace(&mut next, byte);
        let c1 = (0x80..0xA0).contains(&byte) && before == 0xC2;
        let clean_to = at - usize::from(c1);
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1F | 0x7F => b"",
            _ if c1 => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(clean_from..clean_to).unwrap_or_default());
        clean_from = at + 1;
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(bytes.get(clean_from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use aureon::Limits;
    use aureon::http::{HeadEvent, Scratch, Session};

    #[test]
    fn plain_is_what_the_definition_says() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&bytes), plain, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_path_that_the_engine_reads_needs_no_escape() {
        let mut read = 0;
        for byte in 0..=255u8 {
            let head = [&b"GET /a"[..], &[byte], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let mut scratch = Scratch::new();
            let mut session = Session::new();
            let event = session.receive_head(&head, &mut scratch, &Limits::DEFAULT);
            if let Ok(HeadEvent::Request { head, .. }) = event {
                let path = head.path_bytes();
                assert!(is_plain(path), "{byte}");
                assert_eq!(Plain::path(&head).bytes(), path);
                read += 1;
            }
        }
        assert!(read > 70, "{read}");
    }

    fn written(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_reads_back_as_itself() {
        let all: String = (0..=0x10_FFFF).filter_map(char::from_u32).collect();
        let read: String = serde_json::from_str(&written(all.as_bytes())).unwrap();
        assert!(read == all);
    }

    #[test]
    fn escapes_what_could_break_a_line_or_command_a_terminal() {
        assert_eq!(written(b"a\"b\\c\nd\r\t\x00\x1b[2J\x7f"), {
            r#""a\"b\\c\nd\r\t\u0000\u001b[2J\u007f""#
        });
        assert_eq!(written("é\u{9b}2J".as_bytes()), r#""é\u009b2J""#);
    }

    #[test]
    fn bytes_that_are_not_utf8_become_replacement_characters() {
        assert_eq!(written(b"a\xffb\xc3"), "\"a\u{FFFD}b\u{FFFD}\"");
    }

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        for value in [
            0,
            9,
            10,
            99,
            100,
            404,
            999,
            1_000,
            65_535,
            1_234_567,
            99_999_999,
            100_000_000,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            write_number(&mut out, value);
            assert_eq!(out, format!("{value}").into_bytes());
            out.clear();
            write_seconds(&mut out, value);
            let text = format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
            assert_eq!(out, text.into_bytes());
        }
    }

    #[test]
    fn four_digits_are_the_last_of_eight() {
        for number in 0..10_000 {
            let [.., a, b, c, d] = digits(number).to_le_bytes();
            assert_eq!(four_digits(number).to_le_bytes(), [a, b, c, d]);
        }
    }

    #[test]
    fn objects_have_commas_between_their_members() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.string("name", "x");
        object.number("n", u64::MAX);
        object.bool("yes", true);
        object.raw("list", b"[]");
        object.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            r#"{"name":"x","n":18446744073709551615,"yes":true,"list":[]}"#
        );
    }

    #[test]
    fn an_empty_object_is_valid() {
        let mut out = Vec::new();
        Object::new(&mut out).end();
        assert_eq!(out, b"{}");
    }
}
