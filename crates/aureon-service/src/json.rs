//! A JSON writer: strings, numbers and objects into a byte vector, nothing else.
//!
//! The service answers small objects and logs one line per exchange; for both, appending to a
//! vector that is used again is all it takes. It writes valid JSON (RFC 8259) whatever it is
//! given: bytes that are not UTF-8 become U+FFFD. Reading JSON is not its business.

use std::io::Write;

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
    pub fn string(&mut self, name: &str, value: impl AsRef<[u8]>) {
        write_string(self.name(name), value.as_ref());
    }

    /// Writes the first `max` bytes of `value`, and an ellipsis when that is not all.
    pub fn clipped(&mut self, name: &str, value: &[u8], max: usize) {
        let Some(start) = value.get(..max).filter(|start| start.len() < value.len()) else {
            return self.string(name, value);
        };
        self.string(name, start);
        self.out.pop();
        self.out.extend_from_slice("\u{2026}\"".as_bytes());
    }

    /// Writes what prints itself, in quotes; it must print nothing that needs escaping.
    pub fn display(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let out = self.name(name);
        // Writing into a vector cannot fail.
        drop(write!(out, "\"{value}\""));
    }

    /// Writes an IPv4 address. Every line of the log has one, and a formatter costs a thousand
    /// instructions more.
    pub fn ipv4(&mut self, name: &str, address: std::net::Ipv4Addr) {
        let out = self.name(name);
        let mut separator = b'"';
        for octet in address.octets() {
            out.push(separator);
            write_number(out, u64::from(octet));
            separator = b'.';
        }
        out.push(b'"');
    }

    /// Writes microseconds as seconds with six digits: a JSON number without floating point.
    pub fn seconds(&mut self, name: &str, us: u64) {
        let out = self.name(name);
        write_number(out, us / 1_000_000);
        // A million more keeps the zeros in front; its own digit becomes the point.
        let point = out.len();
        write_number(out, us % 1_000_000 + 1_000_000);
        out[point] = b'.';
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

/// Writes a decimal number.
pub fn write_number(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits: the longest `u64`.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a quoted string. What RFC 8259 §7 demands is escaped; U+007F and the C1 controls are
/// too, so that a line shown on a terminal cannot command it.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // Nearly every string is plain from end to end; the rest of one that is not goes slowly.
    let (plain, rest) = bytes.split_at(plain_len(bytes));
    out.extend_from_slice(plain);
    for chunk in rest.utf8_chunks() {
        write_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Bytes at the start that are printable ASCII and need no escape, eight at a time.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is = |word: u64, byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        // The lowest hit is exact; a byte that is not ASCII has its high bit set itself.
        let odd = below_space | is(word, b'"') | is(word, b'\\') | is(word, 0x7f) | word;
        if odd & HIGH != 0 {
            return at + (odd & HIGH).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let odd = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
    bytes[at..]
        .iter()
        .position(odd)
        .map_or(bytes.len(), |more| at + more)
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        // A C1 control is 0xC2 followed by 0x80..=0x9F; the escape is written at its second byte.
        let c1 = (0x80..0xA0).contains(&byte) && at > 0 && bytes[at - 1] == 0xC2;
        let clean_to = if c1 { at - 1 } else { at };
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
        out.extend_from_slice(&bytes[clean_from..clean_to]);
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
    out.extend_from_slice(&bytes[clean_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_are_counted_as_the_definition_says() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                    assert_eq!(plain_len(&bytes), if plain { length } else { at }, "{byte}");
                }
            }
        }
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
