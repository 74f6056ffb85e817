//! Renders response heads and chunk heads (RFC 9112 §4, §7.1).
//!
//! Everything is appended to the caller's buffer; nothing here can fail. Numbers are written
//! digit by digit because `format!` would cost more than the rest of the head.

use super::Status;
use super::date::{DATE_BYTES, write_date};

/// The status line of a 200 and the Date field, rendered once a second: nine of ten answers
/// begin with these bytes.
#[derive(Clone, Debug)]
pub struct Preamble {
    bytes: [u8; PREAMBLE_BYTES],
}

/// `HTTP/1.1 200 OK`, CRLF.
const OK_LINE: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";
/// What stands before the date.
const DATE_NAME: &[u8; 6] = b"Date: ";
const PREAMBLE_BYTES: usize = OK_LINE.len() + DATE_NAME.len() + DATE_BYTES + 2;

impl Preamble {
    /// Renders the preamble of a second.
    pub fn new(unix_seconds: u64) -> Preamble {
        let mut bytes = [b'\n'; PREAMBLE_BYTES];
        let (status, date) = bytes.split_at_mut(OK_LINE.len());
        status.copy_from_slice(OK_LINE);
        date[..DATE_NAME.len()].copy_from_slice(DATE_NAME);
        let end = DATE_NAME.len() + DATE_BYTES;
        date[DATE_NAME.len()..end].copy_from_slice(&write_date(unix_seconds));
        date[end] = b'\r';
        Preamble { bytes }
    }
}

/// Appends the status line and the Date field, which every response of ours has (RFC 9110
/// §6.6.1).
#[inline(always)]
pub fn write_status(out: &mut Vec<u8>, status: Status, preamble: &Preamble) {
    if status == Status::OK {
        return out.extend_from_slice(&preamble.bytes);
    }
    write_rare_status(out, status, preamble);
}

#[cold]
fn write_rare_status(out: &mut Vec<u8>, status: Status, preamble: &Preamble) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(status.code()));
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&preamble.bytes[OK_LINE.len()..]);
}

/// Appends Content-Length and the empty line that ends a head, in one piece.
#[inline]
pub fn write_length_and_end(out: &mut Vec<u8>, length: u64) {
    const NAME: &[u8; 16] = b"Content-Length: ";
    const END: &[u8; 4] = b"\r\n\r\n";
    /// Digits of the largest number.
    const DIGITS: usize = 20;
    // Filled from its end, because the digits come last first.
    let mut line = [0u8; NAME.len() + DIGITS + END.len()];
    let mut at = NAME.len() + DIGITS;
    line[at..].copy_from_slice(END);
    let mut rest = length;
    while rest >= 10 {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    at -= 1;
    line[at] = b'0' + rest as u8;
    at -= NAME.len();
    line[at..at + NAME.len()].copy_from_slice(NAME);
    out.extend_from_slice(&line[at..]);
}

/// Appends one field line. The caller has checked name and value.
#[inline]
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
#[inline]
pub fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    if value < 100 {
        return out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the head of a chunk of `len` bytes; its data and CRLF follow.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut value = len;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[value & 15];
        value >>= 4;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk and the end of an empty trailer section.
pub const CHUNKS_END: &[u8] = b"0\r\n\r\n";

/// The interim response to `Expect: 100-continue` (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 65_535, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, value);
            assert_eq!(out, format!("{value}").into_bytes());
            out.clear();
            write_length_and_end(&mut out, value);
            assert_eq!(out, format!("Content-Length: {value}\r\n\r\n").into_bytes());
        }
        for value in [0usize, 1, 15, 16, 255, 4_096, usize::MAX] {
            let mut out = Vec::new();
            write_chunk_head(&mut out, value);
            assert_eq!(out, format!("{value:x}\r\n").into_bytes());
        }
    }

    #[test]
    fn every_status_has_its_line() {
        let preamble = Preamble::new(784_111_777);
        let mut out = Vec::new();
        write_status(&mut out, Status::NOT_FOUND, &preamble);
        let expected = b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(out, expected);
        out.clear();
        write_status(&mut out, Status::OK, &preamble);
        let expected = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(out, expected);
    }
}
